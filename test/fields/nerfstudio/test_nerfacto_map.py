"""Maps of a Nerfacto: from a bag to localized images, and rejected requests."""

from dataclasses import replace
import importlib.metadata
from pathlib import Path
import re

from nerfacto_room import CAMERA, POSES, SETTINGS, TINY
from nerfstudio_runs import needs_nerfstudio
import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import render_box_room

from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import (
    BuildConfig,
    LocalizerConfig,
    RegressorConfig,
    SynthesisConfig,
    VoxelFieldConfig,
)
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import pose_errors
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection
from nerf_reversal_ros.fields import uncertainty
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.mapping.pipeline import build_map

pytestmark = pytest.mark.usefixtures('coarse_texture')


@pytest.fixture(scope='module')
def built(bag, tmp_path_factory):
    require_nerfstudio()
    map_dir = tmp_path_factory.mktemp('maps') / 'room.map'
    longer = replace(
        TINY,
        steps=180,
        rays_per_step=640,
        learning_rate=0.03,
        bake_views=16,
        bake_size=96,
        max_std_m=0.8,
    )
    settings = replace(SETTINGS, nerfstudio=longer)
    reports = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(uncertainty, 'MAX_POSES', 8)
        patched.setattr(uncertainty, 'VIEW_SIZE_PX', 32)
        built = build_map(
            bag, map_dir, settings, device='cpu', field='depth-nerfacto', progress=reports.append
        )
    assert 'uncertainty' in {progress.stage for progress in reports}
    return built


@needs_nerfstudio
def test_a_map_of_a_nerfacto_reports_its_baking_loss(built):
    metrics = built.manifest['metrics']
    assert built.manifest['built']['field'] == 'depth-nerfacto'
    assert metrics['original_psnr_db'] > 18 and metrics['psnr_db'] > 18
    assert abs(metrics['baking_loss_db']) < 1.0 and metrics['baked_alike_db'] > 22
    assert metrics['original_depth_error_m'] < 0.03 and metrics['depth_error_m'] < 0.03


@needs_nerfstudio
def test_images_are_localized_in_a_baked_nerfacto_without_incorrect_poses(built):
    """A few images may be rejected: so small a regressor has large errors at some poses."""
    localizer = open_localizer(built, LocalizerConfig(device='cpu', min_probability=0.5))
    poses = POSES[::4]
    images = [render_box_room(pose, CAMERA)[0] for pose in poses]
    outcomes = [localizer.localize(rgb, CAMERA) for rgb in images]
    localized = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, PoseEstimate)]
    assert len(localized) >= 9, outcomes  # of 12
    estimated = np.stack([outcomes[i].map_from_camera for i in localized])
    errors = pose_errors(estimated, poses[localized])
    assert errors.translation.max() < 0.04 and np.degrees(errors.rotation).max() < 0.8


@needs_nerfstudio
def test_a_capture_without_depth_gives_a_map_with_warnings_and_no_pose(tmp_path, capsys):
    bag = write_room_bag(tmp_path / 'bag', POSES[::2], CAMERA, depth=False, pose_convention='')
    quick = BuildConfig(
        capture=CaptureConfig(pose_convention='optical'),
        nerfstudio=replace(TINY, steps=30, rays_per_step=128, bake_views=8, bake_size=48),
        field=VoxelFieldConfig(voxel_m=0.05, steps=10, rays_per_step=512, validation_share=0.1),
        synthesis=SynthesisConfig(views=10, width=32, min_opacity=0, clearance_m=0, near_m=0),
        regressor=RegressorConfig(components=8, epochs=12),
    )
    reports = []
    built = build_map(
        bag, tmp_path / 'map', quick, device='cpu', field='nerfacto', progress=reports.append
    )
    assert built.convention.up_source == 'average camera up'
    assert built.manifest['depth_correction']['points'] == 0
    metrics = built.manifest['metrics']
    assert metrics['depth_error_m'] is None and metrics['original_depth_error_m'] is None
    assert metrics['original_measured_frames'] == 2 and metrics['original_psnr_db'] > 10
    assert metrics['coverage'] < 0.5  # 30 steps of color alone: the map has warnings about it
    for pattern in ('covers only .* set nerfstudio.steps above 2000', 'agree on only'):
        assert any(re.search(pattern, warning) for warning in built.manifest['warnings'])
        assert any(re.search(pattern, report.note) for report in reports)
    localizer = open_localizer(built, LocalizerConfig(device='cpu'))
    outcome = localizer.localize(render_box_room(POSES[3], CAMERA)[0], CAMERA)
    assert isinstance(outcome, Rejection)
    assert main(['info', str(tmp_path / 'map')]) == 0
    assert 'depth_error_m: not measured' in capsys.readouterr().out


def test_without_nerfstudio_the_error_is_the_install_command(tmp_path, capsys, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr('nerf_reversal_ros.fields.nerfstudio.dependency.version', missing)
    require_nerfstudio.cache_clear()
    command = ['build', str(tmp_path / 'bag'), str(tmp_path / 'room.map'), '--field', 'nerfacto']
    assert main(command) == 1
    message = capsys.readouterr().err
    assert 'nerfstudio 1.1.5 is required and not installed: in the source folder of' in message
    assert list(tmp_path.iterdir()) == []
    require_nerfstudio.cache_clear()


def test_another_version_of_nerfstudio_raises_both_versions(monkeypatch):
    monkeypatch.setattr(
        'nerf_reversal_ros.fields.nerfstudio.dependency.version', lambda name: '1.0.3'
    )
    require_nerfstudio.cache_clear()
    with pytest.raises(
        BuildError, match=r'nerfstudio 1\.0\.3 is installed, but 1\.1\.5 is required: in the'
    ):
        require_nerfstudio()
    require_nerfstudio.cache_clear()


@needs_nerfstudio
def test_depth_nerfacto_without_depth_raises_a_remedy(tmp_path: Path):
    bag = write_room_bag(tmp_path / 'bag', POSES[:12], CAMERA, depth=False)
    config = replace(SETTINGS, capture=CaptureConfig(pose_convention='optical'))
    with pytest.raises(BuildError, match='no depth for depth-nerfacto: record with'):
        build_map(bag, tmp_path / 'room.map', config, device='cpu', field='depth-nerfacto')
