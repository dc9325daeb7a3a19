"""Localizer node over DDS: transitions of the life cycle, start, signals and devices."""

from pathlib import Path
import signal
import threading
import time

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
import pytest
from ros_rig import camera_info, compressed_image, Process, SOON_S, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.srv import LoadMap, Localize


def test_the_lifecycle_is_that_of_a_managed_node(rig, start):
    process = start(autostart=False)
    process.wait_for_output(f'waiting to be configured (or {remedies.AUTOSTART})')
    assert rig.state == 'unconfigured'
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)
    assert rig.state == 'inactive'
    assert rig.change_state(Transition.TRANSITION_ACTIVATE)
    rig.publish('camera_info', camera_info())
    assert rig.localize(compressed_image()).accepted
    assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
    assert wait_until(lambda: rig.node.count_subscribers('/image/compressed') == 0)
    assert rig.change_state(Transition.TRANSITION_CLEANUP)
    assert rig.state == 'unconfigured'
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)
    assert rig.change_state(Transition.TRANSITION_ACTIVATE)
    rig.publish('camera_info', camera_info())
    assert rig.localize(compressed_image(second=2)).accepted
    assert rig.change_state(Transition.TRANSITION_ACTIVE_SHUTDOWN)
    assert rig.state == 'finalized'


def test_a_node_without_a_map_stays_unconfigured_until_there_is_one(rig, start, tmp_path):
    process = start(autostart=False, map_dir=tmp_path / 'slow2')
    assert not rig.change_state(Transition.TRANSITION_CONFIGURE)
    assert rig.state == 'unconfigured'
    process.wait_for_output('there is no map')
    (tmp_path / 'slow2').mkdir()
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)


def test_an_invalid_transition_fails_and_the_node_continues(rig, start):
    process = start(autostart=False)
    assert not rig.change_state(Transition.TRANSITION_ACTIVATE)
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)
    assert not rig.change_state(Transition.TRANSITION_CONFIGURE)
    assert rig.change_state(Transition.TRANSITION_ACTIVATE)
    for invalid in (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_CLEANUP):
        assert not rig.change_state(invalid)
    assert rig.state == 'active'
    process.wait_for_output('is not possible in the state active: nothing is done')


def test_transitions_succeed_while_images_arrive_without_a_pause(rig, start):
    """An executor that waits for a destroyed entity would end the process."""
    process = start()
    images = rig.node.create_publisher(CompressedImage, 'image/compressed', 5)
    infos = rig.node.create_publisher(CameraInfo, 'camera_info', 5)
    stopping = threading.Event()

    def publish():
        while not stopping.is_set():
            images.publish(compressed_image())
            infos.publish(camera_info())
            time.sleep(0.003)

    publisher = threading.Thread(target=publish)
    publisher.start()
    try:
        for _ in range(15):
            assert rig.change_state(Transition.TRANSITION_DEACTIVATE), process.output
            assert rig.change_state(Transition.TRANSITION_ACTIVATE), process.output
    finally:
        stopping.set()
        publisher.join()
    assert rig.localize(compressed_image(second=9)).accepted


@pytest.mark.parametrize('is_processing', [False, True])
def test_deactivation_ends_a_pending_localize(rig, start, is_processing):
    process = start(duration_ms=20_000)
    future = rig.call_async(Localize, 'localizer/localize', timeout_s=20.0)
    time.sleep(0.5)
    if is_processing:
        rig.publish('camera_info', camera_info())
        rig.publish('image/compressed', compressed_image())
        process.wait_for_output('processing an image')
    assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
    assert wait_until(future.done, SOON_S)
    assert future.result().reason == 'the localizer was deactivated before a result was published'


def test_an_inactive_node_leaves_the_gpu(rig, start):
    process = start()
    process.wait_for_output('device auto')
    assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
    process.wait_for_output('device cpu')
    process.lines.clear()
    assert rig.change_state(Transition.TRANSITION_ACTIVATE)
    process.wait_for_output('device auto')


def test_a_gpu_without_memory_is_reported_and_the_node_can_be_configured_again(rig, start):
    process = start(autostart=False, duration_ms=7000)
    diagnostics = rig.collect(DiagnosticArray, '/diagnostics')
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)
    assert not rig.change_state(Transition.TRANSITION_ACTIVATE)
    process.wait_for_output('CUDA out of memory')
    assert wait_until(lambda: 'CUDA out of memory' in str(diagnostics[-1:]))
    assert rig.state == 'unconfigured'
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)


def test_a_node_with_a_file_that_is_no_calibration_can_be_configured_again(rig, start):
    process = start(autostart=False, camera_info_file='/no/such.yaml')
    assert not rig.change_state(Transition.TRANSITION_CONFIGURE)
    process.wait_for_output('/no/such.yaml')
    assert rig.set_parameter('camera_info_file', '').successful
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)


def test_read_only_parameters_change_while_the_node_is_unconfigured(rig, start, tmp_path):
    process = start(autostart=False, map_dir='/no/such')
    assert not rig.change_state(Transition.TRANSITION_CONFIGURE)
    process.wait_for_output('there is no map /no/such')
    (tmp_path / 'slow3').mkdir()
    failure = 'there is no map /no/such: build it first'
    assert rig.wait_for_diagnostic(DiagnosticStatus.ERROR, failure)
    assert rig.set_parameter('map_dir', str(tmp_path / 'slow3')).successful
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)
    rejected = rig.set_parameter('map_dir', '/elsewhere')
    assert 'cannot change while the node is configured: clean it up' in rejected.reason
    (tmp_path / 'slow4').mkdir()
    assert rig.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow4')).success
    assert rig.change_state(Transition.TRANSITION_CLEANUP)
    process.lines.clear()
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)
    process.wait_for_output('loading the map slow4')


@pytest.mark.parametrize(
    ('arguments', 'status', 'message'),
    [
        (['--params-file', 'typo.yaml'], 1, 'unknown parameter max_std: did you mean max_std_m?'),
        (['-p', 'autostart:=true'], 1, 'map_dir is not set: set it to a folder written by'),
        (['-p', 'autostart:=true', '-p', 'map_dir:=/no/such'], 1, 'there is no map /no/such'),
        (['--params-file', 'none.yaml'], 2, 'cannot start'),
        (['--', 'my_map'], 2, f'unknown argument my_map: {remedies.ROS_ARGUMENTS}'),
    ],
)
def test_a_wrong_start_ends_with_one_sentence(arguments, status, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path('typo.yaml').write_text('/localizer:\n  ros__parameters:\n    max_std: 0.1\n')
    with Process('localizer', *arguments) as process:
        assert process.wait() == status
        assert message in process.output
        assert 'Traceback' not in process.output


@pytest.mark.parametrize('duration_ms', [0, 20_000])
def test_ctrl_c_ends_the_node_even_while_an_image_is_processed(rig, start, duration_ms):
    process = start(duration_ms=duration_ms)
    rig.publish('camera_info', camera_info())
    rig.publish('image/compressed', compressed_image())
    time.sleep(0.3)
    assert process.interrupt() < SOON_S
    assert process.wait() == 0
    assert 'Traceback' not in process.output


def test_an_ended_node_leaves_the_graph_at_once(rig, start):
    process = start()
    assert wait_until(lambda: 'localizer' in rig.node.get_node_names())
    process.interrupt()
    assert wait_until(lambda: 'localizer' not in rig.node.get_node_names(), timeout=5)


@pytest.mark.parametrize('number', [signal.SIGINT, signal.SIGTERM])
def test_repeated_signals_do_not_disturb_the_end_of_the_node(rig, start, number):
    process = start(duration_ms=20_000)
    rig.publish('camera_info', camera_info())
    rig.publish('image/compressed', compressed_image())
    process.wait_for_output('processing an image')
    assert process.interrupt(number, times=3) < SOON_S
    assert process.wait() == 0
    assert 'Traceback' not in process.output


def test_a_destroyed_entity_does_not_end_a_node():
    with Process('invalid_handle') as process:
        assert process.wait() == 0
        assert 'Traceback' not in process.output
