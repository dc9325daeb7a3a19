"""
Localize the images of a source: find its camera if that is unknown, and track if asked.

The camera of images without intrinsics is found when the first of them comes, from some of all
images of the source that have its size and, by EXIF, its camera. So is the focal length of EXIF,
which is rounded to millimeters, where enough images tell it better.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.capture.camera_origin import CameraOrigin
from nerf_reversal_ros.capture.image_sources import (
    ArraySource,
    ImageSource,
    open_sources,
    SourceImage,
)
from nerf_reversal_ros.capture.photo_camera import parse_photo_camera, PhotoCamera
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.outcome import Outcome, Rejection, RejectionReason
from nerf_reversal_ros.localization.camera_search import FoundCamera
from nerf_reversal_ros.localization.localizer import CameraStatement, Images
from nerf_reversal_ros.localization.localizer_protocol import (
    CameraSearchProtocol,
    localize_or_reject,
    SourceLocalizer,
)
from nerf_reversal_ros.localization.pose_files import LocalizedImage
from nerf_reversal_ros.localization.tracking import PoseTracker

SAMPLES = 12
"""Images of a source, evenly spaced, that its camera is found from."""
MAX_IMAGES = 24
"""Images of one camera, with those that come later, that it is found from at most."""
MAX_CAMERAS = 8
"""Cameras whose images are kept for later ones to be added, a bound on memory."""
SURE_STD = 0.01
"""Relative standard deviation of a focal length from which later images are not searched."""
MIN_ROUNDED, MAX_ROUNDING = 6, 0.04
"""Sampled images of one camera from which its focal length in EXIF is searched, and how far that
may be off: by half a millimeter of 13, the widest lens of phones."""
MIN_INTERVAL_NS = 500_000_000
"""Time [ns] between images of a webcam that are searched: it has to move."""


def localize_source(
    localizer: SourceLocalizer,
    source: ImageSource,
    tracking_timeout_s: float = 0.0,
    tell: Callable[[str], None] = lambda _: None,
) -> Iterator[tuple[SourceImage, Outcome]]:
    """
    Localize the images of a source one by one.

    Parameters
    ----------
    localizer : SourceLocalizer
        Of the map or building.
    source : ImageSource
        From `open_sources`.
    tracking_timeout_s : float
        Age of an accepted pose up to which the next one is expected from it [s]; 0: no tracking.
    tell : callable, optional
        Is given a sentence on each camera that was found.

    Yields
    ------
    SourceImage, Outcome
        The image with the camera that was used, and its pose or rejection.
    """
    cameras, tracker = _UnknownCameras(localizer, source, tell), PoseTracker()
    for image in source.images():
        if image.is_camera_unknown:
            image = cameras.complete(image)
        elif image.origin is CameraOrigin.EXIF and image.rgb is not None:
            image = cameras.refine(image)
        if image.rgb is None or image.camera is None:
            yield image, Rejection(RejectionReason.INVALID_IMAGE, image.problem)
            continue
        expected_pose = None
        if image.stamp_ns is not None:
            expected_pose = tracker.predict(image.stamp_ns, tracking_timeout_s)
        outcome = localize_or_reject(localizer, image.rgb, image.camera, expected_pose)
        if image.stamp_ns is not None:
            tracker.add(outcome, image.stamp_ns)
        yield image, outcome


def localize_images(
    localizer: SourceLocalizer,
    images: Images,
    camera: CameraStatement = None,
    config: CaptureConfig | None = None,
) -> Iterator[LocalizedImage]:
    """Localize images one by one; see `Localizer.localize_all`."""
    for source in _sources(images, camera, config or CaptureConfig()):
        for image, outcome in localize_source(localizer, source):
            yield localized_image(image, outcome)


def localized_image(image: SourceImage, outcome: Outcome) -> LocalizedImage:
    """Return the outcome of an image with what files tell of it."""
    return LocalizedImage(outcome, image.stamp_ns, image.name, image.camera, image.focal_std)


def read_image(
    localizer: SourceLocalizer, image: str | Path | NDArray[np.uint8], camera: CameraStatement
) -> SourceImage:
    """Read one image, and find its camera if it is unknown; see `Localizer.localize`."""
    if isinstance(image, str | Path) and not Path(image).is_file():
        raise CaptureError(f'there is no image {image}: name a file, or use localize_all')
    (source,) = _sources([image], camera, CaptureConfig())
    read = next(source.images())
    if read.is_camera_unknown:
        read = _UnknownCameras(localizer, source, lambda _: None).complete(read)
    return read


def _sources(images: Images, camera: CameraStatement, config: CaptureConfig) -> list[ImageSource]:
    """Return the sources of paths or of arrays."""
    if isinstance(images, str | Path):
        images = [images]
    if isinstance(images, np.ndarray) and images.ndim == 3:
        images = [images]
    given = list(images)
    stated = _photo_camera(camera)
    words = [str(image) for image in given if isinstance(image, str | Path)]
    if not words:
        return [ArraySource(tuple(np.asarray(image) for image in given), stated)]
    if len(words) < len(given):
        raise CaptureError('the images are both files and arrays: give one kind at a time')
    return open_sources(words, stated, config)


def _photo_camera(camera: CameraStatement) -> PhotoCamera:
    if isinstance(camera, Camera):
        return PhotoCamera('the given camera', (CameraModel(camera),))
    return parse_photo_camera(None if camera is None else str(camera))


class _Kind(NamedTuple):
    """What the images of one camera have in common."""

    height: int
    width: int
    name: str
    """What EXIF says of the camera; empty if nothing."""


def _kind(image: SourceImage) -> _Kind:
    """Return the kind of an image that has pixels."""
    assert image.rgb is not None
    height, width = image.rgb.shape[:2]
    return _Kind(height, width, image.camera_name)


class _UnknownCameras:
    """The cameras that a source does not tell, or not well, by the kind of its images."""

    def __init__(
        self, localizer: SourceLocalizer, source: ImageSource, tell: Callable[[str], None]
    ) -> None:
        self._localizer, self._source, self._tell = localizer, source, tell
        self._searches: dict[_Kind, CameraSearchProtocol] = {}
        self._found: dict[_Kind, FoundCamera | None] = {}
        self._searched_names: set[str] = set()
        self._last_stamp_ns: int | None = None
        self._rounded: dict[_Kind, FoundCamera] | None = None

    def refine(self, image: SourceImage) -> SourceImage:
        """Return an image of EXIF with the focal length that its source tells, if it does."""
        if self._rounded is None:
            self._rounded = self._find_rounded()
        found = self._rounded.get(_kind(image))
        return image if found is None else self._with_found(image, found)

    def _find_rounded(self) -> dict[_Kind, FoundCamera]:
        """Find the cameras of samples with EXIF that agree with it, and tell them."""
        samples: dict[_Kind, list[SourceImage]] = {}
        for sample in self._source.samples(SAMPLES):
            if sample.origin is CameraOrigin.EXIF and sample.rgb is not None:
                samples.setdefault(_kind(sample), []).append(sample)
        rounded: dict[_Kind, FoundCamera] = {}
        for kind, images in samples.items():
            camera = images[0].camera
            if len(images) < MIN_ROUNDED or camera is None:
                continue
            search = self._localizer.camera_search()
            for image in images:
                assert image.rgb is not None
                search.add(image.rgb)
            found = search.find()
            if found is None or found.focal_std > SURE_STD:
                continue
            if abs(found.camera.fx / camera.fx - 1) <= MAX_ROUNDING:
                rounded[kind] = found
                self._tell(f'{found.describe()} of {kind.name or "photos with EXIF"}')
        return rounded

    def _with_found(self, image: SourceImage, found: FoundCamera) -> SourceImage:
        self._localizer.trust(found)
        return replace(image, camera=found.camera, focal_std=found.focal_std)

    def complete(self, image: SourceImage) -> SourceImage:
        """Return an image with its camera, or with the problem that it cannot be found."""
        if not self._searches:
            for sample in self._source.samples(SAMPLES):
                if sample.is_camera_unknown:
                    self._add(sample)
        kind = _kind(image)
        is_new = kind not in self._searches and kind not in self._found
        if is_new or self._is_needed(image, kind):
            self._add(image)
        if kind not in self._found:
            self._find(kind)
        if (found := self._found[kind]) is not None:
            return self._with_found(image, found)
        problem = (
            f'the focal length of images of {kind.width}x{kind.height} pixels is not in EXIF, and'
            f' they show too little of the map to find it: {remedies.PHOTO_CAMERA}'
        )
        return replace(image, problem=problem)

    def _is_needed(self, image: SourceImage, kind: _Kind) -> bool:
        """Return whether a later image may tell more of the camera."""
        found, search = self._found.get(kind), self._searches.get(kind)
        is_sure = found is not None and found.focal_std < SURE_STD
        if is_sure or kind not in self._found or search is None or len(search) >= MAX_IMAGES:
            return False
        if image.stamp_ns is not None and self._last_stamp_ns is not None:
            return image.stamp_ns - self._last_stamp_ns >= MIN_INTERVAL_NS
        return image.name not in self._searched_names

    def _add(self, image: SourceImage) -> None:
        assert image.rgb is not None
        kind = _kind(image)
        search = self._searches.setdefault(kind, self._localizer.camera_search())
        search.add(image.rgb)
        self._searched_names.add(image.name)
        self._last_stamp_ns = image.stamp_ns
        self._found.pop(kind, None)

    def _find(self, kind: _Kind) -> None:
        """Find the camera of the images of a kind, and tell it."""
        found = self._found[kind] = self._searches[kind].find()
        while len(self._searches) > MAX_CAMERAS:
            del self._searches[next(iter(self._searches))]
        if found is not None:
            self._tell(found.describe() + (f' of {kind.name}' if kind.name else ''))
