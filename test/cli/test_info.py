"""``nerf-reversal info`` of bags and of maps."""

from pathlib import Path

from command_line import run_command, user_error, write_map
import numpy as np
from small_room import walk, write_bag

from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.maps.map_folder import FORMAT_VERSION
from nerf_reversal_ros.maps.map_writer import MapWriter


def test_a_truncated_bag_is_reported_in_one_line(bag: Path, tmp_path: Path) -> None:
    (mcap,) = bag.glob('*.mcap')
    (tmp_path / 'cut.mcap').write_bytes(mcap.read_bytes()[:5000])
    assert 'killed or cut off' in user_error('info', tmp_path / 'cut.mcap')


def test_a_bag_is_described_by_topics_images_and_duration(bag: Path) -> None:
    text = run_command('info', bag).stdout
    assert 'is a bag of 16 messages over 0.6 s' in text
    assert 'sensor_msgs/msg/CameraInfo  (default topic of camera_info)' in text
    assert 'Images of 240x180.' in text
    assert 'All default topics are present; `nerf-reversal check` says' in text


def test_missing_default_topics_of_a_bag_are_named(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'flat', walk(12), depth=False)
    text = run_command('info', bag).stdout
    assert f'empty: depth /record3d/device_0/depth/img; {remedies.TOPICS}.' in text
    settings = tmp_path / 'flat.yaml'
    settings.write_text("capture: {depth_topic: '', pose_convention: optical}")
    options = ['--config', settings, '--field', 'nerfacto']
    assert run_command('check', bag, *options, '--picture', tmp_path / 'walk.png').returncode == 0


def test_a_map_is_described_by_content_build_capture_and_camera(tmp_path: Path) -> None:
    write_map(tmp_path / 'room.map', seconds={'field': 200.0, 'synthesis': 40.0})
    text = run_command('info', tmp_path / 'room.map').stdout
    assert (
        f'format version {FORMAT_VERSION}) of 2.5 MB, its 1 files are complete and unchanged.'
        in text
    )
    assert 'Built 2026-01-01T00:00:00Z (' in text and ' ago)' in text
    assert 'The build took 4 min 0 s: field 3 min 20 s, synthesis 40 s.' in text
    assert 'Capture walk: 40 kept, 2 blurred.' in text
    assert 'Poses of the bag: opengl; up from floor plane.' in text
    assert 'Camera of the regressor: 240x180, focal length 200.0, 200.0 px.' in text
    assert 'psnr_db: 23.46' in text
    assert '2.500 MB  field.bin' in text


def test_a_map_of_a_nerfstudio_run_is_described_by_field_and_warnings_without_a_bag(
    tmp_path: Path,
) -> None:
    convention = PoseConvention('optical', np.eye(4), 'average camera up', of_bag=False)
    entries = {'warnings': ['warning: lengths are a guess'], 'convention': convention.as_dict()}
    write_map(tmp_path / 'room.map', entries, field='nerfstudio:runs/config.yml')
    lines = run_command('info', tmp_path / 'room.map').stdout.splitlines()
    assert 'Field: nerfstudio:runs/config.yml.' in lines
    assert 'warning: lengths are a guess' in lines
    assert 'Built without a bag; up from average camera up.' in lines
    assert not any('Poses of the bag' in line for line in lines)


def test_a_damaged_or_unfinished_map_is_an_error(tmp_path: Path) -> None:
    write_map(tmp_path / 'room.map')
    (tmp_path / 'room.map/field.bin').write_bytes(b'')
    assert '(truncated?)' in user_error('info', tmp_path / 'room.map')
    with MapWriter(tmp_path / 'next.map', {}) as writer:
        writer.finish_stage('field')
    assert 'is unfinished' in user_error('info', tmp_path / 'next.map')
