"""Localizer node over DDS: maps loaded, swapped and released while it runs."""

import shutil
import time

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from ros_rig import camera_info, compressed_image, DARK, odometry, Process, wait_until
from small_map import CAMERA

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.srv import LoadMap


def test_load_map_returns_after_the_last_result_of_the_previous_map(rig, start, tmp_path):
    process = start(duration_ms=1500)
    (tmp_path / 'slow0').mkdir()
    rig.publish('camera_info', camera_info())
    rig.publish('image/compressed', compressed_image(second=1))
    process.wait_for_output('processing an image')
    assert rig.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow0')).success
    assert wait_until(lambda: rig.statuses, 1.0)
    assert rig.localize(compressed_image(second=2)).header.stamp.sec == 2


def test_load_map_fails_if_the_node_is_cleaned_up_meanwhile(rig, start, tmp_path):
    process = start()
    (tmp_path / 'waits').mkdir()
    future = rig.call_async(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'waits'))
    process.wait_for_output('loading the map waits')
    assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
    assert rig.change_state(Transition.TRANSITION_CLEANUP)
    (tmp_path / 'waits/go').touch()
    assert wait_until(future.done)
    assert not future.result().success
    assert future.result().message == (
        'the localizer was cleaned up while the map was loaded: configure it, then load the map'
        ' again'
    )


def test_a_map_is_swapped_while_images_arrive_without_a_pause(rig, start, tmp_path):
    """Poses of the new map are not compared with those of the old one by odometry."""
    parameters = {'base_frame': 'base_link', 'mounting': '0 0 0 0 0 0 1', 'odometry_witnesses': 2}
    start(duration_ms=30, use_odometry=True, **parameters)
    (tmp_path / 'slow31').mkdir()
    rig.publish('camera_info', camera_info())
    for second in range(1, 4):
        rig.publish('odom', odometry(second, 0.0))
        assert rig.localize(compressed_image((10, 20, 30), second)).accepted
    rig.publish('odom', odometry(9, 0.0))
    future = rig.call_async(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow31'))
    while not future.done():
        rig.publish('image/compressed', compressed_image(DARK, second=9))
        time.sleep(0.01)
    assert future.result().success
    rig.publish('odom', odometry(11, 0.0))
    rig.publish('image/compressed', compressed_image((200, 20, 30), second=11))
    assert wait_until(lambda: rig.statuses[-1].header.stamp.sec == 11)
    assert rig.statuses[-1].accepted


def test_a_parameter_set_while_a_map_is_loaded_applies_to_it(rig, start, tmp_path):
    process = start()
    (tmp_path / 'waits').mkdir()
    future = rig.call_async(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'waits'))
    process.wait_for_output('loading the map waits')
    assert rig.set_parameter('min_inliers', 50).successful
    (tmp_path / 'waits/go').touch()
    assert wait_until(future.done)
    rig.publish('camera_info', camera_info())
    assert rig.localize(compressed_image()).reason == 'too few inliers'


def test_services_respond_and_settings_are_fixed_while_the_first_map_is_loaded(rig, tmp_path):
    (tmp_path / 'waits').mkdir()
    with Process('localizer', map_dir=tmp_path / 'waits', autostart=True) as process:
        process.wait_for_output('loading the map waits')
        assert rig.state == 'configuring'
        rejected = rig.set_parameter('map_dir', '/elsewhere')
        assert 'map_dir cannot change while the node is configured' in rejected.reason
        assert rig.set_parameter('max_rate_hz', 5.0).successful
        (tmp_path / 'waits/go').touch()
        process.wait_for_output('localizing the images of')
        assert wait_until(lambda: rig.state == 'active')


def test_warnings_of_the_build_are_logged_and_in_the_diagnostics(rig, start, tmp_path):
    (tmp_path / 'guess').mkdir()
    diagnostics = rig.collect(DiagnosticArray, '/diagnostics')
    process = start(map_dir=tmp_path / 'guess')
    process.wait_for_output('guess: warning: lengths are a guess')

    def has_warning():
        values = {v.key: v.value for m in diagnostics[-1:] for v in m.status[0].values}
        return values.get('map warnings') == 'warning: lengths are a guess'

    assert wait_until(has_warning), diagnostics[-1:]


def test_load_map_takes_up_the_finished_map_in_the_place_of_a_first_one(
    rig, start, small_build, tmp_path
):
    folder = tmp_path / 'room.map'
    shutil.copytree(small_build.first, folder)
    process = start(map_dir=folder)
    process.wait_for_output('this is a first map')
    capture = open_capture(small_build.map.path.parent / 'walk', CaptureConfig(up_axis='z'))
    info = camera_info((CAMERA.width, CAMERA.height), CAMERA.fx)
    info.k[2], info.k[5] = CAMERA.cx, CAMERA.cy
    rig.publish('camera_info', info)

    def is_localized(second):
        image = compressed_image(second=second)
        bgr = capture.frame(10 + second).rgb[..., ::-1]
        image.data = cv2.imencode('.png', bgr)[1].tobytes()
        return rig.localize(image).accepted

    assert is_localized(1)
    folder.rename(tmp_path / 'replaced')
    shutil.copytree(small_build.map.path, folder)
    shutil.rmtree(tmp_path / 'replaced')
    assert is_localized(2)  # by the map that is loaded
    loads = process.output.count('loaded the map')
    assert rig.call(LoadMap, 'localizer/load_map', map_dir=str(folder)).success
    assert wait_until(lambda: process.output.count('loaded the map') == loads + 1)
    assert is_localized(3)
    assert process.output.count('this is a first map') == 1
