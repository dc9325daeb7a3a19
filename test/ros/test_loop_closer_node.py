"""Loop closer node over DDS: odometry and poses in; corrected path and closures out."""

from driving import COVARIANCE, loop_trajectory, rms_distance_m, simulate_odometry
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry, Path
import numpy as np
import pytest
from rclpy.time import Time
from ros_rig import Process, Rig, SOON_S, wait_until
from scipy.spatial.transform import Rotation
from std_srvs.srv import Trigger

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.geometry import inverse, make_pose
from nerf_reversal_ros.core.outcome import ClosureRejectionReason
from nerf_reversal_ros.msg import LoopClosure
from nerf_reversal_ros.ros.conversions import matrix_from_pose, matrix_from_transform, pose_message
from nerf_reversal_ros.ros.node_runner import LATCHED_QOS

pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')

STEP_NS = 100_000_000
START_NS = 5_000_000_000


class LoopCloserRig(Rig):
    """Publishes odometry and poses of a drive, and collects the results of the loop closer."""

    def __init__(self, namespace=''):
        super().__init__(namespace)
        self.map_from_base_gt = loop_trajectory(100)
        self.odometry = simulate_odometry(self.map_from_base_gt)
        self.closures = self.collect(LoopClosure, 'loop_closer/closures')
        self.corrected = self.collect(Odometry, 'loop_closer/odometry')
        self.paths = self.collect(Path, 'loop_closer/path')
        self.corrections = self.collect(TransformStamped, 'loop_closer/map_from_odom')

    def publish_odometry(self, k, child='base_link', frame='odom'):
        message = Odometry(child_frame_id=child)
        message.header.stamp = self.stamp(k)
        message.header.frame_id = frame
        message.pose.pose = pose_message(self.odometry[k])
        message.twist.twist.linear.x = 1.0
        self.publish('odom', message)

    def close_loop(self, k, map_from_base=None, covariance=COVARIANCE):
        """Publish a pose, by default the ground truth; return its closure."""
        count = len(self.closures)
        pose = self.map_from_base_gt[k] if map_from_base is None else map_from_base
        self.publish_pose(k, pose, covariance)
        assert wait_until(lambda: len(self.closures) > count), 'no closure'
        return self.closures[-1]

    def publish_pose(self, k, map_from_base, covariance=COVARIANCE, frame='map'):
        message = PoseWithCovarianceStamped()
        message.header.stamp = self.stamp(k)
        message.header.frame_id = frame
        message.pose.pose = pose_message(map_from_base)
        message.pose.covariance = covariance.ravel()
        self.publish('nerf_pose_with_covariance', message)

    def drive(self, first, last):
        """Publish odometry of some steps, and the pose of every tenth."""
        for k in range(first, last):
            self.publish_odometry(k)
            if k % 10 == 0:
                self.close_loop(k)
        return self

    @staticmethod
    def stamp(k):
        return Time(nanoseconds=START_NS + k * STEP_NS).to_msg()


@pytest.fixture
def rig():
    rig = LoopCloserRig()
    yield rig
    rig.close()


def loop_closer(*arguments, **parameters):
    # Reliable, for best effort loses what is sent before discovery is through.
    return Process(
        'loop_closer',
        *arguments,
        **{'reliability': 'reliable', 'path_period_s': 0.1, **parameters},
    )


def step_of(stamp):
    """Return the step of the drive with a stamp."""
    return round((Time.from_msg(stamp).nanoseconds - START_NS) / STEP_NS)


def test_the_node_publishes_a_corrected_path_and_a_message_for_each_closure(rig):
    with loop_closer() as process:
        rig.drive(0, 100)
        assert [closure.accepted for closure in rig.closures] == [True] * 10, process.output
        assert [step_of(closure.header.stamp) for closure in rig.closures] == list(
            range(0, 100, 10)
        )
        last = rig.closures[-1]
        assert (last.header.frame_id, last.reason, last.reanchored) == ('map', '', False)
        assert 0.0 < last.residual_m < 0.2
        assert 0.0 < last.chi2 < last.chi2_limit
        assert abs(step_of(last.keyframe_stamp) - 90) <= 2

        assert wait_until(lambda: rig.paths and step_of(rig.paths[-1].header.stamp) > 88)
        path = rig.paths[-1]
        assert path.header.frame_id == 'map'
        steps = [step_of(stamped.header.stamp) for stamped in path.poses]
        map_from_base = np.stack([matrix_from_pose(stamped.pose) for stamped in path.poses])
        start = rig.map_from_base_gt[0] @ inverse(rig.odometry[0])
        assert rms_distance_m(map_from_base, rig.map_from_base_gt[steps]) < 0.02
        assert rms_distance_m(start @ rig.odometry, rig.map_from_base_gt) > 0.15

        assert wait_until(lambda: step_of(rig.corrected[-1].header.stamp) == 99)
        corrected = rig.corrected[-1]
        assert (corrected.header.frame_id, corrected.child_frame_id) == ('map', 'base_link')
        assert corrected.twist.twist.linear.x == 1.0
        map_from_base = matrix_from_pose(corrected.pose.pose)
        assert map_from_base[:3, 3] == pytest.approx(rig.map_from_base_gt[99][:3, 3], abs=0.06)
        assert np.linalg.eigvalsh(corrected.pose.covariance.reshape(6, 6))[0] > 0.0

        assert wait_until(lambda: len(rig.corrections) == 10)
        correction = rig.corrections[-1]
        assert (correction.header.frame_id, correction.child_frame_id) == ('map', 'odom')
        map_from_odom = matrix_from_transform(correction.transform)
        assert map_from_odom == pytest.approx(matrix_from_transform(last.map_from_odom))
        assert map_from_odom @ rig.odometry[99] == pytest.approx(map_from_base, abs=1e-6)


def test_late_subscribers_receive_the_path_and_map_from_odom(rig):
    with loop_closer():
        rig.drive(0, 30)
        assert wait_until(lambda: rig.paths)
        late, messages = Rig(), []
        for kind, topic in ((Path, 'path'), (TransformStamped, 'map_from_odom')):
            late.node.create_subscription(
                kind, f'loop_closer/{topic}', messages.append, LATCHED_QOS
            )
        assert wait_until(
            lambda: {type(message) for message in messages} == {Path, TransformStamped}
        )
        late.close()


def test_outliers_are_rejected_until_three_are_consistent(rig):
    offset = make_pose(None, (3.0, 0.0, 0.0))
    with loop_closer() as process:
        rig.drive(0, 30)
        outlier = rig.close_loop(27, offset @ rig.map_from_base_gt[27])
        assert (outlier.accepted, outlier.reason) == (False, LoopClosure.OUTLIER)
        assert outlier.residual_m == pytest.approx(3.0, abs=0.1)
        assert '1 of 3 poses' in outlier.detail
        assert rig.close_loop(27).reason == LoopClosure.DUPLICATE_STAMP
        rig.publish_odometry(31)
        assert rig.close_loop(31).accepted or rig.closures[-1].reason == LoopClosure.REDUNDANT
        for k in (33, 36, 39):
            rig.publish_odometry(k)
            closure = rig.close_loop(k, offset @ rig.map_from_base_gt[k])
        assert (closure.accepted, closure.reanchored) == (True, True)
        process.wait_for_output('mutually consistent poses replace the earlier ones')


def test_unusable_poses_and_odometry_are_rejected_with_a_reason_or_a_warning(rig):
    with loop_closer() as process:
        rig.drive(0, 1)
        assert (
            rig.close_loop(0, make_pose(None, (np.nan, 0, 0))).reason == LoopClosure.UNUSABLE_POSE
        )
        no_covariance = rig.close_loop(0, covariance=np.zeros((6, 6)))
        assert no_covariance.reason == LoopClosure.UNUSABLE_POSE
        assert 'not positive definite' in no_covariance.detail
        rig.publish_odometry(5)
        rig.publish_odometry(30)
        assert rig.close_loop(20).reason == LoopClosure.NO_ODOMETRY
        rig.publish_odometry(31, child='base_footprint')
        process.wait_for_output(
            'the child_frame_id of the odometry is base_footprint, but base_frame is base_link:'
            f' its messages are ignored; {remedies.ODOMETRY_CHILD}'
        )
        process.wait_for_output(
            'a pose is rejected: unusable pose (it is not finite: see to its source)'
        )
        rig.close_loop(30)
        rig.publish_pose(31, rig.map_from_base_gt[31], frame='world')
        process.wait_for_output(
            f'frame world, but map_frame is map: it is ignored; {remedies.MAP_FRAME}'
        )


def test_a_pose_in_a_room_without_a_place_is_ignored(rig):
    with loop_closer() as process:
        rig.publish_pose(1, rig.map_from_base_gt[1], frame='map/lab')
        process.wait_for_output(
            f'frame map/lab, but map_frame is map: it is ignored; {remedies.PLACE_ROOM}'
        )


def test_missing_inputs_and_wrong_frames_are_logged_by_name(rig):
    with loop_closer() as process:
        rig.publish_pose(0, rig.map_from_base_gt[0])
        process.wait_for_output(
            'nobody publishes /odom (nav_msgs/msg/Odometry): start its publisher'
        )
        process.wait_for_output('no odometry came, for which poses wait (1): check its topic')
        rig.publish_odometry(1, frame='camera_odom')
        process.wait_for_output(
            'the odometry is in the frame camera_odom, but odom_frame is odom: its messages are'
            f' ignored; {remedies.ODOM_FRAME}'
        )
        rig.publish_odometry(0)
        assert wait_until(lambda: rig.closures)
        rig.publish_pose(50, rig.map_from_base_gt[50])
        process.wait_for_output(
            'the odometry is 5.0 s behind poses that wait for it (1): check its topic'
        )


def test_a_tilted_correction_is_logged_as_poses_of_a_camera(rig):
    base_from_camera = Rotation.from_euler('yx', [90, -90], degrees=True)
    with loop_closer() as process:
        rig.publish_odometry(0)
        rig.close_loop(0, rig.map_from_base_gt[0] @ make_pose(base_from_camera))
        process.wait_for_output(
            'map -> odom is tilted by 90 deg: the poses are not those of base_link, the frame of'
            f' the odometry; {remedies.POSES_OF_BASE}'
        )


def test_other_frames_are_accepted_when_they_are_set(rig):
    frames = {'base_frame': 'base_footprint', 'odom_frame': 'camera_odom', 'map_frame': 'world'}
    with loop_closer(**frames) as process:
        rig.publish_odometry(0, child='base_footprint', frame='camera_odom')
        rig.publish_pose(0, rig.map_from_base_gt[0], frame='world')
        assert wait_until(lambda: rig.closures), process.output
        assert rig.closures[-1].accepted


def test_late_subscribers_receive_no_correction_from_before_a_reset(rig):
    with loop_closer() as process:
        rig.drive(0, 11)
        assert rig.call(Trigger, 'loop_closer/reset').success
        late = Rig()
        paths = late.collect(Path, 'loop_closer/path', LATCHED_QOS)
        corrections = late.collect(TransformStamped, 'loop_closer/map_from_odom', LATCHED_QOS)
        assert wait_until(lambda: paths and not paths[-1].poses), process.output
        rig.publish_odometry(12)
        rig.close_loop(12)
        assert wait_until(lambda: corrections)
        assert [step_of(message.header.stamp) for message in corrections] == [12]
        late.close()


def test_a_step_back_in_time_and_a_request_reset_the_graph(rig):
    with loop_closer() as process:
        rig.drive(0, 41).drive(0, 21)
        process.wait_for_output(
            'the stamps of the odometry went back, as when a bag is played again'
        )
        assert rig.closures[-1].accepted
        assert rig.call(Trigger, 'loop_closer/reset').success
        assert wait_until(lambda: len(rig.paths[-1].poses) == 0)
        rig.publish_odometry(22)
        rig.close_loop(22)
        assert wait_until(lambda: len(rig.paths[-1].poses) == 1)


def test_loop_closers_of_two_namespaces_are_independent(rig):
    other = LoopCloserRig('/robot2')
    with loop_closer(), loop_closer('-r', '__ns:=/robot2'):
        rig.drive(0, 11)
        other.drive(0, 1)
        assert (len(rig.closures), len(other.closures)) == (2, 1)
    other.close()


@pytest.mark.parametrize(
    ('parameters', 'message'),
    [
        ({'odometry_drif': 0.1}, 'unknown parameter odometry_drif: did you mean odometry_drift?'),
        ({'window': 3}, 'window must be >= 20, got 3'),
        (
            {'base_frame': "''"},
            'base_frame is empty: set it to the name of the frame, for example base_link',
        ),
    ],
)
def test_invalid_settings_end_the_node_with_one_sentence(parameters, message):
    with loop_closer(**parameters) as process:
        assert process.wait() == 1
        assert message in process.output
        assert 'Traceback' not in process.output


def test_ctrl_c_ends_the_node_without_a_traceback(rig):
    with loop_closer() as process:
        rig.drive(0, 11)
        assert process.interrupt() < SOON_S
        assert process.wait() == 0
        assert 'Traceback' not in process.output


def test_the_constants_of_the_message_equal_the_rejection_reasons():
    for reason in ClosureRejectionReason:
        assert getattr(LoopClosure, reason.name) == reason
