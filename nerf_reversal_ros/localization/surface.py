"""
Surface cloud of the map: colored points that are splatted to verify a pose.

The points are sampled from renderings of the radiance field when a map is built. Splatting them
takes a few milliseconds on a CPU, a tenth of a rendering of the field, and is precise enough to
compare an image with the map.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
import safetensors.numpy

from nerf_reversal_ros.core.array_files import read_point_arrays
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.core.grouping import cell_keys, sum_by_key
from nerf_reversal_ros.fields.base import Rendering

if TYPE_CHECKING:
    from nerf_reversal_ros.maps.map_folder import Map

SPACING = 0.015
"""Edge of the grid cells, as a fraction of the depth of the scene; the samples of one cell are
averaged to one point."""
OLD_SPACING_M = 0.03
"""Edge of the cells [m] in maps of older versions, which do not store it."""
MAX_DEPTH_JUMP = 0.05
"""Maximum depth step to a farther neighbor pixel, as a fraction of the depth: edge pixels mix
foreground and background."""
MIN_OPACITY = 0.9
"""Minimum opacity of a rendered pixel that is sampled."""
MAX_POINTS = 60_000
"""Largest number of points, as a bound on the time of a rendering; cells grow until it holds."""
MIN_SAMPLES = 3
"""Minimum number of samples in a cell; fewer are noise."""
MIN_DEPTH_CELLS = 3.0
"""Minimum depth of a splatted point, in edges of a cell."""
POINT_SIZE = 1.2
"""Edge of a splat, in cells."""
MAX_POINT_SIZE_PX = 5
"""Maximum edge [px] of a splat: larger ones would hide the points behind."""


@dataclass(frozen=True)
class Surface:
    """Surface cloud of S points, one for each occupied cell of a grid."""

    origin_m: FloatArray
    """(3,) origin of ``points`` in the map [m]."""
    points: NDArray[np.float32]
    """(S, 3) positions relative to ``origin_m`` [m]."""
    colours: NDArray[np.uint8]
    """(S, 3) RGB."""
    spacing_m: float = OLD_SPACING_M
    """Edge of the cells [m]."""

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
                'spacing_m': np.array([self.spacing_m]),
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
            If the file is missing or malformed.
        """
        rows = {'points': ((3,), 'float32'), 'colours': ((3,), 'uint8')}
        scalars = {'spacing_m': OLD_SPACING_M}
        return cls(**read_point_arrays(path, 'surface', rows, scalars=scalars))

    @classmethod
    def of_map(cls, map_: 'Map') -> 'Surface':
        """Return the surface cloud of a map; MapError as `load`."""
        return cls.load(map_.file('surface.safetensors'))

    def render(self, map_from_camera: FloatArray, camera: Camera) -> Rendering:
        """
        Splat the points as squares with a depth buffer.

        Parameters
        ----------
        map_from_camera : (4, 4) array
            Camera pose.
        camera : Camera
            Intrinsics of the rendering; a small one, as the points are centimeters apart.

        Returns
        -------
        Rendering
            Opacity is one where a point was splatted and zero elsewhere.
        """
        # Nodes use this module before they have a map: not numba with it, which takes seconds.
        from nerf_reversal_ros.localization.localization_kernels import splat

        rotation = map_from_camera[:3, :3].T.astype(np.float32)
        shift = (map_from_camera[:3, :3].T @ (self.origin_m - map_from_camera[:3, 3])).astype(
            np.float32
        )
        depth = np.full((camera.height, camera.width), np.inf, np.float32)
        owner = np.full(depth.shape, -1, np.int32)
        splat(
            self.points,
            rotation,
            shift,
            np.array([camera.fx, camera.fy, camera.cx, camera.cy], np.float32),
            np.float32(POINT_SIZE * self.spacing_m),
            np.float32(MAX_POINT_SIZE_PX),
            np.float32(MIN_DEPTH_CELLS * self.spacing_m),
            depth,
            owner,
        )
        hit = owner >= 0
        rgb = np.zeros((*hit.shape, 3), np.uint8)
        rgb[hit] = self.colours[owner[hit]]
        return Rendering(rgb, np.where(hit, depth, np.float32(0)), hit.astype(np.float32))


def build_surface(
    views: Iterable[tuple[Rendering, FloatArray]], camera: Camera, spacing_m: float
) -> Surface:
    """
    Back-project renderings and average position and color of the samples in each grid cell.

    Parameters
    ----------
    views : iterable of (Rendering, (4, 4) array)
        Renderings of the field with their ``map_from_camera``.
    camera : Camera
        Intrinsics of the renderings.
    spacing_m : float
        Least edge of a grid cell, such as `SPACING` times the depth of the scene.
    """
    keys, sums = [], []
    for view, pose in views:
        usable = (view.depth > 0) & (view.opacity > MIN_OPACITY)
        depth_step = cv2.dilate(view.depth, np.ones((3, 3))) - view.depth
        usable &= depth_step < MAX_DEPTH_JUMP * view.depth
        in_camera = camera.back_project(np.where(usable, view.depth, np.float32(0)))
        points = transform_points(pose, in_camera)
        samples = np.column_stack([points, view.rgb[usable], np.ones(len(points))])
        cells = np.floor(points / spacing_m).astype(np.int64)
        view_keys, view_sums = sum_by_key(cell_keys(cells), samples)
        keys.append(view_keys)
        sums.append(view_sums)
    if not keys:
        empty = np.empty((0, 3), np.float32), np.empty((0, 3), np.uint8)
        return Surface(np.zeros(3), *empty, spacing_m)
    _, totals = sum_by_key(np.concatenate(keys), np.concatenate(sums))
    totals = totals[totals[:, 6] >= MIN_SAMPLES]
    while len(totals) > MAX_POINTS:
        spacing_m *= 1.1 * (len(totals) / MAX_POINTS) ** 0.5
        cells = np.floor(totals[:, :3] / totals[:, 6:] / spacing_m).astype(np.int64)
        _, totals = sum_by_key(cell_keys(cells), totals)
    mean = totals[:, :6] / totals[:, 6:]
    origin_m = mean[:, :3].mean(0) if len(mean) else np.zeros(3)
    points_m: NDArray[np.float32] = (mean[:, :3] - origin_m).astype(np.float32)
    return Surface(origin_m, points_m, np.round(mean[:, 3:]).astype(np.uint8), spacing_m)
