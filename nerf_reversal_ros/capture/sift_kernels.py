"""
Compiled parts of the SIFT detector: scale space and extrema.

They compute what OpenCV's SIFT computes, in float32. `sift` puts them together, and
`descriptor_kernels` describes the keypoints.

References
----------
Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004.
"""

from typing import Any

import numpy as np

from nerf_reversal_ros.core.kernels import inlined, kernel

LAYERS = 3
"""Layers of an octave in which keypoints are searched."""
MAX_RADIUS = 10
"""Largest radius [px] of a blur from one image of an octave to the next."""
BORDER_PX = 5
"""Width of the border [px of the octave] without keypoints."""
MAX_STEPS = 5
"""Most steps of Newton's method to locate a keypoint."""
EDGE_RATIO = 10.0
"""Largest ratio of the principal curvatures of a keypoint: those on edges slide along."""
HALF, ONE = np.float32(0.5), np.float32(1.0)


@inlined
def _mirrored(index: Any, size: Any) -> Any:
    """Return an index inside of 0 to ``size``, mirrored at the first and the last element."""
    if index < 0:
        return np.uintp(-index)
    return np.uintp(index if index < size else 2 * size - 2 - index)


@inlined
def _add_pairs(total: Any, a: Any, b: Any, c: Any, d: Any, weight: Any, next_weight: Any) -> Any:
    for x in range(len(total)):
        total[x] += weight * (a[x] + b[x]) + next_weight * (c[x] + d[x])


@inlined
def _blur_row(image: Any, y: Any, taps: Any, radius: Any, padded: Any, out: Any) -> Any:
    """
    Convolve row y of an image (H, W) with a symmetric kernel in both directions.

    ``taps`` (MAX_RADIUS + 1,) are the weights from the center on, zero beyond the even ``radius``.
    """
    height, width = image.shape
    row, center, weight = padded[MAX_RADIUS : MAX_RADIUS + width], image[y], taps[0]
    for x in range(width):
        row[x] = weight * center[x]
    for k in range(1, radius, 2):
        _add_pairs(
            row,
            image[_mirrored(y - k, height)],
            image[_mirrored(y + k, height)],
            image[_mirrored(y - k - 1, height)],
            image[_mirrored(y + k + 1, height)],
            taps[k],
            taps[k + 1],
        )
    for k in range(1, MAX_RADIUS + 1):
        padded[MAX_RADIUS - k] = padded[MAX_RADIUS + k]
        padded[MAX_RADIUS + width - 1 + k] = padded[MAX_RADIUS + width - 1 - k]
    for x in range(width):
        total = taps[0] * padded[x + MAX_RADIUS]
        for k in range(1, MAX_RADIUS + 1):  # of constant length: unrolled
            total += taps[k] * (padded[x + MAX_RADIUS - k] + padded[x + MAX_RADIUS + k])
        out[x] = total


@inlined
def _subtract(first: Any, second: Any, out: Any) -> Any:
    for x in range(len(out)):
        out[x] = second[x] - first[x]


@inlined
def _flag_candidates(above: Any, row: Any, below: Any, threshold: Any, flags: Any) -> Any:
    """Flag the pixels of a row that are an extremum among their four neighbors."""
    for x in range(1, len(row) - 1):
        value = row[x]
        high = max(max(row[x - 1], row[x + 1]), max(above[x], below[x]))
        low = min(min(row[x - 1], row[x + 1]), min(above[x], below[x]))
        flags[x] = ((value > threshold) & (value >= high)) | (
            (value < -threshold) & (value <= low)
        )


@inlined
def _is_extremum(above: Any, row: Any, below: Any, layer: Any, x: Any) -> Any:
    """Return whether a value of rows (5, W) is no smaller, or no larger, than its neighbors."""
    value = row[layer, x]
    sign = ONE if value > 0 else -ONE
    value *= sign
    for n in range(layer - 1, layer + 2):
        for i in range(x - 1, x + 2):
            if (
                sign * above[n, i] > value
                or sign * row[n, i] > value
                or sign * below[n, i] > value
            ):
                return False
    return True


@inlined
def _collect_extrema(above: Any, row: Any, below: Any, layer: Any, flags: Any, places: Any) -> Any:
    """Write the places of the extrema of a layer in a row (5, W); return their number."""
    total = 0
    for x in range(BORDER_PX, len(flags) - BORDER_PX):
        if flags[x]:
            places[total] = x
            total += _is_extremum(above, row, below, layer, x)
    return total


@kernel
def blur_and_scan(images: Any, taps: Any, radii: Any, contrast: Any) -> Any:
    """
    Blur an image step by step, and find the extrema of the differences of Gaussians.

    All images are computed at once, row after row, so that they stay in the cache.

    Parameters
    ----------
    images : (6, H, W) array
        The first one is given, the others are written.
    taps, radii : (5, MAX_RADIUS + 1), (5,) arrays
        Blur from each image to the next, as for `_blur_row`.
    contrast : float
        Least contrast of keypoints; here half of it is needed.

    Returns
    -------
    (N, 3) integer array
        Layer, y and x of samples that are extrema.
    """
    count, height, width = images.shape
    threshold = np.float32(0.5 * contrast / LAYERS * 255)
    lags = np.zeros(count, np.int64)
    for level in range(1, count):
        lags[level] = lags[level - 1] + radii[level - 1]
    padded = np.empty(width + 2 * MAX_RADIUS, np.float32)
    differences = np.empty((3, count - 1, width), np.float32)
    flags, places = np.zeros(width, np.bool_), np.empty(width, np.int32)
    found, total = np.empty((4096, 3), np.int32), 0
    for step in range(height + lags[-1]):
        for level in range(1, count):
            y, last = step - lags[level], level - 1
            if 0 <= y < height:
                _blur_row(images[last], y, taps[last], radii[last], padded, images[level, y])
        y = step - lags[-1]
        if y < 0:
            continue
        rows = differences[y % 3], differences[(y - 1) % 3], differences[(y - 2) % 3]
        for n in range(count - 1):
            _subtract(images[n, y], images[n + 1, y], rows[0][n])
        y -= 1
        if not BORDER_PX <= y < height - BORDER_PX:
            continue
        below, row, above = rows
        for layer in range(1, count - 2):
            _flag_candidates(above[layer], row[layer], below[layer], threshold, flags)
            number = _collect_extrema(above, row, below, layer, flags, places)
            if total + number > len(found):
                found = np.concatenate((found, np.empty((len(found) + width, 3), np.int32)))
            added = found[total : total + number]
            added[:, 0], added[:, 1], added[:, 2] = layer, y, places[:number]
            total += number
    return found[:total].copy()


@inlined
def _difference(images: Any, layer: Any, y: Any, x: Any) -> Any:
    return images[layer + 1, y, x] - images[layer, y, x]


@inlined
def _locate(images: Any, layer: Any, y: Any, x: Any, contrast: Any, found: Any) -> Any:
    """
    Locate an extremum between pixels and layers by Newton's method, into ``found`` (7,).

    Returns False if it leaves the image, or has too little contrast, or lies on an edge.
    """
    count, height, width = images.shape
    scale, half, quarter = np.float32(1 / 255), np.float32(0.5 / 255), np.float32(0.25 / 255)
    cube = np.empty((3, 3, 3), np.float32)
    for step in range(MAX_STEPS + 1):
        if step == MAX_STEPS:
            return False
        for n in range(3):
            for j in range(3):
                for i in range(3):
                    cube[n, j, i] = _difference(images, layer + n - 1, y + j - 1, x + i - 1)
        value = cube[1, 1, 1] * scale
        dx = (cube[1, 1, 2] - cube[1, 1, 0]) * half
        dy = (cube[1, 2, 1] - cube[1, 0, 1]) * half
        ds = (cube[2, 1, 1] - cube[0, 1, 1]) * half
        dxx = (cube[1, 1, 2] + cube[1, 1, 0]) * scale - value - value
        dyy = (cube[1, 2, 1] + cube[1, 0, 1]) * scale - value - value
        dss = (cube[2, 1, 1] + cube[0, 1, 1]) * scale - value - value
        dxy = (cube[1, 2, 2] - cube[1, 2, 0] - cube[1, 0, 2] + cube[1, 0, 0]) * quarter
        dxs = (cube[2, 1, 2] - cube[2, 1, 0] - cube[0, 1, 2] + cube[0, 1, 0]) * quarter
        dys = (cube[2, 2, 1] - cube[2, 0, 1] - cube[0, 2, 1] + cube[0, 0, 1]) * quarter
        # Cramer's rule for the symmetric system.
        cxx, cxy, cxs = dyy * dss - dys * dys, dxs * dys - dxy * dss, dxy * dys - dxs * dyy
        determinant = dxx * cxx + dxy * cxy + dxs * cxs
        if determinant == 0:
            return False
        cyy, cys, css = dxx * dss - dxs * dxs, dxy * dxs - dxx * dys, dxx * dyy - dxy * dxy
        ox = -(cxx * dx + cxy * dy + cxs * ds) / determinant
        oy = -(cxy * dx + cyy * dy + cys * ds) / determinant
        os = -(cxs * dx + cys * dy + css * ds) / determinant
        if abs(ox) < HALF and abs(oy) < HALF and abs(os) < HALF:
            break
        if not (abs(ox) < width and abs(oy) < width and abs(os) < width):
            return False
        x, y, layer = x + round(ox), y + round(oy), layer + round(os)
        if not (
            1 <= layer < count - 2
            and BORDER_PX <= y < height - BORDER_PX
            and BORDER_PX <= x < width - BORDER_PX
        ):
            return False
    response = abs(value + HALF * (dx * ox + dy * oy + ds * os))
    trace, edge = dxx + dyy, dxx * dyy - dxy * dxy
    if response * LAYERS < contrast or edge <= 0:
        return False
    if trace * trace * EDGE_RATIO >= (EDGE_RATIO + 1) ** 2 * edge:
        return False
    found[0], found[1], found[2] = x + ox, y + oy, layer + os
    found[3], found[4], found[5] = layer, x, y
    found[6] = response
    return True


@kernel
def locate_extrema(images: Any, samples: Any, contrast: Any) -> Any:
    """
    Locate the extrema of `blur_and_scan` between samples; leave out those that are unstable.

    Returns
    -------
    (N, 7) array
        Position x, y and layer between samples; layer, x and y of the sample; contrast.
    """
    found, total = np.empty((len(samples), 7), np.float32), 0
    for n in range(len(samples)):
        layer, y, x = samples[n]
        total += _locate(images, layer, y, x, contrast, found[total])
    return found[:total].copy()
