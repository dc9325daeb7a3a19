"""
Check the intrinsics of query images: by the image, by earlier images, and by the mapping capture.

The camera of the capture is plausible without evidence, because the map was built with it. Any
other camera has to be verified by its images: what they leave open of the intrinsics becomes part
of the pose covariance. Views of one camera that differ from each other are counted together.
"""

from collections import deque, OrderedDict
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.camera_fit import (
    CameraFit,
    fit_camera,
    free_intrinsics,
    PARAMETER_STD,
    search_camera,
)
from nerf_reversal_ros.localization.camera_views import (
    CameraEstimate,
    CameraView,
    combine_views,
    MAX_COVARIANCE_SCALE,
    SIGNIFICANT_STD,
    views_of_other_places,
    without_outliers,
)
from nerf_reversal_ros.localization.matching import CandidateLandmarks, QueryImage
from nerf_reversal_ros.localization.pnp import largest_std_m, LOSS_SCALE_PX, PnpSolution

UNVERIFIED_STD = 2.0
"""The same for a camera that is neither the capture's nor found from images: nothing speaks for
its intrinsics."""
SAME_CAMERA = 2e-3
"""Largest relative difference of the intrinsics of one camera: their rounding, and less than a
single image can measure."""
SEARCH_VIEWS = 8
"""Views of an unverified camera whose focal length is searched in a wide range, which takes the
time of several hypotheses. For the camera of the capture it is the number of first images: a
camera that zooms may have its intrinsics."""
NARROW_FIT_INLIERS = 75
"""Inliers from which a narrow fit suffices: it converges where so many landmarks are matched."""
QUICK_DEVIATION = 0.01
"""Deviation of each parameter up to which the inliers of the pose alone verify the camera of the
capture; inliers of a wrong focal length are a biased part of the matches, but deviate by more."""
SCALE_STEP = 0.1
"""Standard deviation of a focal scale that is only known as one of those that were tried."""
RECENT, MIN_RECENT = 8, 3
"""Latest images of a camera, and how many of them another focal length must explain better for the
camera to be wrong in the present one as well."""
MAX_VIEWS, MAX_CAMERAS = 64, 8
"""Views of a camera, and cameras, that are remembered; the oldest are forgotten."""
GIVEN_STD = (0.03, 0.03, 0.03, 0.01)
"""Standard deviation of the parameters of an unverified camera_info that is not grossly wrong:
focal lengths of data sheets, and a principal point taken as the image center, are wrong by 3 %."""
MAX_CROP_DEVIATION = 0.1
"""Largest focal deviation, with two standard deviations, of a cropped image of the capture's
camera; intrinsics of another image size are wrong by more."""
CROP_OFFSET_PX = 0.01
"""Largest distance [px] of the offset of a cropped image from a whole number of pixels."""
UNKNOWN_POSE_STD = 1.0
"""Standard deviation [m], [rad] of a pose whose unverified camera cannot be fitted."""


@dataclass(frozen=True)
class CameraEvidence:
    """Deviation of the intrinsics that the matches fit from the given ones."""

    focal_scale: float
    """Focal length that fits over the given one."""
    focal_std: float
    """Standard deviation of ``focal_scale``."""
    center_shift: float
    """Distance of the principal point that fits from the given one, in longer sides."""
    center_std: float
    """Standard deviation of ``center_shift``."""
    aspect_scale: float
    """fx / fy that fits over the given one."""
    aspect_std: float
    """Standard deviation of ``aspect_scale``."""
    camera_views: int
    """Views that the values are from; the present one is one of them."""
    camera_std_m: float
    """Largest standard deviation of the position that is due to the camera [m]."""
    min_std: float = SIGNIFICANT_STD
    """Standard deviations from which a deviation counts; it is no score."""

    def as_scores(self) -> dict[str, float]:
        """Return the measurements by the names that diagnostics and files use."""
        return {
            'focal_scale': self.focal_scale,
            'focal_std': self.focal_std,
            'center_shift': self.center_shift,
            'center_std': self.center_std,
            'aspect_scale': self.aspect_scale,
            'aspect_std': self.aspect_std,
            'camera_views': float(self.camera_views),
            'camera_std_m': self.camera_std_m,
        }

    def deviation_text(self, max_deviation: float) -> str:
        """Describe the first significant deviation beyond a fraction; empty if there is none."""

        def is_beyond(deviation: float, std: float) -> bool:
            return abs(deviation) > max(max_deviation, self.min_std * std)

        if is_beyond(self.focal_scale - 1, self.focal_std):
            return (
                f'the matches fit a focal length of {self.focal_scale:.3g} times that of'
                f' camera_info (std {self.focal_std:.2g})'
            )
        if is_beyond(self.center_shift, self.center_std):
            return (
                f'the matches fit a principal point {self.center_shift:.1%} of the image from'
                f' that of camera_info (std {self.center_std:.1%})'
            )
        if is_beyond(self.aspect_scale - 1, self.aspect_std):
            return (
                f'the matches fit fx / fy of {self.aspect_scale:.3g} times that of camera_info'
                f' (std {self.aspect_std:.2g})'
            )
        return ''


class CameraExamination(NamedTuple):
    """Result of `CameraCheck.examine`."""

    evidence: CameraEvidence
    covariance: FloatArray
    """(6, 6) to be added to that of the pose, in the order of `pose_covariance`."""
    view: CameraView | None
    """Fit that `CameraCheck.remember` counts; None if it is not to be trusted."""
    best_scale: float | None
    """Focal scale that explains the most landmarks: 1 is the given focal length; None: unknown."""


@dataclass
class _Memory:
    """What images of one camera told."""

    views: list[CameraView] = field(default_factory=list)
    """Fits of the latest images, one for each place."""
    best_scales: deque[float] = field(default_factory=lambda: deque(maxlen=RECENT))
    """Focal scales that explain the most landmarks of the latest images."""


class CameraCheck:
    """
    Compares the given intrinsics of images with those that fit their matches.

    Parameters
    ----------
    atlas : Atlas
        Landmarks of the map.
    capture_camera : Camera
        Camera of the mapping capture.
    """

    def __init__(self, atlas: Atlas, capture_camera: Camera) -> None:
        self._atlas = atlas
        self._capture_camera = capture_camera
        self._memories: OrderedDict[FloatKey, _Memory] = OrderedDict()
        self._found: OrderedDict[FloatKey, FloatArray] = OrderedDict()
        self._capture_images = 0

    def trust(self, camera: Camera, covariance: FloatArray) -> None:
        """Take a camera to be as certain as the covariance (4, 4) of its deviation tells."""
        self._found[_camera_key(camera)] = covariance
        while len(self._found) > MAX_CAMERAS:
            self._found.popitem(last=False)

    def needs_search(self, query: QueryImage, solution: PnpSolution) -> bool:
        """Return whether the focal length of an image has to be searched in a wide range."""
        if solution.inliers < NARROW_FIT_INLIERS:
            return True
        if self.is_capture_camera(query.camera):
            return self._capture_images < SEARCH_VIEWS
        return len(self._memory(query.camera).views) < SEARCH_VIEWS

    def examine(
        self,
        query: QueryImage,
        landmarks: CandidateLandmarks,
        solution: PnpSolution,
        covariance_scale: float,
    ) -> CameraExamination:
        """
        Compare the given intrinsics of an image with those that fit it and earlier ones.

        Parameters
        ----------
        query : QueryImage
            Image with its given camera.
        landmarks : CandidateLandmarks
            Landmarks that are visible at the pose.
        solution : PnpSolution
            Refined pose.
        covariance_scale : float
            Factor on the covariance of the fit, see `Calibration`.
        """
        memory = self._memory(query.camera)
        if self.needs_search(query, solution):
            fit = search_camera(query, self._atlas, solution)
        else:
            fit = self._fit_quickly(query, landmarks, solution)
        if fit is None:
            return self._unfitted(query.camera)
        covariance = min(covariance_scale, MAX_COVARIANCE_SCALE) * fit.deviation_covariance
        view = CameraView(solution.map_from_camera, fit.deviation, covariance)
        own = combine_views([view])
        others = views_of_other_places(memory.views, view)
        combined = combine_views([view, *without_outliers(others)])
        contribution = self._pose_covariance(query, fit, own, combined)
        is_known = self.is_capture_camera(query.camera) or _camera_key(query.camera) in self._found
        min_std = SIGNIFICANT_STD if is_known else UNVERIFIED_STD
        own_evidence = _make_evidence(own, contribution, min_std)
        recent = [scale for scale in memory.best_scales if scale != 1.0]
        other = fit.other_focal_scale
        if other is None and len(recent) >= MIN_RECENT:
            other = recent[-1]
        if other is not None:
            # The fit may be back at the wrong camera: then it is no evidence for later images.
            if own.deviation[0] / np.log(other) < 0.5:
                own_evidence = replace(own_evidence, focal_scale=other, focal_std=SCALE_STEP)
            evidence = replace(own_evidence, min_std=0.0)
            return CameraExamination(evidence, contribution, None, fit.other_focal_scale or 1.0)
        # A camera that zooms contradicts its earlier images, so the image counts by itself.
        is_contradicted = bool(own_evidence.deviation_text(0.0))
        evidence = own_evidence
        if not is_contradicted:
            evidence = _make_evidence(combined, contribution, min_std)
        return CameraExamination(evidence, contribution, view, 1.0)

    def _fit_quickly(
        self, query: QueryImage, landmarks: CandidateLandmarks, solution: PnpSolution
    ) -> CameraFit | None:
        """Fit the camera to the inliers; match landmarks anew only if it deviates, or is new."""
        if self.is_capture_camera(query.camera):
            loss_scale_px = query.scaled_px(LOSS_SCALE_PX)
            quick = free_intrinsics(solution, query.camera, loss_scale_px, np.zeros(4))
            if quick is not None and np.abs(quick.deviation).max() < QUICK_DEVIATION:
                return quick
        return fit_camera(query, landmarks, solution)

    def remember(self, camera: Camera, examined: CameraExamination) -> None:
        """
        Count an image of a camera for later ones, once, with the result that it ended with.

        Its view replaces those from about the same pose.
        """
        memory, view = self._memory(camera), examined.view
        if examined.best_scale is not None:
            memory.best_scales.append(examined.best_scale)
        if view is not None:
            views = views_of_other_places(memory.views, view)
            memory.views = [*views, view][-MAX_VIEWS:]
            self._capture_images += self.is_capture_camera(camera)
        key = _camera_key(camera)
        self._memories[key] = memory
        self._memories.move_to_end(key)
        while len(self._memories) > MAX_CAMERAS:
            self._memories.popitem(last=False)

    def _memory(self, camera: Camera) -> '_Memory':
        """Return what is remembered of a camera, if anything."""
        return self._memories.get(_camera_key(camera)) or _Memory()

    def is_capture_camera(self, camera: Camera) -> bool:
        """Return whether intrinsics, at any image size, are those of the mapping capture."""
        difference = np.subtract(_normalize(camera), _normalize(self._capture_camera))
        return bool(np.abs(difference).max() < SAME_CAMERA)

    def _is_crop_of_capture(self, camera: Camera | None) -> bool:
        """Return whether images of a camera may be a part of images of the capture's."""
        if camera is None:
            return False
        capture = self._capture_camera
        offset = np.array([capture.cx - camera.cx, capture.cy - camera.cy])
        margin = np.array([capture.width - camera.width, capture.height - camera.height])
        is_part = np.all((offset > -0.5) & (offset < margin + 0.5)) and margin.max() > 0
        is_on_pixels = np.all(np.abs(offset - np.round(offset)) < CROP_OFFSET_PX)
        focal_ratios = np.array([camera.fx / capture.fx, camera.fy / capture.fy])
        has_same_focal = np.all(np.abs(focal_ratios - 1) < SAME_CAMERA)
        return bool(is_part and is_on_pixels and has_same_focal)

    def _pose_covariance(
        self, query: QueryImage, fit: CameraFit, own: CameraEstimate, combined: CameraEstimate
    ) -> FloatArray:
        """Return what the pose covariance (6, 6) lacks, because the intrinsics may be wrong."""
        shift = fit.pose_by_deviation
        if (found := self._found.get(_camera_key(query.camera))) is not None:
            from_found: FloatArray = shift @ found @ shift.T
            return from_found
        focal_limit = abs(own.deviation[0]) + 2 * np.sqrt(own.covariance[0, 0])
        is_plausible = self.is_capture_camera(query.camera) or (
            self._is_crop_of_capture(query.full_camera) and focal_limit < MAX_CROP_DEVIATION
        )
        if is_plausible:
            return np.zeros((6, 6))
        information = np.linalg.inv(combined.covariance)
        posterior = np.linalg.inv(information + np.diag(1 / np.square(GIVEN_STD)))
        deviation = posterior @ information @ combined.deviation
        # Second moment of the camera's error about the given camera, at which the pose is.
        moment = posterior + np.outer(deviation, deviation)
        covariance: FloatArray = shift @ moment @ shift.T
        return covariance

    def _unfitted(self, camera: Camera) -> CameraExamination:
        """Return the result of an image whose intrinsics cannot be fitted."""
        is_known = self.is_capture_camera(camera)
        covariance = np.zeros((6, 6)) if is_known else UNKNOWN_POSE_STD**2 * np.eye(6)
        unknown = CameraEstimate(np.zeros(4), np.diag(np.square(PARAMETER_STD)), 0)
        evidence = _make_evidence(unknown, covariance, SIGNIFICANT_STD)
        return CameraExamination(evidence, covariance, None, None)


FloatKey = tuple[float, ...]


def _normalize(camera: Camera) -> FloatKey:
    """Return focal lengths and principal point as fractions of the image size."""
    return (
        camera.fx / camera.width,
        camera.fy / camera.height,
        (camera.cx + 0.5) / camera.width,
        (camera.cy + 0.5) / camera.height,
    )


def _camera_key(camera: Camera) -> FloatKey:
    return tuple(round(value, 4) for value in _normalize(camera))


def _make_evidence(
    estimate: CameraEstimate, pose_covariance: FloatArray, min_std: float
) -> CameraEvidence:
    deviation, covariance, views = estimate
    focal_scale, aspect_scale = (float(np.exp(deviation[index])) for index in (0, 3))
    shift = float(np.hypot(deviation[1], deviation[2]))
    direction = deviation[1:3] / shift if shift > 0 else np.array([1.0, 0.0])
    return CameraEvidence(
        focal_scale,
        focal_scale * float(np.sqrt(covariance[0, 0])),
        shift,
        float(np.sqrt(direction @ covariance[1:3, 1:3] @ direction)),
        aspect_scale,
        aspect_scale * float(np.sqrt(covariance[3, 3])),
        views,
        largest_std_m(pose_covariance),
        min_std,
    )
