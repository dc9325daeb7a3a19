"""From a bag to a map, also when the build is killed, interrupted, or the disk is full."""

from dataclasses import replace
import json
import os
from pathlib import Path
import shutil
import signal
import subprocess
import sys

from building import build_until, run, with_file_size_limit
import numpy as np
import pytest
from room_bags import DEPTH, IMAGE, POSE, raw_image, rewrite, write_room_bag
from rooms import walk
from small_map import CAMERA, SETTINGS

from nerf_reversal_ros.bags.depth_decoding import rgb_from_message
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import (
    BuildConfig,
    CaptureConfig,
    RegressorConfig,
    SynthesisConfig,
)
from nerf_reversal_ros.core.errors import BuildError, ConfigError
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.maps.map_folder import FORMAT_VERSION, open_map
from nerf_reversal_ros.maps.map_writer import MapWriter
from nerf_reversal_ros.regressor.regressor import PoseRegressor

ROOT = Path(__file__).resolve().parents[2]
STAGES = ['capture', 'field', 'synthesis', 'atlas', 'regressor', 'calibration']


def last_line(capsys):
    told = capsys.readouterr().err.splitlines()
    return told[-1]


# ---- what a build makes


def test_a_map_tells_how_it_was_built_and_how_good_it_is(small_map):
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


def test_a_map_holds_its_parts_and_no_picture(small_map):
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


def same_contents(one, other):
    names = [item.name for item in one.iterdir() if item.name != 'manifest.json']
    different = [
        name for name in names if (one / name).read_bytes() != (other / name).read_bytes()
    ]
    return different == [] and len(list(other.iterdir())) == len(names) + 1


def test_a_build_that_was_killed_again_and_again_gives_the_same_map(small_map, tmp_path):
    bag, map_dir = small_map.path.parent / 'walk', tmp_path / 'room.map'
    for stage, done in (('pictures', 20), ('synthesis', 1), ('regressor', 2)):
        assert run(build_until, stage, done, bag, map_dir, SETTINGS) == -signal.SIGKILL
        assert not map_dir.exists()
    told = []
    built = build_map(bag, map_dir, SETTINGS, device='cpu', progress=told.append)
    done = 'field, synthesis, atlas'
    assert told[0].note == f'resuming an unfinished build (finished stages: {done})'
    assert 'field' not in {progress.stage for progress in told}
    assert same_contents(small_map.path, map_dir)
    assert built.manifest['metrics'] == small_map.manifest['metrics']
    assert built.manifest['calibration'] == small_map.manifest['calibration']
    assert sorted(item.name for item in tmp_path.iterdir()) == ['room.map']


def test_ctrl_c_leaves_no_half_map_and_says_that_the_build_goes_on(small_map, tmp_path):
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
        _, told = child.communicate(timeout=120)
    assert child.returncode == 130
    assert told.endswith('nerf-reversal: interrupted; the same command goes on where it stopped\n')
    assert 'Traceback' not in told
    assert not map_dir.exists() and (tmp_path / 'room.map.partial').is_dir()


# ---- a full disk


def test_a_full_disk_during_a_build_is_one_sentence_and_no_map(small_map, tmp_path):
    bag, map_dir, told = small_map.path.parent / 'walk', tmp_path / 'room.map', tmp_path / 'told'
    arguments = (bag, map_dir, SETTINGS)
    assert run(with_file_size_limit, 1 << 20, told, build_map, *arguments) == 1
    assert told.read_text() == (
        f'BuildError: no space left for {map_dir}.partial: free some, then the same command goes'
        ' on where it stopped'
    )
    assert not map_dir.exists()


def save_parts(map_dir, source, part):
    with MapWriter(map_dir, {}) as writer:
        kind = {'field': VoxelField, 'regressor': PoseRegressor}[part]
        kind.load(source / f'{part}.safetensors', 'cpu').save(writer.path(part))


@pytest.mark.parametrize('part', ['field', 'regressor'])
def test_a_disk_that_is_full_when_a_result_is_saved_is_the_same_sentence(
    small_map, tmp_path, part
):
    told = tmp_path / 'told'
    arguments = (save_parts, tmp_path / 'room.map', small_map.path, part)
    assert run(with_file_size_limit, 10_000, told, *arguments) == 1
    assert told.read_text().startswith('BuildError: no space left for ')


# ---- what is refused


def test_an_unknown_field_or_device_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(
        ConfigError, match='field must be one of voxel, nerfacto, depth-nerfacto, '
    ):
        build_map(tmp_path / 'bag', tmp_path / 'room.map', BuildConfig(), field='mesh')
    with pytest.raises(ConfigError, match='device must be one of auto, cpu, cuda, got'):
        build_map(tmp_path / 'bag', tmp_path / 'room.map', BuildConfig(), device='tpu')
    assert list(tmp_path.iterdir()) == []


def test_an_existing_map_is_not_overwritten_unasked(small_map):
    with pytest.raises(BuildError, match='exists: choose another folder, or give --overwrite'):
        build_map(small_map.path.parent / 'walk', small_map.path, SETTINGS)


@pytest.fixture(scope='module')
def room_bag(tmp_path_factory):
    return write_room_bag(tmp_path_factory.mktemp('bags') / 'room', walk(24))


def spoiled(topic, change):
    def edit(name, item, number):
        return [(name, change(item, number) if name == topic else item)]

    return edit


def no_depth(item, _):
    return raw_image(item.header, np.zeros((128, 96), np.float32), '32FC1')


def another_size(item, number):
    if number < 12:
        return raw_image(item.header, rgb_from_message(item), 'rgb8')
    return raw_image(item.header, np.zeros((90, 160, 3), np.uint8), 'rgb8')


def lost(item, _):
    item.pose.position.x = float('nan')
    return item


@pytest.mark.parametrize(
    ('edit', 'sentence'),
    [
        (spoiled(DEPTH, no_depth), 'is 0 '),
        (spoiled(IMAGE, another_size), 'is 160x90, those before it are 96x128'),
        (spoiled(POSE, lost), 'are NaN'),
        (lambda *_: [], 'no'),
    ],
    ids=['depth all zero', 'another size half way', 'NaN poses', 'empty'],
)
def test_a_bag_that_cannot_become_a_map_is_told_in_one_line(
    room_bag, tmp_path, capsys, edit, sentence
):
    bag = rewrite(room_bag, tmp_path / 'bag', edit)
    assert main(['build', str(bag), str(tmp_path / 'room.map'), '--device', 'cpu']) == 1
    told = last_line(capsys)
    assert told.startswith('nerf-reversal: ') and sentence in told
    assert [item.name for item in tmp_path.iterdir()] == ['bag']


def test_poses_in_another_convention_than_the_set_one_are_told_with_the_measured_table(
    room_bag, tmp_path, capsys
):
    settings = tmp_path / 'settings.yaml'
    settings.write_text('capture: {pose_convention: opengl_inverted}')
    command = ['build', str(room_bag), str(tmp_path / 'room.map'), '--config', str(settings)]
    assert main(command) == 1
    told = last_line(capsys)
    assert 'the poses are not in pose_convention opengl_inverted (median depth' in told
    assert ' cm, ' in told and 'set pose_convention to optical or auto' in told
    assert list(tmp_path.iterdir()) == [settings]


def test_a_bag_without_depth_is_refused_before_the_long_work(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', walk(8), depth=False)
    config = BuildConfig(capture=CaptureConfig(pose_convention='optical'))
    with pytest.raises(BuildError, match='the capture has no depth'):
        build_map(bag, tmp_path / 'room.map', config, device='cpu')
    assert list(tmp_path.iterdir()) == [bag]


@pytest.mark.parametrize(
    ('components', 'synthesis', 'sentence'),
    [
        # Of 24 frames, 3 are held out.
        (31, SynthesisConfig(views=10), 'components is 31 but there are only 31 views: take'),
        (600, SynthesisConfig(width=16), 'components is 600 but a picture has only 576 values'),
    ],
)
def test_components_that_cannot_be_had_are_refused_before_the_long_work(
    room_bag, tmp_path, components, synthesis, sentence
):
    config = replace(
        SETTINGS, synthesis=synthesis, regressor=RegressorConfig(components=components)
    )
    told = []
    with pytest.raises(BuildError, match=sentence):
        build_map(room_bag, tmp_path / 'm', config, device='cpu', progress=told.append)
    assert {progress.stage for progress in told} == {'capture'}
    assert list(tmp_path.iterdir()) == []


# ---- a map that is not as it was built


@pytest.fixture
def copied_map(small_map, tmp_path):
    return shutil.copytree(small_map.path, tmp_path / 'copy.map')


def localize(map_dir, bag):
    return main(['localize', str(map_dir), str(bag), '--out', str(map_dir.parent / 'poses.json')])


@pytest.mark.parametrize('name', ['field.safetensors', 'regressor.safetensors', 'training.json'])
def test_a_truncated_map_does_not_localize(copied_map, room_bag, capsys, name):
    whole = (copied_map / name).read_bytes()
    (copied_map / name).write_bytes(whole[: len(whole) // 2])
    assert localize(copied_map, room_bag) == 1
    told = last_line(capsys)
    assert f'{name} has {len(whole) // 2} bytes instead of {len(whole)} (truncated?)' in told
    assert not (copied_map.parent / 'poses.json').exists()


def test_a_map_of_a_newer_version_does_not_localize(copied_map, room_bag, capsys):
    manifest = json.loads((copied_map / 'manifest.json').read_text())
    newer = {**manifest, 'format_version': FORMAT_VERSION + 1}
    (copied_map / 'manifest.json').write_text(json.dumps(newer))
    assert localize(copied_map, room_bag) == 1
    told = (
        f'has format version {FORMAT_VERSION + 1} and this program reads {FORMAT_VERSION}: update'
    )
    assert told in last_line(capsys)
