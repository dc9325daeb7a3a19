"""How sure a voxel field is, where that is known."""

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

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)
UNKNOWN_M = np.sqrt(3) * PRIOR_M


def striped(points):
    """Paint that varies along each axis, a period of 40 cm."""
    return np.stack([0.5 + 0.3 * np.sin(points[..., i] / 0.064) for i in range(3)], axis=-1)


FIELD = wall_field(striped)


def towards(*targets_yz):
    """Poses from the middle towards places of the wall."""
    return np.array([look_at(MIDDLE, np.array([WALL_M, y, z])) for y, z in targets_yz])


def on_wall(*yz):
    """Points of the wall's surface."""
    return np.array([[WALL_M, y, z] for y, z in yz])


@pytest.fixture(scope='module')
def grid():
    """The wall, looked at around its middle: about 0.5 m each way."""
    return estimate_uncertainty(FIELD, towards((-0.1, 0), (0, 0.1), (0.1, 0), (0, -0.1)), CAMERA)


def rays(count, seed=0):
    """Rays from the middle to the wall, and their samples."""
    to = torch.from_numpy(np.random.default_rng(seed).uniform(-0.4, 0.4, (count, 3))).float()
    to[:, 0] = WALL_M - MIDDLE[0]
    directions = to / to.norm(dim=1, keepdim=True)
    origins = torch.from_numpy(MIDDLE - ORIGIN).float().expand(count, 3)
    return directions, FIELD.sample_rays(origins, directions)


def test_what_rays_are_cut_into_shows_what_a_render_shows():
    directions, samples = rays(50)
    origins = torch.from_numpy(MIDDLE - ORIGIN).float().expand(50, 3)
    rendered, _, _ = FIELD.trace(origins, directions)
    shown = composite(FIELD, directions, samples, samples.points)
    torch.testing.assert_close(shown, rendered, atol=0.01, rtol=0)


@pytest.mark.parametrize('axis', range(3))
def test_slopes_are_what_small_shifts_do(axis):
    directions, samples = rays(20)
    slopes = color_gradients(FIELD, directions, samples)
    step_m = 2e-4
    fraction = (samples.points / FIELD.voxel_m) % 1
    smooth = ((fraction - 0.5).abs() < 0.49).all(1)  # no step leaves its voxel
    shown = smooth & (slopes.abs().amax((1, 2)) > 0.1)
    assert shown.sum() > 20
    for index in shown.nonzero()[::7, 0]:
        shift = torch.zeros_like(samples.points)
        shift[index, axis] = step_m
        there, back = (
            composite(FIELD, directions, samples, samples.points + sign * shift)
            for sign in (1, -1)
        )
        change = ((there - back) / (2 * step_m))[samples.ray[index]]
        torch.testing.assert_close(change, slopes[index, :, axis], atol=0.02, rtol=0.02)


def test_where_no_camera_looked_nothing_is_known(grid):
    assert grid.std_m(on_wall((1.0, 1.0), (-1.0, 0.9))) == pytest.approx(UNKNOWN_M)
    assert grid.std_m(np.array([[0.5, -0.9, 0.9]])) == pytest.approx(UNKNOWN_M)
    assert grid.std_m(np.array([[50.0, 0, 0], [-50.0, 0, 0]])) == pytest.approx(UNKNOWN_M)


def test_where_many_rays_agree_the_field_is_sure(grid):
    yz = np.random.default_rng(0).uniform(-0.3, 0.3, (50, 2))
    std_m = grid.std_m(on_wall(*yz))
    assert np.median(std_m) < 0.1 * UNKNOWN_M
    assert std_m.max() < 0.3 * UNKNOWN_M


def test_each_picture_adds_what_it_tells():
    left, right = towards((-0.1, 0)), towards((0.1, 0))
    alone = [estimate_uncertainty(FIELD, poses, CAMERA).information for poses in (left, right)]
    both = estimate_uncertainty(FIELD, np.concatenate([left, right]), CAMERA).information
    np.testing.assert_allclose(both, alone[0] + alone[1], rtol=1e-4, atol=1e-3)


def test_of_many_pictures_some_speak_for_their_neighbours(grid, monkeypatch):
    monkeypatch.setattr(uncertainty, 'MAX_POSES', 2)
    few = estimate_uncertainty(FIELD, towards(*[(0, 0)] * 8), CAMERA).information
    monkeypatch.setattr(uncertainty, 'MAX_POSES', 100)
    all_of_them = estimate_uncertainty(FIELD, towards(*[(0, 0)] * 8), CAMERA).information
    np.testing.assert_allclose(few, all_of_them, rtol=1e-4, atol=1e-3)


def test_a_wall_of_one_colour_may_be_shifted_and_nobody_sees_it():
    plain = estimate_uncertainty(wall_field(), towards((0, 0), (0.1, 0)), CAMERA)
    painted = estimate_uncertainty(FIELD, towards((0, 0), (0.1, 0)), CAMERA)
    yz = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 2))
    assert plain.std_m(on_wall(*yz)).min() > 2 * painted.std_m(on_wall(*yz)).max()


def test_a_view_is_as_unsure_as_what_it_shows(grid):
    pose = look_at(MIDDLE, MIDDLE + AHEAD)
    wide = Camera(60, 60, 25.0, 25.0, 29.5, 29.5)
    (view,) = FIELD.render(pose[None], wide)
    std_m = grid.std_of_view_m(view, pose, wide)
    assert std_m.shape == (60, 60)
    assert std_m[25:35, 25:35].max() < 0.3 * UNKNOWN_M
    assert std_m[[0, 0, -1, -1], [0, -1, 0, -1]] == pytest.approx(UNKNOWN_M)
    assert (view.depth == 0).any()
    assert std_m[view.depth == 0] == pytest.approx(UNKNOWN_M)


def test_the_same_field_and_poses_give_the_same_grid_however_it_is_cut(grid, monkeypatch):
    poses = towards((-0.1, 0), (0, 0.1), (0.1, 0), (0, -0.1))
    again = estimate_uncertainty(FIELD, poses, CAMERA)
    np.testing.assert_array_equal(again.information, grid.information)
    monkeypatch.setattr(uncertainty, 'RAYS_PER_BATCH', 100)
    parts = estimate_uncertainty(FIELD, poses, CAMERA)
    np.testing.assert_allclose(parts.information, grid.information, rtol=1e-3, atol=1e-2)


def test_a_large_place_gets_a_coarser_grid_not_a_larger_one(monkeypatch):
    monkeypatch.setattr(uncertainty, 'MAX_VERTICES', 10_000)
    grid = estimate_uncertainty(FIELD, towards((0, 0)), CAMERA)
    assert grid.information[..., 0].size <= 10_000
    reached_m = (np.array(grid.information.shape[:3]) - 1) * grid.cell_m
    assert np.all(reached_m >= np.array(BRICKS) * 0.4)
    assert grid.std_m(on_wall((0, 0)))[0] < UNKNOWN_M / 2


def test_without_poses_or_matter_nothing_is_known():
    nowhere = estimate_uncertainty(FIELD, np.empty((0, 4, 4)), CAMERA)
    assert nowhere.information.max() == 0
    away = estimate_uncertainty(FIELD, look_at(MIDDLE, MIDDLE - AHEAD)[None], CAMERA)
    assert away.information.max() == 0
