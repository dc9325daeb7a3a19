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

from nerf_reversal_ros.capture.capture import Capture, open_capture
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.mapping_data import is_near_any, MappingData
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import (
    AtlasConfig,
    BuildConfig,
    CaptureConfig,
    LocalizerConfig,
    NerfstudioConfig,
    RegressorConfig,
    SynthesisConfig,
    VoxelFieldConfig,
)
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import make_pose, pose_errors
from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.fields.sim3 import make_sim3, transform_poses
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.mapping.build_warnings import field_warnings
from nerf_reversal_ros.mapping.nerfstudio_import import guess_unit_m
from nerf_reversal_ros.mapping.pipeline import build_map

pytestmark = pytest.mark.skipif(
    not any(d.metadata['Name'] == 'nerfstudio' for d in importlib.metadata.distributions()),
    reason='nerfstudio is not installed: make test brings it',
)
CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
WALK = walk(40)
BAG_WALK = walk(30)
WORLD_FROM_MAP = make_sim3(
    0.4, make_pose(Rotation.from_euler('xyz', [-90, 0, 30], degrees=True), (2.0, 1.0, -3.0))
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
    regressor=RegressorConfig(components=4, epochs=8),
)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    scene = write_scene(folder / 'scene', transform_poses(WORLD_FROM_MAP, WALK), WALK, CAMERA)
    return train_run(scene, folder / 'out', steps=2)[0]


@contextmanager
def shown(world_from_map):
    """Let a run, whose training was short, show what it would after a long one."""
    from nerf_reversal_ros.fields.nerfstudio.run import NerfstudioRun

    def perfect(_, map_from_world):
        return PerfectRun(map_from_world @ world_from_map)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(NerfstudioRun, 'field', perfect)
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
    assert not any('no camera picture was localized' in told for told in manifest['warnings'])
    assert manifest['capture']['counts']['kept'] == len(BAG_WALK)
    assert built[0].convention.of_bag


def test_the_map_of_a_run_is_measured_by_pictures_of_the_bag(built):
    metrics = built[0].manifest['metrics']
    # The run shows the room as it is, and the bag has pictures and no depth of it.
    assert metrics['original_psnr_db'] > 24 and metrics['original_measured_frames'] == 6
    assert metrics['psnr_db'] > 22 and metrics['depth_error_m'] is None
    lost = metrics['original_psnr_db'] - metrics['psnr_db']  # both are compared at 160 px
    assert metrics['baking_loss_db'] == pytest.approx(lost)
    assert metrics['measured_frames'] == metrics['held_out_frames'] == 6
    # Renders are compared as well, under a name of their own.
    assert metrics['baked_alike_db'] > 15


def test_the_keys_of_the_manifest_of_a_run_are_a_contract(built):
    """They are written out; those of other maps are in `contracts/test_map`."""
    manifest = built[0].manifest
    assert 'render_depth_correction' in manifest and 'depth_correction' not in manifest
    assert list(manifest['metrics']) == [
        'run_scale',
        'run_cameras',
        'aligned',
        'alignment_error_m',
        'positions_left_out',
        'held_out_seen_by_run',
        'coverage',
        'baked_alike_db',
        'psnr_db',
        'psnr_plain_db',
        'psnr_covered_db',
        'depth_error_m',
        'held_out_frames',
        'measured_frames',
        'original_psnr_db',
        'original_depth_error_m',
        'original_measured_frames',
        'baking_loss_db',
        'synthetic_views',
        'landmarks',
        'surface_points',
        'calibration_poses',
        'calibration_right',
    ]


def test_held_out_pictures_that_the_run_has_seen_are_told_and_counted(built):
    manifest = built[0].manifest
    held_out = BAG_WALK[held_out_mask(30, 0.2), :3, 3]
    apart = [np.linalg.norm(WALK[:, :3, 3] - at, axis=1).min() for at in held_out]
    assert np.count_nonzero(np.array(apart) < 1e-6) == 2 and sorted(apart)[2] > 0.03
    assert manifest['metrics']['held_out_seen_by_run'] == 2
    assert manifest['warnings'] == [
        'warning: 2 of the 6 held-out pictures were seen by the run (cameras within 2 cm):'
        ' probability and covariance may be too sure; give a BAG of another walk'
    ]


def test_views_are_not_drawn_around_a_runs_camera_that_is_near_to_a_held_out_picture(tmp_path):
    taken = BAG_WALK[:10]
    run = taken[5:8].copy()
    run[:, 2, 3] += 0.01
    settings = CaptureConfig(pose_convention='optical', up_axis='z', min_move_m=0)
    real, shown_there = (
        open_capture(write_room_bag(tmp_path / name, poses, CAMERA, up_axis='z'), settings)
        for name, poses in (('bag', taken), ('run', run))
    )
    made_from = MappingData(shown_there, real, CAMERA, real.convention, 0.2)
    assert np.flatnonzero(made_from.held_out).tolist() == [6, 7]
    wanted = np.concatenate([taken[[0, 1, 2, 3, 4, 5, 8, 9]], run[:1]])
    np.testing.assert_allclose(made_from.training_poses, wanted, atol=1e-6)
    assert len(made_from.mapping_poses) == 13


def test_a_camera_is_near_to_another_within_2_cm_and_2_degrees():
    at = walk(8)[:1]
    shifted, turned = at.copy(), at.copy()
    shifted[0, 0, 3] += 0.021
    turned[0, :3, :3] = at[0, :3, :3] @ Rotation.from_euler('y', 2.1, degrees=True).as_matrix()
    close = at.copy()
    close[0, 0, 3] += 0.019
    poses = np.concatenate([at, close, shifted, turned])
    assert is_near_any(poses, at).tolist() == [True, True, False, False]
    assert not is_near_any(poses, at[:0]).any()


def test_the_map_of_a_run_is_where_the_bag_has_it(built):
    metrics = built[0].manifest['metrics']
    assert metrics['run_scale'] == pytest.approx(2.5, rel=0.02)
    walked = built[0].mapping_poses
    np.testing.assert_allclose(walked[:30], BAG_WALK, atol=1e-6)
    nearest = [np.linalg.norm(WALK[:, :3, 3] - at[:3, 3], axis=1).min() for at in walked[30:]]
    assert len(nearest) == 36 and max(nearest) < 0.02


def test_held_out_pictures_calibrate_and_nothing_else(built):
    held_out = set(np.flatnonzero(held_out_mask(30, 0.2)).tolist())
    read = {stage: {index for at, index in built[1] if at == stage} for stage, _ in built[1]}
    calibrating = read.pop('regressor') | read.pop('calibration')
    assert calibrating == held_out and len(held_out) == 6
    assert read.pop('measuring') <= held_out
    before = set().union(*read.values())
    assert len(before) == 24 and not before & held_out


def test_pictures_of_the_bags_room_are_localized_in_the_map_of_a_run_and_none_wrongly(built):
    """A few may be rejected: so small a regressor comes too far from some places of the walk."""
    localizer = open_localizer(built[0], LocalizerConfig(device='cpu', min_probability=0.5))
    poses = walk(33)[::3]
    pictures = [render_box_room(pose, CAMERA)[0] for pose in poses]
    outcomes = [localizer.localize(rgb, CAMERA) for rgb in pictures]
    found = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, PoseEstimate)]
    assert len(found) >= 8, outcomes  # of 11
    estimated = np.stack([outcomes[i].map_from_camera for i in found])
    errors = pose_errors(estimated, poses[found])
    assert errors.translation.max() < 0.04 and np.degrees(errors.rotation).max() < 1.0


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


def build_rough(config, map_dir, progress=no_progress):
    field = f'nerfstudio:{config}'
    return build_map(None, map_dir, ROUGH, device='cpu', field=field, progress=progress)


@pytest.mark.parametrize('factor', [0.05, 30.0])
def test_a_run_in_units_far_from_metres_becomes_a_map_of_a_likely_size(trained, tmp_path, factor):
    config, told = in_other_units(trained, factor, tmp_path), []
    with shown(make_sim3(factor) @ WORLD_FROM_MAP):
        map_ = build_rough(config, tmp_path / 'room.map', told.append)
    scale, manifest = map_.manifest['metrics']['run_scale'], map_.manifest
    # A unit is 2.5 m / factor; half of what the cameras see is nearer than 2 m in the map (but
    # for edges, whose depth is unknown in renders).
    depths = [render_box_room(at, CAMERA.downscaled_to(64))[1] for at in WALK]
    shrunk = 2.0 / float(np.median(depths))
    assert scale * factor / 2.5 == pytest.approx(shrunk, rel=0.1) and shrunk < 0.9
    warning = manifest['warnings'][0]
    assert f'one of their units is taken as {scale:.3g} m' in warning
    # What is too large may be a hall in metres; what is too small is no room in any case.
    assert ('(if they are, raise capture.max_depth_m)' in warning) == (factor > 1)
    stages = [step.stage for step in told if step.note == warning]
    assert stages == ['capture']
    # The walk is as large as that tells, and its heights are along z.
    height = np.ptp(map_.mapping_poses[:, 2, 3])
    assert height == pytest.approx(0.2 * shrunk, abs=0.02)
    assert manifest['metrics']['coverage'] > 0.5 and manifest['metrics']['landmarks'] > 100


def test_a_run_in_units_that_may_be_metres_keeps_them(trained, tmp_path):
    with shown(WORLD_FROM_MAP):
        map_ = build_rough(trained, tmp_path / 'room.map')
    manifest = map_.manifest
    assert manifest['metrics']['run_scale'] == pytest.approx(1.0)
    assert 'lengths are those of the data that the run was trained on' in manifest['warnings'][0]
    assert any('no camera picture was localized' in warning for warning in manifest['warnings'])
    assert not map_.convention.of_bag
    # No picture has measured it.
    metrics = manifest['metrics']
    assert metrics['baked_alike_db'] > 10 and metrics['coverage'] > 0.5
    assert not any('psnr' in name or name == 'depth_error_m' for name in metrics)


def test_a_camera_that_is_moved_in_the_data_of_a_run_makes_its_build_start_afresh(
    trained, tmp_path
):
    config, told = in_other_units(trained, 1.0, tmp_path), []

    def until(wanted):
        def progress(step):
            told.append(step)
            if wanted in (step.stage, step.note.partition(' ')[0]):
                raise KeyboardInterrupt

        return progress

    with shown(WORLD_FROM_MAP):
        for wanted in ('synthesis', 'resuming'):
            with pytest.raises(KeyboardInterrupt):
                build_rough(config, tmp_path / 'room.map', until(wanted))
        data = trained.parents[4] / 'scene_1.0' / 'transforms.json'
        held = json.loads(data.read_text())
        held['frames'][6]['transform_matrix'][0][3] += 0.08 * 0.4
        data.write_text(json.dumps(held))
        told.clear()
        build_rough(config, tmp_path / 'room.map', told.append)
    assert any(step.note.startswith('starting afresh: ') for step in told)
    assert [step.done for step in told if step.stage == 'rendering'] == list(range(1, 13))


def test_a_poor_field_is_told_by_pictures_where_there_are_some_else_by_renders():
    def told(**report):
        return field_warnings(report, BuildConfig(), 'nerfstudio:config.yml')

    assert told(psnr_db=20.0, baked_alike_db=9.0, coverage=0.9) == []
    (by_pictures,) = told(psnr_db=9.0, baked_alike_db=20.0, coverage=0.9)
    assert 'reaches 9.0 dB on held-out frames, less than the 15.0 dB' in by_pictures
    (by_renders,) = told(baked_alike_db=8.0, coverage=0.9)
    assert 'reaches 8.0 dB on held-out renders of the run, less than' in by_renders


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
    assert len(written['poses']) == len(BAG_WALK) and written['map_from_world'] is None


def test_a_run_that_shows_nothing_is_told():
    with pytest.raises(BuildError, match='show nothing at its training cameras'):
        guess_unit_m(np.zeros((2, 12, 16), np.float16), 8.0)
