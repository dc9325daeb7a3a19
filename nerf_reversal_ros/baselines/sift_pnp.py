"""
The peer to beat: SIFT features of real pictures, lifted with their depth, and PnP.

It keeps what our map never holds, the real pictures' features. A query is compared with the
pictures that look most alike (VLAD), matched by ratio test, and posed by PnP in RANSAC.

References
----------
D. Lowe, "Distinctive Image Features from Scale-Invariant Keypoints", IJCV 2004. R. Arandjelovic
and A. Zisserman, "Three things everyone should know", CVPR 2012 (RootSIFT). VLAD: `vlad`.
LO-RANSAC of PoseLib.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.baselines.vlad import (
    CONTRAST_THRESHOLD,
    Descriptors,
    every_nth_frame,
    MAX_FEATURES,
    VladIndex,
)
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.keypoints import KeypointDetector, match_descriptors
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray, transform_points
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.localization.pnp import RansacOptions, solve_pnp_ransac

REFERENCE_STRIDE = 10
"""Of the pictures of a walk each tenth is kept."""
CANDIDATES = 5
RATIO = 0.8
MAX_REPROJECTION_ERROR_PX = 3.0
MIN_INLIERS = 12
_RANSAC = RansacOptions(
    max_error_px=MAX_REPROJECTION_ERROR_PX,
    min_iterations=1000,
    max_iterations=5000,
    min_inliers=MIN_INLIERS,
)


@dataclass(frozen=True)
class _ReferenceImage:
    points: FloatArray
    """(n, 3) features of one reference picture in the map [m]."""
    descriptors: Descriptors
    """(n, 128) their RootSIFT descriptors, of length 1."""


class SiftPnp:
    """
    SIFT + PnP against every tenth picture of a capture with depth.

    Raises
    ------
    CaptureError
        If no picture of the capture has features with depth.
    """

    def __init__(self, reference: Capture, *, progress: ProgressCallback = no_progress) -> None:
        self._detect = KeypointDetector(MAX_FEATURES, CONTRAST_THRESHOLD)
        views = []
        for frame in every_nth_frame(reference, REFERENCE_STRIDE, 'sift_pnp', progress):
            view = self._backproject_keypoints(frame)
            if len(view.points) >= MIN_INLIERS:
                views.append(view)
        if not views:
            raise CaptureError(
                f'no picture of {reference.source} has SIFT features with depth: sift_pnp needs'
                ' a reference with depth and texture'
            )
        self._reference_images = views
        self._index = VladIndex([view.descriptors for view in views])
        kept = [part.nbytes for view in views for part in (view.points, view.descriptors)]
        self.nbytes = self._index.nbytes + sum(kept)

    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> FloatArray | None:
        """Return map_from_camera (4, 4) of a picture (H, W, 3), or None."""
        pixels, _, descriptors = self._detect(rgb)
        if len(pixels) < MIN_INLIERS:
            return None
        alike = self._index.nearest_images(descriptors, CANDIDATES)
        references = [self._reference_images[k] for k in alike]
        matches = [
            match_descriptors(descriptors, reference.descriptors, RATIO, mutual=False)
            for reference in references
        ]
        matched_pixels = np.concatenate([pixels[pairs[:, 0]] for pairs in matches])
        points = np.concatenate(
            [
                reference.points[pairs[:, 1]]
                for reference, pairs in zip(references, matches, strict=True)
            ]
        )
        if len(points) < MIN_INLIERS:
            return None
        solution = solve_pnp_ransac(points, matched_pixels, camera, _RANSAC)
        return None if solution is None else solution.map_from_camera

    def _backproject_keypoints(self, frame: Frame) -> _ReferenceImage:
        """Take the features of a frame that have depth to the map."""
        pixels, _, descriptors = self._detect(frame.rgb)
        if frame.depth is None or frame.depth_camera is None:
            return _ReferenceImage(np.empty((0, 3)), descriptors[:0])
        focal = np.array([frame.camera.fx, frame.camera.fy])
        rays = (pixels - [frame.camera.cx, frame.camera.cy]) / focal
        rays = np.hstack([rays, np.ones((len(rays), 1))])
        where = np.rint(frame.depth_camera.project(rays)).astype(int)
        height, width = frame.depth.shape
        inside = np.all((where >= 0) & (where < [width, height]), axis=1)
        depth = np.zeros(len(rays))
        depth[inside] = frame.depth[where[inside, 1], where[inside, 0]]
        known = depth > 0
        points = transform_points(frame.map_from_camera, rays[known] * depth[known, None])
        return _ReferenceImage(points, descriptors[known])
