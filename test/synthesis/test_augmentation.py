"""Behavior of the augmentation of training images: appearance, and motions by depth."""

from box_room import pictures, walk
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.regressor.image_codec import to_tensors
from nerf_reversal_ros.synthesis.augmentation import (
    augment_appearance,
    sample_motions,
    warp_by_depth,
)

QUERIES = walk(37, radius_m=0.8, height_m=1.25)
ANISOTROPIC = Camera(48, 36, 40.0, 36.0, 22.5, 18.5)


@pytest.mark.parametrize('translation_m', [0.0, 0.1])
def test_an_image_warped_by_depth_equals_a_rendering_at_the_moved_pose(translation_m):
    rng = np.random.default_rng(0)
    rotations = Rotation.from_rotvec(rng.normal(0.0, np.radians(4), (4, 3)))
    motions = np.stack(
        [make_pose(rotation, rng.normal(0.0, translation_m, 3)) for rotation in rotations]
    )
    source = pictures(QUERIES[:4], ANISOTROPIC)
    target = pictures(QUERIES[:4] @ motions, ANISOTROPIC)
    rgb, mask = to_tensors(source.rgb, source.valid, 'cpu')
    rgb[:, :, :6], mask[:, :, :6] = 0.0, 0.0  # six invalid rows
    depth = torch.from_numpy(source.depth).float()
    depth[:, 20, 30] = 0.0  # unknown
    moves = torch.from_numpy(motions).float()
    rgb, valid, _ = warp_by_depth(rgb, mask, depth, ANISOTROPIC, moves)
    error = (rgb - to_tensors(target.rgb, target.valid, 'cpu')[0]).abs().mean(1)[valid[:, 0] > 0]
    assert 0.5 < float(valid.mean()) < 0.85
    assert float(error.mean()) < 0.015
    assert float(error.quantile(0.99)) < 0.1


def test_sampled_motions_are_small_compared_with_the_nearest_depth():
    rng = np.random.default_rng(0)
    depth = torch.zeros(200, 40, 40)
    depth[100:, :, :20] = 3.0  # the other half is unknown
    depth[100:, ::10] = torch.where(depth[100:, ::10] > 0, 1.0, 0.0)
    motions = sample_motions(depth, rng)
    distances = motions[:, :3, 3].norm(dim=1)
    assert float(distances[:100].max()) == 0.0  # no depth: rotations only
    assert 0.08 < float(distances[100:].median())
    assert float(distances.max()) == pytest.approx(0.15)  # a fraction of 1 m, not of 3 m
    assert float((motions[:, :3, :3] - torch.eye(3)).abs().amax((1, 2)).min()) > 0.0


def colors(count):
    source = pictures(QUERIES[:count])
    return to_tensors(source.rgb, source.valid, 'cpu')[0]


def test_appearance_depends_on_the_seed_alone():
    rgb = colors(4)
    first, again, other = (augment_appearance(rgb, np.random.default_rng(i)) for i in (1, 1, 2))
    torch.testing.assert_close(first, again, rtol=0, atol=0)
    assert float((first - other).abs().mean()) > 0.02


def test_appearance_varies_and_stays_a_picture():
    rgb = colors(1).repeat(200, 1, 1, 1)
    before = rgb.clone()
    varied = augment_appearance(rgb, np.random.default_rng(0))
    torch.testing.assert_close(rgb, before, rtol=0, atol=0)
    assert 0.0 <= float(varied.min()) and float(varied.max()) < 1.0 + 1e-5
    assert float(varied.mean((1, 2, 3)).std()) > 0.05  # exposure
    ratio = varied.mean((2, 3)) / varied.mean((1, 2, 3))[:, None]
    assert float(ratio.std(0).mean()) > 0.02  # white balance


def test_a_blur_keeps_a_flat_image():
    flat = torch.full((60, 3, 12, 16), 0.5)
    varied = augment_appearance(flat, np.random.default_rng(0))
    spread = varied.flatten(2).std(2).amax(1)
    assert 0.4 < float((spread < 1e-5).float().mean()) < 0.8  # the others are occluded
