"""Nerfacto as a field of the map: exact frames, training that resumes, baking, localizing."""

from dataclasses import replace
import importlib.metadata
import json
from pathlib import Path
import re

import cv2
import numpy as np
import pytest
from room_bags import write_room_bag
import rooms
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
from sklearn.metrics import roc_auc_score
import torch

from nerf_reversal_ros.capture.capture import open_capture
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import (
    BuildConfig,
    CaptureConfig,
    LocalizerConfig,
    NerfstudioConfig,
    RegressorConfig,
    SynthesisConfig,
    VoxelFieldConfig,
)
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import inverse, make_pose, pose_errors, transform_points
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection
from nerf_reversal_ros.fields import uncertainty
from nerf_reversal_ros.fields.baking import bake, render_views
from nerf_reversal_ros.fields.base import Occupancy
from nerf_reversal_ros.fields.checkpoint import load_checkpoint, save_checkpoint
from nerf_reversal_ros.fields.nerfstudio import training as nerfstudio_training
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.fields.sim3 import (
    field_from_data,
    from_opengl,
    make_sim3,
    scale_of,
    to_opengl,
    transform_poses,
)
from nerf_reversal_ros.fields.training_data import load_training_data
from nerf_reversal_ros.fields.uncertainty import UncertaintyGrid
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.mapping.pipeline import build_map

CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
WALK = walk(48)
TINY = NerfstudioConfig(
    steps=80, rays_per_step=1024, learning_rate=0.05, bake_views=24, bake_size=160
)
SETTINGS = BuildConfig(
    nerfstudio=TINY,
    field=VoxelFieldConfig(voxel_m=0.025, steps=30, rays_per_step=2048, validation_share=0.12),
    synthesis=SynthesisConfig(views=100, width=48),
    regressor=RegressorConfig(components=30, epochs=4),
)

installed = pytest.mark.skipif(
    not any(d.metadata['Name'] == 'nerfstudio' for d in importlib.metadata.distributions()),
    reason='nerfstudio is not installed: make test brings it',
)


@pytest.fixture(scope='module', autouse=True)
def large_patterns():
    """Paint the room without its finest pattern, which takes a Nerfacto minutes to learn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rooms, '_CELLS_M', (0.5, 0.13))
        yield


# ---- frames


def random_similarity(seed=0):
    rng = np.random.default_rng(seed)
    turned = make_pose(Rotation.random(random_state=seed), tuple(rng.normal(size=3)))
    return make_sim3(0.37, turned)


def test_a_pose_that_goes_to_the_field_and_back_is_the_same():
    field_from_map = random_similarity()
    there = transform_poses(field_from_map, WALK)
    np.testing.assert_allclose(inverse(there) @ there, np.tile(np.eye(4), (48, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(
        transform_poses(np.linalg.inv(field_from_map), there), WALK, atol=1e-12
    )
    assert scale_of(field_from_map) == pytest.approx(0.37)


def test_a_point_seen_in_the_map_is_seen_at_the_same_pixel_in_the_field():
    field_from_map = random_similarity()
    points = np.random.default_rng(1).normal(size=(20, 3))
    seen = transform_points(inverse(WALK[3]), points)
    scaled = transform_points(
        inverse(transform_poses(field_from_map, WALK)[3]), transform_points(field_from_map, points)
    )
    np.testing.assert_allclose(scaled, 0.37 * seen, atol=1e-12)


def test_opengl_axes_and_optical_axes_are_each_others_inverse():
    np.testing.assert_allclose(from_opengl(to_opengl(np.eye(4), WALK)), WALK, atol=1e-12)


@installed
def test_the_transform_of_nerfstudios_dataparser_is_undone_to_a_micrometre(tmp_path):
    require_nerfstudio()
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    world = transform_poses(
        make_pose(Rotation.from_euler('xyz', [0.4, -0.2, 1.0]), (3.0, -1.0, 2.0)), WALK
    )
    frames = []
    for number, at in enumerate(to_opengl(np.eye(4), world)):
        (tmp_path / f'{number:03d}.png').touch()
        matrix = [*at.tolist(), [0.0, 0.0, 0.0, 1.0]]
        frames.append({'file_path': f'{number:03d}.png', 'transform_matrix': matrix})
    scene = {'fl_x': 130, 'fl_y': 130, 'cx': 80, 'cy': 60, 'w': 160, 'h': 120, 'frames': frames}
    (tmp_path / 'transforms.json').write_text(json.dumps(scene))
    parser = NerfstudioDataParserConfig(data=tmp_path, downscale_factor=1, eval_mode='all').setup()
    parsed = parser.get_dataparser_outputs('train')
    field_from_world = field_from_data(
        parsed.dataparser_transform.numpy(), parsed.dataparser_scale
    )
    found = transform_poses(
        np.linalg.inv(field_from_world), from_opengl(parsed.cameras.camera_to_worlds.numpy())
    )
    errors = pose_errors(found, world)
    assert errors.translation.max() < 5e-6 and errors.rotation.max() < 5e-6
    assert scale_of(field_from_world) == pytest.approx(parsed.dataparser_scale)


@installed
def test_rays_of_nerfstudios_cameras_are_those_of_ours():
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.field import nerfstudio_cameras

    field_from_map = random_similarity()
    camera = Camera(40, 30, 31.0, 33.0, 18.2, 15.1)
    intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    cameras = nerfstudio_cameras(field_from_map, WALK[:2], intrinsics, (40, 30))
    rays = cameras.generate_rays(camera_indices=1, keep_shape=True)
    ours = transform_points(field_from_map, transform_points(WALK[1], camera.rays()))
    norm = rays.metadata['directions_norm'].numpy()
    theirs = rays.origins.numpy() + rays.directions.numpy() * norm * scale_of(field_from_map)
    np.testing.assert_allclose(theirs, ours, atol=2e-6)


# ---- training


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_room_bag(tmp_path_factory.mktemp('bags') / 'walk', WALK, CAMERA, up_axis='z')


@pytest.fixture(scope='module')
def data(bag, tmp_path_factory):
    capture = open_capture(bag, CaptureConfig())
    return load_training_data(capture, 0.12, tmp_path_factory.mktemp('data'), lambda _: None)


def train(data, work_dir, kind='depth-nerfacto', config=TINY, progress=lambda _: None):
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.training import train_nerfacto

    work_dir.mkdir(exist_ok=True)
    where = torch.device('cpu')
    return train_nerfacto(
        data, kind, config, device=where, seed=3, work_dir=work_dir, progress=progress
    )


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    told = []
    work_dir = tmp_path_factory.mktemp('nerfacto')
    field, report = train(data, work_dir, progress=told.append)
    return field, report, told


@installed
def test_the_room_fits_into_the_unit_box_of_the_field(trained):
    field, _, _ = trained
    room = np.array([[-2.0, -2.5, 0.0], [2.0, 2.5, 2.6]])
    inside = np.abs(transform_points(field.field_from_map, room))
    assert 0.85 < inside.max() < 1.0


@installed
def test_on_a_cpu_it_is_said_beforehand_how_long_it_takes(trained):
    _, report, told = trained
    first = next(progress for progress in told if 'will take' in progress.note)
    assert re.match(r'the reduced Nerfacto will take about \d+ min on this CPU', first.note)
    assert first is told[0] and first.done == 8
    assert report['step'] == [10, 20, 30, 40, 50, 60, 70, 80]


@installed
def test_a_view_rendered_at_a_captured_pose_shows_the_captured_picture_and_no_neighbour(trained):
    field, _, _ = trained
    captured, *neighbours = (
        cv2.resize(render_box_room(at, CAMERA)[0], (20, 15), interpolation=cv2.INTER_AREA)
        for at in WALK[[10, 11, 9, 12, 8]]
    )
    view = field.render(WALK[10:11], CAMERA)[0].rgb
    seen = cv2.resize(view, (20, 15), interpolation=cv2.INTER_AREA)
    alike = [np.corrcoef(seen.ravel(), rgb.ravel())[0, 1] for rgb in (captured, *neighbours)]
    assert alike[0] > 0.5 and alike[0] > max(alike[1:]) + 0.2


@installed
def test_depth_is_in_metres_along_the_optical_axis(trained):
    field, _, _ = trained
    camera = CAMERA.scaled_to(40, 30)
    view = field.render(WALK[10:11], camera)[0]
    known = view.depth > 0
    assert known.mean() > 0.8
    miss = np.abs(view.depth - render_box_room(WALK[10], camera)[1])[known]
    assert np.median(miss) < 0.06


@installed
def test_a_wall_is_matter_and_the_air_is_not(trained):
    field, _, _ = trained
    camera = CAMERA.scaled_to(40, 30)
    depth = render_box_room(WALK[10], camera)[1][..., None]
    on_walls = transform_points(WALK[10], camera.rays() * depth).reshape(-1, 3)
    in_air = transform_points(WALK[10], camera.rays() * depth * 0.4).reshape(-1, 3)
    assert np.mean(field.occupancy(on_walls) == Occupancy.OCCUPIED) > 0.5
    assert np.mean(field.occupancy(in_air) == Occupancy.FREE) > 0.95


class Killed(BaseException):
    pass


@installed
def test_an_interrupted_training_goes_on_and_ends_the_same(data, tmp_path, monkeypatch):

    monkeypatch.setattr(nerfstudio_training, 'CHECKPOINT_STEPS', 8)

    def kill(told):
        if told.done >= 20:
            raise Killed

    config, told = replace(TINY, steps=24, rays_per_step=128), []
    with pytest.raises(Killed):
        train(data, tmp_path / 'work', config=config, progress=kill)
    field, report = train(data, tmp_path / 'work', config=config, progress=told.append)
    whole, whole_report = train(data, tmp_path / 'whole', config=config)
    assert [p.done for p in told if p.note.startswith('loss')] == [20]  # from step 16
    assert report['step'] == whole_report['step'] == [10, 20]
    np.testing.assert_allclose(report['loss'], whole_report['loss'], rtol=1e-3)
    views = [one.render(WALK[:1], CAMERA.scaled_to(16, 12))[0].rgb for one in (field, whole)]
    assert np.abs(views[0].astype(int) - views[1]).max() <= 2


@installed
@pytest.mark.parametrize(
    ('kind', 'changed', 'sentence'),
    [
        ('nerfacto', {}, 'kind depth-nerfacto, not nerfacto'),
        ('depth-nerfacto', {'steps': 12}, 'steps 10, not 12'),
        ('depth-nerfacto', {'size': 'full', 'steps': 1}, 'reduced True, not False, steps 10, not'),
    ],
)
def test_a_checkpoint_of_another_training_is_told_and_not_gone_on_from(
    data, tmp_path, kind, changed, sentence
):
    config, told = replace(TINY, steps=10, rays_per_step=64), []
    train(data, tmp_path / 'work', config=config)
    wanted = replace(config, **changed)
    field, report = train(data, tmp_path / 'work', kind, wanted, told.append)
    assert told[0].done == 0 and 'starting over' in told[0].note and sentence in told[0].note
    fresh, fresh_report = train(data, tmp_path / 'fresh', kind, wanted)
    assert report['step'] == fresh_report['step']
    views = [one.render(WALK[:1], CAMERA.scaled_to(8, 6))[0].rgb for one in (field, fresh)]
    assert np.abs(views[0].astype(int) - views[1]).max() <= 2


@installed
def test_weights_of_tiny_cuda_nn_are_told_where_it_is_gone_and_what_was_baked_of_them_goes(
    data, tmp_path
):
    from nerf_reversal_ros.fields.nerfstudio.training import BAKING_FOLDER

    config, told = replace(TINY, steps=10, rays_per_step=64), []
    train(data, tmp_path, config=config)
    path, renders = tmp_path / 'nerfacto.safetensors', tmp_path / BAKING_FOLDER / 'rgb.npy'
    _, metadata = load_checkpoint(path, torch.device('cpu'))
    made_with = {**json.loads(metadata['made_with']), 'implementation': 'tcnn'}
    weights = {'model.field.mlp_base.model.params': torch.zeros(3)}
    renders.parent.mkdir()
    renders.touch()
    train(data, tmp_path, config=config)
    assert renders.exists()  # of this very field
    save_checkpoint(path, weights, {**metadata, 'made_with': json.dumps(made_with)})
    train(data, tmp_path, config=config, progress=told.append)
    assert told[0].note.startswith('starting over: ')
    assert told[0].note.endswith('was made with implementation tcnn, not torch')
    assert not renders.exists()


@installed
def test_a_plain_nerfacto_needs_no_depth(data, tmp_path):
    blind = replace(data, depth=np.zeros_like(data.depth))
    config = replace(TINY, steps=20, rays_per_step=256)
    field, report = train(blind, tmp_path / 'work', 'nerfacto', config)
    assert len(report['loss']) == 2 and np.isfinite(report['loss']).all()
    centres = transform_points(field.field_from_map, WALK[:, :3, 3])
    assert np.abs(centres).max() == pytest.approx(1 / 1.1, abs=0.02)


# ---- uncertainty


@installed
def test_what_no_camera_saw_is_found_though_it_looks_solid(trained, data, monkeypatch):
    from nerf_reversal_ros.fields.nerfstudio.uncertainty import nerfacto_uncertainty

    monkeypatch.setattr(uncertainty, 'MAX_POSES', 8)
    monkeypatch.setattr(uncertainty, 'VIEW_SIZE_PX', 32)
    field, camera = trained[0], CAMERA.scaled_to(20, 15)
    grid = nerfacto_uncertainty(field, data)
    up = make_pose(Rotation.from_euler('x', 45, degrees=True))
    poses = np.concatenate([WALK[4::8], WALK[4::8] @ up])  # six known good, six known bad
    views = field.render(poses, camera)
    std_m = np.array(
        [grid.std_of_view_m(v, at, camera) for v, at in zip(views, poses, strict=True)]
    )
    off_m = np.array(
        [
            np.abs(view.depth - render_box_room(at, camera)[1])
            for view, at in zip(views, poses, strict=True)
        ]
    )
    assert np.median(off_m[:6]) < 0.05 and np.median(off_m[6:]) > 0.3
    assert std_m[6:].mean((1, 2)).min() > std_m[:6].mean((1, 2)).max()
    known = np.array([view.depth > 0 for view in views])
    wrong, opacity = off_m[known] > 0.1, np.array([view.opacity for view in views])[known]
    assert roc_auc_score(wrong, std_m[known]) > 0.9
    assert roc_auc_score(wrong, -opacity) < 0.8


@installed
def test_the_rays_that_are_asked_show_what_the_model_renders(trained, data):
    from nerf_reversal_ros.fields.nerfstudio.uncertainty import DeformableNerfacto

    field, camera = trained[0], CAMERA.scaled_to(20, 15)
    asked = DeformableNerfacto(field)
    directions = torch.from_numpy(camera.rays().reshape(-1, 3) @ WALK[3, :3, :3].T).float()
    directions /= directions.norm(dim=1, keepdim=True)
    origins = torch.from_numpy(WALK[3, :3, 3] - asked.origin_m).float().expand_as(directions)
    samples = asked.sample_rays(origins, directions)
    shown = uncertainty.composite(asked, directions, samples, samples.points).detach().numpy()
    (view,) = field.render(WALK[3:4], camera)
    background = view.rgb.reshape(-1, 3) / 255 - shown  # behind the last piece
    assert background.min() > -0.01
    explained = background < 1.03 - view.opacity.reshape(-1, 1)
    assert explained.mean() > 0.85  # some rays have matter outside the cube


# ---- baking


class PaintedRoom:
    """The box room itself, as a field without error; counts what it renders."""

    rendered = 0

    def render(self, map_from_camera, camera):
        from nerf_reversal_ros.fields.base import Rendering

        self.rendered += len(map_from_camera)
        views = [render_box_room(at, camera) for at in map_from_camera]
        return [Rendering(rgb, depth, np.ones_like(depth)) for rgb, depth in views]

    def occupancy(self, points):
        return np.full(len(points), Occupancy.FREE, np.uint8)


def test_a_perfect_field_is_baked_with_little_loss(data, tmp_path):
    config = replace(SETTINGS, nerfstudio=replace(TINY, bake_views=30))
    room, report = bake(
        PaintedRoom(), data, config, device=torch.device('cpu'), work_dir=tmp_path / 'work'
    )
    assert report['original_psnr_db'] > 25 and report['psnr_db'] > 20
    assert report['baking_loss_db'] == pytest.approx(
        report['original_psnr_db'] - report['psnr_db'], abs=0.5
    )
    assert report['baked_alike_db'] > 20 and report['depth_error_m'] < 0.02
    assert report['original_measured_frames'] == report['measured_frames'] == 6  # of 48, 0.12
    assert room.render(WALK[:1], CAMERA)[0].opacity.mean() > 0.9


def test_depth_that_the_field_is_not_sure_of_is_not_baked(tmp_path):
    information = np.zeros((9, 9, 9, 3), np.float32)
    information[:5] = 1e4  # sure up to x = 0, the variance rises to 0.75 m^2 at 1 m from there
    grid = UncertaintyGrid(np.array([-4.0, -4.0, -1.0]), 1.0, information)
    camera, known = CAMERA.scaled_to(40, 30), {}
    for name, asked in (('all', None), ('sure', grid)):
        (tmp_path / name).mkdir()
        known[name] = render_views(
            PaintedRoom(),
            WALK[:6],
            camera,
            tmp_path / name,
            max_depth_m=8.0,
            uncertainty=asked,
            max_std_m=0.3,
        )[1].astype(np.float32)
    for at, everything, sure in zip(WALK[:6], known['all'], known['sure'], strict=True):
        x = transform_points(at, (camera.rays() * everything[..., None]).reshape(-1, 3))[:, 0]
        told = (everything.ravel() > 0) & (np.abs(x - 0.12) > 0.02)  # 0.3^2 = 0.75 * 0.12
        np.testing.assert_array_equal(sure.ravel()[told] > 0, x[told] < 0.12)


def test_what_was_rendered_before_a_kill_is_not_rendered_again(tmp_path):
    def kill(told):
        if told.done == 3:
            raise Killed

    field, camera = PaintedRoom(), CAMERA.scaled_to(40, 30)
    with pytest.raises(Killed):
        render_views(field, WALK[:5], camera, tmp_path, max_depth_m=8.0, progress=kill)
    rgb, depth = render_views(field, WALK[:5], camera, tmp_path, max_depth_m=8.0)
    assert field.rendered == 5
    for index in range(5):
        np.testing.assert_array_equal(rgb[index], render_box_room(WALK[index], camera)[0])
    assert depth.max() < 8.0 and (depth > 0).mean() > 0.1


# ---- from a bag to a pose


@pytest.fixture(scope='module')
def built(bag, tmp_path_factory):
    require_nerfstudio()
    map_dir = tmp_path_factory.mktemp('maps') / 'room.map'
    longer = replace(
        TINY, steps=180, learning_rate=0.03, bake_views=20, bake_size=120, max_std_m=0.8
    )
    settings = replace(SETTINGS, nerfstudio=longer)
    told = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(uncertainty, 'MAX_POSES', 8)
        patched.setattr(uncertainty, 'VIEW_SIZE_PX', 32)
        built = build_map(
            bag, map_dir, settings, device='cpu', field='depth-nerfacto', progress=told.append
        )
    assert 'uncertainty' in {progress.stage for progress in told}
    return built


@installed
def test_a_map_from_a_tiny_nerfacto_tells_what_baking_lost(built):
    metrics = built.manifest['metrics']
    assert built.manifest['built']['field'] == 'depth-nerfacto'
    assert metrics['original_psnr_db'] > 18 and metrics['psnr_db'] > 18
    assert abs(metrics['baking_loss_db']) < 1.0 and metrics['baked_alike_db'] > 22
    assert metrics['original_depth_error_m'] < 0.03 and metrics['depth_error_m'] < 0.03


@installed
def test_pictures_are_localized_with_a_baked_nerfacto_and_none_wrongly(built):
    """A few may be rejected: so small a regressor comes too far from some places of the walk."""
    localizer = open_localizer(built, LocalizerConfig(device='cpu', min_probability=0.5))
    poses = WALK[::4]
    pictures = [render_box_room(pose, CAMERA)[0] for pose in poses]
    outcomes = [localizer.localize(rgb, CAMERA) for rgb in pictures]
    found = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, PoseEstimate)]
    assert len(found) >= 9, outcomes  # of 12
    estimated = np.stack([outcomes[i].map_from_camera for i in found])
    errors = pose_errors(estimated, poses[found])
    assert errors.translation.max() < 0.04 and np.degrees(errors.rotation).max() < 0.8


@installed
def test_a_walk_without_depth_becomes_a_map_that_tells_so_and_nothing_wrong(tmp_path, capsys):
    bag = write_room_bag(tmp_path / 'bag', WALK[::2], CAMERA, depth=False, pose_convention='')
    quick = BuildConfig(
        capture=CaptureConfig(pose_convention='optical'),
        nerfstudio=replace(TINY, steps=30, rays_per_step=128, bake_views=8, bake_size=48),
        field=VoxelFieldConfig(voxel_m=0.05, steps=10, rays_per_step=512, validation_share=0.1),
        synthesis=SynthesisConfig(views=10, width=32, min_opacity=0, clearance_m=0, near_m=0),
        regressor=RegressorConfig(components=8, epochs=12),
    )
    told = []
    built = build_map(
        bag, tmp_path / 'map', quick, device='cpu', field='nerfacto', progress=told.append
    )
    assert built.convention.up_source == 'average camera up'
    assert built.manifest['depth_correction']['points'] == 0
    metrics = built.manifest['metrics']
    assert metrics['depth_error_m'] is None and metrics['original_depth_error_m'] is None
    assert metrics['original_measured_frames'] == 2 and metrics['original_psnr_db'] > 10
    assert metrics['coverage'] < 0.5  # 30 steps of colour alone, and that is said
    for what in ('shows only .* train longer .nerfstudio.steps.', 'landmarks only'):
        assert any(re.search(what, sentence) for sentence in built.manifest['warnings'])
        assert any(re.search(what, one.note) for one in told)
    localizer = open_localizer(built, LocalizerConfig(device='cpu'))
    outcome = localizer.localize(render_box_room(WALK[3], CAMERA)[0], CAMERA)
    assert isinstance(outcome, Rejection)
    assert main(['info', str(tmp_path / 'map')]) == 0
    assert 'depth_error_m: not measured' in capsys.readouterr().out


# ---- what is refused


def test_without_nerfstudio_one_sentence_says_how_to_get_it(tmp_path, capsys, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr('nerf_reversal_ros.fields.nerfstudio.dependency.version', missing)
    require_nerfstudio.cache_clear()
    command = ['build', str(tmp_path / 'bag'), str(tmp_path / 'room.map'), '--field', 'nerfacto']
    assert main(command) == 1
    told = capsys.readouterr().err
    assert 'needs nerfstudio 1.1.5, which is not installed: pip install -r' in told
    assert list(tmp_path.iterdir()) == []
    require_nerfstudio.cache_clear()


def test_another_version_of_nerfstudio_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(
        'nerf_reversal_ros.fields.nerfstudio.dependency.version', lambda name: '1.0.3'
    )
    require_nerfstudio.cache_clear()
    with pytest.raises(BuildError, match=r'nerfstudio 1\.0\.3 is installed and this program'):
        require_nerfstudio()
    require_nerfstudio.cache_clear()


@installed
def test_depth_nerfacto_without_depth_is_refused_with_another_way(tmp_path: Path):
    bag = write_room_bag(tmp_path / 'bag', WALK[:8], CAMERA, depth=False)
    config = replace(SETTINGS, capture=CaptureConfig(pose_convention='optical'))
    with pytest.raises(BuildError, match='no depth, which depth-nerfacto learns from: take'):
        build_map(bag, tmp_path / 'room.map', config, device='cpu', field='depth-nerfacto')
