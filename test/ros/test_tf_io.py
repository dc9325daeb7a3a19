"""Localizer and TF over DDS, on the real /tf and /tf_static: extrinsics and map -> odom."""

import contextlib
import threading
import time

from lifecycle_msgs.msg import Transition
import numpy as np
import pytest
from rclpy.time import Time
from ros_rig import camera_info, compressed_image, Process, wait_until
from rosgraph_msgs.msg import Clock
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.geometry import inverse, make_pose
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.conversions import matrix_from_pose

pytest.importorskip('tf2_msgs.msg', reason='`make setup` builds it for the tests')

from tf_rig import (
    EXTRINSICS,
    map_from_base_at,
    map_from_odom_at,
    ODOM_FROM_BASE,
    pose_numbers,
    TfRig,
)


@contextlib.contextmanager
def localized(folder, *arguments, rig=None, **parameters):
    """Run a localizer that has its CameraInfo; yield the test node and the process."""
    (folder / 'slow0').mkdir(exist_ok=True)
    defaults = {'map_dir': folder / 'slow0', 'autostart': True, 'reliability': 'reliable'}
    with (
        contextlib.closing(rig or TfRig()) as rig,
        Process('localizer', *arguments, **{**defaults, **parameters}) as process,
    ):
        process.wait_for_output('localizing the images of')
        rig.wait_for_discovery_by('localizer')
        rig.publish('camera_info', camera_info())
        yield rig, process


MOUNTING = ' '.join(f'{number:.9f}' for number in pose_numbers(EXTRINSICS))
BASE = {'base_frame': 'base_link', 'mounting': MOUNTING}
BROADCAST = {**BASE, 'publish_tf': True, 'tf_rate_hz': 0.0}
"""One broadcast for each pose."""


def test_extrinsics_on_tf_give_the_same_pose_of_the_base_as_the_parameter_mounting(tmp_path):
    mast_from_camera = inverse(make_pose(None, (0.1, 0.0, 0.4))) @ EXTRINSICS
    with (
        localized(tmp_path, **BASE) as (parameter_rig, _),
        localized(tmp_path, '-r', '__ns:=/other', rig=TfRig('/other'), base_frame='base_link') as (
            tf_rig,
            process,
        ),
    ):
        rejected = tf_rig.localize(1.0, 1)
        assert rejected.reason == LocalizerStatus.NO_MOUNTING
        assert 'TF has no transform base_link <- camera_optical' in rejected.detail
        assert 'publish it, on /tf_static if it never moves, check the clocks' in rejected.detail
        assert f'or {remedies.MOUNTING_PARAMETER}' in rejected.detail
        tf_rig.localize(1.0, 1)
        warning = 'images are rejected: TF has no transform base_link <- camera_optical'
        assert process.output.count(warning) == 1
        tf_rig.publish_static(
            ('base_link', 'mast', make_pose(None, (0.1, 0.0, 0.4))),
            ('mast', 'camera_optical', mast_from_camera),
        )
        seconds = iter(range(2, 100))
        assert wait_until(lambda: tf_rig.localize(1.0, next(seconds)).accepted), process.output
        parameter_rig.localize(1.0, 1)
        assert wait_until(lambda: parameter_rig.poses and tf_rig.poses)
        by_parameter, by_tf = parameter_rig.poses[-1].pose, tf_rig.poses[-1].pose
        map_from_base = matrix_from_pose(by_tf.pose)
        assert map_from_base == pytest.approx(map_from_base_at(1.0), abs=1e-6)
        assert map_from_base == pytest.approx(matrix_from_pose(by_parameter.pose), abs=1e-6)
        assert by_tf.covariance == pytest.approx(by_parameter.covariance, abs=1e-9)
        assert not parameter_rig.broadcasters()  # publish_tf is false


def test_moving_extrinsics_are_interpolated_at_the_stamp_of_the_image(tmp_path):
    with localized(tmp_path, base_frame='base_link') as (rig, _):
        rig.publish_static(('head', 'camera_optical', EXTRINSICS))

        def turn_head(second, degrees):
            base_from_head = make_pose(Rotation.from_euler('z', degrees, degrees=True))
            rig.publish_odometry(second, base_from_head, odom='base_link', base='head')

        turn_head(9, 0.0)
        turn_head(10, 0.0)
        turn_head(10.5, 40.0)  # turned before the image of second 10 arrives
        assert wait_until(lambda: rig.localize(1.0, 10).accepted)
        assert wait_until(lambda: rig.poses)
        assert matrix_from_pose(rig.poses[-1].pose.pose) == pytest.approx(
            map_from_base_at(1.0), abs=1e-6
        )

        late = rig.localize(1.0, 12)  # TF has no later transform even after half a second
        assert late.reason == LocalizerStatus.NO_MOUNTING
        assert 'extrapolation into the future' in late.detail
        delayed = threading.Timer(0.2, turn_head, (13, 40.0))  # while the image waits for it
        delayed.start()
        assert rig.localize(1.0, 13).accepted
        assert wait_until(lambda: len(rig.poses) > 1)
        map_from_base = make_pose(None, (1.0, 0.2, 0.3)) @ inverse(
            make_pose(Rotation.from_euler('z', 40, degrees=True)) @ EXTRINSICS
        )
        assert matrix_from_pose(rig.poses[-1].pose.pose) == pytest.approx(map_from_base, abs=1e-6)


def test_map_to_odom_pauses_at_tf_max_age_s_until_the_next_accepted_pose(tmp_path):
    parameters = {**BASE, 'publish_tf': True, 'tf_rate_hz': 50.0, 'tf_max_age_s': 0.5}
    with localized(tmp_path, **parameters) as (rig, process):
        rig.localize_with_odometry(1.0, 1)
        process.wait_for_output(
            '(tf_max_age_s is 0.5): map -> odom is not broadcast until the next one'
        )
        time.sleep(0.2)  # messages sent before have arrived
        rig.broadcasts.clear()
        time.sleep(0.5)
        assert not rig.broadcasts
        rig.publish_odometry(2)
        rig.localize(2.0, 2)  # a jump: not accepted at once
        time.sleep(0.3)
        assert not rig.broadcasts
        assert rig.localize_with_odometry(1.0, 3) == pytest.approx(map_from_odom_at(1.0), abs=1e-6)


def test_map_to_odom_places_the_base_at_its_localized_pose(tmp_path):
    parameters = {**BASE, 'publish_tf': True, 'tf_rate_hz': 50.0, 'tf_tolerance_s': 3.0}
    with localized(tmp_path, **parameters) as (rig, _):
        rig.localize_with_odometry(1.0, 5)
        first, _ = rig.broadcasts[0]
        assert (first.header.frame_id, first.child_frame_id) == ('map', 'odom')
        map_from_base = rig.map_from_odom @ ODOM_FROM_BASE
        assert map_from_base == pytest.approx(map_from_base_at(1.0), abs=1e-6)
        assert map_from_base @ EXTRINSICS == pytest.approx(
            make_pose(None, (1.0, 0.2, 0.3)), abs=1e-6
        )
        assert wait_until(lambda: len(rig.broadcasts) > 20)  # without further images
        stamps = [Time.from_msg(message.header.stamp).nanoseconds for message, _ in rig.broadcasts]
        assert np.all(np.diff(stamps) > 0)
        arrivals_s = [arrival_s for _, arrival_s in rig.broadcasts]
        leads_s = [ns / 1e9 - s for ns, s in zip(stamps, arrivals_s, strict=False)]
        assert 2.0 < max(leads_s) <= 3.0


def test_a_pose_waits_for_the_odometry_of_its_stamp(tmp_path):
    odom_from_later_base = ODOM_FROM_BASE @ make_pose(None, (1.0, 0.0, 0.0))
    with localized(tmp_path, **BROADCAST) as (rig, process):
        rig.localize(1.0, 5)
        process.wait_for_output('TF has no transform odom <- base_link')
        assert f'publish the odometry on TF or {remedies.NO_TF}' in process.output
        rig.publish_odometry(4, ODOM_FROM_BASE)
        assert rig.localize(1.0, 5).accepted
        assert not rig.broadcasts
        rig.publish_odometry(6, odom_from_later_base)  # half-way at second 5
        assert wait_until(lambda: rig.broadcasts)
        half = ODOM_FROM_BASE @ make_pose(None, (0.5, 0.0, 0.0))
        assert rig.map_from_odom @ half == pytest.approx(map_from_base_at(1.0), abs=1e-6)


def test_map_to_odom_smooths_small_corrections_and_jumps_after_three_consistent_poses(tmp_path):
    with localized(tmp_path, **BROADCAST, tf_smoothing=0.5) as (rig, _):
        assert rig.localize_with_odometry(1.0, 1) == pytest.approx(map_from_odom_at(1.0), abs=1e-6)
        assert rig.localize_with_odometry(1.2, 2) == pytest.approx(map_from_odom_at(1.1), abs=1e-6)
        assert rig.localize_with_odometry(1.1, 3) == pytest.approx(map_from_odom_at(1.1), abs=1e-6)
        assert rig.localize_with_odometry(2.0, 4) == pytest.approx(
            map_from_odom_at(1.1), abs=1e-6
        )  # one wrong pose
        assert rig.localize_with_odometry(1.1, 5) == pytest.approx(map_from_odom_at(1.1), abs=1e-6)
        for second in (6, 7):
            assert rig.localize_with_odometry(2.0, second) == pytest.approx(
                map_from_odom_at(1.1), abs=1e-6
            )
        assert rig.localize_with_odometry(2.0, 8) == pytest.approx(map_from_odom_at(2.0), abs=1e-6)


def test_poses_of_a_room_without_a_place_do_not_move_map_to_odom(tmp_path):
    with localized(tmp_path, **BROADCAST) as (rig, process):
        before = rig.localize_with_odometry(1.0, 1)
        rig.publish_odometry(2)
        rig.publish('image/compressed', compressed_image((150, 20, 220), 2))
        process.wait_for_output(
            f'poses in the frame map/lab do not move map -> odom: {remedies.PLACE_ROOM}'
        )
        assert wait_until(lambda: rig.poses[-1].header.frame_id == 'map/lab')
        assert rig.statuses[-1].accepted and rig.statuses[-1].room == 'lab'
        assert len(rig.broadcasts) == 1
        assert rig.localize_with_odometry(1.0, 3) == pytest.approx(before, abs=1e-6)


def test_an_inactive_localizer_does_not_broadcast(tmp_path):
    with localized(tmp_path, **{**BROADCAST, 'tf_rate_hz': 100.0}) as (rig, _):
        rig.localize_with_odometry(1.0, 1)
        assert rig.broadcasters() == {'localizer'}
        assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
        assert wait_until(lambda: not rig.broadcasters())
        rig.broadcasts.clear()
        assert rig.change_state(Transition.TRANSITION_ACTIVATE)
        assert wait_until(rig.broadcasters)
        rig.wait_for_discovery_by('localizer')
        assert not rig.broadcasts  # no transform from before the deactivation
        rig.publish('camera_info', camera_info())
        assert rig.localize_with_odometry(2.0, 2) == pytest.approx(map_from_odom_at(2.0), abs=1e-6)
        assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
        assert rig.change_state(Transition.TRANSITION_CLEANUP)

        def listeners():
            infos = rig.node.get_subscriptions_info_by_topic('/tf')
            return {info.node_name for info in infos} - {'rig'}

        assert wait_until(lambda: not rig.broadcasters() and not listeners())


def test_map_to_odom_is_reset_when_a_bag_is_played_again(tmp_path):
    with localized(tmp_path, **BROADCAST, tf_jump_poses=100) as (rig, process):
        rig.localize_with_odometry(1.0, 100)
        rig.publish_odometry(3)  # 97 s before the latest transform: tf2 by itself ignores it
        rig.localize(2.4, 3)
        process.wait_for_output('the stamps of the images went back by 97.0 s')
        rig.publish_odometry(4)
        rig.localize(2.4, 4)
        assert wait_until(
            lambda: rig.map_from_odom == pytest.approx(map_from_odom_at(2.4), abs=1e-6)
        ), process.output


def test_stamps_of_map_to_odom_follow_simulated_time(tmp_path):
    parameters = {**BROADCAST, 'tf_rate_hz': 20.0, 'use_sim_time': True}
    with localized(tmp_path, **parameters) as (rig, _):
        clock = rig.node.create_publisher(Clock, '/clock', 10)

        def has_stamp_near(second):
            """Run the clock from a second on until a broadcast has a stamp near it."""
            rig.broadcasts.clear()
            for k in range(1000):
                nanoseconds = round((second + 0.02 * k) * 1e9)
                clock.publish(Clock(clock=Time(nanoseconds=nanoseconds).to_msg()))
                stamps = [message.header.stamp.sec for message, _ in rig.broadcasts]
                if stamps and second <= stamps[-1] <= second + 20:
                    return True
                time.sleep(0.01)
            return False

        rig.publish_odometry(7000)
        rig.localize(1.0, 7000)
        assert has_stamp_near(7000)
        rig.publish_odometry(300)
        rig.localize(1.0, 300)
        rig.publish_odometry(301)
        rig.localize(1.0, 301)
        assert has_stamp_near(300)  # a bag in a loop


def test_a_robot_in_a_namespace_uses_its_own_frames_and_tf(tmp_path):
    frames = {
        'map_frame': 'house/map',
        'odom_frame': 'one/odom',
        'base_frame': 'one/base',
        'camera_frame': 'one/camera',
    }
    remappings = ('-r', '/tf:=tf', '-r', '/tf_static:=tf_static', '-r', '__ns:=/one')
    parameters = {**frames, 'publish_tf': True, 'tf_rate_hz': 0.0}
    with localized(tmp_path, *remappings, rig=TfRig('/one', '/one/tf'), **parameters) as (rig, _):
        rig.publish_static(('one/base', 'one/camera', EXTRINSICS))
        for second in (1, 3):
            rig.publish_odometry(second, odom='one/odom', base='one/base')
        assert wait_until(
            lambda: rig.localize(1.0, 2).accepted
        )  # after the extrinsics have arrived
        assert wait_until(lambda: rig.broadcasts)
        message = rig.broadcasts[0][0]
        assert (message.header.frame_id, message.child_frame_id) == ('house/map', 'one/odom')
        assert rig.map_from_odom @ ODOM_FROM_BASE == pytest.approx(map_from_base_at(1.0), abs=1e-6)
