"""
Compiled training of a voxel field, for a CPU: gradients of rays, and Adam.

`ray_gradients` computes what PyTorch derives from the loss in `TorchOptimizer`. Gradients are
kept for the rows of values that the rays of a step read.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.kernels import inlined, kernel
from nerf_reversal_ros.fields.ray_marching import SAMPLES_PER_CELL
from nerf_reversal_ros.fields.voxel_io import MAX_LOG_DENSITY
from nerf_reversal_ros.fields.voxel_kernels import (
    cross_cell,
    enter_grid,
    HALF,
    locate_voxel,
    next_time,
    NEXT_X,
    NEXT_Y,
    NEXT_Z,
    ONE,
    ZERO,
)
from nerf_reversal_ros.fields.voxel_loss import (
    BETAS,
    DENSITY_SCALE,
    EPSILON,
    HUBER_COLOR,
    MAX_DEPTH_ERROR_M,
    SLOTS,
)

_DENSITY_SCALE, _MAX_LOG_DENSITY = np.float32(DENSITY_SCALE), np.float32(MAX_LOG_DENSITY)
_MAX_DEPTH_ERROR, _HUBER = np.float32(MAX_DEPTH_ERROR_M), np.float32(HUBER_COLOR)
_BETA_1, _BETA_2, _EPSILON = np.float32(BETAS[0]), np.float32(BETAS[1]), np.float32(EPSILON)
_SAMPLES_PER_CELL = np.float32(SAMPLES_PER_CELL)
_ROW_0 = np.uint32(0)
_BLOCK = 256
_TIME, _TAU, _SLOPE, _WEIGHT, _RED, _GREEN, _BLUE, _FX, _FY, _FZ, _COLUMNS = range(11)


class Gradients(NamedTuple):
    """Gradients of one part of the rays of a step."""

    values: Any
    """(V + 1, 4) float32: valid in rows whose stamp is the step."""
    stamps: Any
    """(V + 1,) int32: last step in which the row was read."""
    log_gains: Any
    """(N, 3) float32: the kernel adds to it."""


@inlined
def _read_corners(corners: Any, values: Any, place: Any, point: Any) -> Any:
    """Interpolate the four values at a point of a voxel."""
    fx, fy, fz = point
    a = b = c = d = ZERO
    for corner in range(8):
        row, weight = _corner(corners, place, corner, fx, fy, fz)
        a += weight * values[row, 0]
        b += weight * values[row, 1]
        c += weight * values[row, 2]
        d += weight * values[row, 3]
    return a, b, c, d


@inlined
def _corner(corners: Any, place: Any, corner: Any, fx: Any, fy: Any, fz: Any) -> Any:
    """Return the row of one of the 8 corners of a voxel, and its trilinear weight."""
    wx, wy, wz = ONE - fx, ONE - fy, ONE - fz
    if corner & 4:
        place, wx = np.uint32(place + NEXT_X), fx
    if corner & 2:
        place, wy = np.uint32(place + NEXT_Y), fy
    if corner & 1:
        place, wz = np.uint32(place + NEXT_Z), fz
    return corners[place], wx * wy * wz


@inlined
def _store(samples: Any, number: Any, record: Any) -> None:
    for column in range(_COLUMNS):
        samples[number, column] = record[column]


@inlined
def _sample_ray(
    grid: Any, values: Any, origin: Any, direction: Any, end: Any, offsets: Any, out: Any
) -> Any:
    """Sample a ray up to its end, write its samples and places, and return their number."""
    samples, places = out
    alive, time, leave, ray = enter_grid(grid.cells, grid.cell_m, origin, direction)
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    length = math.sqrt(dx * dx + dy * dy + dz * dz) * grid.inverse_voxel
    count = 0
    while alive:
        is_occupied, far = cross_cell(grid.cells, ray, time)
        alive = far < leave
        if is_occupied:
            step = (far - time) / _SAMPLES_PER_CELL
            for number in range(SAMPLES_PER_CELL):
                at = time + step * (np.float32(number) + offsets[count])
                place, fx, fy, fz = locate_voxel(
                    grid.bricks, grid.inverse_voxel, ox + dx * at, oy + dy * at, oz + dz * at
                )
                a, red, green, blue = _read_corners(grid.corners, values, place, (fx, fy, fz))
                log_density = a * _DENSITY_SCALE
                tau = math.exp(min(log_density, _MAX_LOG_DENSITY)) * (step * length)
                slope = tau * _DENSITY_SCALE if log_density <= _MAX_LOG_DENSITY else ZERO
                _store(samples, count, (at, tau, slope, ZERO, red, green, blue, fx, fy, fz))
                places[count] = place
                count += 1
            alive = alive and count < SLOTS and not far > end
        time = next_time(far)
    return count


@inlined
def _composite(samples: Any, count: Any, rgb: Any) -> Any:
    """Set the weights of samples, sum up their color, and return the transmittance."""
    total, transmittance = ZERO, ONE
    rgb[:] = ZERO
    for number in range(count):
        total += samples[number, _TAU]
        after = math.exp(-total)
        weight = transmittance - after
        transmittance = after
        samples[number, _WEIGHT] = weight
        rgb[0] += weight * samples[number, _RED]
        rgb[1] += weight * samples[number, _GREEN]
        rgb[2] += weight * samples[number, _BLUE]
    return transmittance


@inlined
def _color_loss(
    rgb: Any, transmittance: Any, gains: Any, color: Any, gradients: Any, share: Any
) -> Any:
    """Return the loss of a color; replace it by its gradient, and add that of the log gains."""
    loss = ZERO
    for channel in range(3):
        exposed = rgb[channel] * gains[channel]
        difference = exposed + transmittance * color[channel] - color[channel]
        size = abs(difference)
        if size < _HUBER:
            loss += HALF * size * size / _HUBER
            slope = difference / _HUBER
        else:
            loss += size - HALF * _HUBER
            slope = ONE if difference > ZERO else -ONE
        gradients[channel] += slope * share * exposed
        rgb[channel] = slope * share * gains[channel]
    return loss


@inlined
def _add_gradient(
    corners: Any, gradients: Any, place: Any, point: Any, by_value: Any, step: Any
) -> None:
    """Add the gradients of the four values at a point to the corners of its voxel."""
    fx, fy, fz = point
    for corner in range(8):
        row, weight = _corner(corners, place, corner, fx, fy, fz)
        if row != _ROW_0:
            if gradients.stamps[row] != step:
                gradients.stamps[row] = step
                for channel in range(4):
                    gradients.values[row, channel] = ZERO
            for channel in range(4):
                gradients.values[row, channel] += weight * by_value[channel]


@kernel
def ray_gradients(
    grid: Any,
    values: NDArray[np.float32],
    gains: NDArray[np.float32],
    rays: Any,
    shares: tuple[Any, Any],
    step: Any,
    gradients: Any,
) -> float:
    """
    Return the loss of rays, and write its gradients.

    Parameters
    ----------
    grid : Grid
    values : (V + 1, 4) float32 array
        Log densities in units of `DENSITY_SCALE`, and colors.
    gains : (N, 3) float32 array
        Exposure of each image.
    rays : Rays
    shares : tuple of two float32
        Weights of a color channel and of a depth in the loss.
    step : int32
        Number of the step, from 1.
    gradients : Gradients
        Row 0 of the values, empty space, has none.
    """
    color_share, depth_share = shares
    samples, places = np.empty((SLOTS, _COLUMNS), np.float32), np.empty(SLOTS, np.uint32)
    rgb = np.empty(3, np.float32)
    color_loss, depth_loss = 0.0, 0.0
    for ray in range(len(rays.origins)):
        frame, measured = rays.frames[ray], rays.depths[ray]
        count = _sample_ray(
            grid,
            values,
            (rays.origins[ray, 0], rays.origins[ray, 1], rays.origins[ray, 2]),
            (rays.directions[ray, 0], rays.directions[ray, 1], rays.directions[ray, 2]),
            rays.ends[ray],
            rays.offsets[ray],
            (samples, places),
        )
        transmittance = _composite(samples, count, rgb)
        color_loss += _color_loss(
            rgb,
            transmittance,
            gains[frame],
            rays.colors[ray],
            gradients.log_gains[frame],
            color_share,
        )
        known = depth_share if measured > ZERO else ZERO
        # Sum of weight times gradient behind a sample, light that passes all samples included.
        behind = transmittance * known * _MAX_DEPTH_ERROR
        depth_loss += transmittance * known * _MAX_DEPTH_ERROR
        after = transmittance
        for number in range(count - 1, -1, -1):
            weight = samples[number, _WEIGHT]
            error = known * min(abs(samples[number, _TIME] - measured), _MAX_DEPTH_ERROR)
            depth_loss += weight * error
            by_weight = error + (
                rgb[0] * samples[number, _RED]
                + rgb[1] * samples[number, _GREEN]
                + rgb[2] * samples[number, _BLUE]
            )
            by_density = (after * by_weight - behind) * samples[number, _SLOPE]
            behind += weight * by_weight
            after += weight
            _add_gradient(
                grid.corners,
                gradients,
                places[number],
                (samples[number, _FX], samples[number, _FY], samples[number, _FZ]),
                (by_density, weight * rgb[0], weight * rgb[1], weight * rgb[2]),
                step,
            )
    return color_loss * color_share + depth_loss


@kernel
def step_rows(
    first: Any, last: Any, gradients: Any, step: Any, rates: Any, values: Any, moments: Any
) -> None:
    """
    Change rows of values by a step of Adam.

    Parameters
    ----------
    first, last : int
        The rows, ``last`` excluded; row 0 is none.
    gradients : Gradients
        Of all parts of the rays, stacked.
    step : int32
        Number of the step, from 1.
    rates : tuple of two float32
        Learning rate over the bias correction of the first moment, and one over the root of that
        of the second.
    values : (V + 1, 4) float32 array
    moments : tuple of two (V + 1, 4) float32 arrays
    """
    size, spread = rates
    block = np.empty((_BLOCK, 4), np.float32)
    for start in range(first, last, _BLOCK):
        rows = slice(start, min(start + _BLOCK, last))
        count = rows.stop - rows.start
        for row in range(count):
            for channel in range(4):
                block[row, channel] = ZERO
            for part in range(len(gradients.stamps)):
                if gradients.stamps[part, start + row] == step:
                    for channel in range(4):
                        block[row, channel] += gradients.values[part, start + row, channel]
        _adam(
            block[:count].ravel(),
            size,
            spread,
            values[rows].ravel(),
            moments[0][rows].ravel(),
            moments[1][rows].ravel(),
        )


@inlined
def _adam(
    gradients: Any, size: Any, spread: Any, values: Any, moment_1: Any, moment_2: Any
) -> None:
    """Step the values of a block: one loop without branches, which compiles to vectors."""
    for n in range(len(gradients)):
        gradient = gradients[n]
        first = moment_1[n] * _BETA_1 + (ONE - _BETA_1) * gradient
        second = moment_2[n] * _BETA_2 + (ONE - _BETA_2) * gradient * gradient
        moment_1[n], moment_2[n] = first, second
        values[n] -= size * first / (math.sqrt(second) * spread + _EPSILON)
