"""
Find the intrinsics of an unknown camera from its images and the landmarks of the map.

Descriptors are matched with the whole map, which needs no intrinsics. Focal lengths of all usual
fields of view are then tried by RANSAC. From the one that explains the most matches, poses and
intrinsics are fitted, and those of all images averaged.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
import math

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.camera_fit import deviate, fit_camera
from nerf_reversal_ros.localization.camera_views import (
    CameraEstimate,
    CameraView,
    combine_views,
    MAX_COVARIANCE_SCALE,
    views_of_other_places,
    without_outliers,
)
from nerf_reversal_ros.localization.matching import (
    CandidateLandmarks,
    make_query,
    match_landmarks,
    QueryImage,
    RETRY_DETECTOR,
    visible_landmarks,
)
from nerf_reversal_ros.localization.pnp import (
    MAX_ERROR_PX,
    MIN_MATCHES,
    PnpSolution,
    RansacOptions,
    solve_pnp_ransac,
)
from nerf_reversal_ros.localization.refinement import refine_pose
from nerf_reversal_ros.regressor.regressed_pose import Regressor

SIZE_PX = 512
"""Longer side [px] of the images that are searched."""
FOCAL_RATIOS = tuple(0.45 * 1.15**step for step in range(12))
"""Focal lengths over the longer side that are tried, fields of view of 96 to 27 degrees. The fit
converges from a focal length that is wrong by 12 %, so the steps leave no gap."""
GUESSED_RATIOS = 0.6, 0.85, 1.2
"""Focal lengths over the longer side with which similar views are retrieved."""
RETRIEVED_VIEWS = 4
"""Similar views whose landmarks are matched if those of the whole map give no pose."""
MIN_INLIERS = 20
"""Inliers from which an image tells of its camera: fewer fit many focal lengths by chance."""
MIN_RIVAL_INLIERS, MAX_STARTS = 0.95, 3
"""Inliers of a focal length, over the most, from which the fit starts at it, too; how many."""
ROUNDS = 3
"""Fits of all images; landmarks are matched anew for each, near their projections."""
PRIOR_STD = (0.7, 0.01, 0.01, 0.003)
"""Standard deviations of a prior of each image, by parameter of `CameraFit.deviation`: cameras
have their principal point near the middle, and square pixels."""
CENTER_STD = 0.005
"""Standard deviation of the principal point, over the longer side, from what all images share: in
one of two rooms it is 1.5 % off, as if the camera were turned by 1 degree."""
MAX_FOCAL_STD = 0.1
"""Largest standard deviation of a focal length that was found, relative to it."""


@dataclass(frozen=True)
class FoundCamera:
    """Intrinsics that fit the matches of images."""

    camera: Camera
    """At the size of the images."""
    covariance: FloatArray
    """(4, 4) of its deviation, see `CameraFit.deviation`."""
    images: int
    """Images that agree with it."""

    @property
    def focal_std(self) -> float:
        """Standard deviation of the focal length, relative to it."""
        return float(np.sqrt(self.covariance[0, 0]))

    def describe(self) -> str:
        """Return the focal length with its standard deviation, and what it was found from."""
        fov_deg = math.degrees(2 * math.atan(self.camera.width / 2 / self.camera.fx))
        return (
            f'focal length {self.camera.fx:.1f} px +- {100 * self.focal_std:.1f} % (field of view'
            f' {fov_deg:.0f} deg), found from {self.images} image' + 's' * (self.images > 1)
        )


@dataclass(frozen=True)
class _SearchedImage:
    """Image with the poses that RANSAC finds by focal length."""

    query: QueryImage
    """Its camera has a focal length as long as the longer side."""
    poses: dict[float, PnpSolution]
    """By focal length over the longer side."""

    @property
    def most_inliers(self) -> int:
        """Inliers of the focal length that has the most."""
        return max((pose.inliers for pose in self.poses.values()), default=0)


class CameraSearch:
    """
    Finds the camera of images of one size.

    Parameters
    ----------
    atlas, regressor : Atlas, Regressor
        Of the map.
    landmarks : CandidateLandmarks
        Of the whole map, see `landmarks_of_map`.
    covariance_scale : float
        Factor on covariances of fits, see `Calibration`.
    """

    def __init__(
        self,
        atlas: Atlas,
        landmarks: CandidateLandmarks,
        regressor: Regressor,
        covariance_scale: float,
    ) -> None:
        self._atlas, self._landmarks, self._regressor = atlas, landmarks, regressor
        self._covariance_scale = min(covariance_scale, MAX_COVARIANCE_SCALE)
        self._images: list[_SearchedImage] = []

    def __len__(self) -> int:
        """Return the number of images that were added."""
        return len(self._images)

    def add(self, rgb: NDArray[np.uint8]) -> bool:
        """Match an image (H, W, 3), as large as those before; return whether it fits the map."""
        height, width = rgb.shape[:2]
        camera = _camera_of_ratio(width, height, 1.0)
        query = make_query(rgb, camera, SIZE_PX, RETRY_DETECTOR)
        searched = _SearchedImage(query, _poses_by_focal_ratio(query, self._landmarks))
        if searched.most_inliers < MIN_INLIERS:
            for pose, ratio in self._retrieved(rgb):
                landmarks = visible_landmarks(self._atlas, pose, _with_ratio(query, ratio).camera)
                other = _SearchedImage(query, _poses_by_focal_ratio(query, landmarks))
                searched = max(searched, other, key=lambda image: image.most_inliers)
        self._images.append(searched)
        return searched.most_inliers >= MIN_INLIERS

    def find(self) -> FoundCamera | None:
        """Return the camera that the images fit; None if none of them tells it."""
        images = [image for image in self._images if image.most_inliers >= MIN_INLIERS]
        inliers = {
            ratio: sum(image.poses[ratio].inliers for image in images if ratio in image.poses)
            for ratio in FOCAL_RATIOS
        }
        most = max(inliers.values())
        starts = sorted(FOCAL_RATIOS, key=lambda ratio: -inliers[ratio])[:MAX_STARTS]
        found: tuple[int, FoundCamera] | None = None
        for ratio in starts:
            if images and inliers[ratio] >= MIN_RIVAL_INLIERS * most:
                fitted = self._fit(images, ratio)
                if fitted is not None and (found is None or fitted[0] > found[0]):
                    found = fitted
        return None if found is None or found[1].focal_std > MAX_FOCAL_STD else found[1]

    def _fit(self, images: list[_SearchedImage], ratio: float) -> tuple[int, FoundCamera] | None:
        """Fit the camera from a focal ratio on; return the inliers of all images, and it."""
        poses = [image.poses.get(ratio) for image in images]
        estimate = CameraEstimate(_deviation_of(ratio), np.eye(4), 0)
        views: list[CameraView] = []
        for _ in range(ROUNDS):
            views = []
            for number, (image, pose) in enumerate(zip(images, poses, strict=True)):
                if pose is None:
                    continue
                view = self._fit_image(image.query, pose, estimate.deviation)
                if view is not None:
                    views.append(view)
                    poses[number] = replace(pose, map_from_camera=view.map_from_camera)
            if not views:
                return None
            estimate = _average(views)
        deviation = estimate.deviation
        inliers = [
            0 if pose is None else self._count_inliers(image.query, pose, deviation)
            for image, pose in zip(images, poses, strict=True)
        ]
        agreeing = [count for count in inliers if count >= MIN_INLIERS]
        if not agreeing:
            return None
        camera = deviate(images[0].query.full_camera or images[0].query.camera, deviation)
        covariance = estimate.covariance + np.diag([0.0, CENTER_STD**2, CENTER_STD**2, 0.0])
        return sum(agreeing), FoundCamera(camera, covariance, len(without_outliers(views)))

    def _fit_image(
        self, query: QueryImage, pose: PnpSolution, deviation: FloatArray
    ) -> CameraView | None:
        """Fit pose and camera of one image near a deviation of the camera."""
        camera = deviate(query.camera, deviation)
        landmarks = visible_landmarks(self._atlas, pose.map_from_camera, camera)
        fit = fit_camera(query, landmarks, pose, deviation, PRIOR_STD)
        if fit is None:
            return None
        covariance = self._covariance_scale * fit.deviation_covariance
        return CameraView(fit.solution.map_from_camera, fit.deviation, covariance)

    def _count_inliers(self, query: QueryImage, pose: PnpSolution, deviation: FloatArray) -> int:
        """Return how many landmarks an image fits with a deviation of the camera."""
        deviated = replace(query, camera=deviate(query.camera, deviation))
        landmarks = visible_landmarks(self._atlas, pose.map_from_camera, deviated.camera)
        refined = refine_pose(deviated, landmarks, pose)
        return 0 if refined is None else refined.inliers

    def _retrieved(self, rgb: NDArray[np.uint8]) -> list[tuple[FloatArray, float]]:
        """Return poses of similar views, with the guessed focal ratio that makes them so."""
        height, width = rgb.shape[:2]
        regressed = {}
        for ratio in GUESSED_RATIOS:
            with suppress(ImageError):  # a strip has no view in common with the canonical camera
                camera = _camera_of_ratio(width, height, ratio)
                regressed[ratio] = self._regressor.regress(rgb, camera)
        if not regressed:
            return []
        ratio = min(regressed, key=lambda guess: regressed[guess].novelty)
        poses = self._regressor.retrieve(regressed[ratio], RETRIEVED_VIEWS)
        return [(pose, ratio) for pose in (regressed[ratio].map_from_camera, *poses)]


def _average(views: list[CameraView]) -> CameraEstimate:
    """Average the views that agree, of each place the last one."""
    apart: list[CameraView] = []
    for view in without_outliers(views):
        apart = [*views_of_other_places(apart, view), view]
    return combine_views(apart)


def _poses_by_focal_ratio(
    query: QueryImage, landmarks: CandidateLandmarks
) -> dict[float, PnpSolution]:
    """Return the poses that RANSAC finds for the matches of an image."""
    pairs = match_landmarks(query, landmarks)
    points, pixels = landmarks.points[pairs[:, 1]], query.keypoints.pixels[pairs[:, 0]]
    if len(points) < MIN_MATCHES:
        return {}
    options = RansacOptions(max_error_px=query.scaled_px(MAX_ERROR_PX))
    found = {
        ratio: solve_pnp_ransac(points, pixels, _with_ratio(query, ratio).camera, options)
        for ratio in FOCAL_RATIOS
    }
    return {ratio: pose for ratio, pose in found.items() if pose is not None}


def _with_ratio(query: QueryImage, ratio: float) -> QueryImage:
    """Return an image with a focal length over the longer side, from one with 1."""
    return replace(query, camera=deviate(query.camera, _deviation_of(ratio)))


def _deviation_of(ratio: float) -> FloatArray:
    """Return the deviation of a focal length over the longer side from 1."""
    return np.array([math.log(ratio), 0.0, 0.0, 0.0])


def _camera_of_ratio(width: int, height: int, ratio: float) -> Camera:
    """Return a camera with a focal length over the longer side."""
    focal_px = ratio * max(width, height)
    return Camera(width, height, focal_px, focal_px, (width - 1) / 2, (height - 1) / 2)
