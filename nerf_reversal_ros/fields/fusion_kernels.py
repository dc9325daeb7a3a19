"""Compiled TSDF fusion: the sums over one depth image, for a part of the bricks."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.kernels import inlined, kernel
from nerf_reversal_ros.fields.voxel_io import BRICK
from nerf_reversal_ros.fields.voxel_kernels import HALF, ONE, ZERO

_BRICK = np.float32(BRICK)
_MIN_Z, _NEAR_Z, _TWENTIETH = np.float32(0.05), np.float32(0.5), np.float32(0.05)
_FOUR, _ROOT_3 = np.float32(4.0), np.float32(np.sqrt(3.0))
_MAX_COLOR = np.float32(255.0)


class DepthImage(NamedTuple):
    """A depth image and its camera, posed in a grid."""

    depth: Any
    """(h, w) float32 [m] along z; 0 is unknown."""
    intrinsics: Any
    """(4,) float32 fx, fy, cx, cy [px]."""
    rotation: Any
    """(3, 3) float32: rotation of ``camera_from_grid``."""
    shift: Any
    """(3,) float32: its translation [m]."""


@inlined
def _to_camera(image: Any, x: Any, y: Any, z: Any) -> Any:
    """Return a point of the grid in the camera frame."""
    r, t = image.rotation, image.shift
    return (
        r[0, 0] * x + r[0, 1] * y + r[0, 2] * z + t[0],
        r[1, 0] * x + r[1, 1] * y + r[1, 2] * z + t[1],
        r[2, 0] * x + r[2, 1] * y + r[2, 2] * z + t[2],
    )


@inlined
def _measured_depth(image: Any, point: Any) -> Any:
    """Return the depth measured at a point in the camera frame; -1 outside the image."""
    x, y, z = point
    if not z > _MIN_Z:
        return -ONE
    k = image.intrinsics
    u, v = np.rint(x / z * k[0] + k[2]), np.rint(y / z * k[1] + k[3])
    height, width = image.depth.shape
    if not (u >= ZERO and v >= ZERO and u < np.float32(width) and v < np.float32(height)):
        return -ONE
    return image.depth[np.uint32(v), np.uint32(u)]


@kernel
def integrate_bricks(
    image: Any,
    rgb: NDArray[np.uint8],
    rgb_intrinsics: NDArray[np.float32],
    bricks: NDArray[np.float32],
    voxel_m: Any,
    truncation_m: Any,
    sums: NDArray[np.float32],
) -> None:
    """
    Add an image to the weighted sums at the corners of bricks.

    Parameters
    ----------
    image : DepthImage
    rgb : (H, W, 3) uint8 array
    rgb_intrinsics : (4,) float32 array
        Of ``rgb``.
    bricks : (B, 3) float32 array
        Lower corners of the bricks [m], in the grid.
    voxel_m, truncation_m : float32
        Edge of a voxel; largest distance of a corner from the surface that counts.
    sums : (B, 512, 5) float32 array
        Receives weight, weighted distance and weighted color.
    """
    half = voxel_m * _BRICK * HALF
    radius = half * _ROOT_3 + truncation_m
    k = rgb_intrinsics
    bottom, right = np.float32(rgb.shape[0] - 1), np.float32(rgb.shape[1] - 1)
    for brick in range(len(bricks)):
        low_x, low_y, low_z = bricks[brick, 0], bricks[brick, 1], bricks[brick, 2]
        center = _to_camera(image, low_x + half, low_y + half, low_z + half)
        depth = _measured_depth(image, center)
        reach = _FOUR * (center[2] * _TWENTIETH + radius)
        if depth < ZERO or (depth > ZERO and abs(depth - center[2]) >= reach):
            continue
        for corner in range(BRICK**3):
            x, y, z = _to_camera(
                image,
                low_x + np.float32(corner >> 6) * voxel_m,
                low_y + np.float32((corner >> 3) & 7) * voxel_m,
                low_z + np.float32(corner & 7) * voxel_m,
            )
            depth = _measured_depth(image, (x, y, z))
            distance = depth - z
            if depth > ZERO and abs(distance) < truncation_m:
                near = max(z, _NEAR_Z)
                weight = ONE / (near * near)
                column = np.uint32(min(max(np.rint(x / z * k[0] + k[2]), ZERO), right))
                row = np.uint32(min(max(np.rint(y / z * k[1] + k[3]), ZERO), bottom))
                sums[brick, corner, 0] += weight
                sums[brick, corner, 1] += weight * distance
                for channel in range(3):
                    color = np.float32(rgb[row, column, channel]) / _MAX_COLOR
                    sums[brick, corner, 2 + channel] += weight * color


@kernel
def mark_free(image: Any, brick_m: Any, first: Any, free: NDArray[np.bool_]) -> None:
    """
    Mark the bricks whose center lies by more than a brick before the measured depth.

    Parameters
    ----------
    image : DepthImage
    brick_m : float32
        Edge of a brick.
    first : int
        Index along x of the first brick of ``free`` in the grid.
    free : (X, Y, Z) bool array
        A slab of the grid.
    """
    for x in range(free.shape[0]):
        for y in range(free.shape[1]):
            for z in range(free.shape[2]):
                point = _to_camera(
                    image,
                    (np.float32(x + first) + HALF) * brick_m,
                    (np.float32(y) + HALF) * brick_m,
                    (np.float32(z) + HALF) * brick_m,
                )
                depth = _measured_depth(image, point)
                if depth > ZERO and point[2] + brick_m < depth:
                    free[x, y, z] = True
