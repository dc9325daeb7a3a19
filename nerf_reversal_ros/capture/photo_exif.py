"""
What EXIF says of a photo: how it is turned, its focal length, and which camera took it.

The focal length is the 35 mm equivalent where EXIF has it. Else it is that of the lens on the
sensor, whose size follows from the pixels per millimeter, or is that of a known camera.

References
----------
CIPA DC-008, "Exchangeable image file format for digital still cameras" (Exif 2.32).
"""

from collections.abc import Mapping
import math
from typing import Any, NamedTuple

from PIL import Image

from nerf_reversal_ros.capture.sensor_sizes import (
    camera_name,
    find_sensor,
    is_sensor_size,
    photo_diagonal_mm,
)

DIAGONAL_35MM = math.hypot(36.0, 24.0)
"""Diagonal of 35 mm film [mm], to which the equivalent of a focal length refers (CIPA DCG-001)."""
_MAKE, _MODEL, _ORIENTATION, _EXIF_IFD = 0x010F, 0x0110, 0x0112, 0x8769
_FOCAL_LENGTH, _FOCAL_LENGTH_35MM, _DIGITAL_ZOOM = 0x920A, 0xA405, 0xA404
_WIDTH, _HEIGHT = 0xA002, 0xA003
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT = 0xA20E, 0xA20F, 0xA210
_UNITS_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}
"""Units of the resolution of the sensor: inch, centimeter; of TIFF/EP: millimeter, micrometer."""
_INCH = 2
_MAX_ASPECT_DIFFERENCE = 0.02
"""Relative difference of aspect ratios beyond which an image was cropped, or pixels are not
square."""
_MAX_NAME = 60
"""Characters of a name that are told at most."""


class PhotoExif(NamedTuple):
    """What is used of EXIF; malformed values count as none."""

    orientation: int = 1
    """1 to 8; 1 is upright."""
    focal_length_35mm: float | None = None
    """35 mm equivalent of the focal length [mm]; None: unknown, or the image was cropped."""
    camera_name: str = ''
    """Make, model and focal length of the lens, which photos of one camera share."""


def read_exif(image: Image.Image) -> PhotoExif:
    """Read the EXIF of an opened image."""
    try:
        exif = image.getexif()
        tags: dict[int, Any] = {**exif, **exif.get_ifd(_EXIF_IFD)}
    except Exception:  # Pillow raises many types on malformed EXIF
        return PhotoExif()
    orientation = int(_number(tags, _ORIENTATION))
    model = camera_name(_text(tags, _MAKE), _text(tags, _MODEL))
    return PhotoExif(
        orientation if 1 <= orientation <= 8 else 1,
        _focal_length_35mm(tags, model, image.size),
        _name(tags, model),
    )


def _name(tags: Mapping[int, Any], model: str) -> str:
    """Tell what distinguishes the cameras of a folder."""
    focal_length_mm, zoom = _number(tags, _FOCAL_LENGTH), _number(tags, _DIGITAL_ZOOM)
    parts = [model] if model else []
    if focal_length_mm:
        parts.append(f'{focal_length_mm:g} mm')
    if zoom > 1:
        parts.append(f'digital zoom {zoom:g}')
    return ', '.join(parts)


def _focal_length_35mm(tags: Mapping[int, Any], model: str, size: tuple[int, int]) -> float | None:
    """Return the 35 mm equivalent of the focal length [mm] of an image of a size [px]."""
    taken = _number(tags, _WIDTH), _number(tags, _HEIGHT)
    if all(taken) and abs(_aspect(size) / _aspect(taken) - 1) > _MAX_ASPECT_DIFFERENCE:
        return None  # cropped
    if stated := _number(tags, _FOCAL_LENGTH_35MM):
        return stated
    focal_length_mm = _number(tags, _FOCAL_LENGTH)
    if not focal_length_mm or _number(tags, _DIGITAL_ZOOM) > 1:
        return None
    sensor = find_sensor(model, focal_length_mm)
    sensor_mm = _sensor_mm(tags, taken if all(taken) else size)
    if sensor_mm is not None and is_sensor_size(sensor_mm, model, sensor):
        return focal_length_mm * DIAGONAL_35MM / math.hypot(*sensor_mm)
    if sensor is not None:
        return focal_length_mm * DIAGONAL_35MM / photo_diagonal_mm(size, sensor)
    return None


def _sensor_mm(tags: Mapping[int, Any], taken: tuple[float, float]) -> tuple[float, float] | None:
    """Return the size of the sensor [mm] from its pixels per unit."""
    x, y = _number(tags, _X_RESOLUTION), _number(tags, _Y_RESOLUTION)
    unit_mm = _UNITS_MM.get(int(_number(tags, _RESOLUTION_UNIT, _INCH)))
    if not x or not y or abs(x / y - 1) > _MAX_ASPECT_DIFFERENCE or unit_mm is None:
        return None
    return taken[0] / x * unit_mm, taken[1] / y * unit_mm


def _aspect(size: tuple[float, float]) -> float:
    """Return the aspect ratio, however the image is turned."""
    return max(size) / min(size)


def _number(tags: Mapping[int, Any], tag: int, default: float = 0.0) -> float:
    """Return a positive number; 0 for one that is malformed."""
    try:
        number = float(tags.get(tag, default))
    except (TypeError, ValueError, ArithmeticError):
        return 0.0
    return number if math.isfinite(number) and number > 0 else 0.0


def _text(tags: Mapping[int, Any], tag: int) -> str:
    """Return a text that a terminal can show; empty if there is none."""
    text = tags.get(tag, '')
    if not isinstance(text, str):
        return ''
    return ''.join(c for c in text.partition('\0')[0] if c.isprintable())[:_MAX_NAME]
