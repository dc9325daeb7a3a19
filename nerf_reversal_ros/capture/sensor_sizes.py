"""
Sizes of the sensors of well known cameras that write no 35 mm equivalent of the focal length.

Those of interchangeable lenses are as the manufacturers specify them. Those of phones and modules
are pixels times pixel pitch of the sensor's data sheet, with the focal length of the fixed lens.
"""

import math
from typing import NamedTuple


class Sensor(NamedTuple):
    """Size of the light-sensitive area."""

    width_mm: float
    """Longer side [mm]."""
    height_mm: float
    focal_length_mm: float | None = None
    """That of a fixed lens [mm]: a photo with another one is of a second camera."""


_FULL_FRAME, _FULL_FRAME_6D = Sensor(36.0, 24.0), Sensor(35.8, 23.9)
_APS_C_222, _APS_C_223 = Sensor(22.2, 14.8), Sensor(22.3, 14.9)
_APS_C_225, _APS_C_227 = Sensor(22.5, 15.0), Sensor(22.7, 15.1)
_FOUR_THIRDS = Sensor(17.3, 13.0)
_MODELS = {
    _FULL_FRAME: (
        'Canon EOS 5D Mark II',
        'Canon EOS 5D Mark III',
        'Canon EOS 5D Mark IV',
        'Canon EOS-1D X',
    ),
    _FULL_FRAME_6D: ('Canon EOS 5D', 'Canon EOS 6D'),
    _APS_C_222: (
        *('Canon EOS 350D DIGITAL', 'Canon EOS DIGITAL REBEL XT'),
        *('Canon EOS 400D DIGITAL', 'Canon EOS DIGITAL REBEL XTi'),
        *('Canon EOS 450D', 'Canon EOS DIGITAL REBEL XSi'),
        *('Canon EOS 1000D', 'Canon EOS DIGITAL REBEL XS', 'Canon EOS 40D'),
    ),
    _APS_C_223: (
        *('Canon EOS 100D', 'Canon EOS REBEL SL1', 'Canon EOS 500D', 'Canon EOS REBEL T1i'),
        *('Canon EOS 550D', 'Canon EOS REBEL T2i', 'Canon EOS 600D', 'Canon EOS REBEL T3i'),
        *('Canon EOS 650D', 'Canon EOS REBEL T4i', 'Canon EOS 700D', 'Canon EOS REBEL T5i'),
        *('Canon EOS 50D', 'Canon EOS 60D', 'Canon EOS 7D', 'Canon EOS M'),
    ),
    _APS_C_225: ('Canon EOS 20D', 'Canon EOS 30D', 'Canon EOS 70D', 'Canon EOS 7D Mark II'),
    _APS_C_227: ('Canon EOS 10D', 'Canon EOS 300D DIGITAL', 'Canon EOS DIGITAL REBEL'),
    _FOUR_THIRDS: (
        *('Olympus E-P1', 'Olympus E-P2', 'Olympus E-P3', 'Olympus E-PL1', 'Olympus E-PL2'),
        *('Olympus E-PL3', 'Olympus E-PM1', 'Olympus E-M5'),
    ),
    Sensor(3.58, 2.69, 3.85): ('Apple iPhone 3GS',),  # 2048 x 1536 of 1.75 um
    Sensor(4.54, 3.40, 3.85): ('Apple iPhone 4',),  # 2592 x 1944 of 1.75 um
    Sensor(4.57, 3.43, 4.28): ('Apple iPhone 4S',),  # 3264 x 2448 of 1.4 um
    Sensor(4.57, 3.43, 4.12): ('Apple iPhone 5',),
    Sensor(4.57, 3.43, 3.7): ('Samsung GT-I9300',),
    Sensor(4.62, 3.47, 4.2): ('Samsung GT-I9500', 'Samsung GT-I9505'),  # 4128 x 3096 of 1.12 um
    Sensor(3.63, 2.72, 3.6): ('RaspberryPi RP_ov5647',),  # 2592 x 1944 of 1.4 um
    Sensor(3.67, 2.76, 3.04): ('RaspberryPi RP_imx219',),  # 3280 x 2464 of 1.12 um
}
_SENSORS = {name.casefold(): sensor for sensor, names in _MODELS.items() for name in names}

_USUAL_WIDTHS_MM = (
    *(43.8, 36.0, 28.3, 23.6, 22.3, 18.7, 17.3, 13.2),
    *(8.8, 7.6, 7.2, 6.2, 5.75, 5.3, 4.8, 4.55),
)
"""Longer sides of the sensors of most cameras, from medium format to 1/3.2 inch."""
_LARGE_CAMERA, _LARGE_MM = 'canon eos', 21.0
"""Cameras whose sensors are all larger than this, and that write no 35 mm equivalent."""
_TOLERANCE = 0.025
"""Relative difference within which a sensor has a size: data sheets count pixels differently."""
_FOCAL_TOLERANCE = 0.05


def camera_name(make: str, model: str) -> str:
    """
    Join make and model of EXIF to a name as `find_sensor` looks it up.

    The make is told by its first word, and once: ``Canon EOS 5D``, ``OLYMPUS E-M5``.
    """
    make, model = (make.split() or [''])[0], ' '.join(model.split())
    if model.casefold().startswith(make.casefold()):
        return model
    return f'{make} {model}'.strip()


def find_sensor(name: str, focal_length_mm: float) -> Sensor | None:
    """Return the sensor of a camera whose photo has a focal length; None if it is not known."""
    sensor = _SENSORS.get(name.casefold())
    if sensor is None or sensor.focal_length_mm is None:
        return sensor
    is_other = abs(focal_length_mm / sensor.focal_length_mm - 1) > _FOCAL_TOLERANCE
    return None if is_other else sensor


def is_sensor_size(size_mm: tuple[float, float], name: str, sensor: Sensor | None) -> bool:
    """
    Whether a size may be the part of the sensor that a whole photo shows.

    Programs that reduce a photo keep its pixels per millimeter, and so make of it one of a much
    smaller sensor.

    Parameters
    ----------
    size_mm : tuple of float
        Width and height [mm].
    name : str
        From `camera_name`.
    sensor : Sensor, optional
        That of the camera, if it is known.
    """
    if sensor is not None:
        return abs(_pixels_per_mm(size_mm, sensor) - 1) < _TOLERANCE
    width = max(size_mm)
    if name.casefold().startswith(_LARGE_CAMERA) and width < _LARGE_MM:
        return False
    return any(abs(width / usual - 1) < _TOLERANCE for usual in _USUAL_WIDTHS_MM)


def photo_diagonal_mm(size: tuple[int, int], sensor: Sensor) -> float:
    """Return the diagonal of the largest part of a sensor that has the shape of a photo [px]."""
    return math.hypot(*size) / _pixels_per_mm(size, sensor)


def _pixels_per_mm(size: tuple[float, float], sensor: Sensor) -> float:
    """Return the scale at which a photo covers the width or the height of a sensor."""
    return max(max(size) / sensor.width_mm, min(size) / sensor.height_mm)
