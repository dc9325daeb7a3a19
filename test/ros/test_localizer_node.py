"""The localizer node over DDS, between processes, around a small localizer."""

import contextlib
from pathlib import Path
import signal
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import GetState
import numpy as np
import pytest
from rcl_interfaces.srv import SetParameters
from rclpy.parameter import Parameter
from ros_rig import (
    BLUE,
    camera_info,
    DARK,
    GREY,
    odometry,
    picture,
    Process,
    raw_picture,
    RED,
    Rig,
    SOON_S,
    wait_until,
)
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_srvs.srv import Trigger

from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.srv import LoadMap, Localize


class Robot(Rig):
    """Shows pictures to a localizer and hears what it says."""

    def __init__(self, namespace=''):
        super().__init__(namespace)
        self.poses = self.collect(PoseStamped, 'nerf_pose')
        self.poses_with_covariance = self.collect(
            PoseWithCovarianceStamped, 'nerf_pose_with_covariance'
        )
        self.statuses = self.collect(LocalizerStatus, 'localizer/status')

    def show(self, message, topic='image/compressed'):
        """Show one picture and return the status that answers it."""
        seen = len(self.statuses)
        self.publish(topic, message)
        assert wait_until(lambda: len(self.statuses) > seen), 'no status'
        return self.statuses[-1]

    def hears(self, poses):
        """Wait for a number of poses."""
        return wait_until(lambda: len(self.poses) >= poses, SOON_S) and len(self.poses) == poses

    def is_diagnosed(self, level, text):
        """Wait until /diagnostics, where every localizer speaks, tells this of this robot's."""
        messages = self.collect(DiagnosticArray, '/diagnostics')
        name = f'{self.node.get_namespace()}/localizer: localization'.lstrip('/')

        def told():
            found = [message.status[0] for message in list(messages)]
            own = [status for status in found if status.name == name]
            return own and own[-1].level == level and text in own[-1].message

        return wait_until(told)

    def set_to(self, name, value):
        given = [Parameter(name, value=value).to_parameter_msg()]
        return self.call(SetParameters, 'localizer/set_parameters', parameters=given).results[0]

    @property
    def state(self):
        return self.call(GetState, 'localizer/get_state').current_state.label


@pytest.fixture
def robot():
    rig = Robot()
    yield rig
    rig.close()


def localizer(folder, *arguments, ms=0, **parameters):
    """Return a localizer process whose map, in ``folder``, needs ``ms`` for a picture."""
    map_dir = folder / f'slow{ms}'
    map_dir.mkdir(exist_ok=True)
    # Reliable, for best effort loses what is sent before discovery is through.
    defaults = {'map_dir': map_dir, 'autostart': True, 'reliability': 'reliable'}
    return Process('localizer', *arguments, **{**defaults, **parameters})


@pytest.fixture
def start(tmp_path):
    """Start a localizer of one's own, and wait until it is active unless it is not to be."""
    with contextlib.ExitStack() as stack:

        def started(*arguments, autostart=True, **parameters):
            process = localizer(tmp_path, *arguments, autostart=autostart, **parameters)
            stack.enter_context(process)
            if autostart:
                process.says('localizes the pictures of')
            return process

        yield started


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    """One localizer with default parameters for several tests; each resets its counts."""
    with localizer(tmp_path_factory.mktemp('maps'), '-r', '__ns:=/shared') as process:
        yield process


@pytest.fixture
def shared(running):
    """Give a robot whose localizer is the running one and knows the camera."""
    robot = Robot('/shared')
    assert robot.call(Trigger, 'localizer/reset').success
    robot.publish('camera_info', camera_info())
    yield robot
    robot.close()


def test_a_pose_carries_the_stamp_of_its_picture_and_the_frame_map(shared):
    status = shared.show(picture((10, 20, 30), second=7))
    assert shared.hears(1)
    pose, with_covariance = shared.poses[0], shared.poses_with_covariance[0]
    assert (pose.header.stamp.sec, pose.header.frame_id) == (7, 'map')
    assert with_covariance.header == pose.header
    p, q = pose.pose.position, pose.pose.orientation
    assert (p.x, p.y, p.z, q.x, q.y, q.z, q.w) == pytest.approx((0.1, 0.2, 0.3, 0, 0, 0, 1))
    assert with_covariance.pose.pose == pose.pose
    variances = np.diag(with_covariance.pose.covariance.reshape(6, 6))
    assert variances == pytest.approx([1e-4, 1e-4, 1e-4, 1e-6, 1e-6, 1e-6])
    assert (status.accepted, status.reason, status.stage) == (True, '', 'refine')
    assert (status.header.stamp.sec, status.header.frame_id) == (7, 'camera_optical')
    assert (status.inliers, status.inlier_ratio) == (40, 0.5)
    assert dict(zip(status.score_names, status.score_values, strict=True))['fx'] == 50.0
    assert list(status.latency_stages) == ['regress', 'refine', 'total']
    assert (status.received, status.dropped) == (1, 0)


def test_what_cannot_be_used_gives_silence_and_a_reason_and_does_not_end_the_node(shared, running):
    broken = picture(second=2)
    broken.data = broken.data[:60]
    wrong_shape = picture(second=3, size=(64, 64))
    answers = [
        shared.show(message)
        for message in (picture(DARK, 1), broken, wrong_shape, picture(RED, 4), picture(GREY, 5))
    ]
    assert [(answer.accepted, answer.reason) for answer in answers] == [
        (False, 'low contrast'),
        (False, 'invalid image'),
        (False, 'invalid image'),
        (False, 'internal error'),
        (True, ''),
    ]
    assert shared.hears(1)
    assert shared.poses[0].header.stamp.sec == 5
    assert 'damaged' in answers[1].detail
    assert '64x48 pixels, but the image is 64x64' in answers[2].detail
    running.says('a defect of the localizer')


def test_only_the_newest_picture_is_worked_on_and_the_others_are_counted(robot, start):
    start(ms=150)
    robot.publish('camera_info', camera_info())
    for second in range(1, 31):
        robot.publish('image/compressed', picture(second=second))
        time.sleep(0.01)
    assert wait_until(lambda: robot.statuses and robot.statuses[-1].header.stamp.sec == 30)
    worked_on = [status.header.stamp.sec for status in robot.statuses]
    last = robot.statuses[-1]
    assert last.dropped == last.received - len(worked_on)
    assert last.dropped >= 8
    assert len(worked_on) <= 12
    assert worked_on == sorted(set(worked_on))


def test_a_picture_without_camera_info_waits_and_is_then_given_up_with_a_reason(robot, start):
    start(camera_info_timeout_s=0.2)
    status = robot.show(picture(second=1))
    assert (status.accepted, status.reason) == (False, 'no camera_info yet')
    assert 'camera_info' in status.detail
    robot.publish('camera_info', camera_info())
    assert robot.show(picture(second=2)).accepted


def test_a_picture_waits_for_camera_info_that_comes_a_little_later(robot, start):
    start(camera_info_timeout_s=5.0)
    robot.publish('image/compressed', picture(second=1))
    time.sleep(0.2)
    robot.publish('camera_info', camera_info())
    assert robot.hears(1)


def test_raw_pictures_and_reliable_qos_on_request(robot, start):
    start(image_transport='raw')
    robot.publish('camera_info', camera_info())
    assert robot.show(raw_picture((40, 50, 60)), 'image').accepted
    assert robot.hears(1)
    assert robot.poses[0].pose.position.z == pytest.approx(0.6)


def test_the_pose_of_the_base_comes_out_where_the_mounting_is_given(robot, start):
    """The camera looks along the base's x axis from 1 m in front of its origin."""
    start(base_frame='base_link', mounting='1 0 0 -0.5 0.5 -0.5 0.5')
    robot.publish('camera_info', camera_info())
    assert robot.show(picture((10, 20, 30))).accepted
    assert robot.hears(1)
    p = robot.poses[0].pose.position
    # The small localizer's camera is not turned in map: its z axis, forward, is map's z axis,
    # and the base's origin is 1 m behind it.
    assert (p.x, p.y, p.z) == pytest.approx((0.1, 0.2, 0.3 - 1.0))
    variances = np.diag(robot.poses_with_covariance[0].pose.covariance.reshape(6, 6))
    assert variances == pytest.approx([1.01e-4, 1.01e-4, 1e-4, 1e-6, 1e-6, 1e-6])


def test_odometry_contradicts_confirms_and_is_overruled(robot, start):
    """The camera looks along the base's x axis, and the base drives along odom's."""
    mounting = '0 0 0.3 -0.5 0.5 -0.5 0.5'
    given = {'base_frame': 'base_link', 'mounting': mounting, 'odometry_witnesses': 2}
    process = start(use_odometry=True, **given)
    robot.publish('camera_info', camera_info())

    def shown(second, odom_x_m, map_z_cm, green=250):
        """Show a picture from the ground that was covered, and the place it shows, forwards."""
        robot.publish('odom', odometry(second, odom_x_m))
        status = robot.show(picture((100, green, map_z_cm), second))
        return status.reason, status.accepted

    assert shown(1, 0.0, 20) == ('', True)
    assert shown(2, 0.5, 70) == ('', True)  # the camera's z axis in the map, like odom's x axis
    assert shown(3, 0.6, 80, green=255) == ('', True)  # too improbable by itself
    assert shown(4, 0.7, 180, green=255) == ('low probability', False)
    assert shown(5, 0.8, 190) == ('odometry disagrees', False)
    assert shown(6, 0.9, 200) == ('', True)
    assert robot.hears(4)
    assert robot.call(Trigger, 'localizer/reset').success
    assert shown(7, 1.0, 10) == ('', True)
    robot.publish('image/compressed', picture((100, 250, 90), 9))  # seconds after the odometry
    assert robot.hears(6)
    process.says('no odometry within 0.1 s of a picture, so that it is not compared')


def test_odometry_that_is_of_no_use_is_left_out_with_a_sentence(robot, start):
    mounting = '0 0 0 0 0 0 1'
    process = start(use_odometry=True, base_frame='base_link', mounting=mounting)
    robot.publish('camera_info', camera_info())
    for second, sentence, changes in (
        (1, 'the odometry is of base_footprint, and base_frame is base_link', {}),
        (3, 'a quaternion of length 0 instead of 1', {'child': 'base_link', 'w': 0.0}),
    ):
        robot.publish('odom', odometry(second, 0.0, **{'child': 'base_footprint', **changes}))
        process.says(sentence)
        assert robot.show(picture((10 * second, 20, 30), second)).accepted
    assert robot.hears(2)


def test_namespaces_are_respected(start):
    robot = Robot('/robot1')
    start('-r', '__ns:=/robot1')
    robot.publish('camera_info', camera_info())
    assert robot.show(picture()).accepted
    assert robot.hears(1)
    robot.close()


def test_the_lifecycle_is_that_of_a_managed_node(robot, start):
    start(autostart=False)
    assert robot.state == 'unconfigured'
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.state == 'inactive'
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    robot.publish('camera_info', camera_info())
    assert robot.show(picture()).accepted
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert wait_until(lambda: robot.node.count_subscribers('/image/compressed') == 0)
    assert robot.change(Transition.TRANSITION_CLEANUP)
    assert robot.state == 'unconfigured'
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    robot.publish('camera_info', camera_info())
    assert robot.show(picture(second=2)).accepted
    assert robot.change(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert robot.state == 'finalized'


def test_a_node_without_a_map_stays_unconfigured_and_can_be_tried_again(robot, start, tmp_path):
    process = start(autostart=False, map_dir=tmp_path / 'slow2')
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.state == 'unconfigured'
    process.says('there is no map')
    (tmp_path / 'slow2').mkdir()
    assert robot.change(Transition.TRANSITION_CONFIGURE)


def test_the_services_load_a_map_localize_once_and_reset(shared, tmp_path):
    answer = shared.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'missing'))
    assert (answer.success, 'there is no map' in answer.message) == (False, True)
    (tmp_path / 'slow1').mkdir()
    assert shared.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow1')).success

    sent = {'image': picture((10, 20, 30), 9), 'camera_info': camera_info()}
    answer = shared.call(Localize, 'localizer/localize', **sent)
    assert (answer.accepted, answer.reason) == (True, '')
    assert answer.pose.header.stamp.sec == 9
    assert answer.pose.pose.pose.position.z == pytest.approx(0.3)
    sent['image'] = picture(DARK)
    answer = shared.call(Localize, 'localizer/localize', **sent)
    assert (answer.accepted, answer.reason) == (False, 'low contrast')
    assert shared.poses == []  # what was asked for once is answered once
    answer = shared.call(Localize, 'localizer/localize', timeout_s=0.2)
    assert answer.reason == 'no picture came on /shared/image/compressed within 0.2 s'

    shared.show(picture(second=1))
    assert shared.call(Trigger, 'localizer/reset').success
    assert shared.show(picture(second=2)).received == 1


def test_localize_once_takes_the_next_picture(shared):
    future = shared.ask(Localize, 'localizer/localize', timeout_s=5.0)
    while not future.done():
        shared.publish('image/compressed', picture(second=3))
        time.sleep(0.05)
    assert future.result().accepted
    assert future.result().pose.header.stamp.sec == 3


def test_an_answer_that_cannot_be_published_does_not_end_the_work(shared, running):
    future = shared.ask(Localize, 'localizer/localize', timeout_s=20.0)
    while not future.done():
        shared.publish('image/compressed', picture(BLUE))
        time.sleep(0.05)
    assert future.result().reason == 'internal error'
    running.says('in _publish')
    assert shared.show(picture(second=2)).accepted


@pytest.mark.parametrize('in_work', [False, True])
def test_who_waits_for_an_answer_hears_that_the_node_was_deactivated(robot, start, in_work):
    process = start(ms=20_000)
    future = robot.ask(Localize, 'localizer/localize', timeout_s=20.0)
    time.sleep(0.5)
    if in_work:
        robot.publish('camera_info', camera_info())
        robot.publish('image/compressed', picture())
        process.says('works on a picture')
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert wait_until(future.done, SOON_S)
    assert future.result().reason == 'the localizer was deactivated meanwhile'


def test_when_a_map_is_loaded_no_answer_of_the_one_before_is_still_to_come(robot, start, tmp_path):
    process = start(ms=1500)
    (tmp_path / 'slow0').mkdir()
    robot.publish('camera_info', camera_info())
    robot.publish('image/compressed', picture(second=1))
    process.says('works on a picture')
    assert robot.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow0')).success
    assert wait_until(lambda: robot.statuses, 1.0)
    assert robot.show(picture(second=2)).header.stamp.sec == 2


def test_a_map_that_is_loaded_when_the_node_is_cleaned_up_is_not_said_to_be_in_use(
    robot, start, tmp_path
):
    process = start()
    (tmp_path / 'waits').mkdir()
    future = robot.ask(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'waits'))
    process.says('loads the map waits')
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    assert robot.change(Transition.TRANSITION_CLEANUP)
    (tmp_path / 'waits/go').touch()
    assert wait_until(future.done)
    assert not future.result().success
    assert future.result().message == (
        'the localizer was cleaned up meanwhile: configure it, then load'
    )


def test_a_map_is_replaced_while_pictures_leave_no_pause(robot, start, tmp_path):
    """What the odometry says of the old map's poses does not hold against the new one's."""
    given = {'base_frame': 'base_link', 'mounting': '0 0 0 0 0 0 1', 'odometry_witnesses': 2}
    start(ms=30, use_odometry=True, **given)
    (tmp_path / 'slow31').mkdir()
    robot.publish('camera_info', camera_info())
    for second in range(1, 4):
        robot.publish('odom', odometry(second, 0.0))
        assert robot.show(picture((10, 20, 30), second)).accepted
    robot.publish('odom', odometry(9, 0.0))
    future = robot.ask(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow31'))
    while not future.done():
        robot.publish('image/compressed', picture(DARK, second=9))
        time.sleep(0.01)
    assert future.result().success
    robot.publish('odom', odometry(11, 0.0))
    robot.publish('image/compressed', picture((200, 20, 30), second=11))
    assert wait_until(lambda: robot.statuses[-1].header.stamp.sec == 11)
    assert robot.statuses[-1].accepted


def test_a_parameter_that_is_set_while_a_map_is_loaded_holds_for_it(robot, start, tmp_path):
    process = start()
    (tmp_path / 'waits').mkdir()
    future = robot.ask(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'waits'))
    process.says('loads the map waits')
    assert robot.set_to('min_inliers', 50).successful
    (tmp_path / 'waits/go').touch()
    assert wait_until(future.done)
    robot.publish('camera_info', camera_info())
    assert robot.show(picture()).reason == 'too few inliers'


def test_parameters_change_at_run_time_only_where_they_may(shared):
    set_to = shared.set_to
    assert shared.show(picture()).accepted
    assert set_to('min_inliers', 50).successful
    assert shared.show(picture()).reason == 'too few inliers'
    assert set_to('min_inliers', 30).successful
    assert not set_to('min_inliers', 2).successful
    refused = set_to('map_dir', '/elsewhere')
    assert not refused.successful
    assert 'map_dir cannot change while the node is configured' in refused.reason
    assert set_to('min_inliners', 7).reason == (
        'unknown parameter min_inliners: did you mean min_inliers?'
    )


def test_diagnostics_tell_how_it_goes(shared):
    messages = shared.collect(DiagnosticArray, '/diagnostics')
    shared.show(picture(DARK))
    shared.show(picture())

    def counted():
        values = {v.key: v.value for m in messages[-1:] for v in m.status[0].values}
        return values.get('published') == '1' and values.get('rejected: too dark or flat') == '1'

    assert wait_until(counted), messages[-1:]
    assert messages[-1].status[0].name == 'shared/localizer: localization'


def test_what_the_build_of_a_map_warned_of_is_logged_and_in_the_diagnostics(
    robot, start, tmp_path
):
    (tmp_path / 'guess').mkdir()
    diagnostics = robot.collect(DiagnosticArray, '/diagnostics')
    process = start(map_dir=tmp_path / 'guess')
    process.says('guess: warning: lengths are a guess')

    def told():
        values = {v.key: v.value for m in diagnostics[-1:] for v in m.status[0].values}
        return values.get('map warnings') == 'warning: lengths are a guess'

    assert wait_until(told), diagnostics[-1:]


@pytest.mark.parametrize(
    ('arguments', 'status', 'sentence'),
    [
        (['--params-file', 'typo.yaml'], 1, 'unknown parameter max_std: did you mean max_std_m?'),
        (['-p', 'autostart:=true'], 1, 'map_dir is not set: give the folder written by the'),
        (['-p', 'autostart:=true', '-p', 'map_dir:=/no/such'], 1, 'there is no map /no/such'),
        (['--params-file', 'none.yaml'], 2, 'cannot start'),
        (['--', 'my_map'], 2, 'unknown argument my_map'),
    ],
)
def test_a_wrong_start_ends_with_one_sentence(arguments, status, sentence, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('typo.yaml').write_text('/**:\n  ros__parameters:\n    max_std: 0.1\n')
    with Process('localizer', *arguments) as process:
        assert process.ended() == status
        assert sentence in process.output
        assert 'Traceback' not in process.output


@pytest.mark.parametrize('ms', [0, 20_000])
def test_ctrl_c_ends_the_node_cleanly_even_in_the_middle_of_a_picture(robot, start, ms):
    process = start(ms=ms)
    robot.publish('camera_info', camera_info())
    robot.publish('image/compressed', picture())
    time.sleep(0.3)
    assert process.interrupt() < SOON_S
    assert process.ended() == 0
    assert 'Traceback' not in process.output


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_given_again_while_the_node_closes_changes_nothing(robot, start, number):
    process = start(ms=20_000)
    robot.publish('camera_info', camera_info())
    robot.publish('image/compressed', picture())
    process.says('works on a picture')
    assert process.interrupt(number, times=3) < SOON_S
    assert process.ended() == 0
    assert 'Traceback' not in process.output


def test_a_transition_that_the_state_does_not_have_is_refused_and_the_node_goes_on(robot, start):
    process = start(autostart=False)
    assert not robot.change(Transition.TRANSITION_ACTIVATE)
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    for impossible in (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_CLEANUP):
        assert not robot.change(impossible)
    assert robot.state == 'active'
    process.says('is not possible in the state active: nothing is done')


def test_it_is_activated_and_deactivated_while_pictures_leave_no_pause(robot, start):
    """An executor that waits for what is destroyed meanwhile would end the process."""
    process = start()
    pictures = robot.node.create_publisher(CompressedImage, 'image/compressed', 5)
    infos = robot.node.create_publisher(CameraInfo, 'camera_info', 5)
    ended = threading.Event()

    def show():
        while not ended.is_set():
            pictures.publish(picture())
            infos.publish(camera_info())
            time.sleep(0.003)

    shower = threading.Thread(target=show)
    shower.start()
    try:
        for _ in range(15):
            assert robot.change(Transition.TRANSITION_DEACTIVATE), process.output
            assert robot.change(Transition.TRANSITION_ACTIVATE), process.output
    finally:
        ended.set()
        shower.join()
    assert robot.show(picture(second=9)).accepted


def test_a_node_that_is_not_active_leaves_the_gpu(robot, start):
    process = start()
    process.says('computes on auto')
    assert robot.change(Transition.TRANSITION_DEACTIVATE)
    process.says('computes on cpu')
    process.lines.clear()
    assert robot.change(Transition.TRANSITION_ACTIVATE)
    process.says('computes on auto')


@pytest.mark.parametrize('seconds', [float('inf'), float('nan'), -1.0, 1e300])
def test_a_wait_that_makes_no_sense_is_refused(shared, seconds):
    answer = shared.call(Localize, 'localizer/localize', timeout_s=seconds)
    assert answer.reason == f'timeout_s is {seconds:g}: give 0 to 60 seconds'


def test_while_a_map_is_loaded_the_node_answers_and_keeps_its_settings(robot, tmp_path):
    (tmp_path / 'waits').mkdir()
    with Process('localizer', map_dir=tmp_path / 'waits', autostart=True) as process:
        process.says('loads the map waits')
        assert robot.state == 'configuring'
        refused = robot.set_to('map_dir', '/elsewhere')
        assert 'map_dir cannot change while the node is configured' in refused.reason
        assert robot.set_to('max_rate_hz', 5.0).successful
        (tmp_path / 'waits/go').touch()
        process.says('localizes the pictures of')
        assert robot.state == 'active'


def test_no_more_pictures_are_worked_on_than_max_rate_hz_says(robot, start):
    process = start(max_rate_hz=2.0)
    robot.publish('camera_info', camera_info())
    started_s = time.monotonic()
    for second in range(1, 101):
        robot.publish('image/compressed', picture(second=second))
        time.sleep(0.01)
    assert wait_until(lambda: len(robot.poses) >= 2), process.output
    assert len(robot.statuses) <= (time.monotonic() - started_s) * 2.0 + 1
    assert robot.set_to('max_rate_hz', 0.0).successful
    seen = len(robot.statuses)
    robot.show(picture(second=200))
    assert wait_until(lambda: robot.statuses[-1].header.stamp.sec == 200)
    assert robot.statuses[-1].dropped > 90 - seen


def test_who_asks_for_an_answer_does_not_wait_for_the_rate(robot, start):
    start(max_rate_hz=0.01)
    robot.publish('camera_info', camera_info())
    robot.show(picture(second=1))
    robot.publish('image/compressed', picture(second=2))
    future = robot.ask(Localize, 'localizer/localize', timeout_s=30.0)
    assert wait_until(future.done)
    assert future.result().accepted


def test_while_one_waits_for_a_picture_another_may_reset(shared):
    future = shared.ask(Localize, 'localizer/localize', timeout_s=30.0)
    assert shared.call(Trigger, 'localizer/reset').success
    assert not future.done()

    def answered():
        shared.show(picture())
        return wait_until(future.done, 0.5)

    assert wait_until(answered)  # the first picture may be there before the wait has begun


def test_a_picture_that_is_sent_along_gets_its_reason_and_the_sentence_behind_it(shared):
    broken = picture()
    broken.data = broken.data[:60]
    answer = shared.call(Localize, 'localizer/localize', image=broken, camera_info=camera_info())
    assert answer.reason == 'invalid image'
    assert 'damaged' in answer.detail


def test_pictures_of_another_type_are_named_with_the_remedy(robot, start):
    process = start()
    robot.node.create_publisher(Image, 'image/compressed', 1)
    robot.node.create_publisher(CameraInfo, 'camera_info', 1)
    process.says(
        '/image/compressed is published as sensor_msgs/msg/Image, not as'
        ' sensor_msgs/msg/CompressedImage: set image_transport to raw'
    )
    assert robot.is_diagnosed(DiagnosticStatus.WARN, 'set image_transport')


def test_what_may_not_change_in_use_may_while_it_is_unconfigured(robot, start, tmp_path):
    process = start(autostart=False, map_dir='/no/such')
    assert not robot.change(Transition.TRANSITION_CONFIGURE)
    process.says('there is no map /no/such')
    (tmp_path / 'slow3').mkdir()
    told = 'there is no map /no/such: build it first'
    assert robot.is_diagnosed(DiagnosticStatus.ERROR, told)
    assert robot.set_to('map_dir', str(tmp_path / 'slow3')).successful
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    refused = robot.set_to('map_dir', '/elsewhere')
    assert 'cannot change while the node is configured: clean it up' in refused.reason
    (tmp_path / 'slow4').mkdir()
    assert robot.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow4')).success
    assert robot.change(Transition.TRANSITION_CLEANUP)
    process.lines.clear()
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    process.says('loads the map slow4')


def test_a_picture_without_a_stamp_is_no_time_that_goes_back(shared, running):
    running.lines.clear()
    assert shared.show(picture((10, 20, 30), second=50)).accepted
    assert shared.show(picture((10, 20, 30), second=0)).accepted
    assert shared.show(picture((10, 20, 30), second=51)).accepted
    assert 'went back' not in running.output


def test_a_device_without_room_is_told_and_the_node_can_be_configured_again(robot, start):
    process = start(autostart=False, ms=7000)
    diagnostics = robot.collect(DiagnosticArray, '/diagnostics')
    assert robot.change(Transition.TRANSITION_CONFIGURE)
    assert not robot.change(Transition.TRANSITION_ACTIVATE)
    process.says('CUDA out of memory')
    assert wait_until(lambda: 'CUDA out of memory' in str(diagnostics[-1:]))
    assert robot.state == 'unconfigured'
    assert robot.change(Transition.TRANSITION_CONFIGURE)


def test_what_is_destroyed_while_it_is_waited_for_does_not_end_a_node():
    with Process('stumbler') as process:
        assert process.ended() == 0
        assert 'Traceback' not in process.output
