"""
Compiled parts of the SIFT detector: orientations and descriptors.

They compute what OpenCV's SIFT computes, from every second row of gradients.
"""

import math
from typing import Any

import numpy as np

from nerf_reversal_ros.core.kernels import inlined, kernel

BINS = 36
"""Directions of the histogram that gives the orientation of a keypoint."""
CELLS, ORIENTATIONS = 4, 8
"""Cells of a descriptor in each direction, and directions of gradients in each cell."""
DESCRIPTOR_DIM = CELLS * CELLS * ORIENTATIONS
"""Length of a descriptor."""
ROW_STEP = 2
"""Every which row of gradients is described: the blur of two pixels leaves nothing between."""
ONE = np.float32(1.0)


@inlined
def _angle(y: Any, x: Any) -> Any:
    """Return the angle of a direction [rad, 0 to 2 pi), to about 1e-4."""
    ax, ay = abs(x), abs(y)
    ratio = min(ax, ay) / (max(ax, ay) + np.float32(1e-20))
    square = ratio * ratio
    angle = np.float32(-0.01172120)
    angle = angle * square + np.float32(0.05265332)
    angle = angle * square - np.float32(0.11643287)
    angle = angle * square + np.float32(0.19354346)
    angle = angle * square - np.float32(0.33262347)
    angle = (angle * square + np.float32(0.99997726)) * ratio
    angle = np.float32(0.5 * np.pi) - angle if ay > ax else angle
    angle = np.float32(np.pi) - angle if x < 0 else angle
    return np.float32(2 * np.pi) - angle if y < 0 else angle


@inlined
def _work_arrays(images: Any) -> Any:
    """Return arrays for the gradients of a row, and for the weights by distance."""
    _, height, width = images.shape
    return np.empty((2, width), np.float32), np.empty(height + width, np.float32)


@inlined
def _gradients(image: Any, y: Any, start: Any, strengths: Any, angles: Any) -> Any:
    """Write the length and the direction of the gradients (N,) of a row from ``start`` on."""
    count = len(strengths)
    above, below = image[y - 1, start : start + count], image[y + 1, start : start + count]
    left, right = image[y, start - 1 : start - 1 + count], image[y, start + 1 : start + 1 + count]
    for n in range(count):
        dx, dy = right[n] - left[n], above[n] - below[n]
        strengths[n] = np.sqrt(dx * dx + dy * dy)
        angles[n] = _angle(dy, dx)


@inlined
def _orientation_histogram(
    image: Any, x: Any, y: Any, scale: Any, work: Any, fades: Any, histogram: Any
) -> Any:
    """Accumulate the gradient directions around a pixel, and smooth the histogram (36,)."""
    height, width = image.shape
    radius = min(round(4.5 * scale), len(fades) - 1)
    for n in range(radius + 1):
        fades[n] = math.exp(-(n * n) / (4.5 * scale * scale))
    raw = np.zeros(BINS + 4, np.float32)
    first, last = max(-radius, 1 - x), min(radius, width - 2 - x)
    start, count = x + first, last - first + 1
    strengths, turns = work[0, :count], work[1, :count]
    for j in range(max(-radius, 1 - y), min(radius, height - 2 - y) + 1):
        _gradients(image, y + j, start, strengths, turns)
        for n in range(count):
            turn = turns[n] * np.float32(BINS / (2 * np.pi)) + np.float32(2.5)
            strength = strengths[n] * fades[abs(j)] * fades[abs(first + n)]
            raw[np.uintp(turn)] += strength
    raw[2] += raw[BINS + 2]
    raw[BINS + 2] = raw[2]
    raw[0], raw[1], raw[BINS + 3] = raw[BINS], raw[BINS + 1], raw[3]
    for n in range(BINS):
        histogram[n] = (
            (raw[n] + raw[n + 4]) * np.float32(1 / 16)
            + (raw[n + 1] + raw[n + 3]) * np.float32(4 / 16)
            + raw[n + 2] * np.float32(6 / 16)
        )


@kernel
def find_orientations(images: Any, samples: Any, scales: Any) -> Any:
    """
    Find the orientations of keypoints of one octave.

    Parameters
    ----------
    images : (6, H, W) array
        Blurred images of the octave.
    samples : (N, 3) integer array
        Layer, x and y of the keypoints.
    scales : (N,) array
        Standard deviations of the keypoints' blur [px of the octave].

    Returns
    -------
    (M, 2) array
        Index of the keypoint and orientation [rad]; a keypoint has one or more.
    """
    work, fades = _work_arrays(images)
    histogram = np.empty(BINS, np.float32)
    found = np.empty((len(samples) * 8, 2), np.float32)
    total = 0
    for index in range(len(samples)):
        layer, x, y = samples[index]
        _orientation_histogram(images[layer], x, y, scales[index], work, fades, histogram)
        least = np.float32(0.8) * histogram.max()
        for n in range(BINS):
            left, right = histogram[n - 1], histogram[(n + 1) % BINS]
            value = histogram[n]
            if value > left and value > right and value >= least and total < len(found):
                turn = n + 0.5 * (left - right) / (left - 2 * value + right)
                found[total, 0] = index
                found[total, 1] = (turn % BINS) * (2 * np.pi / BINS)
                total += 1
    return found[:total].copy()


@inlined
def _span(offset: Any, step: Any, low: Any, high: Any, first: Any, last: Any) -> Any:
    """Return the integers first..last for which offset + j * step lies in (low, high)."""
    if abs(step) < 1e-9:
        return (first, last) if low < offset < high else (1, 0)
    a, b = (low - offset) / step, (high - offset) / step
    if a > b:
        a, b = b, a
    return max(first, math.ceil(a)), min(last, math.floor(b))


@inlined
def _accumulate(histogram: Any, row: Any, column: Any, turn: Any, weight: Any) -> Any:
    """Spread a gradient over the eight cells (6, 6, 10) around it."""
    # A row just below 4 is rounded to 5 with one added: it belongs to the last cell.
    r, c, o = min(int(row + ONE), CELLS), min(int(column + ONE), CELLS), int(turn)
    fr, fc, fo = row + ONE - np.float32(r), column + ONE - np.float32(c), turn - np.float32(o)
    place = np.uintp((r * 6 + c) * 10 + (o if o < ORIENTATIONS else 0))
    upper = weight * fr
    lower = weight - upper
    upper_right, lower_right = upper * fc, lower * fc
    upper_left, lower_left = upper - upper_right, lower - lower_right
    part = lower_left * fo
    histogram[place] += lower_left - part
    histogram[place + np.uintp(1)] += part
    part = lower_right * fo
    histogram[place + np.uintp(10)] += lower_right - part
    histogram[place + np.uintp(11)] += part
    part = upper_left * fo
    histogram[place + np.uintp(60)] += upper_left - part
    histogram[place + np.uintp(61)] += part
    part = upper_right * fo
    histogram[place + np.uintp(70)] += upper_right - part
    histogram[place + np.uintp(71)] += part


@inlined
def _describe_one(
    image: Any,
    x: Any,
    y: Any,
    scale: Any,
    orientation: Any,
    work: Any,
    fades: Any,
    histogram: Any,
    out: Any,
) -> Any:
    height, width = image.shape
    cell = np.float32(3 * scale)
    radius = round(cell * math.sqrt(2) * (CELLS + 1) * 0.5)
    radius = min(radius, int(math.sqrt(height * height + width * width)), len(fades) - 1)
    cosine = np.float32(math.cos(orientation) / cell)
    sine = np.float32(math.sin(orientation) / cell)
    for n in range(radius + 1):
        fades[n] = math.exp(-(n * n) / (cell * cell * 8))
    histogram[:] = 0
    center, low, high = np.float32(CELLS / 2 - 0.5), np.float32(-1), np.float32(CELLS)
    first, last = max(-radius, 1 - x), min(radius, width - 2 - x)
    to_bin = np.float32(ORIENTATIONS / (2 * np.pi))
    for j in range(max(-radius, 1 - y), min(radius, height - 2 - y) + 1, ROW_STEP):
        along = np.float32(j)
        row0, column0 = center + along * cosine, center - along * sine
        fade = fades[abs(j)]
        begin, end = _span(row0, sine, low, high, first, last)
        begin, end = _span(column0, cosine, low, high, begin, end)
        count = end - begin + 1
        if count <= 0:
            continue
        strengths, turns = work[0, :count], work[1, :count]
        _gradients(image, y + j, x + begin, strengths, turns)
        for n in range(count):
            turn = (turns[n] - orientation) * to_bin
            turns[n] = turn + np.float32(ORIENTATIONS) if turn < 0 else turn
        for n in range(count):
            across = np.float32(begin + n)
            row, column = row0 + across * sine, column0 + across * cosine
            if low < row < high and low < column < high:
                weight = strengths[n] * fades[abs(begin + n)] * fade
                _accumulate(histogram, row, column, turns[n], weight)
    _normalize(histogram, out)


@inlined
def _normalize(histogram: Any, out: Any) -> Any:
    """Write the RootSIFT descriptor (128,) of a histogram of cells (6, 6, 10)."""
    square = np.float32(0)
    for r in range(CELLS):
        for c in range(CELLS):
            place = ((r + 1) * 6 + c + 1) * 10
            histogram[place] += histogram[place + ORIENTATIONS]
            histogram[place + np.uintp(1)] += histogram[place + ORIENTATIONS + 1]
            for o in range(ORIENTATIONS):
                value = histogram[place + o]
                out[(r * CELLS + c) * ORIENTATIONS + o] = value
                square += value * value
    most, total = np.float32(0.2) * math.sqrt(square), np.float32(1e-9)
    for n in range(len(out)):
        out[n] = min(out[n], most)
        total += out[n]
    for n in range(len(out)):
        out[n] = math.sqrt(out[n] / total)


@kernel
def describe(images: Any, layers: Any, positions: Any, scales: Any, orientations: Any) -> Any:
    """
    Describe keypoints of one octave by RootSIFT.

    Parameters
    ----------
    images : (6, H, W) array
        Blurred images of the octave.
    layers : (N,) integer array
        Image of each keypoint.
    positions : (N, 2) array
        x, y [px of the octave].
    scales : (N,) array
        Standard deviations of the keypoints' blur [px of the octave].
    orientations : (N,) array
        [rad].

    Returns
    -------
    (N, 128) array
        Of unit length.
    """
    descriptors = np.empty((len(layers), DESCRIPTOR_DIM), np.float32)
    work, fades = _work_arrays(images)
    histogram = np.empty(6 * 6 * 10, np.float32)
    for n in range(len(layers)):
        _describe_one(
            images[layers[n]],
            round(positions[n, 0]),
            round(positions[n, 1]),
            scales[n],
            np.float32(orientations[n]),
            work,
            fades,
            histogram,
            descriptors[n],
        )
    return descriptors
