"""
The surfaces of the room as coloured points, sampled from renders of the field.

Drawing them takes a few milliseconds on a CPU, a tenth of what a render of the field does, and
is enough to see whether a picture shows what the field has there.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
import safetensors.numpy

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.files import read_point_arrays
from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.fields.base import Rendering

SPACING_M = 0.03
"""Edge of the cells of space whose samples become one point [m]."""
MAX_DEPTH_JUMP = 0.05
"""Pixels beside which the depth grows by more than this share are left out."""
MIN_OPACITY = 0.9
"""Pixels of a render that show less matter than this are left out."""
MIN_SAMPLES = 3
"""Cells that fewer pixels fell into give no point."""
MIN_DEPTH_M = 0.1
"""Points nearer than this to a camera are not drawn."""
MAX_POINT_SIZE_PX = 5
"""Largest edge of a drawn point."""


@dataclass(frozen=True)
class Surface:
    """S points, one in each `SPACING_M` of surface."""

    origin_m: FloatArray
    """(3,) of ``points`` in the map."""
    points: NDArray[np.float32]
    """(S, 3) from the origin [m]."""
    colours: NDArray[np.uint8]
    """(S, 3) RGB."""

    def __len__(self) -> int:
        """Return the number of points."""
        return len(self.points)

    def save(self, path: Path) -> None:
        """Write one safetensors file; `load` reads it."""
        safetensors.numpy.save_file(
            {
                'origin_m': self.origin_m[None],
                'points': self.points,
                'colours': self.colours,
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> 'Surface':
        """
        Read what `save` wrote.

        Raises
        ------
        MapError
            If the file is missing or damaged.
        """
        rows = {'points': ((3,), 'float32'), 'colours': ((3,), 'uint8')}
        return cls(**read_point_arrays(path, 'surface', rows))

    def render(self, map_from_camera: FloatArray, camera: Camera) -> Rendering:
        """
        Draw the points, each as a square of its size, nearer ones over farther ones.

        Opacity is one where a point was drawn and zero elsewhere.

        Parameters
        ----------
        map_from_camera : (4, 4) array
            Pose of the camera.
        camera : Camera
            Of the wanted picture; a small one, for the points are centimetres apart.
        """
        rotation = map_from_camera[:3, :3].astype(np.float32)
        shift = ((self.origin_m - map_from_camera[:3, 3]) @ rotation).astype(np.float32)
        x, y, z = rotation.T @ self.points.T + shift[:, None]
        ahead = np.flatnonzero(z > MIN_DEPTH_M)
        depth = z[ahead]
        column = x[ahead] / depth * np.float32(camera.fx) + np.float32(camera.cx)
        row = y[ahead] / depth * np.float32(camera.fy) + np.float32(camera.cy)
        reach = MAX_POINT_SIZE_PX
        seen = (column > -reach) & (row > -reach)
        seen &= (column < camera.width + reach) & (row < camera.height + reach)
        # Far to near; 16 bits are sorted in linear time.
        kept = np.flatnonzero(seen)
        step = depth[kept].max(initial=MIN_DEPTH_M) / np.float32(65535)
        order = kept[np.argsort(65535 - (depth[kept] / step).astype(np.uint16), kind='stable')]
        depth, column, row = depth[order], column[order], row[order]
        edge = np.clip(np.float32(1.2 * SPACING_M * camera.fx) / depth, 1, MAX_POINT_SIZE_PX)
        # A margin all round, so that squares may reach over the border.
        shape = camera.height + 4 * reach, camera.width + 4 * reach
        owner = np.full(shape[0] * shape[1], -1, dtype=np.int32)
        left = np.ceil(column - edge / 2).astype(np.int32) + 2 * reach
        top = np.ceil(row - edge / 2).astype(np.int32) + 2 * reach
        width = np.floor(column + edge / 2).astype(np.int32) + 2 * reach - left
        height = np.floor(row + edge / 2).astype(np.int32) + 2 * reach - top
        number = np.arange(len(order), dtype=np.int32)
        corner = top * shape[1] + left
        for down in range(height.max(initial=-1) + 1):
            tall = number[height >= down]
            for right in range(width.max(initial=-1) + 1):
                drawn = tall[width[tall] >= right]
                layer = np.full_like(owner, -1)
                layer[corner[drawn] + down * shape[1] + right] = drawn  # the last, nearest, stays
                np.maximum(owner, layer, out=owner)
        owner = owner.reshape(shape)[2 * reach : -2 * reach, 2 * reach : -2 * reach]
        hit = owner >= 0
        rgb = np.zeros((*hit.shape, 3), np.uint8)
        rgb[hit] = self.colours[ahead[order[owner[hit]]]]
        return Rendering(
            rgb,
            np.where(hit, depth[owner] if len(depth) else 0, 0).astype(np.float32),
            hit.astype(np.float32),
        )


def build_surface(views: Iterable[tuple[Rendering, FloatArray]], camera: Camera) -> Surface:
    """
    Average what renders of a field show, cell by cell of space.

    Parameters
    ----------
    views : iterable of (Rendering, (4, 4) array)
        Renders and the ``map_from_camera`` that they were made at.
    camera : Camera
        Of the renders.
    """
    cells, totals = [], []
    rays = camera.rays()
    for view, pose in views:
        known = (view.depth > 0) & (view.opacity > MIN_OPACITY)
        known &= cv2.dilate(view.depth, np.ones((3, 3))) - view.depth < MAX_DEPTH_JUMP * view.depth
        points = transform_points(pose, rays[known] * view.depth[known, None])
        found = np.column_stack([points, view.rgb[known], np.ones(len(points))])
        cell, sums = _sum_by_cell(
            np.floor(points / SPACING_M).astype(np.int64) @ _CELL_STRIDES, found
        )
        cells.append(cell)
        totals.append(sums)
    if not cells:
        return Surface(np.zeros(3), np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8))
    _, sums = _sum_by_cell(np.concatenate(cells), np.concatenate(totals))
    mean = sums[sums[:, 6] >= MIN_SAMPLES]
    mean = mean[:, :6] / mean[:, 6:]
    origin_m = mean[:, :3].mean(0) if len(mean) else np.zeros(3)
    from_origin: NDArray[np.float32] = (mean[:, :3] - origin_m).astype(np.float32)
    return Surface(origin_m, from_origin, np.round(mean[:, 3:]).astype(np.uint8))


_CELL_STRIDES = np.array([1 << 42, 1 << 21, 1], dtype=np.int64)


def _sum_by_cell(
    cells: NDArray[np.int64], rows: FloatArray
) -> tuple[NDArray[np.int64], FloatArray]:
    """Add up rows (N, K) of the same cell; return the cells and the sums."""
    unique, place = np.unique(cells, return_inverse=True)
    sums = np.zeros((len(unique), rows.shape[1]))
    np.add.at(sums, place.ravel(), rows)
    return unique, sums
