"""
Triangle mesh of a voxel field: the surface where its density crosses a level.

Marching cubes (Lewiner et al., "Efficient Implementation of Marching Cubes' Cases with Topological
Guarantees", Journal of Graphics Tools 2003) run on one block of bricks at a time, which bounds the
memory. scikit-image and trimesh are optional, see ``requirements/mesh.txt``.
"""

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray
from skimage.measure import marching_cubes
import torch
import trimesh

from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_io import BRICK

LEVEL = 0.0
"""Log density of the surface: fusion places it where the depth images see a surface."""
BEHIND = 2.0
"""Log density that is reached behind a surface: beside less dense corners, others that the field
does not store are free space; beside denser ones they are the unknown behind a wall."""
BLOCK_BRICKS = 12
"""Bricks along the edge of a block: a million corners."""
MERGED_DIGITS = 1
"""Vertices are one where they agree to this decimal place, in voxels: those of two blocks at
their common side, and those that span triangles too thin to be seen."""
MIN_FACES = 128
"""Least number of triangles of a connected part, about the side of a brick; others are noise."""
POINTS_PER_CHUNK = 1 << 18
"""Vertices whose colors are interpolated together."""


def extract_mesh(field: VoxelField) -> tuple[trimesh.Trimesh, NDArray[np.float32]]:
    """
    Return the surface of a field as triangles.

    Where the field knows no density, behind a wall, there is no surface.

    Parameters
    ----------
    field : VoxelField
        A trained field.

    Returns
    -------
    tuple
        The mesh in meters of the map frame, its triangles counterclockwise as seen from free
        space; and the colors (V, 3) of its vertices in [0, 1], as in an image. Without a surface
        the mesh is empty.
    """
    vertices, faces, count = [np.zeros((0, 3))], [np.zeros((0, 3), np.int64)], 0
    for block_vertices, block_faces in _blocks(field):
        vertices.append(block_vertices)
        faces.append(block_faces + count)
        count += len(block_vertices)
    mesh = trimesh.Trimesh(np.concatenate(vertices), np.concatenate(faces), process=False)
    if len(mesh.faces):
        mesh.merge_vertices(digits_vertex=MERGED_DIGITS)
        mesh.update_faces(mesh.nondegenerate_faces())
        mesh.update_faces(_is_of_large_part(mesh))
        mesh.remove_unreferenced_vertices()
    in_grid = np.asarray(mesh.vertices) * field.voxel_m
    mesh.vertices = in_grid + field.origin_m
    return mesh, _colors(field, in_grid)


def _blocks(field: VoxelField) -> Iterator[tuple[NDArray[np.float64], NDArray[np.int64]]]:
    """Yield vertices (V, 3) in voxels of the grid and triangles (F, 3) of one block of bricks."""
    brick_index = field.brick_index.cpu().numpy()
    corner_index = field.corner_index.cpu().numpy()
    log_density = field.values[:, 0].cpu().numpy()
    blocks = np.unique(np.argwhere(brick_index) // BLOCK_BRICKS, axis=0)
    for first in blocks * BLOCK_BRICKS:
        # With the bricks behind it, whose first corners end the last voxels of the block.
        x, y, z = (slice(start, start + BLOCK_BRICKS + 1) for start in first)
        corners = corner_index[brick_index[x, y, z]].transpose(0, 3, 1, 4, 2, 5)
        shape = [BRICK * size for size in corners.shape[::2]]
        own = (slice(BLOCK_BRICKS * BRICK + 1),) * 3
        rows = corners.reshape(shape)[own]
        values = log_density[rows]
        dense = values > LEVEL
        is_surface = _of_voxels(np.logical_and, rows > 0)
        is_surface |= _of_voxels(np.logical_and, values < BEHIND)
        is_crossed = _of_voxels(np.logical_or, dense) & ~_of_voxels(np.logical_and, dense)
        is_surface &= is_crossed
        if not is_surface.any():
            continue
        mask = np.pad(is_surface, ((1, 0),) * 3)  # at the upper corner of a voxel
        vertices, faces, *_ = marching_cubes(values, LEVEL, gradient_direction='ascent', mask=mask)
        yield vertices + first * float(BRICK), faces.astype(np.int64)


def _of_voxels(
    combine: Callable[..., NDArray[np.bool_]], corners: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Combine the 8 corners of each voxel: (X, Y, Z) to (X - 1, Y - 1, Z - 1)."""
    corners = combine(corners[1:], corners[:-1])
    corners = combine(corners[:, 1:], corners[:, :-1])
    return combine(corners[:, :, 1:], corners[:, :, :-1])


def _is_of_large_part(mesh: trimesh.Trimesh) -> NDArray[np.bool_]:
    """Return which triangles (F,) are of a connected part of at least `MIN_FACES`."""
    vertex_part = trimesh.graph.connected_component_labels(mesh.edges, len(mesh.vertices))
    part = vertex_part[mesh.faces[:, 0]]
    is_large: NDArray[np.bool_] = np.bincount(part)[part] >= MIN_FACES
    return is_large


def _colors(field: VoxelField, in_grid: NDArray[np.float64]) -> NDArray[np.float32]:
    """Interpolate the colors (V, 3) at points (V, 3) [m, from the corner of the grid]."""
    colors = np.empty((len(in_grid), 3), np.float32)
    for start in range(0, len(in_grid), POINTS_PER_CHUNK):
        chunk = slice(start, start + POINTS_PER_CHUNK)
        points = torch.from_numpy(in_grid[chunk]).float().to(field.device)
        colors[chunk] = field.interpolate(points)[:, 1:].cpu().numpy()
    return colors
