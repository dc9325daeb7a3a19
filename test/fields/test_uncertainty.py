"""Uncertainty of a voxel field where the expected result is known."""

import numpy as np
import pytest
import torch
from voxel_walls import AHEAD, BRICKS, MIDDLE, ORIGIN, wall_field, WALL_M

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import look_at
from nerf_reversal_ros.fields import uncertainty
from nerf_reversal_ros.fields.uncertainty import (
    color_gradients,
    composite,
    estimate_uncertainty,
    PRIOR_M,
)
from nerf_reversal_ros.fields.voxel_uncertainty import DeformableVoxelField

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
UNKNOWN_M = np.sqrt(3) * PRIOR_M


def striped(points):
    """Return colors that vary along each axis with a period of 40 cm."""
    return np.stack([0.5 + 0.3 * np.sin(points[..., i] / 0.064) for i in range(3)], axis=-1)


FIELD = wall_field(striped)
DEFORMABLE = DeformableVoxelField(FIELD)


def poses_facing(*targets_yz):
    """Return poses at the middle that face points (y, z) of the wall."""
    return np.array([look_at(MIDDLE, np.array([WALL_M, y, z])) for y, z in targets_yz])


def wall_points(*yz):
    """Return points of the surface of the wall."""
    return np.array([[WALL_M, y, z] for y, z in yz])


@pytest.fixture(scope='module')
def grid():
    """Estimate from views of the middle of the wall: about 0.5 m to each side."""
    return estimate_uncertainty(
        DEFORMABLE, poses_facing((-0.1, 0), (0, 0.1), (0.1, 0), (0, -0.1)), CAMERA
    )


def sample_random_rays(count, seed=0):
    """Sample random rays from the middle to the wall: directions and samples."""
    to = torch.from_numpy(np.random.default_rng(seed).uniform(-0.4, 0.4, (count, 3))).float()
    to[:, 0] = WALL_M - MIDDLE[0]
    directions = to / to.norm(dim=1, keepdim=True)
    origins = torch.from_numpy(MIDDLE - ORIGIN).float().expand(count, 3)
    return directions, DEFORMABLE.sample_rays(origins, directions)


def test_compositing_the_samples_gives_the_rendered_color():
    directions, samples = sample_random_rays(50)
    origins = torch.from_numpy(MIDDLE - ORIGIN).float().expand(50, 3)
    rendered, _, _ = FIELD.trace(origins, directions)
    composited = composite(DEFORMABLE, directions, samples, samples.points)
    torch.testing.assert_close(composited, rendered, atol=0.01, rtol=0)


@pytest.mark.parametrize('axis', range(3))
def test_gradients_match_finite_differences(axis):
    directions, samples = sample_random_rays(20)
    gradients = color_gradients(DEFORMABLE, directions, samples)
    step_m = 2e-4
    fraction = (samples.points / FIELD.voxel_m) % 1
    smooth = ((fraction - 0.5).abs() < 0.49).all(1)  # no step leaves its voxel
    textured = smooth & (gradients.abs().amax((1, 2)) > 0.1)
    assert textured.sum() > 20
    for index in textured.nonzero()[::7, 0]:
        shift = torch.zeros_like(samples.points)
        shift[index, axis] = step_m
        forward, backward = (
            composite(DEFORMABLE, directions, samples, samples.points + sign * shift)
            for sign in (1, -1)
        )
        change = ((forward - backward) / (2 * step_m))[samples.ray[index]]
        torch.testing.assert_close(change, gradients[index, :, axis], atol=0.02, rtol=0.02)


def test_unobserved_places_have_the_prior_uncertainty(grid):
    assert grid.std_m(wall_points((1.0, 1.0), (-1.0, 0.9))) == pytest.approx(UNKNOWN_M)
    assert grid.std_m(np.array([[0.5, -0.9, 0.9]])) == pytest.approx(UNKNOWN_M)
    assert grid.std_m(np.array([[50.0, 0, 0], [-50.0, 0, 0]])) == pytest.approx(UNKNOWN_M)


def test_places_observed_by_many_rays_have_low_uncertainty(grid):
    yz = np.random.default_rng(0).uniform(-0.3, 0.3, (50, 2))
    std_m = grid.std_m(wall_points(*yz))
    assert np.median(std_m) < 0.1 * UNKNOWN_M
    assert std_m.max() < 0.3 * UNKNOWN_M


def test_information_adds_up_over_images():
    left, right = poses_facing((-0.1, 0)), poses_facing((0.1, 0))
    alone = [
        estimate_uncertainty(DEFORMABLE, poses, CAMERA).information for poses in (left, right)
    ]
    both = estimate_uncertainty(DEFORMABLE, np.concatenate([left, right]), CAMERA).information
    np.testing.assert_allclose(both, alone[0] + alone[1], rtol=1e-4, atol=1e-3)


def test_a_subset_of_many_poses_stands_for_all(grid, monkeypatch):
    monkeypatch.setattr(uncertainty, 'MAX_POSES', 2)
    few = estimate_uncertainty(DEFORMABLE, poses_facing(*[(0, 0)] * 8), CAMERA).information
    monkeypatch.setattr(uncertainty, 'MAX_POSES', 100)
    all_poses = estimate_uncertainty(DEFORMABLE, poses_facing(*[(0, 0)] * 8), CAMERA).information
    np.testing.assert_allclose(few, all_poses, rtol=1e-4, atol=1e-3)


def test_a_wall_without_texture_is_more_uncertain_than_a_textured_one():
    plain = estimate_uncertainty(
        DeformableVoxelField(wall_field()), poses_facing((0, 0), (0.1, 0)), CAMERA
    )
    painted = estimate_uncertainty(DEFORMABLE, poses_facing((0, 0), (0.1, 0)), CAMERA)
    yz = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 2))
    assert plain.std_m(wall_points(*yz)).min() > 2 * painted.std_m(wall_points(*yz)).max()


def test_the_uncertainty_of_a_view_is_that_of_its_surfaces(grid):
    pose = look_at(MIDDLE, MIDDLE + AHEAD)
    wide = Camera(60, 60, 25.0, 25.0, 29.5, 29.5)
    (view,) = FIELD.render(pose[None], wide)
    std_m = grid.std_of_view_m(view, pose, wide)
    assert std_m.shape == (60, 60)
    assert std_m[25:35, 25:35].max() < 0.3 * UNKNOWN_M
    assert std_m[[0, 0, -1, -1], [0, -1, 0, -1]] == pytest.approx(UNKNOWN_M)
    assert (view.depth == 0).any()
    assert std_m[view.depth == 0] == pytest.approx(UNKNOWN_M)


def test_the_grid_is_repeatable_and_independent_of_the_batch_size(grid, monkeypatch):
    poses = poses_facing((-0.1, 0), (0, 0.1), (0.1, 0), (0, -0.1))
    again = estimate_uncertainty(DEFORMABLE, poses, CAMERA)
    np.testing.assert_array_equal(again.information, grid.information)
    monkeypatch.setattr(uncertainty, 'RAYS_PER_BATCH', 100)
    parts = estimate_uncertainty(DEFORMABLE, poses, CAMERA)
    np.testing.assert_allclose(parts.information, grid.information, rtol=1e-3, atol=1e-2)


def test_a_large_extent_gets_a_coarser_grid(monkeypatch):
    monkeypatch.setattr(uncertainty, 'MAX_VERTICES', 10_000)
    grid = estimate_uncertainty(DEFORMABLE, poses_facing((0, 0)), CAMERA)
    assert grid.information[..., 0].size <= 10_000
    extent_m = (np.array(grid.information.shape[:3]) - 1) * grid.cell_m
    assert np.all(extent_m >= np.array(BRICKS) * 0.4)
    assert grid.std_m(wall_points((0, 0)))[0] < UNKNOWN_M / 2


def test_without_poses_or_surfaces_there_is_no_information():
    no_poses = estimate_uncertainty(DEFORMABLE, np.empty((0, 4, 4)), CAMERA)
    assert no_poses.information.max() == 0
    away = estimate_uncertainty(DEFORMABLE, look_at(MIDDLE, MIDDLE - AHEAD)[None], CAMERA)
    assert away.information.max() == 0
