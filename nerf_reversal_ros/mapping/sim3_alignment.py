"""
From the world of somebody else's NeRF to metres: by pictures, or by points that are known.

Pictures of a capture in metres are found in renders of the NeRF (RootSIFT, lifted by the rendered
depth, PnP), which needs no common scale; the similarity between both sets of poses is fitted.
"""

from collections.abc import Iterable, Sequence
import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.capture.keypoints import KeypointDetector, match_descriptors
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import FloatArray, make_pose, transform_points
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.sim3 import make_sim3, transform_poses
from nerf_reversal_ros.localization.pnp import RansacOptions, solve_pnp_ransac

RATIO_THRESHOLD = 0.85
MAX_RENDERINGS = 6
"""A picture is matched with all renders and posed by those that have most matches."""
MAX_REPROJECTION_ERROR_PX = 4.0
MIN_INLIERS = 15
_RANSAC = RansacOptions(
    max_error_px=MAX_REPROJECTION_ERROR_PX,
    min_iterations=1000,
    max_iterations=5000,
    loss_scale_px=MAX_REPROJECTION_ERROR_PX / 2,
    min_inliers=MIN_INLIERS,
)
MIN_LOCATED_IMAGES = 6
"""So many pictures must be found in the renders, and agree."""
MIN_INLIER_FRACTION = 0.5
"""Share of the found pictures that must agree on one similarity."""
MAX_ERROR_FRACTION, MAX_ERROR_DEG = 0.05, 5.0
"""A picture agrees that is off by less than this share of the walk, and this angle."""
MIN_EXTENT_RATIO = 0.02
"""Points on a line leave a turn open: their second largest extent must be this of the first."""


class Sim3Alignment(NamedTuple):
    """A similarity and how well it fits."""

    map_from_world: FloatArray
    """(4, 4) similarity."""
    correspondence_count: int
    """Poses or points that it was fitted to."""
    error_m: float
    """Median distance that is left between them."""
    skipped_count: int = 0
    """Known positions that it was not fitted to."""


def locate_in_renderings(
    frames: Iterable[Frame], views: Sequence[tuple[Rendering, FloatArray]], camera: Camera
) -> tuple[FloatArray, FloatArray]:
    """
    Find pictures in renders of a field.

    Parameters
    ----------
    frames : iterable of Frame
        Pictures, with their poses in the map.
    views : sequence of (Rendering, (4, 4) array)
        Renders and the world_from_camera that they were made at.
    camera : Camera
        Of the renders.

    Returns
    -------
    tuple of (K, 4, 4) arrays
        For the pictures that were found: map_from_camera, world_from_camera.
    """
    detect = KeypointDetector(2000, 0.01)
    lifted = []
    for view, world_from_camera in views:
        found = detect(view.rgb)
        column, row = np.rint(found.pixels).astype(int).T
        depth = view.depth[row.clip(0, camera.height - 1), column.clip(0, camera.width - 1)]
        rays = (found.pixels - [camera.cx, camera.cy]) / [camera.fx, camera.fy]
        known = depth > 0
        points = np.column_stack([rays, np.ones(len(rays))])[known] * depth[known, None]
        lifted.append((transform_points(world_from_camera, points), found.descriptors[known]))
    in_map, in_world = [], []
    for frame in frames:
        seen = detect(frame.rgb)
        matched = [
            (match_descriptors(seen.descriptors, look, RATIO_THRESHOLD), points)
            for points, look in lifted
        ]
        matched.sort(key=lambda pair: -len(pair[0]))
        pixels = np.concatenate([seen.pixels[m[:, 0]] for m, _ in matched[:MAX_RENDERINGS]])
        points = np.concatenate([p[m[:, 1]] for m, p in matched[:MAX_RENDERINGS]])
        if len(points) < MIN_INLIERS:
            continue
        solution = solve_pnp_ransac(points, pixels, frame.camera, _RANSAC)
        if solution is not None:
            in_map.append(frame.map_from_camera)
            in_world.append(solution.map_from_camera)
    return np.reshape(in_map, (-1, 4, 4)), np.reshape(in_world, (-1, 4, 4))


def fit_sim3_to_poses(map_from_camera: FloatArray, world_from_camera: FloatArray) -> Sim3Alignment:
    """
    Fit the similarity that takes poses of one world to those of the map, whatever few are wrong.

    Each pair of poses proposes one: the first pose's turn, and the pair's distances' ratio; the
    one that most poses agree with is fitted again to these.

    Raises
    ------
    BuildError
        If too few poses agree.
    """
    count = len(map_from_camera)
    best: Sim3Alignment | None = None
    agree = np.zeros(count, bool)
    apart = float(np.linalg.norm(np.ptp(map_from_camera[:, :3, 3], axis=0))) if count else 0.0
    for i in range(count):
        for j in range(count):
            near = np.linalg.norm(map_from_camera[i, :3, 3] - map_from_camera[j, :3, 3])
            if near < 0.2 * apart or i == j:
                continue
            fitted = _fit_sim3(map_from_camera[[i, j]], world_from_camera[[i, j]])
            if fitted is None:
                continue
            good = _inlier_mask(
                fitted, map_from_camera, world_from_camera, MAX_ERROR_FRACTION * apart
            )
            if good.sum() > agree.sum():
                agree = good
    if agree.sum() >= max(MIN_LOCATED_IMAGES, MIN_INLIER_FRACTION * count):
        fitted = _fit_sim3(map_from_camera[agree], world_from_camera[agree])
        if fitted is not None:
            left = transform_poses(fitted, world_from_camera[agree]) - map_from_camera[agree]
            error_m = float(np.median(np.linalg.norm(left[:, :3, 3], axis=1)))
            best = Sim3Alignment(fitted, int(agree.sum()), error_m)
    if best is None:
        raise BuildError(
            f'the bag and the run cannot be brought together: of its pictures {count} are found in'
            f' renders of the run and {int(agree.sum())} agree on where (needed: {MIN_LOCATED_IMAGES} and'
            ' half of them); is it the same room? else give known positions by --align'
        )
    return best


def fit_sim3_to_points(map_points: FloatArray, world_points: FloatArray) -> Sim3Alignment:
    """
    Fit a similarity to points (N, 3) that are known in both worlds.

    References
    ----------
    Umeyama, "Least-squares estimation of transformation parameters between two point patterns",
    PAMI 1991.

    Raises
    ------
    BuildError
        If there are fewer than three, they lie on a line, or do not fit each other.
    """
    if len(map_points) < 3 or _collinear(map_points) or _collinear(world_points):
        raise BuildError(
            f'{len(map_points)} known positions do not tell scale and direction of a map: give'
            ' three or more that are not on one line'
        )
    there, here = (points - points.mean(0) for points in (map_points, world_points))
    turn = Rotation.align_vectors(there, here)[0].as_matrix()
    scale = float(np.sum(there * (here @ turn.T)) / np.sum(here**2))
    fitted = np.eye(4)
    fitted[:3, :3] = scale * turn
    fitted[:3, 3] = map_points.mean(0) - scale * turn @ world_points.mean(0)
    left = np.linalg.norm(transform_points(fitted, world_points) - map_points, axis=1)
    apart = float(np.linalg.norm(np.ptp(map_points, axis=0)))
    if np.median(left) > MAX_ERROR_FRACTION * apart:
        raise BuildError(
            f'the known positions are not those of the run: the best fit leaves a median of'
            f' {np.median(left):.2f} m between them, over {apart:.2f} m; are x, y, z in metres'
            ' and beside the right pictures?'
        )
    return Sim3Alignment(fitted, len(left), float(np.median(left)))


def read_known_positions(path: Path) -> dict[str, FloatArray]:
    """
    Read a file of lines ``picture,x,y,z``: where cameras were in the map [m], z up.

    Raises
    ------
    BuildError
        If the file cannot be read, has another line, or tells of a picture twice.
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
                f'line {number} of {path} is {",".join(row)!r}: write picture,x,y,z'
            ) from error
        if name in positions:
            raise BuildError(f'line {number} of {path} gives {name} again: give it once')
        positions[name] = position
    return positions


def _collinear(points: FloatArray) -> bool:
    extent = np.linalg.svd(points - points.mean(0), compute_uv=False)
    return bool(extent[1] <= MIN_EXTENT_RATIO * extent[0])


def _fit_sim3(map_from_camera: FloatArray, world_from_camera: FloatArray) -> FloatArray | None:
    """Fit a similarity to both turns and positions of poses; None where there is no scale."""
    turns = map_from_camera[:, :3, :3] @ np.swapaxes(world_from_camera[:, :3, :3], 1, 2)
    turn = Rotation.from_matrix(turns).mean().as_matrix()
    there, here = (poses[:, :3, 3] for poses in (map_from_camera, world_from_camera))
    centred = (here - here.mean(0)) @ turn.T
    spread = float(np.sum(centred**2))
    scale = float(np.sum((there - there.mean(0)) * centred)) / spread if spread > 0 else 0.0
    if scale <= 0:
        return None
    shift = there.mean(0) / scale - turn @ here.mean(0)
    return make_sim3(scale, make_pose(Rotation.from_matrix(turn), shift))


def _inlier_mask(
    map_from_world: FloatArray,
    map_from_camera: FloatArray,
    world_from_camera: FloatArray,
    within_m: float,
) -> FloatArray:
    moved = transform_poses(map_from_world, world_from_camera)
    apart_m = np.linalg.norm(moved[:, :3, 3] - map_from_camera[:, :3, 3], axis=1)
    turns = np.swapaxes(moved[:, :3, :3], 1, 2) @ map_from_camera[:, :3, :3]
    apart_deg = np.degrees(Rotation.from_matrix(turns).magnitude())
    return np.asarray((apart_m < within_m) & (apart_deg < MAX_ERROR_DEG))
