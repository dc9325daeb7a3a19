"""Compiled parts of localization: splats of the surface, and neighbors of projected landmarks."""

import math
from typing import Any

import numpy as np

from nerf_reversal_ros.core.kernels import inlined, kernel

HALF = np.float32(0.5)


@kernel
def splat(
    points: Any,
    rotation: Any,
    shift: Any,
    lens: Any,
    point_size_m: Any,
    max_size_px: Any,
    min_depth_m: Any,
    depth: Any,
    owner: Any,
) -> None:
    """
    Splat points as squares into a depth buffer.

    Parameters
    ----------
    points : (S, 3) float32 array
        Points [m].
    rotation, shift : (3, 3), (3,) float32 arrays
        ``camera_from_points``.
    lens : (4,) float32 array
        fx, fy, cx, cy [px].
    point_size_m, max_size_px, min_depth_m : float32
        Edge of the squares [m], its maximum [px], and the least depth of a point [m].
    depth, owner : (H, W) float32 and int32 arrays
        Depth, infinite at first, and index of the nearest point; -1 at first.
    """
    height, width = depth.shape
    fx, fy, cx, cy = lens
    for n in range(len(points)):
        x, y, z = points[n]
        distance = rotation[2, 0] * x + rotation[2, 1] * y + rotation[2, 2] * z + shift[2]
        if distance <= min_depth_m:
            continue
        across = rotation[0, 0] * x + rotation[0, 1] * y + rotation[0, 2] * z + shift[0]
        down = rotation[1, 0] * x + rotation[1, 1] * y + rotation[1, 2] * z + shift[1]
        column, row = across / distance * fx + cx, down / distance * fy + cy
        half = HALF * min(max(point_size_m * fx / distance, np.float32(1)), max_size_px)
        if not (-half < column < width + half and -half < row < height + half):
            continue
        for v in range(max(0, math.ceil(row - half)), min(height - 1, math.floor(row + half)) + 1):
            left, right = math.ceil(column - half), math.floor(column + half)
            for u in range(max(0, left), min(width - 1, right) + 1):
                if distance < depth[v, u]:
                    depth[v, u], owner[v, u] = distance, n


@inlined
def _similarity(first: Any, second: Any) -> Any:
    total = np.float32(0)
    for n in range(len(first)):
        total += first[n] * second[n]
    return total


@kernel
def similar_neighbors(
    keypoints: Any,
    keypoint_descriptors: Any,
    pixels: Any,
    descriptors: Any,
    rows: Any,
    radius_px: Any,
    max_neighbors: Any,
    min_similarity: Any,
) -> Any:
    """
    Find the keypoints near projected landmarks that resemble them.

    Parameters
    ----------
    keypoints, keypoint_descriptors : (N, 2), (N, 128) arrays
        Pixels and descriptors of the keypoints.
    pixels : (P, 2) array
        Projections of landmarks.
    descriptors, rows : (L, 128), (P,) arrays
        Descriptors of all landmarks, and the rows of those that are projected.
    radius_px, max_neighbors : float, int
        Only so many nearest keypoints within the radius are compared.
    min_similarity : float
        Pairs are more similar than this.

    Returns
    -------
    (K, 2) integer array, (K,) float32 array
        Keypoint and landmark of each pair, and their similarity.
    """
    pairs = np.empty((len(pixels) * max_neighbors, 2), np.int64)
    similarities = np.empty(len(pairs), np.float32)
    near, distances = np.empty(max_neighbors, np.int64), np.empty(max_neighbors)
    order = np.argsort(keypoints[:, 1])
    heights = keypoints[order, 1]
    total = 0
    for p in range(len(pixels)):
        x, y = pixels[p]
        count = 0
        for place in range(np.searchsorted(heights, y - radius_px), len(order)):
            n = order[place]
            if keypoints[n, 1] > y + radius_px:
                break
            square = (keypoints[n, 0] - x) ** 2 + (keypoints[n, 1] - y) ** 2
            if square >= radius_px * radius_px:
                continue
            slot = count if count < max_neighbors else max_neighbors - 1
            if count == max_neighbors and square >= distances[slot]:
                continue
            while slot > 0 and distances[slot - 1] > square:
                distances[slot], near[slot] = distances[slot - 1], near[slot - 1]
                slot -= 1
            distances[slot], near[slot] = square, n
            count = min(count + 1, max_neighbors)
        for slot in range(count):
            similarity = _similarity(keypoint_descriptors[near[slot]], descriptors[rows[p]])
            if similarity > min_similarity:
                pairs[total, 0], pairs[total, 1] = near[slot], rows[p]
                similarities[total] = similarity
                total += 1
    return pairs[:total].copy(), similarities[:total].copy()
