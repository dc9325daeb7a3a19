"""TF over DDS, on the real /tf and /tf_static: the mounting, map -> odom, odometry from it."""

import contextlib
import threading
import time

from driving import loop_trajectory, simulate_odometry
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Odometry
import numpy as np
import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from ros_rig import camera_info, picture, Process, Rig, wait_until
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import inverse, make_pose
from nerf_reversal_ros.msg import LocalizerStatus, LoopClosure
from nerf_reversal_ros.ros.conversions import matrix_from_pose, pose_message

tf2_msgs = pytest.importorskip('tf2_msgs.msg', reason='`make setup` builds it for the tests')

LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
MOUNTING = make_pose(Rotation.from_euler('xyz', (-100, 5, -80), degrees=True), (0.3, -0.1, 0.5))
"""base_from_camera."""
ODOM_FROM_BASE = make_pose(
    Rotation.from_euler('xyz', (2, -3, 140), degrees=True), (20.0, -7.0, 0.1)
)


def numbers(matrix):
    """Return x y z qx qy qz qw."""
    return [*matrix[:3, 3], *Rotation.from_matrix(matrix[:3, :3]).as_quat()]


def transform(parent, child, second, matrix):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = Time(nanoseconds=round(second * 1e9)).to_msg()
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z, q.x, q.y, q.z, q.w = map(float, numbers(matrix))
    return message


def matrix_of(transform):
    t, q = transform.translation, transform.rotation
    return make_pose(Rotation.from_quat([q.x, q.y, q.z, q.w]), (t.x, t.y, t.z))


class Robot(Rig):
    """Shows pictures, says on TF where it is, and hears what is said of map -> odom."""

    def __init__(self, namespace='', topic='/tf'):
        super().__init__(namespace)
        self._tf = topic
        self._still = self.node.create_publisher(tf2_msgs.TFMessage, f'{topic}_static', LATCHED)
        self.sent = []
        """Of map -> odom: the message, and when it came [s]."""
        self.node.create_subscription(tf2_msgs.TFMessage, topic, self._hear, 100)
        self.statuses = self.collect(LocalizerStatus, 'localizer/status')
        self.poses = self.collect(PoseWithCovarianceStamped, 'nerf_pose_with_covariance')

    def _hear(self, message):
        told = [one for one in message.transforms if one.child_frame_id.endswith('odom')]
        self.sent += [(one, time.time()) for one in told]

    @property
    def map_from_odom(self):
        return matrix_of(self.sent[-1][0].transform)

    def mounted(self, *edges):
        """Say on /tf_static, and to who comes late, what is where: (parent, child, matrix)."""
        fixed = [transform(parent, child, 0, matrix) for parent, child, matrix in edges]
        self._still.publish(tf2_msgs.TFMessage(transforms=fixed))

    def moves(self, second, odom_from_base=ODOM_FROM_BASE, odom='odom', base='base_link'):
        edge = transform(odom, base, second, odom_from_base)
        self.publish(self._tf, tf2_msgs.TFMessage(transforms=[edge]))

    def shows(self, x_m, second):
        """Show a picture taken at x_m, y 0.2 and z 0.3 m; return the status that answers it."""
        seen = len(self.statuses)
        self.publish('image/compressed', picture((round(100 * x_m), 20, 30), second))
        assert wait_until(lambda: len(self.statuses) > seen), 'no status'
        return self.statuses[-1]

    def goes(self, x_m, second):
        """Be somewhere, by TF and by a picture, and wait for what comes of it on TF."""
        sent = len(self.sent)
        self.moves(second)
        self.shows(x_m, second)
        assert wait_until(lambda: len(self.sent) > sent), 'nothing on TF'
        return self.map_from_odom

    def speakers(self):
        """Return which nodes publish on TF, but for this one."""
        found = self.node.get_publishers_info_by_topic(self.node.resolve_topic_name(self._tf))
        return {info.node_name for info in found} - {self.node.get_name()}


def base_at(x_m):
    """Return map_from_base of a robot with MOUNTING whose picture was taken at x_m."""
    return make_pose(None, (x_m, 0.2, 0.3)) @ np.linalg.inv(MOUNTING)


def odom_at(x_m):
    """Return map_from_odom for that robot."""
    return base_at(x_m) @ np.linalg.inv(ODOM_FROM_BASE)


@contextlib.contextmanager
def localized(folder, *arguments, robot=None, **parameters):
    """Give a robot, which leaves with it, and its localizer, which knows the camera."""
    (folder / 'slow0').mkdir(exist_ok=True)
    given = {'map_dir': folder / 'slow0', 'autostart': True, 'reliability': 'reliable'}
    with (
        contextlib.closing(robot or Robot()) as rig,
        Process('localizer', *arguments, **{**given, **parameters}) as process,
    ):
        process.says('localizes the pictures of')
        rig.knows('localizer')
        rig.publish('camera_info', camera_info())
        yield rig, process


BASED = {'base_frame': 'base_link', 'mounting': ' '.join(f'{n:.9f}' for n in numbers(MOUNTING))}
SENDING = {**BASED, 'publish_tf': True, 'tf_rate_hz': 0.0}
"""A message for each pose."""


def test_the_mounting_on_tf_gives_the_pose_of_the_base_as_the_parameter_does(tmp_path):
    mast_from_camera = inverse(make_pose(None, (0.1, 0.0, 0.4))) @ MOUNTING
    with (
        localized(tmp_path, **BASED) as (told, _),
        localized(
            tmp_path, '-r', '__ns:=/other', robot=Robot('/other'), base_frame='base_link'
        ) as (listening, process),
    ):
        refused = listening.shows(1.0, 1)
        assert refused.reason == LocalizerStatus.NO_MOUNTING
        assert 'TF does not know base_link <- camera_optical' in refused.detail
        assert 'publish it, on /tf_static if it never moves, see to the clocks' in refused.detail
        assert 'or set the parameter mounting' in refused.detail
        listening.mounted(
            ('base_link', 'mast', make_pose(None, (0.1, 0.0, 0.4))),
            ('mast', 'camera_optical', mast_from_camera),
        )
        seconds = iter(range(2, 100))
        assert wait_until(lambda: listening.shows(1.0, next(seconds)).accepted), process.output
        told.shows(1.0, 1)
        assert wait_until(lambda: told.poses and listening.poses)
        one, other = told.poses[-1].pose, listening.poses[-1].pose
        assert matrix_from_pose(other.pose) == pytest.approx(base_at(1.0), abs=1e-6)
        assert matrix_from_pose(other.pose) == pytest.approx(matrix_from_pose(one.pose), abs=1e-6)
        assert other.covariance == pytest.approx(one.covariance, abs=1e-9)
        assert not told.speakers()  # nothing is broadcast unless it is asked for


def test_a_mounting_that_moves_is_that_of_the_time_of_the_picture(tmp_path):
    with localized(tmp_path, base_frame='base_link') as (robot, _):
        robot.mounted(('head', 'camera_optical', MOUNTING))

        def looks(second, degrees):
            turned = make_pose(Rotation.from_euler('z', degrees, degrees=True))
            robot.moves(second, turned, odom='base_link', base='head')

        looks(9, 0.0)
        looks(10, 0.0)
        looks(10.5, 40.0)  # turned before the picture of second 10 comes
        assert wait_until(lambda: robot.shows(1.0, 10).accepted)
        assert wait_until(lambda: robot.poses)
        assert matrix_from_pose(robot.poses[-1].pose.pose) == pytest.approx(base_at(1.0), abs=1e-6)

        late = robot.shows(1.0, 12)  # nothing is known of that time, also half a second later
        assert late.reason == LocalizerStatus.NO_MOUNTING
        assert 'extrapolation into the future' in late.detail
        later = threading.Timer(0.2, looks, (13, 40.0))  # while the picture waits for it
        later.start()
        assert robot.shows(1.0, 13).accepted
        assert wait_until(lambda: len(robot.poses) > 1)
        there = make_pose(None, (1.0, 0.2, 0.3)) @ inverse(
            make_pose(Rotation.from_euler('z', 40, degrees=True)) @ MOUNTING
        )
        assert matrix_from_pose(robot.poses[-1].pose.pose) == pytest.approx(there, abs=1e-6)


def test_map_to_odom_ends_with_the_age_that_is_set_and_goes_on_with_the_next_pose(tmp_path):
    given = {**BASED, 'publish_tf': True, 'tf_rate_hz': 50.0, 'tf_max_age_s': 0.5}
    with localized(tmp_path, **given) as (robot, process):
        robot.goes(1.0, 1)
        process.says('(tf_max_age_s is 0.5): map -> odom is not broadcast until one is')
        time.sleep(0.2)  # what was sent before has come
        robot.sent.clear()
        time.sleep(0.5)
        assert not robot.sent
        robot.moves(2)
        robot.shows(2.0, 2)  # so far off that it is not believed
        time.sleep(0.3)
        assert not robot.sent
        assert robot.goes(1.0, 3) == pytest.approx(odom_at(1.0), abs=1e-6)


def test_map_to_odom_puts_the_base_where_the_picture_was_taken(tmp_path):
    given = {**BASED, 'publish_tf': True, 'tf_rate_hz': 50.0, 'tf_tolerance_s': 3.0}
    with localized(tmp_path, **given) as (robot, _):
        robot.goes(1.0, 5)
        first, _ = robot.sent[0]
        assert (first.header.frame_id, first.child_frame_id) == ('map', 'odom')
        found = robot.map_from_odom @ ODOM_FROM_BASE
        assert found == pytest.approx(base_at(1.0), abs=1e-6)
        assert found @ MOUNTING == pytest.approx(make_pose(None, (1.0, 0.2, 0.3)), abs=1e-6)
        assert wait_until(lambda: len(robot.sent) > 20)  # also while no picture comes
        stamps = [Time.from_msg(message.header.stamp).nanoseconds for message, _ in robot.sent]
        assert np.all(np.diff(stamps) > 0)
        ahead = [ns / 1e9 - came_s for ns, (_, came_s) in zip(stamps, robot.sent, strict=False)]
        assert 2.0 < max(ahead) <= 3.0


def test_a_pose_waits_for_the_odometry_of_its_time(tmp_path):
    ahead = ODOM_FROM_BASE @ make_pose(None, (1.0, 0.0, 0.0))
    with localized(tmp_path, **SENDING) as (robot, process):
        robot.shows(1.0, 5)
        process.says('TF does not know odom <- base_link')
        assert 'publish the odometry on TF or set publish_tf to false' in process.output
        robot.moves(4, ODOM_FROM_BASE)
        assert robot.shows(1.0, 5).accepted
        assert not robot.sent
        robot.moves(6, ahead)  # so that at second 5 it was half-way
        assert wait_until(lambda: robot.sent)
        half = ODOM_FROM_BASE @ make_pose(None, (0.5, 0.0, 0.0))
        assert robot.map_from_odom @ half == pytest.approx(base_at(1.0), abs=1e-6)


def test_a_small_correction_goes_out_slowly_and_a_jump_when_three_poses_agree(tmp_path):
    with localized(tmp_path, **SENDING, tf_smoothing=0.5) as (robot, _):
        assert robot.goes(1.0, 1) == pytest.approx(odom_at(1.0), abs=1e-6)
        assert robot.goes(1.2, 2) == pytest.approx(odom_at(1.1), abs=1e-6)
        assert robot.goes(1.1, 3) == pytest.approx(odom_at(1.1), abs=1e-6)
        assert robot.goes(2.0, 4) == pytest.approx(odom_at(1.1), abs=1e-6)  # one wrong pose
        assert robot.goes(1.1, 5) == pytest.approx(odom_at(1.1), abs=1e-6)
        for second in (6, 7):
            assert robot.goes(2.0, second) == pytest.approx(odom_at(1.1), abs=1e-6)
        assert robot.goes(2.0, 8) == pytest.approx(odom_at(2.0), abs=1e-6)


def test_an_inactive_localizer_says_nothing_on_tf(tmp_path):
    with localized(tmp_path, **{**SENDING, 'tf_rate_hz': 100.0}) as (robot, _):
        robot.goes(1.0, 1)
        assert robot.speakers() == {'localizer'}
        assert robot.change(Transition.TRANSITION_DEACTIVATE)
        assert wait_until(lambda: not robot.speakers())
        robot.sent.clear()
        assert robot.change(Transition.TRANSITION_ACTIVATE)
        assert wait_until(robot.speakers)
        robot.knows('localizer')
        assert not robot.sent  # what it knew before is forgotten
        robot.publish('camera_info', camera_info())
        assert robot.goes(2.0, 2) == pytest.approx(odom_at(2.0), abs=1e-6)
        assert robot.change(Transition.TRANSITION_DEACTIVATE)
        assert robot.change(Transition.TRANSITION_CLEANUP)

        def listeners():
            found = robot.node.get_subscriptions_info_by_topic('/tf')
            return {info.node_name for info in found} - {'rig'}

        assert wait_until(lambda: not robot.speakers() and not listeners())


def test_when_a_bag_starts_again_map_to_odom_does_as_well(tmp_path):
    with localized(tmp_path, **SENDING, tf_jump_poses=100) as (robot, process):
        robot.goes(1.0, 100)
        robot.moves(3)  # 97 s before what TF knows, which tf2 by itself refuses
        robot.shows(2.4, 3)
        process.says('the time of the pictures went back by 97.0 s')
        robot.moves(4)
        robot.shows(2.4, 4)
        assert wait_until(lambda: robot.map_from_odom == pytest.approx(odom_at(2.4), abs=1e-6)), (
            process.output
        )


def test_with_simulated_time_tf_is_dated_by_it(tmp_path):
    given = {**SENDING, 'tf_rate_hz': 20.0, 'use_sim_time': True}
    with localized(tmp_path, **given) as (robot, _):
        clock = robot.node.create_publisher(Clock, '/clock', 10)

        def dated(second):
            """Let the clock run from a second on until TF is dated near it."""
            robot.sent.clear()
            for k in range(1000):
                nanoseconds = round((second + 0.02 * k) * 1e9)
                clock.publish(Clock(clock=Time(nanoseconds=nanoseconds).to_msg()))
                stamps = [message.header.stamp.sec for message, _ in robot.sent]
                if stamps and second <= stamps[-1] <= second + 20:
                    return True
                time.sleep(0.01)
            return False

        robot.moves(7000)
        robot.shows(1.0, 7000)
        assert dated(7000)
        robot.moves(300)
        robot.shows(1.0, 300)
        robot.moves(301)
        robot.shows(1.0, 301)
        assert dated(300)  # a bag that loops


def test_a_robot_in_a_namespace_has_its_own_frames_and_tf(tmp_path):
    frames = {
        'map_frame': 'house/map',
        'odom_frame': 'one/odom',
        'base_frame': 'one/base',
        'camera_frame': 'one/camera',
    }
    remapped = ('-r', '/tf:=tf', '-r', '/tf_static:=tf_static', '-r', '__ns:=/one')
    given = {**frames, 'publish_tf': True, 'tf_rate_hz': 0.0}
    with localized(tmp_path, *remapped, robot=Robot('/one', '/one/tf'), **given) as (robot, _):
        robot.mounted(('one/base', 'one/camera', MOUNTING))
        for second in (1, 3):
            robot.moves(second, odom='one/odom', base='one/base')
        assert wait_until(lambda: robot.shows(1.0, 2).accepted)  # when the mounting has come
        assert wait_until(lambda: robot.sent)
        message = robot.sent[0][0]
        assert (message.header.frame_id, message.child_frame_id) == ('house/map', 'one/odom')
        assert robot.map_from_odom @ ODOM_FROM_BASE == pytest.approx(base_at(1.0), abs=1e-6)


class Driver(Robot):
    """Drives with odometry that drifts, and tells where it is, to loop closers of some names."""

    def __init__(self, *names, by_topic=True, by_tf=True):
        super().__init__()
        self._by_topic, self._by_tf = by_topic, by_tf
        self.truth = loop_trajectory(40)
        self.odometry = simulate_odometry(self.truth)
        self.names = names
        self.closures = {name: self.collect(LoopClosure, f'{name}/closures') for name in names}
        self.corrected = {name: self.collect(Odometry, f'{name}/odometry') for name in names}
        self.exact = {
            name: self.collect(TransformStamped, f'{name}/map_from_odom') for name in names
        }

    def drives(self, k):
        message = Odometry(child_frame_id='base_link')
        message.header.frame_id, message.header.stamp = 'odom', self.stamp(k)
        message.pose.pose = pose_message(self.odometry[k])
        if self._by_topic:
            self.publish('odom', message)
        if self._by_tf:
            self.moves(5 + 0.1 * k, self.odometry[k])

    def sees(self, k):
        """Tell the true pose; wait for what each loop closer made of it."""
        message = PoseWithCovarianceStamped()
        message.header.frame_id, message.header.stamp = 'map', self.stamp(k)
        message.pose.pose = pose_message(self.truth[k])
        message.pose.covariance = np.diag([1e-5] * 3 + [1e-6] * 3).ravel()
        seen = {name: len(told) for name, told in self.closures.items()}
        self.publish('nerf_pose_with_covariance', message)
        for name, told in self.closures.items():
            assert wait_until(lambda told=told, n=seen[name]: len(told) > n), f'{name}: no closure'

    @staticmethod
    def stamp(k):
        return Time(nanoseconds=5_000_000_000 + k * 100_000_000).to_msg()


@contextlib.contextmanager
def closing(driver, **each):
    """Run a loop closer of each name, with parameters; the driver leaves with them."""
    with contextlib.ExitStack() as stack:
        stack.callback(driver.close)
        pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')
        processes = [
            stack.enter_context(
                Process('loop_closer', '-r', f'__node:={name}', reliability='reliable', **given)
            )
            for name, given in each.items()
        ]
        driver.knows(*each)
        yield processes


def test_the_loop_closer_makes_the_same_of_odometry_on_tf_as_on_the_topic():
    driver = Driver('by_topic', 'by_tf')
    with closing(driver, by_topic={}, by_tf={'odometry_source': 'tf'}) as (_, by_tf):
        by_tf.says('TF does not know odom <- base_link')
        assert 'publish the odometry on TF or set odometry_source to topic' in by_tf.output
        driver.drives(0)
        driver.sees(0)
        for k in range(1, 40):
            driver.drives(k)
            for corrected in driver.corrected.values():
                assert wait_until(
                    lambda told=corrected, k=k: told and told[-1].header.stamp == driver.stamp(k)
                )
            if k % 10 == 0:
                driver.sees(k)
        one, other = (driver.corrected[name][-1] for name in driver.names)
        assert matrix_from_pose(one.pose.pose) == pytest.approx(
            matrix_from_pose(other.pose.pose), abs=1e-9
        )
        assert other.pose.covariance == pytest.approx(one.pose.covariance, rel=1e-6)
        moved = [matrix_of(driver.exact[name][-1].transform) for name in driver.names]
        assert moved[0] == pytest.approx(moved[1], abs=1e-9)
        assert [len(told) for told in driver.closures.values()] == [4, 4]
        assert not driver.speakers()  # nothing is broadcast unless it is asked for


def test_the_loop_closer_broadcasts_smoothly_what_its_topic_tells_exactly():
    driver = Driver('closer', by_tf=False)
    given = {'publish_tf': True, 'tf_rate_hz': 0.0, 'tf_smoothing': 0.25}
    with closing(driver, closer=given):
        closures = 0
        for k in range(31):
            driver.drives(k)
            if k % 15 == 0:
                before = driver.map_from_odom if driver.sent else None
                driver.sees(k)
                closures += 1
                assert wait_until(lambda n=closures: len(driver.sent) == n)
                exact = matrix_of(driver.exact['closer'][-1].transform) @ driver.odometry[k]
                sent = driver.map_from_odom @ driver.odometry[k]
                if before is None:
                    assert sent == pytest.approx(exact, abs=1e-6)
                    assert sent == pytest.approx(driver.truth[0], abs=1e-3)
                    continue
                left = exact[:3, 3] - (before @ driver.odometry[k])[:3, 3]
                assert 0.02 < np.linalg.norm(left) < 0.3  # m: the drift
                assert exact[:3, 3] - sent[:3, 3] == pytest.approx(0.75 * left, abs=1e-6)


def test_the_loop_closer_starts_over_with_a_bag_also_on_tf():
    driver = Driver('closer', by_topic=False)
    given = {'publish_tf': True, 'tf_jump_poses': 100, 'odometry_source': 'tf'}
    with closing(driver, closer=given) as (process,):

        def told(k):
            driver.drives(k)
            driver.sees(k)
            true = pytest.approx(driver.truth[k], abs=1e-3)
            return wait_until(
                lambda: driver.sent and driver.map_from_odom @ driver.odometry[k] == true
            )

        assert told(20)
        driver.truth[:, 0, 3] += 5.0  # so far from before that it would wait for 100 poses
        driver.drives(2)
        process.says('the time of the odometry jumped back: all begins anew')
        assert told(2)
