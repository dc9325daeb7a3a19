"""
Compiled traversal and rendering of a voxel field, for a CPU.

`trace_rays` renders what `VoxelField.trace_with_torch` renders. `enter_grid`, `cross_cell` and
`locate_voxel` are the one traversal of all compiled kernels: they walk as
`DistanceMap.occupied_segments` and locate as `VoxelField.trilinear_corners`.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.kernels import inlined, kernel
from nerf_reversal_ros.fields.empty_space_skipping import (
    MAX_OPTICAL_DEPTH,
    NEXT_FLOAT_FACTOR,
    NUDGE,
)
from nerf_reversal_ros.fields.ray_marching import SAMPLES_PER_CELL
from nerf_reversal_ros.fields.voxel import MIN_TRANSMITTANCE
from nerf_reversal_ros.fields.voxel_io import (
    BRICK,
    COLOR_STEP,
    EMPTY_LOG_DENSITY,
    LOG_DENSITY_STEP,
)

assert BRICK == 8, 'locate_voxel shifts and masks'


# Constants are typed: a Python number would turn an expression into float64 or int64.
ZERO: Any = np.float32(0.0)
HALF: Any = np.float32(0.5)
ONE: Any = np.float32(1.0)
_TINY, _NUDGE = np.float32(1e-9), np.float32(NUDGE)
_NEXT_FLOAT_FACTOR = np.float32(NEXT_FLOAT_FACTOR)
_MAX_OPTICAL_DEPTH, _LN2 = np.float32(MAX_OPTICAL_DEPTH), np.float32(np.log(2.0))
_MIN_TRANSMITTANCE = np.float32(MIN_TRANSMITTANCE)
_LOG_LOW, _LOG_STEP = np.float32(EMPTY_LOG_DENSITY), np.float32(LOG_DENSITY_STEP)
_COLOR_STEP = np.float32(COLOR_STEP)
_SAMPLE_STEP = np.float32(1 / SAMPLES_PER_CELL)
_PI, _TWO_PI = np.float32(np.pi), np.float32(2 * np.pi)
NEXT_Z, NEXT_Y, NEXT_X = np.uint32(1), np.uint32(BRICK + 1), np.uint32((BRICK + 1) ** 2)
"""Offsets of the neighbors of a corner in the corner table of its brick."""
NEXT_XY = np.uint32(NEXT_X + NEXT_Y)
_BRICK_CORNERS = np.uint32((BRICK + 1) ** 3)
_BYTE, _SHIFT_1, _SHIFT_2, _SHIFT_3 = (np.uint32(n) for n in (255, 8, 16, 24))


class Grid(NamedTuple):
    """What a ray walks through: the arrays of a `VoxelField`."""

    cells: Any
    """(X, Y, Z) uint8: distances of the `DistanceMap`."""
    cell_m: Any
    """float32: edge of such a cell [m]."""
    inverse_voxel: Any
    """float32: voxels per meter."""
    bricks: Any
    """(x, y, z) int32: `VoxelArrays.brick_index`."""
    corners: Any
    """(B * 9**3,) uint32: row in the values of each corner of each brick."""


class Ray(NamedTuple):
    """A ray in cells of the distance map."""

    sx: Any
    """Start."""
    sy: Any
    sz: Any
    kx: Any
    """Slope, in cells per length of the direction; never 0."""
    ky: Any
    kz: Any
    ix: Any
    """Inverse slope."""
    iy: Any
    iz: Any


@inlined
def enter_grid(cells: Any, cell_m: Any, origin: Any, direction: Any) -> Any:
    """Return whether a ray crosses the grid, where it enters and leaves it, and its `Ray`."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    dx = _TINY if abs(dx) < _TINY else dx
    dy = _TINY if abs(dy) < _TINY else dy
    dz = _TINY if abs(dz) < _TINY else dz
    kx, ky, kz = dx / cell_m, dy / cell_m, dz / cell_m
    ix, iy, iz = ONE / kx, ONE / ky, ONE / kz
    sx, sy, sz = ox / cell_m, oy / cell_m, oz / cell_m
    nx, ny, nz = np.float32(cells.shape[0]), np.float32(cells.shape[1]), np.float32(cells.shape[2])
    ax, ay, az = -sx * ix, -sy * iy, -sz * iz
    bx, by, bz = (nx - sx) * ix, (ny - sy) * iy, (nz - sz) * iz
    entry = max(max(min(ax, bx), min(ay, by)), max(min(az, bz), ZERO))
    leave = min(min(max(ax, bx), max(ay, by)), max(az, bz)) - _NUDGE
    is_finite = math.isfinite(ax + ay + az + bx + by + bz)
    crosses = is_finite and entry < leave
    return crosses, entry + _NUDGE, leave, Ray(sx, sy, sz, kx, ky, kz, ix, iy, iz)


@inlined
def cross_cell(cells: Any, ray: Any, time: Any) -> Any:
    """Return whether the cell at a time is occupied, and when the ray has left the free ones."""
    x = min(max(np.floor(ray.sx + ray.kx * time), ZERO), np.float32(cells.shape[0] - 1))
    y = min(max(np.floor(ray.sy + ray.ky * time), ZERO), np.float32(cells.shape[1] - 1))
    z = min(max(np.floor(ray.sz + ray.kz * time), ZERO), np.float32(cells.shape[2] - 1))
    distance = cells[np.uint32(x), np.uint32(y), np.uint32(z)]
    free = max(np.float32(distance) - ONE, ZERO)
    wall_x = x + (free + ONE if ray.kx > ZERO else -free)
    wall_y = y + (free + ONE if ray.ky > ZERO else -free)
    wall_z = z + (free + ONE if ray.kz > ZERO else -free)
    far_x, far_y = (wall_x - ray.sx) * ray.ix, (wall_y - ray.sy) * ray.iy
    far = min(min(far_x, far_y), (wall_z - ray.sz) * ray.iz)
    return distance == np.uint8(0), max(far, time)


@inlined
def next_time(far: Any) -> Any:
    """Return a time behind the wall that a ray reaches at ``far``."""
    return far * _NEXT_FLOAT_FACTOR + _NUDGE


@inlined
def locate_voxel(bricks: Any, inverse_voxel: Any, px: Any, py: Any, pz: Any) -> Any:
    """Return the place of a voxel in the corner table, and where in the voxel a point [m] is."""
    vx, vy, vz = px * inverse_voxel, py * inverse_voxel, pz * inverse_voxel
    ix, iy, iz = np.int32(vx), np.int32(vy), np.int32(vz)
    brick_x = min(max(ix >> 3, 0), bricks.shape[0] - 1)
    brick_y = min(max(iy >> 3, 0), bricks.shape[1] - 1)
    brick_z = min(max(iz >> 3, 0), bricks.shape[2] - 1)
    brick = np.uint32(bricks[np.uint32(brick_x), np.uint32(brick_y), np.uint32(brick_z)])
    local = np.uint32(((ix & 7) * 9 + (iy & 7)) * 9 + (iz & 7))
    place = np.uint32(brick * _BRICK_CORNERS + local)
    return place, vx - np.float32(ix), vy - np.float32(iy), vz - np.float32(iz)


@inlined
def _edge_codes(codes: Any, place: Any, low: Any, high: Any) -> Any:
    """Weigh the four values of two neighbors along z."""
    p, q = codes[place], codes[place + NEXT_Z]
    return (
        low * np.float32(np.int32(p & _BYTE)) + high * np.float32(np.int32(q & _BYTE)),
        low * np.float32(np.int32((p >> _SHIFT_1) & _BYTE))
        + high * np.float32(np.int32((q >> _SHIFT_1) & _BYTE)),
        low * np.float32(np.int32((p >> _SHIFT_2) & _BYTE))
        + high * np.float32(np.int32((q >> _SHIFT_2) & _BYTE)),
        low * np.float32(np.int32(p >> _SHIFT_3)) + high * np.float32(np.int32(q >> _SHIFT_3)),
    )


@inlined
def _interpolate_codes(codes: Any, place: Any, fx: Any, fy: Any, fz: Any) -> Any:
    """Interpolate log density and color at a point of a voxel, in steps of the codes."""
    gx, gy, gz = ONE - fx, ONE - fy, ONE - fz
    w00, w01, w10, w11 = gx * gy, gx * fy, fx * gy, fx * fy
    a, b, c, d = _edge_codes(codes, place, w00 * gz, w00 * fz)
    e, f, g, h = _edge_codes(codes, place + NEXT_Y, w01 * gz, w01 * fz)
    i, j, k, m = _edge_codes(codes, place + NEXT_X, w10 * gz, w10 * fz)
    n, o, p, q = _edge_codes(codes, place + NEXT_XY, w11 * gz, w11 * fz)
    return (a + e) + (i + n), (b + f) + (j + o), (c + g) + (k + p), (d + h) + (m + q)


@inlined
def _trace_ray(grid: Any, codes: Any, origin: Any, direction: Any) -> Any:
    """Return red, green, blue in steps of the codes, depth and transmittance of a ray."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    alive, time, leave, ray = enter_grid(grid.cells, grid.cell_m, origin, direction)
    length = math.sqrt(dx * dx + dy * dy + dz * dz) * grid.inverse_voxel
    red = green = blue = depth = total = ZERO
    transmittance = ONE
    while alive:
        is_occupied, far = cross_cell(grid.cells, ray, time)
        alive = far < leave
        if is_occupied:
            step = (far - time) * _SAMPLE_STEP
            middle = time + step * HALF
            for _ in range(SAMPLES_PER_CELL):
                place, fx, fy, fz = locate_voxel(
                    grid.bricks,
                    grid.inverse_voxel,
                    ox + dx * middle,
                    oy + dy * middle,
                    oz + dz * middle,
                )
                log_density, r, g, b = _interpolate_codes(codes, place, fx, fy, fz)
                tau = math.exp(log_density * _LOG_STEP + _LOG_LOW) * (step * length)
                before = total
                total += tau
                after = math.exp(-total)
                weight = transmittance - after
                transmittance = after
                red += weight * r
                green += weight * g
                blue += weight * b
                if before < _LN2 and total >= _LN2:
                    depth = middle + (HALF - (total - _LN2) / tau) * step
                middle += step
            alive = alive and total < _MAX_OPTICAL_DEPTH
        time = next_time(far)
    return red, green, blue, depth, transmittance


@inlined
def _background_cell(shape: Any, direction: Any) -> Any:
    """Return row and column of the background in a direction; see `voxel.background_cells`."""
    dx, dy, dz = direction
    azimuth = math.atan2(dy, dx) / _TWO_PI + HALF
    zenith = math.atan2(math.sqrt(dx * dx + dy * dy), dz) / _PI
    row = np.int64(zenith * np.float32(shape[0]))
    column = np.int64(azimuth * np.float32(shape[1]))
    return min(max(row, 0), shape[0] - 1), min(max(column, 0), shape[1] - 1)


@kernel
def trace_rays(
    grid: Any,
    codes: NDArray[np.uint32],
    background: NDArray[np.float32],
    origins: NDArray[np.float32],
    directions: NDArray[np.float32],
    rendered: NDArray[np.float32],
) -> None:
    """
    Render rays with the values of a field in 8 bits.

    Parameters
    ----------
    grid : Grid
    codes : (B * 9**3,) uint32 array
        The four codes of each corner of each brick; see `voxel_io.encode_values`.
    background : (H, W, 3) float32 array
    origins, directions : (R, 3) float32 arrays
        As in `VoxelField.trace`.
    rendered : (R, 5) float32 array
        Receives color, depth and opacity.
    """
    for number in range(len(origins)):
        origin = origins[number, 0], origins[number, 1], origins[number, 2]
        direction = directions[number, 0], directions[number, 1], directions[number, 2]
        red, green, blue, depth, transmittance = _trace_ray(grid, codes, origin, direction)
        red, green, blue = red * _COLOR_STEP, green * _COLOR_STEP, blue * _COLOR_STEP
        if transmittance > _MIN_TRANSMITTANCE:
            row, column = _background_cell(background.shape, direction)
            red += transmittance * background[row, column, 0]
            green += transmittance * background[row, column, 1]
            blue += transmittance * background[row, column, 2]
        rendered[number, 0] = red
        rendered[number, 1] = green
        rendered[number, 2] = blue
        rendered[number, 3] = depth
        rendered[number, 4] = ONE - transmittance
