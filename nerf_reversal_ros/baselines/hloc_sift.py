"""
hloc with SIFT: points triangulated from real pictures, retrieval, matching and PnP, by COLMAP.

P.-E. Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large Scale", CVPR
2019, as its public toolbox does it with SIFT. No depth is used. Of the reference pictures each
`REFERENCE_STRIDE`-th is kept and paired with those near it that look the same way; features are matched as
mutual nearest neighbours with a ratio test, matches that the known poses contradict are left out,
and COLMAP triangulates the others with these poses. A query is matched with the `CANDIDATES`
pictures that look most alike, and COLMAP estimates its pose from the points that they see.

The settings of SIFT and of PnP are the toolbox's. What differs: retrieval is by VLAD of the same
SIFT (`vlad`), for the weights of NetVLAD would have to be fetched; and a query with fewer than
`MIN_INLIERS` inliers has no answer, as in `sift_pnp`, where the toolbox gives what PnP made of
them or else the pose of the picture most alike.

pycolmap is an optional package, see ``requirements/peers.txt``.
"""

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pycolmap
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.baselines.vlad import Descriptors, every_nth_frame, VladIndex
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.keypoints import match_descriptors
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray, inverse
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback

REFERENCE_STRIDE = 4
FIRST_OCTAVE, PEAK_THRESHOLD = 0, 0.01
MAX_NEIGHBORS, MAX_VIEW_ANGLE_DEG = 20, 30.0
MIN_BASELINE_M = 1e-3
"""Rays from less far apart meet where rounding has it: in the eye, for one that turns only."""
RATIO = 0.8
MAX_EPIPOLAR_ERROR_PX = 4.0
CANDIDATES = 10
MAX_REPROJECTION_ERROR_PX = 12.0
MIN_INLIERS = 12


@dataclass(frozen=True)
class _ReferenceImage:
    map_from_camera: FloatArray
    """(4, 4)."""
    camera: Camera
    pixels: FloatArray
    """(n, 2) of features, COLMAP's: the centre of the first pixel is at (0.5, 0.5)."""
    descriptors: Descriptors
    """(n, 128) their RootSIFT descriptors, of length 1."""


class HlocSift:
    """
    The pose of a picture against points that are triangulated from a capture's pictures.

    Raises
    ------
    CaptureError
        If the capture's pictures have no features, or no points can be triangulated from them.
    """

    def __init__(self, reference: Capture, *, progress: ProgressCallback = no_progress) -> None:
        pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value  # it would tell each step
        options = pycolmap.FeatureExtractionOptions(use_gpu=False)
        options.sift.first_octave, options.sift.peak_threshold = FIRST_OCTAVE, PEAK_THRESHOLD
        self._extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
        views = []
        for frame in every_nth_frame(reference, REFERENCE_STRIDE, 'hloc_sift', progress):
            view = _ReferenceImage(
                frame.map_from_camera, frame.camera, *self._extract_features(frame.rgb)
            )
            if len(view.pixels) >= MIN_INLIERS:
                views.append(view)
        if not views:
            raise CaptureError(
                f'no picture of {reference.source} has SIFT features: hloc_sift needs a reference'
                ' with texture'
            )
        matches = _match_pairs(views, progress)
        self._point_indices, self._points = _triangulate(views, matches)
        if not len(self._points):
            raise CaptureError(
                f'no point can be triangulated from the pictures of {reference.source}: hloc_sift'
                ' needs a walk that shows the same things from several sides'
            )
        self._descriptors = [view.descriptors for view in views]
        self._index = VladIndex(self._descriptors)
        kept: list[NDArray[Any]] = [self._points, *self._point_indices, *self._descriptors]
        self.nbytes = self._index.nbytes + sum(part.nbytes for part in kept)

    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> FloatArray | None:
        """Return map_from_camera (4, 4) of a picture (H, W, 3), or None."""
        pixels, descriptors = self._extract_features(rgb)
        if len(pixels) < MIN_INLIERS:
            return None
        found = []
        for k in self._index.nearest_images(descriptors, CANDIDATES):
            mine, theirs = match_descriptors(descriptors, self._descriptors[k], RATIO).T
            found.append(np.column_stack([mine, self._point_indices[k][theirs]]))
        pairs = np.unique(np.concatenate(found), axis=0)
        mine, points = pairs[pairs[:, 1] >= 0].T
        estimation = pycolmap.AbsolutePoseEstimationOptions()
        estimation.ransac.max_error = MAX_REPROJECTION_ERROR_PX
        estimation.ransac.random_seed = 0
        answer = pycolmap.estimate_and_refine_absolute_pose(
            pixels[mine], self._points[points], _colmap_camera(camera), estimation
        )
        if answer is None or answer['num_inliers'] < MIN_INLIERS:
            return None
        camera_from_map = np.vstack([answer['cam_from_world'].matrix(), [0.0, 0.0, 0.0, 1.0]])
        return inverse(camera_from_map)

    def _extract_features(self, rgb: NDArray[np.uint8]) -> tuple[FloatArray, Descriptors]:
        """Return pixels (n, 2) and descriptors (n, 128) of a picture (H, W, 3)."""
        grey = pycolmap.Bitmap.from_array(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        keypoints, descriptors = self._extractor.extract(grey)
        pixels = np.array([[point.x, point.y] for point in keypoints], np.float64).reshape(-1, 2)
        words = np.asarray(descriptors.to_float().data, np.float32)
        return pixels, words / np.maximum(np.linalg.norm(words, axis=1, keepdims=True), 1e-9)


def _match_pairs(
    views: list[_ReferenceImage], progress: ProgressCallback
) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Match the features of views near each other; keep (K, 2) that agree with the poses."""
    pairs = _select_pairs(np.stack([view.map_from_camera for view in views]))
    matches = {}
    for number, (a, b) in enumerate(pairs):
        found = match_descriptors(views[a].descriptors, views[b].descriptors, RATIO)
        matches[a, b] = found[
            _epipolar_errors_px(views[a], views[b], found) < MAX_EPIPOLAR_ERROR_PX
        ]
        progress(Progress('hloc_sift pairs', number + 1, len(pairs)))
    return matches


def _select_pairs(map_from_camera: FloatArray) -> list[tuple[int, int]]:
    """Pair each of some poses (N, 4, 4) with the nearest others that look the same way."""
    places, rotations = map_from_camera[:, :3, 3], map_from_camera[:, :3, :3]
    pairs = set()
    for a in range(len(places)):
        turns = Rotation.from_matrix(rotations[a].T @ rotations).magnitude()
        away = np.linalg.norm(places - places[a], axis=1)
        usable = (away > MIN_BASELINE_M) & (turns < np.radians(MAX_VIEW_ANGLE_DEG))
        near = np.argsort(away)
        near = near[usable[near]][:MAX_NEIGHBORS]
        pairs |= {(min(a, b), max(a, b)) for b in near.tolist()}
    return sorted(pairs)


def _epipolar_errors_px(
    a: _ReferenceImage, b: _ReferenceImage, matches: NDArray[np.int64]
) -> FloatArray:
    """Return how far (K,) [px] matches (K, 2) are from each other's epipolar lines, at worst."""
    b_from_a = inverse(b.map_from_camera) @ a.map_from_camera
    x, y, z = b_from_a[:3, 3]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    a_rays, b_rays = (np.linalg.inv(view.camera.matrix) for view in (a, b))
    fundamental = b_rays.T @ cross @ b_from_a[:3, :3] @ a_rays
    first, second = (
        np.column_stack([view.pixels[column] - 0.5, np.ones(len(column))])
        for view, column in zip((a, b), matches.T, strict=True)
    )
    lines = first @ fundamental.T, second @ fundamental
    off = np.abs(np.sum(second * lines[0], axis=1))
    widths = [np.maximum(np.linalg.norm(line[:, :2], axis=1), 1e-12) for line in lines]
    return off / np.minimum(*widths)


def _triangulate(
    views: list[_ReferenceImage], matches: dict[tuple[int, int], NDArray[np.int64]]
) -> tuple[list[NDArray[np.int64]], FloatArray]:
    """Return which point, or -1, each view's features (n,) see, and the points (P, 3) [m]."""
    posed = pycolmap.Reconstruction()
    with TemporaryDirectory() as folder:
        database = pycolmap.Database.open(str(Path(folder, 'database.db')))
        for k, view in enumerate(views, start=1):
            camera = _colmap_camera(view.camera, k)
            image = pycolmap.Image(name=str(k), keypoints=view.pixels, camera_id=k, image_id=k)
            posed.add_camera_with_trivial_rig(camera)
            posed.add_image_with_trivial_frame(
                image, pycolmap.Rigid3d(inverse(view.map_from_camera)[:3])
            )
            database.write_rig(posed.rig(k), use_rig_id=True)
            database.write_camera(camera, use_camera_id=True)
            database.write_frame(posed.frame(k), use_frame_id=True)
            database.write_image(posed.image(k), use_image_id=True)
            database.write_keypoints(k, view.pixels.astype(np.float32))
        for (a, b), found in matches.items():
            geometry = pycolmap.TwoViewGeometry(
                config=pycolmap.TwoViewGeometryConfiguration.CALIBRATED,
                inlier_matches=found.astype(np.uint32),
            )
            database.write_two_view_geometry(a + 1, b + 1, geometry)
        database.close()
        options = pycolmap.IncrementalPipelineOptions(extract_colors=False, random_seed=0)
        made = pycolmap.triangulate_points(
            posed, str(Path(folder, 'database.db')), folder, folder, options=options
        )
    numbers = {name: number for number, name in enumerate(made.points3D)}
    seen = [
        np.array([numbers.get(p.point3D_id, -1) for p in made.image(k).points2D], np.int64)
        for k in range(1, len(views) + 1)
    ]
    points = [point.xyz for point in made.points3D.values()]
    return seen, np.array(points, dtype=np.float64).reshape(-1, 3)


def _colmap_camera(camera: Camera, camera_id: int = 1) -> Any:
    """Return COLMAP's camera; the centre of the first pixel is at (0.5, 0.5) there."""
    return pycolmap.Camera(
        camera_id=camera_id,
        model='PINHOLE',
        width=camera.width,
        height=camera.height,
        params=[camera.fx, camera.fy, camera.cx + 0.5, camera.cy + 0.5],
    )
