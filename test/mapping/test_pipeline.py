"""A build makes a map from a bag, resumes after a kill, and rejects unusable input early."""

from dataclasses import replace
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys

from building import build_until, run, run_with_file_size_limit, save_map_file
from command_line import run_command
import numpy as np
import pytest
from room_bags import DEPTH, EPOCH_NS, IMAGE, POSE, raw_image, rewrite, write_room_bag
from rooms import walk
from small_map import CAMERA, SETTINGS

from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig, RegressorConfig, SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError, ConfigError
from nerf_reversal_ros.core.geometry import pose_distance
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.mapping.build_request import validate_request
from nerf_reversal_ros.mapping.pipeline import _mapping_data_from_bag, build_map
from nerf_reversal_ros.maps.map_folder import FORMAT_VERSION, open_map
from nerf_reversal_ros.maps.map_writer import MapWriter

ROOT = Path(__file__).resolve().parents[2]
STAGES = [
    'capture',
    'adjustment',
    'field',
    'atlas',
    'first_map',
    'synthesis',
    'regressor',
    'calibration',
]


def last_error_line(capsys):
    """Return the last line that was printed to stderr."""
    return capsys.readouterr().err.splitlines()[-1]


# ---- the built map


def test_the_manifest_describes_the_build_and_the_quality_of_the_map(small_map):
    manifest = open_map(small_map.path).manifest
    built, metrics = manifest['built'], manifest['metrics']
    assert list(built['seconds']) == STAGES
    assert built['device'] == 'cpu' and built['config']['field']['voxel_m'] == 0.025
    assert small_map.camera == CAMERA.scaled_to(48, 36)
    assert Camera(**manifest['capture_camera']) == CAMERA
    assert small_map.convention.axes == 'optical'
    assert metrics['psnr_db'] > 24 and metrics['coverage'] > 0.85
    assert metrics['depth_error_m'] < 0.01
    assert metrics['synthetic_views'] == 300 and metrics['calibration_right'] >= 10
    assert small_map.mapping_poses.shape == (48, 4, 4)
    np.testing.assert_allclose(small_map.mapping_poses, walk(48), atol=1e-6)
    assert small_map.mapping_stamps_ns.tolist() == [EPOCH_NS + k * 10**8 for k in range(48)]


def test_a_map_contains_its_files_and_no_image(small_map):
    names = sorted(item.name for item in small_map.path.iterdir())
    assert names == [
        'atlas.safetensors',
        'field.safetensors',
        'manifest.json',
        'regressor.safetensors',
        'surface.safetensors',
        'training.json',
        'walked_poses.npz',
    ]
    training = json.loads(small_map.file('training.json').read_text())
    assert training['synthesis']['kept'] == 300
    assert len(training['regressor']['train_loss']) == SETTINGS.regressor.epochs
    assert len(training['field']['loss']) == SETTINGS.field.steps // 10


# ---- killed, interrupted


def have_equal_files(first, second):
    """Compare the files of two maps byte by byte, except the manifests."""
    names = [item.name for item in first.iterdir() if item.name != 'manifest.json']
    differing = [
        name for name in names if (first / name).read_bytes() != (second / name).read_bytes()
    ]
    return differing == [] and len(list(second.iterdir())) == len(names) + 1


def assert_localizes_as_first_map(map_dir, finished):
    """Assert that a map says that it is a first one, and that it localizes its mapping images."""
    first = open_map(map_dir)
    assert first.is_first and not finished.is_first
    assert any('this is a first map' in warning for warning in first.manifest['warnings'])
    assert 'this is a first map' in run_command('info', map_dir).stdout
    localizer = first.localizer()
    capture = open_capture(finished.path.parent / 'walk', CaptureConfig(up_axis='z'))
    for frame in (capture.frame(10), capture.frame(30)):
        found = localizer.localize(frame.rgb, frame.camera)
        distance_m, angle_deg = pose_distance(found.map_from_camera, frame.map_from_camera)
        assert distance_m < 0.02 and angle_deg < 1.0


def test_a_build_that_is_killed_several_times_gives_the_same_map(small_map, tmp_path):
    bag, map_dir = small_map.path.parent / 'walk', tmp_path / 'room.map'
    for stage, done in (('pictures', 20), ('atlas', 5)):
        assert run(build_until, stage, done, bag, map_dir, SETTINGS) == -signal.SIGKILL
        assert not map_dir.exists()
    assert run(build_until, 'regressor', 2, bag, map_dir, SETTINGS) == -signal.SIGKILL
    assert_localizes_as_first_map(map_dir, small_map)
    reports = []
    built = build_map(bag, map_dir, SETTINGS, device='cpu', progress=reports.append)
    finished = 'adjustment, field, atlas, first_map, synthesis'
    assert reports[0].note == f'resuming an unfinished build (finished stages: {finished})'
    assert 'field' not in {progress.stage for progress in reports}
    assert have_equal_files(small_map.path, map_dir)
    assert built.manifest['metrics'] == small_map.manifest['metrics']
    assert built.manifest['calibration'] == small_map.manifest['calibration']
    assert sorted(item.name for item in tmp_path.iterdir()) == ['room.map']


def test_ctrl_c_leaves_no_partial_map_and_prints_how_to_resume(small_map, tmp_path):
    bag, map_dir = small_map.path.parent / 'walk', tmp_path / 'room.map'
    settings = tmp_path / 'settings.yaml'
    settings.write_text('field: {steps: 100000, rays_per_step: 256, voxel_m: 0.05}')
    command = [sys.executable, '-m', 'nerf_reversal_ros.cli.main', 'build', '--config']
    environment = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}
    with subprocess.Popen(
        [*command, str(settings), str(bag), str(map_dir)],
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if line.startswith('pictures: 48/48'):
                break
        child.send_signal(signal.SIGINT)
        _, errors = child.communicate(timeout=120)
    assert child.returncode == 130
    assert errors.endswith('nerf-reversal: interrupted; the same command resumes the build\n')
    assert 'Traceback' not in errors
    assert not map_dir.exists() and (tmp_path / 'room.map.partial').is_dir()


# ---- a full disk


def test_a_full_disk_during_a_build_raises_one_sentence_and_leaves_no_map(small_map, tmp_path):
    bag, map_dir = small_map.path.parent / 'walk', tmp_path / 'room.map'
    error = tmp_path / 'error.txt'
    arguments = (bag, map_dir, SETTINGS)
    assert run(run_with_file_size_limit, 1 << 20, error, build_map, *arguments) == 1
    assert error.read_text() == (
        f'BuildError: no space left for {map_dir}.partial: free some, then repeat the command to'
        ' resume the build'
    )
    assert not map_dir.exists()


@pytest.mark.parametrize('part', ['field', 'regressor'])
def test_a_disk_that_fills_up_while_a_file_is_saved_raises_the_same_sentence(
    small_map, tmp_path, part
):
    error = tmp_path / 'error.txt'
    arguments = (save_map_file, tmp_path / 'room.map', small_map.path, part)
    assert run(run_with_file_size_limit, 10_000, error, *arguments) == 1
    assert error.read_text().startswith('BuildError: no space left for ')


# ---- rejected input


def test_an_unknown_field_or_device_is_rejected_before_anything_is_written(tmp_path):
    with pytest.raises(
        ConfigError, match='field must be one of voxel, nerfacto, depth-nerfacto, '
    ):
        build_map(tmp_path / 'bag', tmp_path / 'room.map', BuildConfig(), field='mesh')
    with pytest.raises(ConfigError, match='device must be one of auto, cpu, cuda, got'):
        build_map(tmp_path / 'bag', tmp_path / 'room.map', BuildConfig(), device='tpu')
    assert list(tmp_path.iterdir()) == []


def test_an_existing_map_is_not_replaced_without_overwrite(small_map):
    with pytest.raises(BuildError, match='exists: choose another folder, or give --overwrite'):
        build_map(small_map.path.parent / 'walk', small_map.path, SETTINGS)


@pytest.fixture(scope='module')
def room_bag(tmp_path_factory):
    return write_room_bag(tmp_path_factory.mktemp('bags') / 'room', walk(24))


def change_topic(topic, change):
    """Return an edit for `rewrite` that changes the messages of one topic."""

    def edit(name, message, number):
        return [(name, change(message, number) if name == topic else message)]

    return edit


def zero_depth(message, _):
    return raw_image(message.header, np.zeros((128, 96), np.float32), '32FC1')


def resize_from_frame_12(message, number):
    if number < 12:
        return raw_image(message.header, rgb_from_message(message), 'rgb8')
    return raw_image(message.header, np.zeros((90, 160, 3), np.uint8), 'rgb8')


def set_nan_position(message, _):
    message.pose.position.x = float('nan')
    return message


@pytest.mark.parametrize(
    ('edit', 'expected'),
    [
        (change_topic(DEPTH, zero_depth), 'is 0 '),
        (change_topic(IMAGE, resize_from_frame_12), 'is 160x90, those before it are 96x128'),
        (change_topic(POSE, set_nan_position), 'are NaN'),
        (lambda *_: [], 'is empty: record it again'),
    ],
    ids=['depth all zero', 'image size changes', 'NaN poses', 'empty'],
)
def test_an_unusable_bag_ends_the_build_with_one_line(room_bag, tmp_path, capsys, edit, expected):
    bag = rewrite(room_bag, tmp_path / 'bag', edit)
    assert main(['build', str(bag), str(tmp_path / 'room.map'), '--device', 'cpu']) == 1
    message = last_error_line(capsys)
    assert message.startswith('nerf-reversal: ') and expected in message
    assert [item.name for item in tmp_path.iterdir()] == ['bag']


def test_a_wrong_pose_convention_is_rejected_with_the_measured_errors(room_bag, tmp_path, capsys):
    settings = tmp_path / 'settings.yaml'
    settings.write_text('capture: {pose_convention: opengl_inverted}')
    command = ['build', str(room_bag), str(tmp_path / 'room.map'), '--config', str(settings)]
    assert main(command) == 1
    message = last_error_line(capsys)
    assert 'the poses are not in pose_convention opengl_inverted (median depth' in message
    assert ' cm, ' in message and 'set pose_convention to optical or auto' in message
    assert list(tmp_path.iterdir()) == [settings]


def test_a_bag_without_depth_is_rejected_before_long_work(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', walk(12), depth=False)
    config = BuildConfig(capture=CaptureConfig(pose_convention='optical'))
    reports = []
    with pytest.raises(BuildError, match='the capture has no depth'):
        build_map(bag, tmp_path / 'room.map', config, device='cpu', progress=reports.append)
    assert {progress.stage for progress in reports} == {'capture'}
    assert list(tmp_path.iterdir()) == [bag]


@pytest.mark.parametrize(
    ('components', 'synthesis', 'expected'),
    [
        # Of 24 frames, 3 are held out.
        (31, SynthesisConfig(views=10), 'components is 31 but there are only 31 views: set'),
        (600, SynthesisConfig(width=16), 'components is 600 but an image has only 576 values'),
    ],
)
def test_too_many_components_are_rejected_before_long_work(
    room_bag, tmp_path, components, synthesis, expected
):
    config = replace(
        SETTINGS, synthesis=synthesis, regressor=RegressorConfig(components=components)
    )
    reports = []
    with pytest.raises(BuildError, match=expected):
        build_map(room_bag, tmp_path / 'm', config, device='cpu', progress=reports.append)
    assert {progress.stage for progress in reports} == {'capture'}
    assert list(tmp_path.iterdir()) == []


# ---- corrupt maps


@pytest.fixture
def copied_map(small_map, tmp_path):
    return shutil.copytree(small_map.path, tmp_path / 'copy.map')


def localize(map_dir, bag):
    return main(['localize', str(map_dir), str(bag), '--out', str(map_dir.parent / 'poses.json')])


@pytest.mark.parametrize('name', ['field.safetensors', 'regressor.safetensors', 'training.json'])
def test_a_truncated_map_does_not_localize(copied_map, room_bag, capsys, name):
    content = (copied_map / name).read_bytes()
    (copied_map / name).write_bytes(content[: len(content) // 2])
    assert localize(copied_map, room_bag) == 1
    message = last_error_line(capsys)
    assert (
        f'{name} has {len(content) // 2} bytes instead of {len(content)} (truncated?)' in message
    )
    assert not (copied_map.parent / 'poses.json').exists()


def test_a_map_of_a_newer_format_version_does_not_localize(copied_map, room_bag, capsys):
    manifest = json.loads((copied_map / 'manifest.json').read_text())
    newer = {**manifest, 'format_version': FORMAT_VERSION + 1}
    (copied_map / 'manifest.json').write_text(json.dumps(newer))
    assert localize(copied_map, room_bag) == 1
    expected = (
        f'has format version {FORMAT_VERSION + 1} and this program reads {FORMAT_VERSION}: update'
    )
    assert expected in last_error_line(capsys)


def test_a_build_warns_of_what_is_wrong_with_the_poses(tmp_path):
    poses = walk(40)[:16]
    small = poses.copy()
    small[:, :3, 3] *= 0.5
    bag = write_room_bag(tmp_path / 'walk', poses, world_from_camera=small, up_axis='z')
    config = BuildConfig(capture=CaptureConfig(adjust_poses='off'))
    request = validate_request(bag, config, device='cpu', field_kind='voxel', positions=None)
    with MapWriter(tmp_path / 'room.map', {}) as writer:
        data = _mapping_data_from_bag(request, writer, no_progress)
    assert any('set pose_unit_m to' in warning for warning in data.warnings)
