"""A bag beside somebody else's NeRF adjusts and calibrates the map; without, units are guessed."""

from contextlib import contextmanager
import importlib.metadata
import json
import shutil

from nerfstudio_runs import PerfectRun, train_run, write_scene
import numpy as np
import pytest
from room_bags import IMAGE, INFO, POSE, rewrite, write_room_bag
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.builder import build_map
from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.capture import Capture
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.config import (
    AtlasConfig,
    BuildConfig,
    CaptureConfig,
    LocalizerConfig,
    NerfstudioConfig,
    RegressorConfig,
    SynthesisConfig,
    VoxelFieldConfig,
)
from nerf_reversal_ros.errors import BuildError
from nerf_reversal_ros.fields.similarity import moved_poses, similarity
from nerf_reversal_ros.fields.training_data import held_out_frames
from nerf_reversal_ros.geometry import pose, pose_errors
from nerf_reversal_ros.localization import open_localizer
from nerf_reversal_ros.outcome import PoseEstimate
from nerf_reversal_ros.run_walk import likely_unit_m

pytestmark = pytest.mark.skipif(
    not any(d.metadata['Name'] == 'nerfstudio' for d in importlib.metadata.distributions()),
    reason='nerfstudio is not installed: make test brings it',
)
CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
WALK = walk(40)
BAG_WALK = walk(31)
WORLD_FROM_MAP = similarity(
    0.4, pose(Rotation.from_euler('xyz', [-90, 0, 30], degrees=True), (2.0, 1.0, -3.0))
)
"""The run's data are in a world of their own: y up, and two and a half metres long a unit."""
SETTINGS = BuildConfig(
    capture=CaptureConfig(
        image_topic='/camera/image',
        camera_info_topic='/camera/info',
        depth_topic='',
        pose_topic='/camera/pose',
        pose_convention='optical',
        up_axis='z',
    ),
    field=VoxelFieldConfig(voxel_m=0.03, steps=15, rays_per_step=2048, validation_share=0.2),
    synthesis=SynthesisConfig(views=150, width=48),
    atlas=AtlasConfig(views=40, size=160),
    regressor=RegressorConfig(components=20, epochs=4),
)
ROUGH = BuildConfig(
    nerfstudio=NerfstudioConfig(bake_views=12, bake_size=64),
    field=VoxelFieldConfig(voxel_m=0.05, steps=2, rays_per_step=256),
    synthesis=SynthesisConfig(views=4, width=32),
    atlas=AtlasConfig(views=8, size=128),
    regressor=RegressorConfig(components=4, epochs=1),
)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    scene = write_scene(folder / 'scene', moved_poses(WORLD_FROM_MAP, WALK), WALK, CAMERA)
    return train_run(scene, folder / 'out', steps=2)[0]


@contextmanager
def shown(world_from_map):
    """Let a run, whose training was short, show what it would after a long one."""
    from nerf_reversal_ros.fields.nerfstudio_run import Run

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Run, 'field', lambda *_: PerfectRun(world_from_map))
        yield patched


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """Record a walk without depth, on topics of another driver."""
    folder = tmp_path_factory.mktemp('bags')
    recorded = write_room_bag(folder / 'recorded', BAG_WALK, CAMERA, depth=False)
    names = {IMAGE: '/camera/image', INFO: '/camera/info', POSE: '/camera/pose'}
    return rewrite(recorded, folder / 'bag', lambda topic, message, _: [(names[topic], message)])


@pytest.fixture(scope='module')
def built(trained, bag, tmp_path_factory):
    """Build, and note which pictures of the bag were read, one by one, before which stage."""
    stages, read = ['capture'], []
    frame = Capture.frame

    def noted(capture, index):
        if capture.source == bag:
            read.append((stages[-1], index))
        return frame(capture, index)

    with shown(WORLD_FROM_MAP) as patched:
        patched.setattr(Capture, 'frame', noted)
        map_ = build_map(
            bag,
            tmp_path_factory.mktemp('maps') / 'room.map',
            SETTINGS,
            device='cpu',
            field=f'nerfstudio:{trained}',
            progress=lambda told: stages.append(told.stage),
        )
    return map_, read


# ---- with a bag


def test_pictures_of_the_bag_calibrate_the_map_of_a_run(built):
    manifest = built[0].manifest
    assert manifest['metrics']['calibration_poses'] > 0
    assert manifest['metrics']['calibration_right'] >= 10
    assert manifest['calibration']['gate_bias'] != 0
    assert manifest['warnings'] == []
    assert manifest['capture']['counts']['kept'] == len(BAG_WALK)
    assert built[0].convention.of_bag


def test_the_map_of_a_run_is_where_the_bag_has_it(built):
    metrics = built[0].manifest['metrics']
    assert metrics['run_scale'] == pytest.approx(2.5, rel=0.02)
    walked = built[0].map_from_camera_walked
    np.testing.assert_allclose(walked[:31], BAG_WALK, atol=1e-6)
    nearest = [np.linalg.norm(WALK[:, :3, 3] - at[:3, 3], axis=1).min() for at in walked[31:]]
    assert len(nearest) == 36 and max(nearest) < 0.02


def test_held_out_pictures_calibrate_and_nothing_else(built):
    held_out = set(np.flatnonzero(held_out_frames(31, 0.2)).tolist())
    read = {stage: {index for at, index in built[1] if at == stage} for stage, _ in built[1]}
    calibrating = read.pop('regressor') | read.pop('calibration')
    assert calibrating == held_out and len(held_out) == 6
    before = set().union(*read.values())
    assert len(before) == 25 and not before & held_out


@pytest.mark.parametrize('number', [2, 11, 19, 27])
def test_a_picture_of_the_bags_room_is_localized_in_the_map_of_a_run(built, number):
    at = walk(33)[number]
    localizer = open_localizer(built[0], LocalizerConfig(device='cpu', min_probability=0.5))
    outcome = localizer.localize(render_box_room(at, CAMERA)[0], CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome
    errors = pose_errors(outcome.map_from_camera[None], at[None])
    assert errors.translation[0] < 0.04 and np.degrees(errors.rotation[0]) < 1.0


# ---- without one


def in_other_units(run, factor, folder):
    """Copy a run as one whose data are in units of which ``factor`` are one of the old."""
    scene = run.parents[4] / 'scene'
    there = scene.with_name(f'scene_{factor}')
    there.mkdir()
    held = json.loads((scene / 'transforms.json').read_text())
    for frame in held['frames']:
        for row in frame['transform_matrix'][:3]:
            row[3] *= factor
    (there / 'transforms.json').write_text(json.dumps(held))
    config = shutil.copytree(run.parent, folder / 'run') / 'config.yml'
    config.write_text(config.read_text().replace('- scene\n', f'- {there.name}\n'))
    (config.parent / 'dataparser_transforms.json').unlink()  # it tells of the old data
    return config


@pytest.mark.parametrize('factor', [0.05, 30.0])
def test_a_run_in_units_far_from_metres_becomes_a_map_of_a_likely_size(trained, tmp_path, factor):
    config = in_other_units(trained, factor, tmp_path)
    with shown(similarity(factor) @ WORLD_FROM_MAP):
        map_ = build_map(
            None, tmp_path / 'room.map', ROUGH, device='cpu', field=f'nerfstudio:{config}'
        )
    scale, manifest = map_.manifest['metrics']['run_scale'], map_.manifest
    # A unit is 2.5 m / factor; half of what the cameras see is nearer than 2 m in the map (but
    # for edges, whose depth is unknown in renders).
    depths = [render_box_room(at, CAMERA.shrunk_to(64))[1] for at in WALK]
    shrunk = 2.0 / float(np.median(depths))
    assert scale * factor / 2.5 == pytest.approx(shrunk, rel=0.1) and shrunk < 0.9
    assert f'one of their units is taken as {scale:.3g} m' in manifest['warnings'][0]
    # The walk is as large as that tells, and its heights are along z.
    height = np.ptp(map_.map_from_camera_walked[:, 2, 3])
    assert height == pytest.approx(0.2 * shrunk, abs=0.02)
    assert manifest['metrics']['coverage'] > 0.5 and manifest['metrics']['landmarks'] > 100


def test_a_run_in_units_that_may_be_metres_keeps_them(trained, tmp_path):
    with shown(WORLD_FROM_MAP):
        map_ = build_map(
            None, tmp_path / 'room.map', ROUGH, device='cpu', field=f'nerfstudio:{trained}'
        )
    manifest = map_.manifest
    assert manifest['metrics']['run_scale'] == pytest.approx(1.0)
    assert 'lengths are those of the data that the run was trained on' in manifest['warnings'][0]
    assert any('no camera picture was localized' in warning for warning in manifest['warnings'])
    assert not map_.convention.of_bag


def test_without_a_bag_a_map_localizes_and_nobody_judges_it_by_the_poses_of_one(
    trained, bag, tmp_path, capsys
):
    with shown(WORLD_FROM_MAP):
        map_ = build_map(
            None, tmp_path / 'room.map', ROUGH, device='cpu', field=f'nerfstudio:{trained}'
        )
    settings, poses = tmp_path / 'settings.yaml', tmp_path / 'poses.json'
    settings.write_text(
        'capture: {image_topic: /camera/image, camera_info_topic: /camera/info, depth_topic: "",'
        ' pose_topic: /camera/pose}\nlocalizer: {device: cpu}\n'
    )
    asked = [str(map_.path), str(bag), '--config', str(settings)]
    assert main(['evaluate', *asked, '--baselines', 'none']) == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert 'the map was built without a bag, so that nobody knows how the poses of' in told
    assert main(['localize', *asked, '--out', str(poses)]) == 0
    written = json.loads(poses.read_text())
    assert len(written['poses']) == 31 and written['map_from_world'] is None


def test_a_run_that_shows_nothing_is_told():
    with pytest.raises(BuildError, match='show nothing at its training cameras'):
        likely_unit_m(np.zeros((2, 12, 16), np.float16), 8.0)
