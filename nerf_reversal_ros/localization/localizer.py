"""
Localize one image: a pose with covariance, or a rejection reason.

Tracking and the regressor give pose hypotheses. `PoseSearch` refines them on the landmarks of the
map, until the gate accepts a refined pose that is certain and the only one. All data come from the
map folder: neither the radiance field nor images of the mapping capture are needed.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.devices import free_memory, resolve_device_type
from nerf_reversal_ros.core.errors import ImageError, MapError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import (
    Diagnostics,
    Outcome,
    PoseEstimate,
    Rejection,
    RejectionReason,
)
from nerf_reversal_ros.core.parallel import one_blas_thread
from nerf_reversal_ros.core.stage_timer import StageTimer
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.camera_check import CameraCheck
from nerf_reversal_ros.localization.camera_search import CameraSearch, FoundCamera
from nerf_reversal_ros.localization.hypotheses import HypothesisRefiner, RefinedHypothesis
from nerf_reversal_ros.localization.image_queries import ImageQueries
from nerf_reversal_ros.localization.pose_search import PoseSearch
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.regressor.cpu_regressor import load_regressor
from nerf_reversal_ros.regressor.regressed_pose import RegressedPose, Regressor

if TYPE_CHECKING:
    from nerf_reversal_ros.localization.localizer_protocol import SourceLocalizer
    from nerf_reversal_ros.localization.pose_files import LocalizedImage

MIN_CONTRAST = 6.0
"""Minimum standard deviation of the gray values, 0 to 255: darker or flatter images have no
keypoints."""


Images = str | Path | NDArray[np.uint8] | Iterable[str | Path | NDArray[np.uint8]]
"""Paths of images, folders, patterns, videos, bags; or images (H, W, 3), RGB."""
CameraStatement = Camera | str | Path | None
"""Intrinsics, or what ``--camera`` takes; None: those of EXIF, else found from the images."""


class Localizer:
    """
    Localizes images in one map.

    Parameters
    ----------
    atlas, surface, regressor : Atlas, Surface, Regressor
        Landmark map, surface cloud and pose regressor of the map.
    mapping_positions : (N, 3) array
        Camera positions of the mapping capture [m, map frame].
    calibration : Calibration
        Calibration of covariances and of the gate.
    config : LocalizerConfig
        Default settings of `localize`.
    capture_camera : Camera, optional
        Camera of the mapping capture, to check the intrinsics of images; default: no check.
    capture_config : CaptureConfig, optional
        Topics of bags that `localize_all` reads.
    """

    def __init__(
        self,
        atlas: Atlas,
        surface: Surface,
        regressor: Regressor,
        mapping_positions: FloatArray,
        calibration: Calibration,
        config: LocalizerConfig,
        capture_camera: Camera | None = None,
        capture_config: CaptureConfig | None = None,
    ) -> None:
        self._capture_config = capture_config
        self.atlas = atlas
        self.surface = surface
        self.regressor = regressor
        self.config = config
        check = None if capture_camera is None else CameraCheck(atlas, capture_camera)
        self._calibration, self._check = calibration, check
        self._refiner = HypothesisRefiner(atlas, surface, mapping_positions, calibration, check)

    @property
    def device(self) -> str:
        """Device of the regressor, ``cpu`` or ``cuda``; all other stages run on the CPU."""
        return self.regressor.device_type

    def to(self, device: str) -> None:
        """
        Move the regressor to a device, ``auto``, ``cpu`` or ``cuda``, and free GPU memory.

        Raises
        ------
        ConfigError
            If the device is not available.
        """
        self.regressor = self.regressor.moved_to(resolve_device_type(device))
        free_memory()

    @one_blas_thread()
    def localize(
        self,
        rgb: NDArray[np.uint8] | str | Path,
        camera: CameraStatement = None,
        config: LocalizerConfig | None = None,
        expected_pose: FloatArray | None = None,
        time_limit_s: float = np.inf,
    ) -> Outcome:
        """
        Estimate the camera pose of one image.

        Parameters
        ----------
        rgb : (H, W, 3) uint8 array, str or Path
            Image without distortion; or an image file, which is turned upright by EXIF.
        camera : Camera, str or Path, optional
            Intrinsics at the size of the image; or a calibration file, or ``'fx fy cx cy'`` in
            pixels, as ``--camera`` takes. Default: those of EXIF, else found from this image.
        config : LocalizerConfig, optional
            Settings for this image; default: those of the localizer.
        expected_pose : (4, 4) array, optional
            ``map_from_camera`` from tracking: the first hypothesis, but never the only one. Where
            it leads to an accepted pose that needs no retry, no pose is regressed, and the
            novelty is not known.
        time_limit_s : float, optional
            No further attempt starts after this time [s]. Default: none, so that the outcome does
            not depend on the speed of the machine.

        Returns
        -------
        Outcome
            Pose with covariance, or a rejection with its reason.

        Raises
        ------
        ImageError
            If size or type of the image do not fit the camera.
        CaptureError, ConfigError
            If there is no file of the image, or of the calibration.
        """
        image = image_and_camera(self, rgb, camera)
        if isinstance(image, Rejection):
            return image
        rgb, camera = image
        timer = StageTimer()
        contrast = check_image(rgb, camera)
        if contrast < MIN_CONTRAST:
            return low_contrast(contrast, timer)
        config = config or self.config
        search = self.search(ImageQueries(rgb, camera, config), config, expected_pose, timer)
        search.run(time_limit_s)
        return search_outcome(search, contrast, timer)

    @property
    def refiner(self) -> HypothesisRefiner:
        """What refines and verifies poses in this map."""
        return self._refiner

    def search(
        self,
        queries: ImageQueries,
        config: LocalizerConfig,
        expected_pose: FloatArray | None,
        timer: StageTimer,
    ) -> PoseSearch:
        """Return the search for the pose of an image in this map; it has not begun."""
        return PoseSearch(self._refiner, self.regressor, queries, expected_pose, config, timer)

    def localize_all(
        self, images: Images, camera: CameraStatement = None
    ) -> 'Iterator[LocalizedImage]':
        """
        Localize many images, one by one as the result is iterated over.

        Parameters
        ----------
        images : str, Path, array, or iterable of either
            Image files, folders, patterns, videos or bags; or RGB images (H, W, 3) of uint8.
        camera : Camera, str or Path, optional
            As in `localize`, at any size of the same shape. Default: that of EXIF; else it is
            found from all images of a source that have one size. Bags have their own.

        Yields
        ------
        LocalizedImage
            Pose or rejection, with the name, the stamp in a video or bag, and the camera.

        Raises
        ------
        CaptureError, ConfigError
            If a path or the camera cannot be used.
        """
        from nerf_reversal_ros.localization.source_localizer import localize_images

        return localize_images(self, images, camera, self._capture_config)

    def prepare(self) -> None:
        """Compute what the first image that matches the whole map would wait for."""
        _ = self._refiner.landmarks_of_map

    def camera_search(self) -> CameraSearch:
        """Return a search for the camera of images, all of one size, that have no intrinsics."""
        return CameraSearch(
            self.atlas,
            self._refiner.landmarks_of_map,
            self.regressor,
            self._calibration.covariance_scale,
        )

    def trust(self, found: FoundCamera) -> None:
        """Let the covariances of poses hold the uncertainty of a camera that was found."""
        if self._check is not None:
            self._check.trust(found.camera, found.covariance)


def open_localizer(
    map_: Map, config: LocalizerConfig, calibration: Calibration | None = None
) -> Localizer:
    """
    Load the parts of a map that localization needs.

    Parameters
    ----------
    map_ : Map
        Map folder, opened.
    config : LocalizerConfig
        Default settings, and the device.
    calibration : Calibration, optional
        Replaces the calibration of the map.

    Raises
    ------
    MapError
        If a file of the map is malformed.
    ConfigError
        If the device is not available.
    """
    device = resolve_device_type(config.device)
    return Localizer(
        Atlas.load(map_.file('atlas.safetensors')),
        Surface.of_map(map_),
        load_regressor(map_.file('regressor.safetensors'), device),
        map_.mapping_poses[:, :3, 3],
        calibration or _load_calibration(map_),
        config,
        map_.capture_camera,
        map_.query_config({}).capture,
    )


def _load_calibration(map_: Map) -> Calibration:
    try:
        return Calibration.from_dict(map_.manifest['calibration'])
    except (KeyError, TypeError, ValueError) as error:
        raise MapError(
            f'the calibration in the manifest of {map_.path} is malformed ({error!r}):'
            f' {remedies.BUILD_AGAIN}'
        ) from error


def check_image(rgb: NDArray[np.uint8], camera: Camera) -> float:
    """
    Return the contrast of an image (H, W, 3), the standard deviation of its gray values.

    Raises
    ------
    ImageError
        If size or type of the image do not fit the camera.
    """
    if rgb.dtype != np.uint8 or rgb.shape != (camera.height, camera.width, 3):
        raise ImageError(
            f'the image is {rgb.shape} {rgb.dtype}, and its camera_info says'
            f' {camera.width}x{camera.height}: give an rgb8 image of that size'
        )
    _, deviation = cv2.meanStdDev(cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY))
    return float(deviation[0, 0])


def image_and_camera(
    localizer: 'SourceLocalizer', rgb: NDArray[np.uint8] | str | Path, camera: CameraStatement
) -> tuple[NDArray[np.uint8], Camera] | Rejection:
    """Return the image (H, W, 3) and the intrinsics that `Localizer.localize` was given."""
    if not isinstance(rgb, str | Path) and isinstance(camera, Camera):
        return rgb, camera
    from nerf_reversal_ros.localization.source_localizer import read_image

    image = read_image(localizer, rgb, camera)
    if image.rgb is None or image.camera is None:
        return Rejection(RejectionReason.INVALID_IMAGE, image.problem)
    return image.rgb, image.camera


def low_contrast(contrast: float, timer: StageTimer) -> Rejection:
    """Return the rejection of an image whose contrast is below `MIN_CONTRAST`."""
    return Rejection(
        RejectionReason.LOW_CONTRAST,
        f'contrast {contrast:.1f} of 255 (needed: {MIN_CONTRAST})',
        Diagnostics(None, None, {'contrast': contrast}, timer.finish()),
    )


def search_outcome(search: PoseSearch, contrast: float, timer: StageTimer) -> Outcome:
    """Return the pose of the best hypothesis of a search that ended, or the rejection."""
    scores = {'contrast': contrast}
    regressed = search.regressed
    if regressed is not None:
        scores['novelty'] = regressed.novelty
        if search.is_novel:
            return Rejection(
                RejectionReason.NOVEL_IMAGE,
                f'novelty {regressed.novelty:.1f} (allowed: {search.config.max_novelty})',
                _diagnostics(regressed, None, scores, timer),
            )
    if (best := search.best) is None:
        scores['keypoints'] = float(search.keypoints)
        return Rejection(
            RejectionReason.TOO_FEW_MATCHES,
            f'{search.keypoints} keypoints, and no pose explains their matches',
            _diagnostics(regressed, None, scores, timer),
        )
    scores.update(best.evidence.as_scores())
    if best.probability is not None:
        scores['probability'] = best.probability
    diagnostics = _diagnostics(regressed, best, scores, timer)
    diagnostics = replace(
        diagnostics,
        inlier_points=best.solution.points,
        inlier_pixels=best.inlier_pixels(search.queries.camera),
    )
    if best.rejection is not None:
        return Rejection(*best.rejection, diagnostics)
    return PoseEstimate(best.solution.map_from_camera, best.covariance, diagnostics)


def _diagnostics(
    regressed: RegressedPose | None,
    best: RefinedHypothesis | None,
    scores: dict[str, float],
    timer: StageTimer,
) -> Diagnostics:
    return Diagnostics(
        None if regressed is None else regressed.map_from_camera,
        None if best is None else best.solution.map_from_camera,
        scores,
        timer.finish(),
        None if regressed is None else regressed.covariance,
        None if best is None else best.covariance,
    )
