"""A nerfstudio run becomes a map: a bag aligns and calibrates it; else units are guessed."""

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

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.mapping_data import is_near_any, MappingData, SplitCapture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import (
    AtlasConfig,
    BuildConfig,
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
from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.mapping.run_alignment import guess_unit_m
from nerf_reversal_ros.mapping.stages import PROGRESS_STAGES

pytestmark = pytest.mark.skipif(
    not any(d.metadata['Name'] == 'nerfstudio' for d in importlib.metadata.distributions()),
    reason='nerfstudio is not installed: make test brings it',
)
CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
RUN_POSES = walk(40)
BAG_POSES = walk(30)
WORLD_FROM_MAP = make_sim3(
    0.4, make_pose(Rotation.from_euler('xyz', [-90, 0, 30], degrees=True), (2.0, 1.0, -3.0))
)
"""Sim(3) to the frame of the run's data: y up, and a unit is 2.5 m."""
SETTINGS_WITH_BAG = BuildConfig(
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
FAST_SETTINGS = BuildConfig(
    nerfstudio=NerfstudioConfig(bake_views=12, bake_size=64),
    field=VoxelFieldConfig(voxel_m=0.05, steps=2, rays_per_step=256),
    synthesis=SynthesisConfig(views=4, width=32, translation_m=0.5, clearance_m=0.15, near_m=0.25),
    atlas=AtlasConfig(views=8, size=128),
    regressor=RegressorConfig(components=4, epochs=8),
)


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp('runs')
    scene = write_scene(
        folder / 'scene', transform_poses(WORLD_FROM_MAP, RUN_POSES), RUN_POSES, CAMERA
    )
    return train_run(scene, folder / 'out', steps=2)[0]


@contextmanager
def perfect_run(world_from_map):
    """Replace the field of a briefly trained run by the room itself, as after a long training."""
    from nerf_reversal_ros.fields.nerfstudio.run import NerfstudioRun

    def field(_, map_from_world):
        return PerfectRun(map_from_world @ world_from_map)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(NerfstudioRun, 'field', field)
        yield patched


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    """Record a capture without depth, on the topics of another driver."""
    folder = tmp_path_factory.mktemp('bags')
    recorded = write_room_bag(folder / 'recorded', BAG_POSES, CAMERA, depth=False)
    topics = {IMAGE: '/camera/image', INFO: '/camera/info', POSE: '/camera/pose'}
    return rewrite(recorded, folder / 'bag', lambda topic, message, _: [(topics[topic], message)])


@pytest.fixture(scope='module')
def built(trained, bag, tmp_path_factory):
    """Build; return the map and, per frame read from the bag, the last stage reported before."""
    stages, reads = ['capture'], []
    frame = Capture.frame

    def recording_frame(capture, index):
        if capture.source == bag:
            reads.append((stages[-1], index))
        return frame(capture, index)

    with perfect_run(WORLD_FROM_MAP) as patched:
        patched.setattr(Capture, 'frame', recording_frame)
        map_ = build_map(
            bag,
            tmp_path_factory.mktemp('maps') / 'room.map',
            SETTINGS_WITH_BAG,
            device='cpu',
            field=f'nerfstudio:{trained}',
            progress=lambda report: stages.append(report.stage),
        )
    assert set(stages) <= set(PROGRESS_STAGES)
    return map_, reads


# ---- with a bag


def test_images_of_the_bag_calibrate_the_map_of_a_run(built):
    manifest = built[0].manifest
    assert manifest['metrics']['calibration_poses'] > 0
    assert manifest['metrics']['calibration_right'] >= 10
    assert manifest['calibration']['gate_bias'] != 0
    assert not any('no camera image was localized' in text for text in manifest['warnings'])
    assert manifest['capture']['counts']['kept'] == len(BAG_POSES)
    assert built[0].convention.of_bag


def test_images_of_the_bag_measure_the_map_of_a_run(built):
    metrics = built[0].manifest['metrics']
    # The run renders the room exactly, and the bag has images without depth.
    assert metrics['original_psnr_db'] > 24 and metrics['original_measured_frames'] == 6
    assert metrics['psnr_db'] > 22 and metrics['depth_error_m'] is None
    loss_db = metrics['original_psnr_db'] - metrics['psnr_db']  # both are compared at 160 px
    assert metrics['baking_loss_db'] == pytest.approx(loss_db)
    assert metrics['measured_frames'] == metrics['held_out_frames'] == 6
    # The PSNR against renderings of the run has a key of its own.
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
        'scene_depth_m',
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


def test_held_out_images_that_the_run_was_trained_on_are_counted_with_a_warning(built):
    manifest = built[0].manifest
    held_out = BAG_POSES[held_out_mask(30, 0.2), :3, 3]
    distances = [np.linalg.norm(RUN_POSES[:, :3, 3] - xyz, axis=1).min() for xyz in held_out]
    assert np.count_nonzero(np.array(distances) < 1e-6) == 2 and sorted(distances)[2] > 0.03
    assert manifest['metrics']['held_out_seen_by_run'] == 2
    counted = [text for text in manifest['warnings'] if 'held-out images' in text]
    assert counted == [
        'warning: the run was trained on 2 of the 6 held-out images (cameras within 2 cm):'
        ' probability and covariance may be overconfident; give a BAG of another capture'
    ]


def test_training_poses_exclude_cameras_of_a_run_near_a_held_out_image(tmp_path):
    bag_poses = BAG_POSES[:10]
    run_poses = bag_poses[5:8].copy()
    run_poses[:, 2, 3] += 0.01
    settings = CaptureConfig(pose_convention='optical', up_axis='z', min_move_m=0)
    images, renderings = (
        SplitCapture.split(
            open_capture(write_room_bag(tmp_path / name, poses, CAMERA, up_axis='z'), settings),
            0.2,
        )
        for name, poses in (('bag', bag_poses), ('run', run_poses))
    )
    mapping_data = MappingData(renderings, images, CAMERA, images.capture.convention)
    assert np.flatnonzero(mapping_data.held_out).tolist() == [6, 7]
    expected = np.concatenate([bag_poses[[0, 1, 2, 3, 4, 5, 8, 9]], run_poses[:1]])
    np.testing.assert_allclose(mapping_data.training_poses, expected, atol=1e-6)
    assert len(mapping_data.mapping_poses) == 13


def test_two_cameras_are_near_within_2_cm_and_2_degrees():
    pose = walk(8)[:1]
    near, shifted, rotated = pose.copy(), pose.copy(), pose.copy()
    near[0, 0, 3] += 0.019
    shifted[0, 0, 3] += 0.021
    rotated[0, :3, :3] = pose[0, :3, :3] @ Rotation.from_euler('y', 2.1, degrees=True).as_matrix()
    poses = np.concatenate([pose, near, shifted, rotated])
    assert is_near_any(poses, pose).tolist() == [True, True, False, False]
    assert not is_near_any(poses, pose[:0]).any()


def test_the_map_of_a_run_has_the_frame_and_scale_of_the_bag(built):
    metrics = built[0].manifest['metrics']
    assert metrics['run_scale'] == pytest.approx(2.5, rel=0.02)
    mapping_poses = built[0].mapping_poses
    np.testing.assert_allclose(mapping_poses[:30], BAG_POSES, atol=1e-6)
    distances = [
        np.linalg.norm(RUN_POSES[:, :3, 3] - pose[:3, 3], axis=1).min()
        for pose in mapping_poses[30:]
    ]
    assert len(distances) == 36 and max(distances) < 0.02


def test_held_out_images_are_used_for_calibration_and_measurement_alone(built):
    held_out = set(np.flatnonzero(held_out_mask(30, 0.2)).tolist())
    reads = {stage: {index for at, index in built[1] if at == stage} for stage, _ in built[1]}
    assert reads.pop('first_map') == held_out and len(held_out) == 6
    assert reads.pop('regressor') | reads.pop('calibration') == held_out
    assert reads.pop('measuring') <= held_out
    training = set().union(*reads.values())
    assert len(training) == 24 and not training & held_out


def test_the_map_of_a_run_localizes_images_of_the_room_and_accepts_no_incorrect_pose(built):
    """A few may be rejected: so small a regressor is too far off at some poses."""
    localizer = open_localizer(built[0], LocalizerConfig(device='cpu', min_probability=0.5))
    poses = walk(33)[::3]
    images = [render_box_room(pose, CAMERA)[0] for pose in poses]
    outcomes = [localizer.localize(rgb, CAMERA) for rgb in images]
    accepted = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, PoseEstimate)]
    assert len(accepted) >= 8, outcomes  # of 11
    estimated = np.stack([outcomes[i].map_from_camera for i in accepted])
    errors = pose_errors(estimated, poses[accepted])
    assert errors.translation.max() < 0.04 and np.degrees(errors.rotation).max() < 1.0


# ---- without a bag


def copy_with_scaled_data(run, factor, folder):
    """Copy a run and multiply the camera positions of its data by ``factor``."""
    scene = run.parents[4] / 'scene'
    scaled_scene = scene.with_name(f'scene_{factor}')
    scaled_scene.mkdir()
    transforms = json.loads((scene / 'transforms.json').read_text())
    for frame in transforms['frames']:
        for row in frame['transform_matrix'][:3]:
            row[3] *= factor
    (scaled_scene / 'transforms.json').write_text(json.dumps(transforms))
    config = shutil.copytree(run.parent, folder / 'run') / 'config.yml'
    config.write_text(config.read_text().replace('- scene\n', f'- {scaled_scene.name}\n'))
    (config.parent / 'dataparser_transforms.json').unlink()  # belongs to the original data
    return config


def build_fast(config, map_dir, progress=no_progress):
    field = f'nerfstudio:{config}'
    return build_map(None, map_dir, FAST_SETTINGS, device='cpu', field=field, progress=progress)


@pytest.mark.parametrize('factor', [0.05, 30.0])
def test_a_run_in_units_far_from_meters_becomes_a_map_of_a_plausible_size(
    trained, tmp_path, factor
):
    config, reports = copy_with_scaled_data(trained, factor, tmp_path), []
    with perfect_run(make_sim3(factor) @ WORLD_FROM_MAP):
        map_ = build_fast(config, tmp_path / 'room.map', reports.append)
    scale, manifest = map_.manifest['metrics']['run_scale'], map_.manifest
    # A unit is 2.5 m / factor; the median depth in the map is 2 m (except for edges, whose depth
    # is unknown in renderings).
    depths = [render_box_room(pose, CAMERA.downscaled_to(64))[1] for pose in RUN_POSES]
    map_scale = 2.0 / float(np.median(depths))
    assert scale * factor / 2.5 == pytest.approx(map_scale, rel=0.1) and map_scale < 0.9
    warning = manifest['warnings'][0]
    assert f'one of their units is taken as {scale:.3g} m' in warning
    # Depths that are too large may be a hall in meters; depths that are too small are no room.
    assert ('(if they are, raise capture.max_depth_m)' in warning) == (factor > 1)
    stages = [report.stage for report in reports if report.note == warning]
    assert stages == ['capture']
    # The heights of the cameras are along z, in the same scale.
    height = np.ptp(map_.mapping_poses[:, 2, 3])
    assert height == pytest.approx(0.2 * map_scale, abs=0.02)
    assert manifest['metrics']['coverage'] > 0.5 and manifest['metrics']['landmarks'] > 100


def test_a_run_in_units_that_may_be_meters_keeps_its_scale(trained, tmp_path):
    with perfect_run(WORLD_FROM_MAP):
        map_ = build_fast(trained, tmp_path / 'room.map')
    manifest = map_.manifest
    assert manifest['metrics']['run_scale'] == pytest.approx(1.0)
    assert 'the scale is that of the data that the run was trained on' in manifest['warnings'][0]
    assert any('no camera image was localized' in warning for warning in manifest['warnings'])
    assert not map_.convention.of_bag
    # No camera image measures it.
    metrics = manifest['metrics']
    assert metrics['baked_alike_db'] > 10 and metrics['coverage'] > 0.5
    assert not any('psnr' in name or name == 'depth_error_m' for name in metrics)


def test_a_build_starts_over_when_a_camera_of_the_run_is_moved(trained, tmp_path):
    config, reports = copy_with_scaled_data(trained, 1.0, tmp_path), []

    def interrupt_at(word):
        """Interrupt at a stage, or at a note that begins with the word."""

        def progress(report):
            reports.append(report)
            if word in (report.stage, report.note.partition(' ')[0]):
                raise KeyboardInterrupt

        return progress

    with perfect_run(WORLD_FROM_MAP):
        for word in ('synthesis', 'resuming'):
            with pytest.raises(KeyboardInterrupt):
                build_fast(config, tmp_path / 'room.map', interrupt_at(word))
        data = trained.parents[4] / 'scene_1.0' / 'transforms.json'
        transforms = json.loads(data.read_text())
        transforms['frames'][6]['transform_matrix'][0][3] += 0.08 * 0.4
        data.write_text(json.dumps(transforms))
        reports.clear()
        with pytest.raises(BuildError, match='the first map of another build'):
            build_fast(config, tmp_path / 'room.map', reports.append)
        shutil.rmtree(tmp_path / 'room.map')
        build_fast(config, tmp_path / 'room.map', reports.append)
    assert any(report.note.startswith('starting over: ') for report in reports)
    rendered = [report.done for report in reports if report.stage == 'rendering']
    assert rendered == list(range(1, 13))


def test_a_low_psnr_warns_by_camera_images_or_else_by_renderings():
    def warnings(**report):
        return field_warnings(report, BuildConfig(), 'nerfstudio:config.yml')

    assert warnings(psnr_db=20.0, baked_alike_db=9.0, coverage=0.9) == []
    (by_images,) = warnings(psnr_db=9.0, baked_alike_db=20.0, coverage=0.9)
    assert 'reaches 9.0 dB on held-out frames, less than the 15.0 dB' in by_images
    (by_renderings,) = warnings(baked_alike_db=8.0, coverage=0.9)
    assert 'reaches 8.0 dB on held-out renderings of the run, less than' in by_renderings


def test_a_map_without_a_bag_localizes_and_cannot_be_evaluated_on_poses_of_a_bag(
    trained, bag, tmp_path, capsys
):
    with perfect_run(WORLD_FROM_MAP):
        map_ = build_map(
            None, tmp_path / 'room.map', FAST_SETTINGS, device='cpu', field=f'nerfstudio:{trained}'
        )
    settings, poses = tmp_path / 'settings.yaml', tmp_path / 'poses.json'
    settings.write_text(
        'capture: {image_topic: /camera/image, camera_info_topic: /camera/info, depth_topic: "",'
        ' pose_topic: /camera/pose}\nlocalizer: {device: cpu}\n'
    )
    arguments = [str(map_.path), str(bag), '--config', str(settings)]
    assert main(['evaluate', *arguments, '--baselines', 'none']) == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert 'the map was built without a bag, so that the pose of' in message
    assert main(['localize', *arguments, '--out', str(poses)]) == 0
    output = json.loads(poses.read_text())
    assert len(output['poses']) == len(BAG_POSES) and output['map_from_world'] is None


def test_a_run_with_empty_renderings_is_rejected():
    with pytest.raises(BuildError, match='are empty at its training cameras'):
        guess_unit_m(np.zeros((2, 12, 16), np.float16), 8.0)
