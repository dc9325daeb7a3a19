"""
Check intrinsics before they are believed: unset, of another image size, or of no real camera.

All intrinsics from outside pass here: CameraInfo, calibration files and converted recordings. What
cannot be right is an error. What is possible but strange is a warning.
"""

from dataclasses import dataclass
from fractions import Fraction
import math

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError

MAX_FIELD_OF_VIEW_DEG = 170.0
"""Largest field of view of an image without distortion; real lenses end near 140 deg."""
MIN_FIELD_OF_VIEW_DEG = 1.0
"""Smallest field of view; below it is a telescope, or a focal length in another unit."""
NARROW_FIELD_OF_VIEW_DEG = 10.0
"""Field of view of a telephoto lens, below which a camera is rarely meant."""
MAX_CENTER_OFFSET = 0.15
"""Distance of the principal point from the middle, as a fraction of the image, that is usual."""
MAX_CENTER_DIFFERENCE = 0.03
"""Difference of the relative principal points in x and y for K of another image size."""
MAX_FOCAL_RATIO = 1.5
"""Ratio of the focal lengths in x and y that is usual: pixels are nearly square."""
_FACTORS = tuple(
    Fraction(n, d) for n in range(1, 9) for d in range(1, 9) if 1 in (n, d, abs(n - d))
)
"""Factors by which cameras and programs resize images, such as 1/3, 1/2, 3/2 and 2."""
_FACTOR_TOLERANCE = 0.06
"""Relative difference within which a factor is recognized; calibrated centers are 3 % off."""


@dataclass(frozen=True)
class IntrinsicsSource:
    """Names of intrinsics and of their remedies, as parts of messages."""

    name: str
    """Such as ``K of camera_info``."""
    remedy: str
    """What to do if the values are no camera."""
    size_remedy: str
    """What to do if they belong to another size: ``{width}`` and ``{height}`` are its pixels."""


def make_camera(
    size: tuple[int, int],
    intrinsics: tuple[float, float, float, float],
    source: IntrinsicsSource,
    *,
    is_crop: bool = False,
) -> tuple[Camera, tuple[str, ...]]:
    """
    Make a camera of intrinsics from outside, and return it with warnings about it.

    Parameters
    ----------
    size : tuple of int
        Width and height of the images that the intrinsics belong to [px].
    intrinsics : tuple of float
        fx, fy, cx, cy [px], with pixel centers at integer coordinates.
    source : IntrinsicsSource
        Where they come from.
    is_crop : bool
        The images are known to be a crop, whose principal point may be anywhere.

    Raises
    ------
    ImageError
        If they are unset, not finite, or cannot be those of a camera with images of this size.
    """
    fx, fy, cx, cy = intrinsics
    if not any(intrinsics):
        raise ImageError(f'{source.name} is all 0, as of no calibration: {source.remedy}')
    if intrinsics == (1.0, 1.0, 0.0, 0.0):
        raise ImageError(f'{source.name} is the identity, as of no calibration: {source.remedy}')
    if not all(map(math.isfinite, intrinsics)) or fx <= 0 or fy <= 0:
        raise ImageError(
            f'{source.name} has fx, fy, cx, cy = {fx:g}, {fy:g}, {cx:g}, {cy:g}, but they must be'
            f' finite and focal lengths > 0: {source.remedy}'
        )
    camera = Camera(*size, fx, fy, cx, cy)
    if not is_crop:
        _check_image_size(camera, source)
        _check_orientation(camera, source)
        _check_center(camera, source)
    _check_field_of_view(camera, source)
    return camera, _warnings(camera, source)


def field_of_view_deg(camera: Camera) -> float:
    """Return the larger of the horizontal and vertical field of view [deg]."""
    sides = ((camera.width, camera.fx, camera.cx), (camera.height, camera.fy, camera.cy))
    return max(
        math.degrees(
            math.atan((center + 0.5) / focal) + math.atan((length - 0.5 - center) / focal)
        )
        for length, focal, center in sides
    )


def _relative_center(camera: Camera) -> tuple[float, float]:
    """Return the principal point as fractions of width and height, 0.5 in the middle."""
    return (camera.cx + 0.5) / camera.width, (camera.cy + 0.5) / camera.height


def _is_off_center(x: float, y: float) -> bool:
    return max(abs(x - 0.5), abs(y - 0.5)) > MAX_CENTER_OFFSET


def _check_image_size(camera: Camera, source: IntrinsicsSource) -> None:
    """Reject a principal point that is off by the same fraction in x and y: another size."""
    x, y = _relative_center(camera)
    mean = (x + y) / 2
    is_same = mean > 0 and abs(x - y) <= MAX_CENTER_DIFFERENCE * max(1.0, 2 * mean)
    if not is_same or abs(mean - 0.5) <= MAX_CENTER_OFFSET:
        return
    factor = 2 * mean
    nearest = min(_FACTORS, key=lambda item: abs(float(item) / factor - 1))
    if abs(float(nearest) / factor - 1) <= _FACTOR_TOLERANCE:
        factor, place = float(nearest), str(nearest / 2)
    else:
        place = f'{mean:.2f}'
    width, height = round(camera.width * factor), round(camera.height * factor)
    raise ImageError(
        f'the principal point ({camera.cx:.1f}, {camera.cy:.1f}) of {source.name} is at {place} of'
        f' the image of {camera.width}x{camera.height} pixels, as if it belonged to images of'
        f' {width}x{height}: {source.size_remedy.format(width=width, height=height)}'
    )


def _check_orientation(camera: Camera, source: IntrinsicsSource) -> None:
    """Reject a principal point in the middle of the image turned by 90 degrees."""
    turned = (camera.cx + 0.5) / camera.height, (camera.cy + 0.5) / camera.width
    is_turned = max(abs(fraction - 0.5) for fraction in turned) <= MAX_CENTER_DIFFERENCE
    if is_turned and _is_off_center(*_relative_center(camera)):
        raise ImageError(
            f'the principal point ({camera.cx:.1f}, {camera.cy:.1f}) of {source.name} is in the'
            f' middle of {camera.height}x{camera.width} pixels, but the image is'
            f' {camera.width}x{camera.height}, turned by 90 degrees: {source.remedy}'
        )


def _check_center(camera: Camera, source: IntrinsicsSource) -> None:
    if not all(0.0 <= fraction <= 1.0 for fraction in _relative_center(camera)):
        raise ImageError(
            f'the principal point ({camera.cx:.1f}, {camera.cy:.1f}) of {source.name} is outside'
            f' of the image of {camera.width}x{camera.height} pixels: {source.remedy}'
        )


def _check_field_of_view(camera: Camera, source: IntrinsicsSource) -> None:
    field_deg = field_of_view_deg(camera)
    if not MIN_FIELD_OF_VIEW_DEG <= field_deg <= MAX_FIELD_OF_VIEW_DEG:
        raise ImageError(
            f'{source.name} has the focal lengths {camera.fx:.4g}, {camera.fy:.4g} px, a field of'
            f' view of {field_deg:.3g} deg for {camera.width}x{camera.height} pixels, and no'
            f' camera has that: {source.remedy}'
        )


def _warnings(camera: Camera, source: IntrinsicsSource) -> tuple[str, ...]:
    """Return sentences about intrinsics that are possible but strange."""
    strange = []
    x, y = _relative_center(camera)
    if _is_off_center(x, y):
        strange.append(
            f'the principal point ({camera.cx:.1f}, {camera.cy:.1f}), at {x:.0%} and {y:.0%} of'
            f' {camera.width}x{camera.height} pixels'
        )
    if (field_deg := field_of_view_deg(camera)) < NARROW_FIELD_OF_VIEW_DEG:
        strange.append(f'a field of view of {field_deg:.2g} deg')
    if not 1 / MAX_FOCAL_RATIO <= camera.fx / camera.fy <= MAX_FOCAL_RATIO:
        strange.append(f'the focal lengths {camera.fx:.4g} and {camera.fy:.4g} px')
    return tuple(
        f'{source.name} has {item}, which is unusual: if it is wrong, {source.remedy}'
        for item in strange
    )
