"""Remedies of depth, voxels and synthetic views: followed until the field and its views exist."""

from dataclasses import replace
import re

from box_room import BoxRoom, CAMERA, walk as box_walk
import numpy as np
import pytest
from rooms import render_box_room, walk
import torch

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import MAX_VOXEL_M, NerfstudioConfig, SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.fields.tsdf_fusion import fuse_depth, RgbdView
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views

SMALL = Camera(32, 24, 26.0, 26.0, 15.5, 11.5)
CPU = torch.device('cpu')


def views(max_depth_m=8.0, apart_m=0.0):
    """Return views of the room; the second half was recorded at another place."""
    poses, images = walk(8), []
    for i, pose in enumerate(poses):
        rgb, depth = render_box_room(pose, SMALL)
        depth = np.where(depth > max_depth_m, 0.0, depth).astype(np.float32)
        moved = make_pose(None, (apart_m * (i >= 4),) * 3) @ pose
        images.append(RgbdView(rgb, SMALL, depth, SMALL, moved))
    return images


def fusion_error(images, voxel_m):
    with pytest.raises(BuildError) as error:
        fuse_depth(images, voxel_m, CPU)
    return str(error.value)


def test_more_depth_gives_a_field():
    nearest_m = min(view.depth[view.depth > 0].min() for view in views())
    message = fusion_error(views(nearest_m + 0.01), 0.1)
    assert message.endswith(remedies.MORE_DEPTH.format(voxel_m=0.1))
    fuse_depth(views(8.0), 0.1, CPU)
    assert remedies.MORE_DEPTH.format(voxel_m=0.001) in fusion_error(views(), 0.001)
    fuse_depth(views(), 0.1, CPU)


@pytest.fixture
def small_grid(monkeypatch):
    """Allow grids of the size of one room, so that the test needs no hall."""
    monkeypatch.setattr('nerf_reversal_ros.fields.tsdf_fusion.MAX_GRID_BRICKS', 700)


def test_voxels_of_the_proposed_size_give_a_field(small_grid):
    message = fusion_error(views(), 0.05)
    proposed_m = float(re.search(r'set field.voxel_m to (\S+) or more', message).group(1))
    assert message.endswith(remedies.LARGER_VOXELS.format(voxel_m=proposed_m))
    assert proposed_m <= MAX_VOXEL_M
    fuse_depth(views(), proposed_m, CPU)


def test_poses_and_depth_in_meters_give_a_field(small_grid):
    assert fusion_error(views(apart_m=1000.0), 0.2).endswith(remedies.NEARER_DEPTH)
    fuse_depth(views(apart_m=1.0), 0.2, CPU)  # the same, but for millimeters


def synthesize(work_dir, config, room):
    return synthesize_views(room, box_walk(20), CAMERA, config, seed=3, work_dir=work_dir)


@pytest.mark.parametrize(
    ('remedy', 'settings', 'room'),
    [
        (remedies.NARROWER_SAMPLING, {'translation_m': 20.0}, BoxRoom()),
        (remedies.SMALLER_CLEARANCE, {'clearance_m': 2.0}, BoxRoom()),
        (remedies.MORE_OPAQUE_VIEWS, {}, BoxRoom(unknown_above_m=0.3)),
        (remedies.NEARER_VIEWS, {'near_m': 20.0}, BoxRoom()),
    ],
    ids=['behind walls', 'clearance', 'unseen', 'near'],
)
def test_views_are_possible_after_the_named_settings_are_changed(tmp_path, remedy, settings, room):
    config = SynthesisConfig(**{'views': 8, 'translation_m': 0.3, 'clearance_m': 0.1, **settings})
    with pytest.raises(BuildError) as error:
        synthesize(tmp_path / 'first', config, room)
    message = str(error.value)
    assert remedy.format(**vars(config)) in message
    for attempt in range(8):
        changes = re.findall(r'(lower|raise)? ?synthesis\.(\w+), now ([\d.]+)', message)
        for verb, name, value in changes:
            changed = max(2 * float(value), 0.1) if verb == 'raise' else float(value) / 2
            config = replace(config, **{name: min(changed, 1.0) if verb == 'raise' else changed})
        try:
            assert len(synthesize(tmp_path / str(attempt), config, room)) == 8
            return
        except BuildError as error:
            message = str(error)
    pytest.fail(message)


def test_more_steps_than_the_default_train_a_nerfacto_longer():
    pytest.importorskip('nerfstudio')
    from nerf_reversal_ros.fields.nerfstudio.models import training_budget

    cpu_steps, gpu_steps = map(int, re.findall(r'above (\d+)', remedies.LONGER_TRAINING))
    assert training_budget(NerfstudioConfig(), CPU).steps == cpu_steps
    assert training_budget(NerfstudioConfig(), torch.device('cuda')).steps == gpu_steps
    assert training_budget(NerfstudioConfig(steps=gpu_steps + 1), CPU).steps == gpu_steps + 1
