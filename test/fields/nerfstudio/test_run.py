"""A NeRF that somebody else trained with nerfstudio becomes a map, or is refused in a sentence."""

from dataclasses import replace
import importlib.metadata
import json
import pickle
import re
import shutil
import sys
from types import SimpleNamespace
import weakref

from nerfstudio_runs import train_run, write_scene
import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
import torch

from nerf_reversal_ros.capture.capture import open_capture
from nerf_reversal_ros.cli.main import INTERRUPTED, main
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import BuildConfig, CaptureConfig, NerfstudioConfig
from nerf_reversal_ros.core.errors import BuildError, ConfigError
from nerf_reversal_ros.core.geometry import make_pose, pose_errors
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.nerfstudio.config import instantiate_config, PythonTag
from nerf_reversal_ros.fields.nerfstudio.dependency import no_downloads
from nerf_reversal_ros.fields.sim3 import field_from_data, make_sim3, scale_of, transform_poses
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.mapping import pipeline
from nerf_reversal_ros.mapping.build_request import run_files
from nerf_reversal_ros.mapping.nerfstudio_import import load_run_and_positions
from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.mapping.run_alignment import align_to_capture, align_to_positions
from nerf_reversal_ros.mapping.sim3_alignment import (
    fit_sim3_to_points,
    fit_sim3_to_poses,
    locate_in_renderings,
    read_known_positions,
)
from nerf_reversal_ros.maps.map_folder import open_map

pytestmark = pytest.mark.skipif(
    not any(d.metadata['Name'] == 'nerfstudio' for d in importlib.metadata.distributions()),
    reason='nerfstudio is not installed: make test brings it',
)
CPU = torch.device('cpu')
CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
WALK = walk(24)
WORLD_FROM_MAP = make_sim3(
    0.4, make_pose(Rotation.from_euler('xyz', [-90, 0, 30], degrees=True), (2.0, 1.0, -3.0))
)
"""The run's data are in a world of their own: y up, and two and a half metres long a unit."""


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    scene = write_scene(folder / 'scene', transform_poses(WORLD_FROM_MAP, WALK), WALK, CAMERA)
    return train_run(scene, folder / 'out', steps=10)


@pytest.fixture
def run(trained, tmp_path):
    """Return the config.yml of a copy of the run, to be spoiled."""
    return shutil.copytree(trained[0].parent, tmp_path / 'run') / 'config.yml'


def opened(config):
    from nerf_reversal_ros.fields.nerfstudio.run import load_run

    return load_run(config, CPU)


# ---- what is read


def test_the_cameras_of_a_run_are_where_the_data_have_them(trained):
    found = opened(trained[0])
    rows = [int(name[6:11]) - 1 for name in found.names]
    errors = pose_errors(found.world_from_camera, transform_poses(WORLD_FROM_MAP, WALK)[rows])
    assert len(rows) == 22 and errors.translation.max() < 1e-5 and errors.rotation.max() < 1e-5
    assert found.camera == CAMERA


def test_a_view_in_metres_is_what_nerfstudio_renders_at_its_own_camera(trained):
    config, trainer = trained
    found = opened(config)
    theirs = trainer.pipeline.datamanager.train_dataset.cameras[3:4]
    model = trainer.pipeline.model.eval()
    model.proposal_sampler.set_anneal(1.0)  # as after a longer training
    seen = model.get_outputs_for_camera(theirs)
    map_from_world = np.linalg.inv(WORLD_FROM_MAP)
    ours = found.field(map_from_world).render(
        transform_poses(map_from_world, found.world_from_camera[3:4]), found.camera
    )[0]
    np.testing.assert_allclose(ours.rgb, seen['rgb'].numpy() * 255, atol=1.0)
    along = np.linalg.norm(CAMERA.rays(), axis=-1)
    unit_m = (
        scale_of(map_from_world)
        / trainer.pipeline.datamanager.train_dataparser_outputs.dataparser_scale
    )
    metres = seen['depth'][..., 0].numpy() / along * unit_m
    known = ours.depth > 0
    np.testing.assert_allclose(ours.depth[known], metres[known], rtol=2e-3)


def test_colours_are_those_of_the_mean_picture_whatever_the_run_was_told(trained, run):
    shown = []
    key = 'use_average_appearance_embedding'
    for config in (trained[0], edited(run, f'{key}: true', f'{key}: false')):
        field = opened(config).field(np.eye(4))
        shown.append(field.render(WALK[:1], CAMERA.scaled_to(16, 12))[0].rgb)
    np.testing.assert_array_equal(*shown)


def test_the_model_of_a_run_is_not_on_the_device_before_it_is_rendered(trained):
    from nerf_reversal_ros.fields.nerfstudio.run import load_run

    nowhere = torch.device('meta')
    found = load_run(trained[0], nowhere)
    field = found.field(np.eye(4))
    assert {weights.device for weights in found.model.parameters()} == {CPU}
    assert {weights.device for weights in field.model.parameters()} == {nowhere}


def test_the_corrections_of_a_camera_optimiser_are_given_back():
    from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig

    from nerf_reversal_ros.fields.nerfstudio.field import nerfstudio_cameras
    from nerf_reversal_ros.fields.nerfstudio.run import _apply_camera_optimizer

    class Model:
        camera_optimizer = CameraOptimizerConfig(mode='SO3xR3').setup(num_cameras=2, device='cpu')

    with torch.no_grad():
        Model.camera_optimizer.pose_adjustment += 0.1 * torch.arange(12).view(2, 6)
    intrinsics = np.array([130.0, 130.0, 79.5, 59.5])
    rays, moved = (
        nerfstudio_cameras(np.eye(4), at, intrinsics, (160, 120)).generate_rays(
            torch.tensor([[0], [1]]), coords=torch.tensor([[20.5, 30.5], [7.5, 90.5]])
        )
        for at in (WALK[:2], _apply_camera_optimizer(Model, WALK[:2]))
    )
    Model.camera_optimizer.apply_to_raybundle(rays)
    torch.testing.assert_close(rays.origins, moved.origins, rtol=0, atol=1e-5)
    torch.testing.assert_close(rays.directions, moved.directions, rtol=0, atol=1e-5)


# ---- to metres


def test_poses_of_two_worlds_are_brought_together_though_a_third_is_wrong():
    there = transform_poses(WORLD_FROM_MAP, WALK)
    there[::3, :3, 3] += np.random.default_rng(0).normal(size=(8, 3))
    aligned = fit_sim3_to_poses(WALK, there)
    assert aligned.correspondence_count == 16 and aligned.error_m < 1e-9
    np.testing.assert_allclose(aligned.map_from_world @ WORLD_FROM_MAP, np.eye(4), atol=1e-9)


def test_pictures_of_a_bag_are_found_in_renders_of_another_scale(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', walk(31)[:12], CAMERA, up_axis='z')
    frames = list(open_capture(bag, CaptureConfig()))
    views = []
    for at in WALK[:12]:
        rgb, depth = render_box_room(at, CAMERA)
        world_from_camera = transform_poses(WORLD_FROM_MAP, at[None])[0]
        views.append((Rendering(rgb, 0.4 * depth, np.ones_like(depth)), world_from_camera))
    aligned = fit_sim3_to_poses(*locate_in_renderings(frames, views, CAMERA))
    assert aligned.correspondence_count >= 10 and aligned.error_m < 0.02
    assert scale_of(aligned.map_from_world) == pytest.approx(2.5, rel=0.02)


def test_a_run_comes_to_the_metres_of_a_bag_by_its_pictures(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', walk(31)[:12], CAMERA, up_axis='z')
    rendered = [render_box_room(at, CAMERA) for at in WALK[:12]]
    rgb = np.stack([view[0] for view in rendered])
    depth = np.stack([0.4 * view[1] for view in rendered]).astype(np.float16)
    there = transform_poses(WORLD_FROM_MAP, WALK[:12])
    capture = open_capture(bag, CaptureConfig())
    aligned = align_to_capture(capture, np.arange(12), rgb, depth, there, CAMERA)
    errors = pose_errors(transform_poses(aligned.map_from_world, there), WALK[:12])
    assert errors.translation.max() < 0.05 and np.degrees(errors.rotation).max() < 1.0


def test_another_room_is_not_brought_together():
    rng = np.random.default_rng(0)
    elsewhere = np.array(
        [make_pose(Rotation.random(rng=rng), tuple(rng.normal(size=3))) for _ in WALK]
    )
    with pytest.raises(
        BuildError, match=r'24 images of the bag .* check that both show the same room'
    ):
        fit_sim3_to_poses(WALK, elsewhere)


def test_known_points_tell_scale_and_direction_and_points_on_a_line_do_not():
    points = WALK[:5, :3, 3]
    there = points @ WORLD_FROM_MAP[:3, :3].T + WORLD_FROM_MAP[:3, 3]
    aligned = fit_sim3_to_points(points, there)
    np.testing.assert_allclose(aligned.map_from_world @ WORLD_FROM_MAP, np.eye(4), atol=1e-9)
    line = np.outer([0.0, 1.0, 2.0, 5.0], [1.0, 2.0, 3.0])
    for few in (line, points[:2], points[:0]):
        with pytest.raises(BuildError, match='give at least three that are not collinear'):
            fit_sim3_to_points(few, 2 * few)


def test_known_points_that_are_not_those_of_the_run_are_told():
    points = WALK[:12, :3, 3]
    with pytest.raises(
        BuildError, match='do not fit the cameras of the run: the best alignment has'
    ):
        fit_sim3_to_points(points, np.random.default_rng(0).permutation(points))


@pytest.mark.parametrize('line', ['a.png,1,2', 'a.png,1,2,z', 'a.png,1,nan,3'])
def test_a_line_that_is_no_position_is_told_with_its_number(tmp_path, line):
    path = tmp_path / 'positions.csv'
    path.write_text(f'# picture,x,y,z\n\nb.png,0,0,0\n{line}\n')
    with pytest.raises(BuildError, match=f"line 4 of .* is '{line}': write image,x,y,z"):
        read_known_positions(path)


def test_positions_of_a_spreadsheet_are_read_and_none_is_given_twice(tmp_path):
    path = tmp_path / 'positions.csv'
    path.write_bytes('\ufeffa.png, 1, 2, 3\r\nb.png,4,5,6\r\n'.encode())
    assert {name: at.tolist() for name, at in read_known_positions(path).items()} == {
        'a.png': [1, 2, 3],
        'b.png': [4, 5, 6],
    }
    path.write_text('a.png,1,2,3\nb.png,4,5,6\na.png,1,2,3\n')
    with pytest.raises(BuildError, match=r'line 3 of .* gives a\.png again: give it once'):
        read_known_positions(path)


def write_positions(path, numbers, *more):
    lines = [f'frame_{i:05d}.png,' + ','.join(map(str, WALK[i - 1, :3, 3])) for i in numbers]
    path.write_text('\n'.join(['# picture,x,y,z', *lines, *more]) + '\n')
    return path


def aligned_by(path, config):
    from nerf_reversal_ros.fields.nerfstudio.run import eval_image_names

    told = []
    found = align_to_positions(path, opened(config), lambda: eval_image_names(config), told.append)
    return found[0], [progress.note for progress in told]


def test_positions_of_pictures_that_the_run_was_judged_by_are_left_out_and_counted(
    trained, tmp_path
):
    trained_on = {int(name[6:11]) for name in opened(trained[0]).names}
    assert len(trained_on) == 22
    path = write_positions(tmp_path / 'positions.csv', range(1, 25))
    aligned, told = aligned_by(path, trained[0])
    assert (
        aligned.correspondence_count == 22
        and aligned.skipped_count == 2
        and aligned.error_m < 1e-4
    )
    assert told == ['skipping 2 of 24 known positions: the run was not trained on their images']


def test_all_names_that_the_run_does_not_know_are_told_five_at_most(trained, tmp_path):
    strange = [f'{letter}.png,0,0,0' for letter in 'gfedcba']
    path = write_positions(tmp_path / 'positions.csv', [1, 5, 11, 18], *strange)
    with pytest.raises(
        BuildError,
        match=r'names a\.png, b\.png, c\.png, d\.png, e\.png and 2 more: no such image is',
    ):
        aligned_by(path, trained[0])


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [(None, 'cannot read the known positions'), ('a.png,0,0,0\n', 'names a.png: no such image')],
)
def test_positions_that_do_not_fit_the_run_are_told_before_anything_is_rendered_or_written(
    trained, tmp_path, content, sentence
):
    path = tmp_path / 'positions.csv'
    if content is not None:
        path.write_text(content)
    told = []
    with pytest.raises(BuildError, match=sentence):
        build_map(
            None,
            tmp_path / 'room.map',
            BuildConfig(),
            field=f'nerfstudio:{trained[0]}',
            positions=path,
            progress=told.append,
        )
    assert {progress.stage for progress in told} <= {'run'}
    assert not list(tmp_path.glob('room.map*'))


def test_a_position_of_a_name_that_two_pictures_have_is_told(trained, tmp_path):
    path = tmp_path / 'positions.csv'
    found = opened(trained[0])
    path.write_text(f'{found.names[0]},0,0,0\n')
    twice = replace(found, names=[found.names[0]] * len(found.names))
    with pytest.raises(BuildError, match='22 images of the run have that name: give positions'):
        align_to_positions(path, twice, set, print)


# ---- from the command line


def build(run, map_dir, *more):
    settings = map_dir.with_suffix('.yaml')
    settings.write_text(
        'nerfstudio: {bake_views: 12, bake_size: 64}\n'
        'field: {voxel_m: 0.1, steps: 2, rays_per_step: 256}\n'
        'synthesis: {views: 4, width: 32, min_opacity: 0, max_near_share: 1, clearance_m: 0}\n'
        'regressor: {components: 4, epochs: 12}\n'
        'atlas: {views: 4, size: 64}\n'
    )
    command = [
        'build',
        '--device',
        'cpu',
        '--config',
        str(settings),
        '--field',
        f'nerfstudio:{run}',
    ]
    return main([*command, *map(str, more), str(map_dir)])


def test_a_map_of_a_run_is_in_the_metres_of_known_positions(trained, tmp_path):
    positions = write_positions(tmp_path / 'positions.csv', [1, 5, 11, 18])
    assert build(trained[0], tmp_path / 'room.map', '--align', positions) == 0
    built = open_map(tmp_path / 'room.map')
    assert built.manifest['metrics']['run_scale'] == pytest.approx(2.5, rel=1e-4)
    assert built.manifest['metrics']['alignment_error_m'] < 1e-4
    rows = [int(name[6:11]) - 1 for name in opened(trained[0]).names]
    walked = built.mapping_poses
    nearest = [np.abs(WALK[rows] - at).max((1, 2)).min() for at in walked]
    assert len(walked) == 12 and max(nearest) < 1e-3
    assert built.manifest['capture']['source'] == 'unnamed/nerfacto/now'
    assert not built.convention.of_bag  # positions do not tell what the poses of a bag mean
    warnings = built.manifest['warnings']
    assert not any('the scale is' in warning for warning in warnings)
    # It has seen no camera's picture, and does not claim to know how good its answers are.
    assert any('no camera image was localized' in warning for warning in warnings)
    assert Calibration.from_dict(built.manifest['calibration']) == Calibration()


def test_the_model_of_a_run_is_let_go_before_views_are_made(trained, tmp_path, monkeypatch):
    models, alive = [], []

    def opened_and_seen(*given):
        found = load_run_and_positions(*given)
        models.append(weakref.ref(found[0].model))
        return found

    def stop(*_):
        alive.extend(model for model in models if model() is not None)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, 'load_run_and_positions', opened_and_seen)
    monkeypatch.setattr(pipeline, 'synthesis_stage', stop)
    assert build(trained[0], tmp_path / 'room.map') == INTERRUPTED
    assert len(models) == 1 and not alive


def test_a_map_that_is_built_in_the_folder_of_the_run_is_no_part_of_the_run(trained):
    before = run_files(trained[0])
    inside = trained[0].parent / 'room.map.partial'
    inside.mkdir()
    (inside / 'manifest.json').write_text('{}')
    assert run_files(trained[0]) == before and len(before) == 3
    shutil.rmtree(inside)


# ---- what is refused


def refused(run, tmp_path, capsys):
    assert build(run, tmp_path / 'room.map') == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / 'room.map').exists()
    return told


def edited(run, old, new):
    text = run.read_text()
    assert old in text
    run.write_text(text.replace(old, new))
    return run


def test_a_run_that_is_not_there_is_told(tmp_path, capsys):
    assert 'cannot read the run' in refused(tmp_path / 'config.yml', tmp_path, capsys)


def test_a_missing_checkpoint_is_told(run, tmp_path, capsys):
    shutil.rmtree(run.parent / 'nerfstudio_models')
    told = refused(run, tmp_path, capsys)
    assert 'has no checkpoint nerfstudio_models/step-*.ckpt: copy the whole folder' in told


def test_missing_data_are_told(run, tmp_path, capsys):
    edited(run, '- scene\n', '- gone\n')
    told = refused(run, tmp_path, capsys)
    assert 'are not there: its training cameras are read from them' in told
    assert told.endswith(f'as gone in {run.parent} or a folder above it')


def tells_of_data(config, *parts):
    """Let a run say that its data are at a path of these parts."""
    text, path = config.read_text(), ''.join(f'      - {part}\n' for part in parts)
    changed = re.sub(r'(\n      data: .*PosixPath\n)(      - .*\n)+', rf'\g<1>{path}', text)
    assert changed != text
    config.write_text(changed)


@pytest.fixture
def brought(trained, run, tmp_path):
    """Copy data, but no pictures, beside the folders of a run, which are named after the data."""
    scene = trained[0].parents[4] / 'scene'
    shutil.copytree(scene, tmp_path / 'data' / 'scene', ignore=shutil.ignore_patterns('*.png'))
    there = tmp_path / 'outputs' / 'scene' / 'nerfacto' / 'now'
    return shutil.copytree(run.parent, there) / 'config.yml'


def test_data_are_found_at_their_relative_path_below_a_folder_above_the_run(brought):
    tells_of_data(brought, 'data', 'scene')
    assert len(opened(brought).names) == 22


def test_data_of_another_machine_are_found_by_their_name(brought, tmp_path):
    tells_of_data(brought, '/', 'home', 'somebody', 'scene')
    with pytest.raises(BuildError, match=r'are not there: .* as scene in .* or a folder above it'):
        opened(brought)
    (tmp_path / 'data' / 'scene').rename(tmp_path / 'scene')
    assert len(opened(brought).names) == 22


def test_a_run_inside_its_data_finds_them(brought, tmp_path):
    tells_of_data(brought, '/', 'home', 'somebody', 'scene')
    (tmp_path / 'outputs').rename(tmp_path / 'data' / 'scene' / 'outputs')
    inside = tmp_path / 'data' / 'scene' / brought.relative_to(tmp_path)
    assert len(opened(inside).names) == 22


@pytest.mark.parametrize(
    ('noted', 'sentence'),
    [(True, 'have changed since it was trained'), (False, r'_transforms\.json is missing beside')],
)
def test_data_that_were_found_elsewhere_must_be_those_of_the_run(brought, noted, sentence):
    tells_of_data(brought, 'data', 'scene')
    beside = brought.parent / 'dataparser_transforms.json'
    then = json.loads(beside.read_text())
    beside.write_text(json.dumps({**then, 'scale': 1.1 * then['scale']}))
    if not noted:
        beside.unlink()
    with pytest.raises(BuildError, match=sentence):
        opened(brought)


def test_a_run_of_another_version_is_told_by_the_setting_that_differs(run, tmp_path, capsys):
    edited(run, '    use_single_jitter: true\n', '')
    told = refused(run, tmp_path, capsys)
    assert 'another version of nerfstudio than 1.1.5' in told and '(use_single_jitter)' in told


def test_a_checkpoint_of_another_model_is_told(run, tmp_path, capsys):
    edited(run, '    hidden_dim_color: 32\n', '    hidden_dim_color: 16\n')
    assert 'does not fit the model and the data of its config.yml' in refused(
        run, tmp_path, capsys
    )


def test_a_method_that_is_not_installed_is_told(run, tmp_path, capsys):
    edited(run, 'nerfstudio.models.nerfacto.', 'lerf.lerf.')
    told = refused(run, tmp_path, capsys)
    assert 'is of a method that is not installed: it names lerf.lerf.NerfactoModelConfig' in told


def test_splats_without_a_gpu_are_told(run, tmp_path, capsys):
    edited(run, 'nerfstudio.models.nerfacto.Nerfacto', 'nerfstudio.models.splatfacto.Splatfacto')
    told = refused(run, tmp_path, capsys)
    assert 'rasteriser runs on CUDA only, and the device is cpu: build on a machine with' in told


class NotCompiled:
    """Stands in for what loads CUDA code, where that ends in an error."""

    def __getattr__(self, name):
        if name != '_C':
            raise AttributeError(name)
        raise RuntimeError('Error building extension')


@pytest.mark.parametrize(
    ('backend', 'sentence'),
    [
        (None, r'{0} is not installed \(no module {0}'),
        (
            SimpleNamespace(_C=None),
            r'is not compiled and finds no CUDA toolkit \(nvcc\) .*install',
        ),
        (NotCompiled(), r'cannot be compiled \(Error building extension\): install a'),
    ],
)
@pytest.mark.parametrize('package', ['gsplat', 'nerfacc'])
def test_a_run_whose_renderer_cannot_be_used_is_told(monkeypatch, package, backend, sentence):
    from nerf_reversal_ros.fields.nerfstudio.run import _check_kernels

    monkeypatch.setitem(sys.modules, f'{package}.cuda._backend', SimpleNamespace(_C=object()))
    _check_kernels('splatfacto', package)
    monkeypatch.setitem(sys.modules, f'{package}.cuda._backend', backend)
    with pytest.raises(BuildError, match=sentence.format(package)):
        _check_kernels('splatfacto', package)


def test_a_config_that_is_a_program_is_not_run(run, tmp_path, capsys):
    trace = tmp_path / 'trace'
    program = f'!!python/object/apply:os.system ["touch {trace}"]'
    edited(run, 'implementation: torch', f'implementation: {program}')
    assert 'is of a method that is not installed: it names os.system' in refused(
        run, tmp_path, capsys
    )
    assert not trace.exists()


class Program:
    def __reduce__(self):
        return exec, ('raise SystemExit(3)',)


def test_a_checkpoint_that_is_a_program_is_not_run(run, tmp_path, capsys):
    (checkpoint,) = run.parent.glob('nerfstudio_models/*.ckpt')
    torch.save({'pipeline': Program()}, checkpoint, pickle_module=pickle)
    assert 'holds more than weights, which could be a program: refused' in refused(
        run, tmp_path, capsys
    )


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (None, r'is damaged \(.*\): copy it again'),
        (
            b'version https://git-lfs.github.com/spec/v1\n',
            'is damaged, or holds more than weights',
        ),
    ],
)
def test_a_checkpoint_that_was_not_copied_whole_is_told(run, content, sentence):
    (checkpoint,) = run.parent.glob('nerfstudio_models/*.ckpt')
    checkpoint.write_bytes(content or checkpoint.read_bytes()[:-5000])
    with pytest.raises(BuildError, match=sentence):
        opened(run)


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        (
            'field.mlp_base.tcnn_encoding.params',
            'was trained with tiny-cuda-nn, which runs on CUDA only, and the device is cpu',
        ),
        (
            'field.mlp_of_another_day.weight',
            'is not of nerfstudio 1.1.5: field.mlp_of_another_day',
        ),
    ],
)
def test_a_checkpoint_with_other_weights_is_told(run, name, sentence):
    (checkpoint,) = run.parent.glob('nerfstudio_models/*.ckpt')
    held = torch.load(checkpoint, weights_only=False)
    held['pipeline'][f'_model.{name}'] = torch.zeros(1)
    torch.save(held, checkpoint)
    with pytest.raises(BuildError, match=sentence):
        opened(run)


class Tcnn:
    """Stands in for tiny-cuda-nn, which runs on CUDA only: its parts have weights, of no use."""

    class Part(torch.nn.Module):
        def __init__(self, n_input_dims=3, n_output_dims=1, **_):
            super().__init__()
            self.params, self.n_output_dims = torch.nn.Parameter(torch.ones(3)), n_output_dims

    Encoding = Network = NetworkWithInputEncoding = Part


def install_tcnn(monkeypatch):
    from nerfstudio.field_components import encodings, mlp
    from nerfstudio.utils import external

    for module in (encodings, mlp, external):
        monkeypatch.setattr(module, 'TCNN_EXISTS', True)
        monkeypatch.setattr(module, 'tcnn', Tcnn)


@pytest.mark.parametrize('there', [False, True])
def test_a_run_whose_config_wished_for_tcnn_and_has_weights_of_torch_is_opened_anywhere(
    run, monkeypatch, there
):
    edited(run, 'implementation: torch', 'implementation: tcnn')
    if there:
        install_tcnn(monkeypatch)
    names = list(opened(run).model.state_dict())
    assert 'field.mlp_base.model.0.hash_table' in names
    assert not any('tcnn' in name for name in names)


def test_weights_of_tiny_cuda_nn_are_refused_where_it_cannot_run(tmp_path, monkeypatch):
    from nerf_reversal_ros.fields.nerfstudio.run import _check_tcnn

    path, gpu = tmp_path / 'step-1.ckpt', torch.device('cuda')
    with pytest.raises(BuildError, match='which is not installed here, or cannot be loaded: inst'):
        _check_tcnn(path, gpu)
    install_tcnn(monkeypatch)
    _check_tcnn(path, gpu)
    with pytest.raises(BuildError, match='runs on CUDA only, and the device is cpu: build on a'):
        _check_tcnn(path, CPU)


def test_splats_that_lack_weights_are_told(tmp_path):
    from nerfstudio.data.scene_box import SceneBox
    from nerfstudio.models.splatfacto import SplatfactoModelConfig

    from nerf_reversal_ros.fields.nerfstudio.run import _load_weights

    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    with no_downloads():
        model = SplatfactoModelConfig(num_random=20).setup(scene_box=box, num_train_data=1)
    held = model.state_dict()
    _load_weights(model, dict(held), tmp_path / 'step-1.ckpt')
    del held['gauss_params.opacities']
    with pytest.raises(BuildError, match=r'opacities and 0 other weights are missing or too many'):
        _load_weights(model, held, tmp_path / 'step-1.ckpt')


def test_data_that_have_changed_since_the_training_are_told(run):
    told = run.parent / 'dataparser_transforms.json'
    then = json.loads(told.read_text())
    told.write_text(json.dumps({**then, 'scale': 1.1 * then['scale']}))
    with pytest.raises(BuildError, match='have changed since it was trained'):
        opened(run)


@pytest.mark.parametrize('scale', [1e-4, 1.0])
def test_data_in_any_units_that_have_changed_are_told(tmp_path, scale):
    from nerf_reversal_ros.fields.nerfstudio.run import _check_data_unchanged

    turned = make_pose(Rotation.from_euler('z', 30, degrees=True))
    noted = {'transform': turned[:3].tolist(), 'scale': scale}
    (tmp_path / 'dataparser_transforms.json').write_text(json.dumps(noted))
    then = field_from_data(turned, scale)
    _check_data_unchanged(tmp_path / 'config.yml', then)
    for change in (
        make_sim3(1.01),
        make_pose(Rotation.from_euler('y', 1, degrees=True)),
        make_pose(translation=(0.0, 0.01, 0.0)),
    ):
        with pytest.raises(BuildError, match='have changed since it was trained'):
            _check_data_unchanged(tmp_path / 'config.yml', change @ then)


def test_a_damaged_transform_of_a_run_is_told(run):
    (run.parent / 'dataparser_transforms.json').write_text('{"transform": 3')
    with pytest.raises(BuildError, match=r'dataparser_transforms\.json is damaged'):
        opened(run)


def test_a_name_that_is_no_class_is_told(tmp_path):
    with pytest.raises(BuildError, match="names 'nerfstudio' where a class was expected"):
        instantiate_config(PythonTag('nerfstudio', ()), tmp_path / 'config.yml')


LOSSES = 'nerfstudio.model_components.losses.DepthLossType'
PYTHON_3_11 = 'builtins.getattr'


@pytest.mark.parametrize(
    'choice', [PythonTag(LOSSES, (2,)), PythonTag(PYTHON_3_11, (PythonTag(LOSSES, None), 'URF'))]
)
def test_a_choice_is_read_as_any_python_wrote_it(tmp_path, choice):
    assert instantiate_config(choice, tmp_path / 'config.yml').name == 'URF'


@pytest.mark.parametrize(
    'choice', [PythonTag(LOSSES, (99,)), PythonTag(PYTHON_3_11, (PythonTag(LOSSES, None), 'mro'))]
)
def test_a_choice_that_this_version_does_not_know_is_told(tmp_path, choice):
    with pytest.raises(BuildError, match=r'another version of nerfstudio than .*(99|mro)'):
        instantiate_config(choice, tmp_path / 'config.yml')


def test_an_attribute_of_something_else_than_a_choice_is_refused(tmp_path):
    console = PythonTag('nerfstudio.utils.rich_utils.CONSOLE', None)
    with pytest.raises(BuildError, match='which is no configuration of nerfstudio: refused'):
        instantiate_config(PythonTag(PYTHON_3_11, (console, 'print')), tmp_path / 'config.yml')


def test_a_model_without_depth_is_told():
    from nerfstudio.data.scene_box import SceneBox
    from nerfstudio.models.vanilla_nerf import NeRFModel, VanillaModelConfig

    from nerf_reversal_ros.fields.nerfstudio.field import NerfstudioField

    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    with no_downloads():
        model = VanillaModelConfig(_target=NeRFModel).setup(scene_box=box, num_train_data=1)
    with pytest.raises(BuildError, match='NeRFModel renders no accumulation and no depth and no'):
        NerfstudioField(model, np.eye(4)).render(WALK[:1], CAMERA.scaled_to(4, 3))


@pytest.mark.parametrize(('bag', 'field'), [('bag', 'voxel'), (None, 'nerfstudio:config.yml')])
def test_a_limit_of_uncertainty_that_would_do_nothing_is_refused(tmp_path, bag, field):
    settings = BuildConfig(nerfstudio=NerfstudioConfig(max_std_m=0.3))
    with pytest.raises(ConfigError, match=f'and the field is {field}: leave it at 0'):
        build_map(bag, tmp_path / 'room.map', settings, field=field)
    assert list(tmp_path.iterdir()) == []


def test_something_else_than_a_run_is_told(tmp_path, capsys):
    (tmp_path / 'config.yml').write_text('a: 1\n')
    told = refused(tmp_path / 'config.yml', tmp_path, capsys)
    assert 'is not the config.yml of a nerfstudio run: it holds no pipeline' in told


def test_a_voxel_field_without_a_bag_is_misuse(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['build', str(tmp_path / 'room.map')])
    assert ended.value.code == 2
    assert 'the following arguments are required: BAG' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('bag', 'positions', 'field', 'sentence'),
    [
        (None, None, 'voxel', 'field voxel needs a bag: give one'),
        ('bag', 'file', 'voxel', 'known positions need the cameras of a nerfstudio run'),
        ('bag', 'file', 'nerfstudio:config.yml', 'a bag and known positions both determine'),
    ],
)
def test_sources_that_do_not_go_together_are_told(tmp_path, bag, positions, field, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_map(bag, tmp_path / 'room.map', BuildConfig(), field=field, positions=positions)
    assert list(tmp_path.iterdir()) == []
