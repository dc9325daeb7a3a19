"""The surface of a voxel field is a mesh: in place, in its colors, without seams and noise."""

import numpy as np
import pytest
import torch

from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_io import BRICK

pytest.importorskip('skimage', reason='pip install -r requirements/mesh.txt')
pytest.importorskip('trimesh', reason='pip install -r requirements/mesh.txt')
from nerf_reversal_ros.fields import voxel_mesh

VOXEL_M, ORIGIN_M, BRICKS = 0.02, np.array([1.0, -2.0, 0.5]), 5
CENTER, RADIUS = np.array([18.3, 20.1, 19.6]), 11.0
COLOR = (0.8, 0.4, 0.1)


def shell(*spheres) -> VoxelField:
    """Return a field of spheres (center, radius) [voxels] that knows no density deep inside."""
    axis = np.arange(BRICKS * BRICK)
    corners = np.stack(np.meshgrid(axis, axis, axis, indexing='ij'), axis=-1)
    depths = [radius - np.linalg.norm(corners - center, axis=-1) for center, radius in spheres]
    depth = np.max(depths, axis=0)
    stored = (depth > -2) & (depth < 2.5)
    rows = np.zeros(stored.shape, np.int32)
    rows[stored] = np.arange(1, stored.sum() + 1)
    bricks = rows.reshape((BRICKS, BRICK) * 3).transpose(0, 2, 4, 1, 3, 5)
    corner_index = np.zeros((BRICKS**3 + 1, BRICK, BRICK, BRICK), np.int32)
    corner_index[1:] = bricks.reshape(-1, BRICK, BRICK, BRICK)
    values = np.full((stored.sum() + 1, 4), -8.0, np.float32)
    values[1:] = np.column_stack([2 * depth[stored], np.tile(COLOR, (stored.sum(), 1))])
    grid = (BRICKS,) * 3
    return VoxelField(
        ORIGIN_M,
        VOXEL_M,
        torch.arange(1, BRICKS**3 + 1, dtype=torch.int32).view(grid),
        torch.from_numpy(corner_index),
        torch.from_numpy(values),
        torch.ones(grid, dtype=torch.bool),
    )


def test_a_ball_has_one_closed_surface_that_faces_free_space_in_its_color():
    mesh, colors = voxel_mesh.extract_mesh(shell((CENTER, RADIUS)))
    from_center = mesh.vertices - (ORIGIN_M + VOXEL_M * CENTER)
    np.testing.assert_allclose(np.linalg.norm(from_center, axis=1), RADIUS * VOXEL_M, atol=0.002)
    assert mesh.is_watertight
    assert mesh.volume == pytest.approx(4 / 3 * np.pi * (RADIUS * VOXEL_M) ** 3, rel=0.02)
    np.testing.assert_allclose(colors, np.tile(COLOR, (len(mesh.vertices), 1)), atol=1e-3)


def test_blocks_have_no_seams(monkeypatch):
    whole, _ = voxel_mesh.extract_mesh(shell((CENTER, RADIUS)))
    monkeypatch.setattr(voxel_mesh, 'BLOCK_BRICKS', 1)
    parts, _ = voxel_mesh.extract_mesh(shell((CENTER, RADIUS)))
    assert parts.is_watertight and len(parts.faces) == len(whole.faces)
    assert parts.volume == pytest.approx(whole.volume)


def test_tiny_parts_are_dropped():
    speck = (np.array([35.2, 35.4, 35.1]), 1.5)
    alone, _ = voxel_mesh.extract_mesh(shell(speck))
    assert not len(alone.faces)
    mesh, _ = voxel_mesh.extract_mesh(shell((CENTER, RADIUS), speck))
    assert mesh.body_count == 1
