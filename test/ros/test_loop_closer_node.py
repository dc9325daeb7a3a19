"""The loop closer node over DDS: odometry and poses in, the corrected path and closures out."""

from driving import COVARIANCE, loop_trajectory, rms_distance_m, simulate_odometry
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry, Path
import numpy as np
import pytest
from rclpy.time import Time
from ros_rig import Process, Rig, SOON_S, wait_until
from scipy.spatial.transform import Rotation
from std_srvs.srv import Trigger

from nerf_reversal_ros.core.geometry import inverse, make_pose
from nerf_reversal_ros.core.outcome import ClosureRejectionReason
from nerf_reversal_ros.msg import LoopClosure
from nerf_reversal_ros.ros.conversions import matrix_from_pose, matrix_from_transform, pose_message
from nerf_reversal_ros.ros.node_runner import LATCHED_QOS

pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')

STEP_NS = 100_000_000
START_NS = 5_000_000_000


class Robot(Rig):
    """Drives, tells its odometry and poses, and hears what the loop closer makes of them."""

    def __init__(self, namespace=''):
        super().__init__(namespace)
        self.truth = loop_trajectory(100)
        self.odometry = simulate_odometry(self.truth)
        self.closures = self.collect(LoopClosure, 'loop_closer/closures')
        self.corrected = self.collect(Odometry, 'loop_closer/odometry')
        self.paths = self.collect(Path, 'loop_closer/path')
        self.moved = self.collect(TransformStamped, 'loop_closer/map_from_odom')

    def moves(self, k, child='base_link', frame='odom'):
        message = Odometry(child_frame_id=child)
        message.header.stamp = self.stamp(k)
        message.header.frame_id = frame
        message.pose.pose = pose_message(self.odometry[k])
        message.twist.twist.linear.x = 1.0
        self.publish('odom', message)

    def sees(self, k, map_from_base=None, covariance=COVARIANCE):
        """Tell a pose, the right one unless one is given; return what was done with it."""
        seen = len(self.closures)
        self.tells(k, self.truth[k] if map_from_base is None else map_from_base, covariance)
        assert wait_until(lambda: len(self.closures) > seen), 'no closure'
        return self.closures[-1]

    def tells(self, k, map_from_base, covariance=COVARIANCE, frame='map'):
        message = PoseWithCovarianceStamped()
        message.header.stamp = self.stamp(k)
        message.header.frame_id = frame
        message.pose.pose = pose_message(map_from_base)
        message.pose.covariance = covariance.ravel()
        self.publish('nerf_pose_with_covariance', message)

    def goes(self, first, last):
        """Drive, and tell each tenth pose when the odometry got there."""
        for k in range(first, last):
            self.moves(k)
            if k % 10 == 0:
                self.sees(k)
        return self

    @staticmethod
    def stamp(k):
        return Time(nanoseconds=START_NS + k * STEP_NS).to_msg()


@pytest.fixture
def robot():
    rig = Robot()
    yield rig
    rig.close()


def loop_closer(*arguments, **parameters):
    # Reliable, for best effort loses what is sent before discovery is through.
    return Process(
        'loop_closer',
        *arguments,
        **{'reliability': 'reliable', 'path_period_s': 0.1, **parameters},
    )


def number(stamp):
    """Return which step of the drive a stamp is of."""
    return round((Time.from_msg(stamp).nanoseconds - START_NS) / STEP_NS)


def test_odometry_and_poses_become_a_corrected_path_and_a_message_for_each_closure(robot):
    with loop_closer() as process:
        robot.goes(0, 100)
        assert [closure.accepted for closure in robot.closures] == [True] * 10, process.output
        assert [number(closure.header.stamp) for closure in robot.closures] == list(
            range(0, 100, 10)
        )
        last = robot.closures[-1]
        assert (last.header.frame_id, last.reason, last.reanchored) == ('map', '', False)
        assert 0.0 < last.residual_m < 0.2
        assert 0.0 < last.chi2 < last.chi2_limit
        assert abs(number(last.keyframe_stamp) - 90) <= 2

        assert wait_until(lambda: robot.paths and number(robot.paths[-1].header.stamp) > 88)
        path = robot.paths[-1]
        assert path.header.frame_id == 'map'
        numbers = [number(stamped.header.stamp) for stamped in path.poses]
        found = np.stack([matrix_from_pose(stamped.pose) for stamped in path.poses])
        start = robot.truth[0] @ inverse(robot.odometry[0])
        assert rms_distance_m(found, robot.truth[numbers]) < 0.02
        assert rms_distance_m(start @ robot.odometry, robot.truth) > 0.15

        assert wait_until(lambda: number(robot.corrected[-1].header.stamp) == 99)
        corrected = robot.corrected[-1]
        assert (corrected.header.frame_id, corrected.child_frame_id) == ('map', 'base_link')
        assert corrected.twist.twist.linear.x == 1.0
        found = matrix_from_pose(corrected.pose.pose)
        assert found[:3, 3] == pytest.approx(robot.truth[99][:3, 3], abs=0.06)
        assert np.linalg.eigvalsh(corrected.pose.covariance.reshape(6, 6))[0] > 0.0

        assert wait_until(lambda: len(robot.moved) == 10)
        moved = robot.moved[-1]
        assert (moved.header.frame_id, moved.child_frame_id) == ('map', 'odom')
        map_from_odom = matrix_from_transform(moved.transform)
        assert map_from_odom == pytest.approx(matrix_from_transform(last.map_from_odom))
        assert map_from_odom @ robot.odometry[99] == pytest.approx(found, abs=1e-6)


def test_who_comes_late_gets_the_path_and_map_from_odom(robot):
    with loop_closer():
        robot.goes(0, 30)
        assert wait_until(lambda: robot.paths)
        late, heard = Rig(), []
        for kind, topic in ((Path, 'path'), (TransformStamped, 'map_from_odom')):
            late.node.create_subscription(kind, f'loop_closer/{topic}', heard.append, LATCHED_QOS)
        assert wait_until(lambda: {type(message) for message in heard} == {Path, TransformStamped})
        late.close()


def test_false_poses_are_told_and_change_nothing_until_they_agree(robot):
    away = make_pose(None, (3.0, 0.0, 0.0))
    with loop_closer() as process:
        robot.goes(0, 30)
        false = robot.sees(27, away @ robot.truth[27])
        assert (false.accepted, false.reason) == (False, LoopClosure.OUTLIER)
        assert false.residual_m == pytest.approx(3.0, abs=0.1)
        assert '1 of 3 poses' in false.detail
        assert robot.sees(27).reason == LoopClosure.DUPLICATE_STAMP
        robot.moves(31)
        assert robot.sees(31).accepted or robot.closures[-1].reason == LoopClosure.REDUNDANT
        for k in (33, 36, 39):
            robot.moves(k)
            told = robot.sees(k, away @ robot.truth[k])
        assert (told.accepted, told.reanchored) == (True, True)
        process.says('poses that agree with each other replace those before')


def test_what_is_of_no_use_is_left_aside_with_a_reason_or_a_warning(robot):
    with loop_closer() as process:
        robot.goes(0, 1)
        assert robot.sees(0, make_pose(None, (np.nan, 0, 0))).reason == LoopClosure.UNUSABLE_POSE
        no_covariance = robot.sees(0, covariance=np.zeros((6, 6)))
        assert no_covariance.reason == LoopClosure.UNUSABLE_POSE
        assert 'not positive definite' in no_covariance.detail
        robot.moves(5)
        robot.moves(30)
        assert robot.sees(20).reason == LoopClosure.NO_ODOMETRY
        robot.moves(31, child='base_footprint')
        process.says('the odometry is of base_footprint, and base_frame is base_link')
        process.says('a pose is left aside: unusable pose (it is not finite: see to its source)')
        robot.sees(30)
        robot.tells(31, robot.truth[31], frame='world')
        process.says('a pose is in the frame world, and map_frame is map')


def test_what_is_missing_or_of_another_frame_is_told_by_name(robot):
    with loop_closer() as process:
        robot.tells(0, robot.truth[0])
        process.says('nobody publishes /odom (nav_msgs/msg/Odometry): start its publisher')
        process.says('no odometry came, for which poses wait (1): see to its topic')
        robot.moves(1, frame='camera_odom')
        process.says('the odometry is in the frame camera_odom, and odom_frame is odom')
        robot.moves(0)
        assert wait_until(lambda: robot.closures)
        robot.tells(50, robot.truth[50])
        process.says('the odometry is 5.0 s behind poses that wait for it (1): see to its topic')


def test_poses_of_a_camera_that_looks_ahead_are_told_from_those_of_the_base(robot):
    turned = Rotation.from_euler('yx', [90, -90], degrees=True)
    with loop_closer() as process:
        robot.moves(0)
        robot.sees(0, robot.truth[0] @ make_pose(turned))
        process.says('map -> odom is tilted by 90 deg: the poses are not of base_link')


def test_after_a_reset_who_comes_late_gets_no_former_correction(robot):
    with loop_closer() as process:
        robot.goes(0, 11)
        assert robot.call(Trigger, 'loop_closer/reset').success
        late = Rig()
        paths = late.collect(Path, 'loop_closer/path', LATCHED_QOS)
        moved = late.collect(TransformStamped, 'loop_closer/map_from_odom', LATCHED_QOS)
        assert wait_until(lambda: paths and not paths[-1].poses), process.output
        robot.moves(12)
        robot.sees(12)
        assert wait_until(lambda: moved)
        assert [number(message.header.stamp) for message in moved] == [12]
        late.close()


def test_all_begins_anew_when_a_bag_is_looped_and_on_request(robot):
    with loop_closer() as process:
        robot.goes(0, 41).goes(0, 21)
        process.says('the time of the odometry jumped back: all begins anew')
        assert robot.closures[-1].accepted
        assert robot.call(Trigger, 'loop_closer/reset').success
        assert wait_until(lambda: len(robot.paths[-1].poses) == 0)
        robot.moves(22)
        robot.sees(22)
        assert wait_until(lambda: len(robot.paths[-1].poses) == 1)


def test_two_robots_close_their_loops_side_by_side(robot):
    other = Robot('/robot2')
    with loop_closer(), loop_closer('-r', '__ns:=/robot2'):
        robot.goes(0, 11)
        other.goes(0, 1)
        assert (len(robot.closures), len(other.closures)) == (2, 1)
    other.close()


@pytest.mark.parametrize(
    ('parameters', 'sentence'),
    [
        ({'odometry_drif': 0.1}, 'unknown parameter odometry_drif: did you mean odometry_drift?'),
        ({'window': 3}, 'window must be >= 20, got 3'),
        ({'base_frame': "''"}, 'base_frame is empty: name the frame, base_link say'),
    ],
)
def test_settings_that_cannot_be_end_the_node_in_one_sentence(parameters, sentence):
    with loop_closer(**parameters) as process:
        assert process.ended() == 1
        assert sentence in process.output
        assert 'Traceback' not in process.output


def test_ctrl_c_ends_it_cleanly(robot):
    with loop_closer() as process:
        robot.goes(0, 11)
        assert process.interrupt() < SOON_S
        assert process.ended() == 0
        assert 'Traceback' not in process.output


def test_the_message_names_every_reason():
    constants = {
        getattr(LoopClosure, reason.upper().replace(' ', '_')) for reason in ClosureRejectionReason
    }
    assert constants == set(ClosureRejectionReason)
