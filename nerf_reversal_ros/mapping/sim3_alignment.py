"""
Sim(3) alignment of the world of an existing NeRF to the metric map, by images or known points.

Images of a metric capture are localized in renderings of the NeRF: RootSIFT matches are
back-projected with the rendered depth and give PnP poses. PnP needs no common scale. A Sim(3) is
then fitted to both sets of poses.
"""

from collections.abc import Iterable, Sequence
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.capture.keypoints import KeypointDetector, match_descriptors
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import FloatArray, make_pose, transform_points
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.sim3 import make_sim3, transform_poses
from nerf_reversal_ros.localization.pnp import RansacOptions, solve_pnp_ransac

RATIO_THRESHOLD = 0.85
"""Lowe's ratio test; permissive, because RANSAC rejects the wrong matches."""
MAX_RENDERINGS = 6
"""An image is matched with all renderings; PnP uses those with the most matches."""
MAX_REPROJECTION_ERROR_PX = 4.0
"""Inlier threshold of PnP; renderings blur keypoints by a pixel or two."""
MIN_INLIERS = 15
"""PnP inliers of a localized image; with fewer, wrong poses pass."""
_RANSAC = RansacOptions(
    max_error_px=MAX_REPROJECTION_ERROR_PX,
    min_iterations=1000,
    max_iterations=5000,
    loss_scale_px=MAX_REPROJECTION_ERROR_PX / 2,
    min_inliers=MIN_INLIERS,
)
MIN_LOCATED_IMAGES = 6
"""Images that must be localized in the renderings and agree on one Sim(3)."""
MIN_INLIER_FRACTION = 0.5
"""Fraction of the localized images that must agree; two alignments cannot both have half."""
MAX_ERROR_FRACTION, MAX_ERROR_DEG = 0.05, 5.0
"""Inlier limits of a pose: distance as a fraction of the trajectory's extent, and rotation."""
MIN_BASELINE_FRACTION = 0.2
"""Distance of two poses that propose a scale, as a fraction of the trajectory's extent."""
MIN_EXTENT_RATIO = 0.02
"""Second largest extent of points over the largest; collinear points leave a rotation free."""


class Sim3Alignment(NamedTuple):
    """A Sim(3) from the run's world to the map, and the quality of the fit."""

    map_from_world: FloatArray
    """(4, 4): rotation times scale, and translation [m]."""
    correspondence_count: int
    """Poses or points that it was fitted to; 0 if it was not fitted."""
    error_m: float
    """Median distance between both sets after the alignment [m]."""
    skipped_count: int = 0
    """Known positions that were not used."""


def locate_in_renderings(
    frames: Iterable[Frame], views: Sequence[tuple[Rendering, FloatArray]], camera: Camera
) -> tuple[FloatArray, FloatArray]:
    """
    Localize images in renderings of a field, by RootSIFT matches and PnP.

    Parameters
    ----------
    frames : iterable of Frame
        Images with their poses in the map.
    views : sequence of (Rendering, (4, 4) array)
        Renderings with their world_from_camera.
    camera : Camera
        Camera of the renderings.

    Returns
    -------
    tuple of (K, 4, 4) arrays
        map_from_camera and world_from_camera of the images that were localized.
    """
    detect = KeypointDetector(2000, 0.01)
    landmarks = []
    for view, world_from_camera in views:
        keypoints = detect(view.rgb)
        column, row = np.rint(keypoints.pixels).astype(int).T
        depth = view.depth[row.clip(0, camera.height - 1), column.clip(0, camera.width - 1)]
        known = depth > 0
        points = camera.unproject(keypoints.pixels[known], depth[known].astype(np.float64))
        landmarks.append(
            (transform_points(world_from_camera, points), keypoints.descriptors[known])
        )
    in_map, in_world = [], []
    for frame in frames:
        keypoints = detect(frame.rgb)
        matches = [
            (match_descriptors(keypoints.descriptors, descriptors, RATIO_THRESHOLD), points)
            for points, descriptors in landmarks
        ]
        matches.sort(key=lambda match: -len(match[0]))
        best = matches[:MAX_RENDERINGS]
        pixels = np.concatenate([keypoints.pixels[pairs[:, 0]] for pairs, _ in best])
        points = np.concatenate([points[pairs[:, 1]] for pairs, points in best])
        if len(points) < MIN_INLIERS:
            continue
        solution = solve_pnp_ransac(points, pixels, frame.camera, _RANSAC)
        if solution is not None:
            in_map.append(frame.map_from_camera)
            in_world.append(solution.map_from_camera)
    return np.reshape(in_map, (-1, 4, 4)), np.reshape(in_world, (-1, 4, 4))


def fit_sim3_to_poses(map_from_camera: FloatArray, world_from_camera: FloatArray) -> Sim3Alignment:
    """
    Fit a Sim(3) to poses (N, 4, 4) in both worlds, robust to outliers.

    Each pair of distant poses proposes a Sim(3): the mean of their rotations, and the ratio of
    their distances. The proposal with the most inliers is fitted again to its inliers.

    Raises
    ------
    BuildError
        If too few poses agree.
    """
    count = len(map_from_camera)
    extent_m = float(np.linalg.norm(np.ptp(map_from_camera[:, :3, 3], axis=0))) if count else 0.0
    inliers = _largest_consensus(map_from_camera, world_from_camera, extent_m)
    map_from_world = None
    if inliers.sum() >= max(MIN_LOCATED_IMAGES, MIN_INLIER_FRACTION * count):
        map_from_world = fit_sim3(map_from_camera[inliers], world_from_camera[inliers])
    if map_from_world is None:
        raise BuildError(
            f'the run cannot be aligned to the bag: {count} images of the bag were localized in'
            f' renderings of the run and {int(inliers.sum())} agree on one alignment (needed:'
            f' {MIN_LOCATED_IMAGES} and half of them): {remedies.ALIGN_BY_POSITIONS}'
        )
    aligned = transform_poses(map_from_world, world_from_camera[inliers])
    residuals = (aligned - map_from_camera[inliers])[:, :3, 3]
    error_m = float(np.median(np.linalg.norm(residuals, axis=1)))
    return Sim3Alignment(map_from_world, int(inliers.sum()), error_m)


def fit_sim3_to_points(map_points: FloatArray, world_points: FloatArray) -> Sim3Alignment:
    """
    Fit a Sim(3) to points (N, 3) in both worlds by least squares.

    References
    ----------
    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991.

    Raises
    ------
    BuildError
        If there are fewer than three, they are collinear, or the residuals are too large.
    """
    if len(map_points) < 3 or _collinear(map_points) or _collinear(world_points):
        raise BuildError(
            f'{len(map_points)} known positions do not determine scale and orientation: give at'
            ' least three that are not collinear'
        )
    target, source = (points - points.mean(0) for points in (map_points, world_points))
    rotation = Rotation.align_vectors(target, source)[0].as_matrix()
    scale = float(np.sum(target * (source @ rotation.T)) / np.sum(source**2))
    map_from_world = np.eye(4)
    map_from_world[:3, :3] = scale * rotation
    map_from_world[:3, 3] = map_points.mean(0) - scale * rotation @ world_points.mean(0)
    residuals = transform_points(map_from_world, world_points) - map_points
    error_m = float(np.median(np.linalg.norm(residuals, axis=1)))
    extent_m = float(np.linalg.norm(np.ptp(map_points, axis=0)))
    if error_m > MAX_ERROR_FRACTION * extent_m:
        raise BuildError(
            'the known positions do not fit the cameras of the run: the best alignment has a'
            f' median error of {error_m:.2f} m over an extent of {extent_m:.2f} m; check that x,'
            ' y, z are in meters and beside the right images'
        )
    return Sim3Alignment(map_from_world, len(map_points), error_m)


def read_known_positions(path: Path) -> dict[str, FloatArray]:
    """
    Read camera positions by image name from lines ``image,x,y,z`` [m, map frame, z up].

    Blank lines, and lines that start with ``#``, are skipped.

    Raises
    ------
    BuildError
        If the file cannot be read, a line has another form, or an image occurs twice.
    """
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            lines = csv.reader(file)
            rows = [(lines.line_num, row) for row in lines if row and not row[0].startswith('#')]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BuildError(f'cannot read the known positions {path}: {error!s}') from error
    positions: dict[str, FloatArray] = {}
    for number, row in rows:
        try:
            name, x, y, z = (cell.strip() for cell in row)
            position = np.array([float(x), float(y), float(z)])
            if not np.isfinite(position).all():
                raise ValueError('not finite')
        except ValueError as error:
            raise BuildError(
                f'line {number} of {path} is {",".join(row)!r}: write image,x,y,z'
            ) from error
        if name in positions:
            raise BuildError(f'line {number} of {path} gives {name} again: give it once')
        positions[name] = position
    return positions


def _largest_consensus(
    map_from_camera: FloatArray, world_from_camera: FloatArray, extent_m: float
) -> NDArray[np.bool_]:
    """Return the inliers (N,) of the pair of poses whose Sim(3) most poses agree with."""
    count = len(map_from_camera)
    best = np.zeros(count, bool)
    for i in range(count):
        for j in range(count):
            distance_m = np.linalg.norm(map_from_camera[i, :3, 3] - map_from_camera[j, :3, 3])
            if distance_m < MIN_BASELINE_FRACTION * extent_m or i == j:
                continue
            proposal = fit_sim3(map_from_camera[[i, j]], world_from_camera[[i, j]])
            if proposal is None:
                continue
            inliers = _inlier_mask(
                proposal, map_from_camera, world_from_camera, MAX_ERROR_FRACTION * extent_m
            )
            if inliers.sum() > best.sum():
                best = inliers
    return best


def _collinear(points: FloatArray) -> bool:
    """Return whether points (N, 3) are on a line, or nearly."""
    extent = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(extent[1] <= MIN_EXTENT_RATIO * extent[0])


def fit_sim3(map_from_camera: FloatArray, world_from_camera: FloatArray) -> FloatArray | None:
    """Fit a Sim(3) to rotations and positions of poses (N, 4, 4); None if it has no scale."""
    rotations = map_from_camera[:, :3, :3] @ np.swapaxes(world_from_camera[:, :3, :3], 1, 2)
    rotation = Rotation.from_matrix(rotations).mean().as_matrix()
    target, source = map_from_camera[:, :3, 3], world_from_camera[:, :3, 3]
    rotated = (source - source.mean(0)) @ rotation.T
    variance = float(np.sum(rotated**2))
    scale = float(np.sum((target - target.mean(0)) * rotated)) / variance if variance > 0 else 0.0
    if scale <= 0:
        return None
    translation = target.mean(0) / scale - rotation @ source.mean(0)
    return make_sim3(scale, make_pose(Rotation.from_matrix(rotation), translation))


def _inlier_mask(
    map_from_world: FloatArray,
    map_from_camera: FloatArray,
    world_from_camera: FloatArray,
    max_distance_m: float,
) -> NDArray[np.bool_]:
    """Return which poses (N,) a Sim(3) aligns within a distance and `MAX_ERROR_DEG`."""
    aligned = transform_poses(map_from_world, world_from_camera)
    distance_m = np.linalg.norm(aligned[:, :3, 3] - map_from_camera[:, :3, 3], axis=1)
    rotations = np.swapaxes(aligned[:, :3, :3], 1, 2) @ map_from_camera[:, :3, :3]
    angle_deg = np.degrees(Rotation.from_matrix(rotations).magnitude())
    return np.asarray((distance_m < max_distance_m) & (angle_deg < MAX_ERROR_DEG))
