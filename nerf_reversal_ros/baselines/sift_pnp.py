"""
SIFT + PnP: reference keypoints back-projected by their depth, and PnP on ratio-test matches.

It keeps the SIFT features of mapping images, which a map of this package never holds. A query
image is matched with the most similar reference images (VLAD). Its pose follows by PnP in
LO-RANSAC.

References
----------
D. Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004. R. Arandjelovic
and A. Zisserman, "Three things everyone should know", CVPR 2012 (RootSIFT). VLAD:
`nerf_reversal_ros.capture.vlad`.
LO-RANSAC of PoseLib.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.baselines.opencv_sift import OpencvSift
from nerf_reversal_ros.baselines.vlad import (
    CONTRAST_THRESHOLD,
    every_nth_frame,
    MAX_FEATURES,
)
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.keypoints import match_descriptors
from nerf_reversal_ros.capture.vlad import Descriptors, VladIndex
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.localization.pnp import RansacOptions, solve_pnp_ransac

REFERENCE_STRIDE = 10
"""Step between the reference images that are kept."""
CANDIDATES = 5
"""Most similar reference images that a query image is matched with."""
RATIO = 0.8
"""Largest ratio of the best to the second best descriptor distance (Lowe)."""
MAX_REPROJECTION_ERROR_PX = 3.0
"""Reprojection error of an inlier."""
MIN_INLIERS = 12
"""Least inliers of a pose."""
_RANSAC = RansacOptions(
    max_error_px=MAX_REPROJECTION_ERROR_PX,
    min_iterations=1000,
    max_iterations=5000,
    min_inliers=MIN_INLIERS,
)


@dataclass(frozen=True)
class _ReferenceImage:
    points: FloatArray
    """(n, 3) back-projected keypoints of one reference image in the map [m]."""
    descriptors: Descriptors
    """(n, 128) RootSIFT descriptors of the keypoints, of length 1."""


class SiftPnp:
    """
    Localize by SIFT + PnP on every tenth image of a capture with depth.

    Parameters
    ----------
    reference : Capture
        Mapping images with depth and poses.
    progress : callable
        Receives the progress over the reference.

    Raises
    ------
    CaptureError
        If no image of the capture has keypoints with depth.
    """

    def __init__(self, reference: Capture, *, progress: ProgressCallback = no_progress) -> None:
        self._detect = OpencvSift(MAX_FEATURES, CONTRAST_THRESHOLD)
        images = []
        for frame in every_nth_frame(reference, REFERENCE_STRIDE, 'sift_pnp', progress):
            image = self._backproject_keypoints(frame)
            if len(image.points) >= MIN_INLIERS:
                images.append(image)
        if not images:
            raise CaptureError(
                f'no image of {reference.source} has SIFT features with depth: give sift_pnp a'
                ' reference with depth, of a textured room'
            )
        self._reference_images = images
        self._index = VladIndex([image.descriptors for image in images])
        self.nbytes = self._index.nbytes + sum(
            image.points.nbytes + image.descriptors.nbytes for image in images
        )

    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> FloatArray | None:
        """Return map_from_camera (4, 4) of an image (H, W, 3), or None without enough inliers."""
        keypoints, _, descriptors = self._detect(rgb)
        if len(keypoints) < MIN_INLIERS:
            return None
        candidates = self._index.nearest_images(descriptors, CANDIDATES)
        images = [self._reference_images[k] for k in candidates]
        matches = [
            match_descriptors(descriptors, image.descriptors, RATIO, mutual=False)
            for image in images
        ]
        pixels = np.concatenate([keypoints[pairs[:, 0]] for pairs in matches])
        points = np.concatenate(
            [image.points[pairs[:, 1]] for image, pairs in zip(images, matches, strict=True)]
        )
        if len(points) < MIN_INLIERS:
            return None
        solution = solve_pnp_ransac(points, pixels, camera, _RANSAC)
        return None if solution is None else solution.map_from_camera

    def _backproject_keypoints(self, frame: Frame) -> _ReferenceImage:
        """Back-project the keypoints of a frame that have depth to the map."""
        pixels, _, descriptors = self._detect(frame.rgb)
        if frame.depth is None or frame.depth_camera is None:
            return _ReferenceImage(np.empty((0, 3)), descriptors[:0])
        rays = frame.camera.unproject(pixels)
        depth_pixels = np.rint(frame.depth_camera.project(rays)).astype(int)
        height, width = frame.depth.shape
        inside = np.all((depth_pixels >= 0) & (depth_pixels < [width, height]), axis=1)
        depth = np.zeros(len(rays))
        depth[inside] = frame.depth[depth_pixels[inside, 1], depth_pixels[inside, 0]]
        known = depth > 0
        points = transform_points(frame.map_from_camera, rays[known] * depth[known, None])
        return _ReferenceImage(points, descriptors[known])
