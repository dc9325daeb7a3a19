"""
hloc with SIFT: triangulation of the reference images, retrieval, matching, and PnP by COLMAP.

P.-E. Sarlin et al., "From Coarse to Fine: Robust Hierarchical Localization at Large Scale", CVPR
2019, as implemented with SIFT by its public toolbox. No depth is used.

Reference: every `REFERENCE_STRIDE`-th image is kept and paired with nearby images of similar
viewing direction. SIFT features are matched as mutual nearest neighbors with a ratio test. Matches
that violate the epipolar geometry of the known poses are dropped. COLMAP triangulates the others.
Query: features are matched with the `CANDIDATES` most similar images. COLMAP estimates the pose
from the points of the matched features.

The settings of SIFT and PnP are those of the toolbox. Two things differ. Retrieval is by VLAD of
the same SIFT (`vlad`), because the weights of NetVLAD need a download. A query with fewer than
`MIN_INLIERS` inliers is rejected, as in `sift_pnp`; the toolbox returns the pose from PnP or,
failing that, of the most similar image.

pycolmap is an optional package, see ``requirements/peers.txt``. Its import makes SIGTERM print a
stack trace; this module takes that back.
"""

from dataclasses import dataclass
from pathlib import Path
import signal
from tempfile import TemporaryDirectory
import threading
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
import pycolmap
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.baselines.vlad import every_nth_frame
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.keypoints import match_descriptors
from nerf_reversal_ros.capture.vlad import Descriptors, VladIndex
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray, inverse
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback

if threading.current_thread() is threading.main_thread():  # no other one may set a handler
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))

REFERENCE_STRIDE = 4
"""Step between the reference images that are kept."""
FIRST_OCTAVE, PEAK_THRESHOLD = 0, 0.01
"""SIFT settings of the toolbox."""
MAX_NEIGHBORS, MAX_VIEW_ANGLE_DEG = 20, 30.0
"""Pairs of one reference image, at most, and their largest difference in orientation."""
MIN_BASELINE_M = 1e-3
"""Least distance between the cameras of a pair: below it, triangulation amplifies rounding."""
RATIO = 0.8
"""Largest ratio of the best to the second best descriptor distance (Lowe)."""
MAX_EPIPOLAR_ERROR_PX = 4.0
"""Distance of a match from the epipolar lines of the known poses, at most."""
CANDIDATES = 10
"""Most similar reference images that a query image is matched with."""
MAX_REPROJECTION_ERROR_PX = 12.0
"""Reprojection error of an inlier."""
MIN_INLIERS = 12
"""Least inliers of a pose, and least features of a reference image."""


@dataclass(frozen=True)
class _ReferenceImage:
    map_from_camera: FloatArray
    """(4, 4) pose."""
    camera: Camera
    pixels: FloatArray
    """(n, 2) keypoints in COLMAP's convention: the center of the first pixel is (0.5, 0.5)."""
    descriptors: Descriptors
    """(n, 128) RootSIFT descriptors of the keypoints, of length 1."""


class HlocSift:
    """
    Localize by PnP on points that are triangulated from a capture's images.

    Parameters
    ----------
    reference : Capture
        Mapping images with their poses.
    progress : callable
        Receives the progress over the reference and its pairs.

    Raises
    ------
    CaptureError
        If no image has enough features, or if no point can be triangulated.
    """

    def __init__(self, reference: Capture, *, progress: ProgressCallback = no_progress) -> None:
        pycolmap.logging.minloglevel = pycolmap.logging.ERROR.value  # it logs every step
        options = pycolmap.FeatureExtractionOptions(use_gpu=False)
        options.sift.first_octave, options.sift.peak_threshold = FIRST_OCTAVE, PEAK_THRESHOLD
        self._extractor = pycolmap.FeatureExtractor.create(options, pycolmap.Device.cpu)
        images = []
        for frame in every_nth_frame(reference, REFERENCE_STRIDE, 'hloc_sift', progress):
            image = _ReferenceImage(
                frame.map_from_camera, frame.camera, *self._extract_features(frame.rgb)
            )
            if len(image.pixels) >= MIN_INLIERS:
                images.append(image)
        if not images:
            raise CaptureError(
                f'no image of {reference.source} has SIFT features: give hloc_sift a reference'
                ' of a textured room'
            )
        matches = _match_pairs(images, progress)
        self._point_indices, self._points = _triangulate(images, matches)
        if not len(self._points):
            raise CaptureError(
                f'no point can be triangulated from the images of {reference.source}: give'
                ' hloc_sift a capture of the same surfaces from several positions'
            )
        self._descriptors = [image.descriptors for image in images]
        self._index = VladIndex(self._descriptors)
        arrays: list[NDArray[Any]] = [self._points, *self._point_indices, *self._descriptors]
        self.nbytes = self._index.nbytes + sum(array.nbytes for array in arrays)

    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> FloatArray | None:
        """Return map_from_camera (4, 4) of an image (H, W, 3), or None without enough inliers."""
        pixels, descriptors = self._extract_features(rgb)
        if len(pixels) < MIN_INLIERS:
            return None
        matches = []
        for k in self._index.nearest_images(descriptors, CANDIDATES):
            query, reference = match_descriptors(descriptors, self._descriptors[k], RATIO).T
            matches.append(np.column_stack([query, self._point_indices[k][reference]]))
        unique = np.unique(np.concatenate(matches), axis=0)
        query, points = unique[unique[:, 1] >= 0].T
        options = pycolmap.AbsolutePoseEstimationOptions()
        options.ransac.max_error = MAX_REPROJECTION_ERROR_PX
        options.ransac.random_seed = 0
        solution = pycolmap.estimate_and_refine_absolute_pose(
            pixels[query], self._points[points], _colmap_camera(camera), options
        )
        if solution is None or solution['num_inliers'] < MIN_INLIERS:
            return None
        camera_from_map = np.vstack([solution['cam_from_world'].matrix(), [0.0, 0.0, 0.0, 1.0]])
        return inverse(camera_from_map)

    def _extract_features(self, rgb: NDArray[np.uint8]) -> tuple[FloatArray, Descriptors]:
        """Return keypoints (n, 2) and unit descriptors (n, 128) of an image (H, W, 3)."""
        gray = pycolmap.Bitmap.from_array(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
        keypoints, features = self._extractor.extract(gray)
        pixels = np.array([[point.x, point.y] for point in keypoints], np.float64).reshape(-1, 2)
        descriptors = np.asarray(features.to_float().data, np.float32)
        lengths = np.linalg.norm(descriptors, axis=1, keepdims=True)
        return pixels, descriptors / np.maximum(lengths, 1e-9)


def _match_pairs(
    images: list[_ReferenceImage], progress: ProgressCallback
) -> dict[tuple[int, int], NDArray[np.int64]]:
    """Match the features of nearby images; keep matches (K, 2) that fit the epipolar geometry."""
    pairs = _select_pairs(np.stack([image.map_from_camera for image in images]))
    verified = {}
    for index, (a, b) in enumerate(pairs):
        matches = match_descriptors(images[a].descriptors, images[b].descriptors, RATIO)
        errors_px = _epipolar_errors_px(images[a], images[b], matches)
        verified[a, b] = matches[errors_px < MAX_EPIPOLAR_ERROR_PX]
        progress(Progress('hloc_sift pairs', index + 1, len(pairs)))
    return verified


def _select_pairs(map_from_camera: FloatArray) -> list[tuple[int, int]]:
    """Pair each pose of (N, 4, 4) with its nearest poses of similar orientation."""
    positions, rotations = map_from_camera[:, :3, 3], map_from_camera[:, :3, :3]
    pairs = set()
    for a in range(len(positions)):
        angles = Rotation.from_matrix(rotations[a].T @ rotations).magnitude()
        distances = np.linalg.norm(positions - positions[a], axis=1)
        usable = (distances > MIN_BASELINE_M) & (angles < np.radians(MAX_VIEW_ANGLE_DEG))
        nearest = np.argsort(distances)
        nearest = nearest[usable[nearest]][:MAX_NEIGHBORS]
        pairs |= {(min(a, b), max(a, b)) for b in nearest.tolist()}
    return sorted(pairs)


def _epipolar_errors_px(
    a: _ReferenceImage, b: _ReferenceImage, matches: NDArray[np.int64]
) -> FloatArray:
    """Return the larger distance (K,) [px] of matches (K, 2) from their two epipolar lines."""
    b_from_a = inverse(b.map_from_camera) @ a.map_from_camera
    x, y, z = b_from_a[:3, 3]
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    a_inverse, b_inverse = (np.linalg.inv(image.camera.matrix) for image in (a, b))
    fundamental = b_inverse.T @ cross @ b_from_a[:3, :3] @ a_inverse
    first, second = (
        np.column_stack([image.pixels[column] - 0.5, np.ones(len(column))])
        for image, column in zip((a, b), matches.T, strict=True)
    )
    lines = first @ fundamental.T, second @ fundamental
    products = np.abs(np.sum(second * lines[0], axis=1))
    norms = [np.maximum(np.linalg.norm(line[:, :2], axis=1), 1e-12) for line in lines]
    return products / np.minimum(*norms)


def _triangulate(
    images: list[_ReferenceImage], matches: dict[tuple[int, int], NDArray[np.int64]]
) -> tuple[list[NDArray[np.int64]], FloatArray]:
    """
    Triangulate points from verified matches and known poses with COLMAP.

    Returns
    -------
    tuple
        For each image (n,) the index of each feature's point, or -1 without one; and the points
        (P, 3) in ``map`` [m].
    """
    reconstruction = pycolmap.Reconstruction()
    with TemporaryDirectory() as folder:
        database = pycolmap.Database.open(str(Path(folder, 'database.db')))
        for k, reference in enumerate(images, start=1):
            camera = _colmap_camera(reference.camera, k)
            image = pycolmap.Image(
                name=str(k), keypoints=reference.pixels, camera_id=k, image_id=k
            )
            reconstruction.add_camera_with_trivial_rig(camera)
            reconstruction.add_image_with_trivial_frame(
                image, pycolmap.Rigid3d(inverse(reference.map_from_camera)[:3])
            )
            database.write_rig(reconstruction.rig(k), use_rig_id=True)
            database.write_camera(camera, use_camera_id=True)
            database.write_frame(reconstruction.frame(k), use_frame_id=True)
            database.write_image(reconstruction.image(k), use_image_id=True)
            database.write_keypoints(k, reference.pixels.astype(np.float32))
        for (a, b), inliers in matches.items():
            geometry = pycolmap.TwoViewGeometry(
                config=pycolmap.TwoViewGeometryConfiguration.CALIBRATED,
                inlier_matches=inliers.astype(np.uint32),
            )
            database.write_two_view_geometry(a + 1, b + 1, geometry)
        database.close()
        options = pycolmap.IncrementalPipelineOptions(extract_colors=False, random_seed=0)
        result = pycolmap.triangulate_points(
            reconstruction, str(Path(folder, 'database.db')), folder, folder, options=options
        )
    indices = {point_id: index for index, point_id in enumerate(result.points3D)}
    point_indices = [
        np.array([indices.get(p.point3D_id, -1) for p in result.image(k).points2D], np.int64)
        for k in range(1, len(images) + 1)
    ]
    points = [point.xyz for point in result.points3D.values()]
    return point_indices, np.array(points, dtype=np.float64).reshape(-1, 3)


def _colmap_camera(camera: Camera, camera_id: int = 1) -> Any:
    """Convert a camera to COLMAP, where the center of the first pixel is (0.5, 0.5)."""
    return pycolmap.Camera(
        camera_id=camera_id,
        model='PINHOLE',
        width=camera.width,
        height=camera.height,
        params=[camera.fx, camera.fy, camera.cx + 0.5, camera.cy + 0.5],
    )
