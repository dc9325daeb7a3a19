"""Cameras of COLMAP: the parameters of each model, and the reader of ``cameras.txt``."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.text_lines import read_lines

_FOCAL, _FOCALS, _CENTER = ('f',), ('fl_x', 'fl_y'), ('cx', 'cy')
PARAMETERS = {
    'SIMPLE_PINHOLE': (*_FOCAL, *_CENTER),
    'PINHOLE': (*_FOCALS, *_CENTER),
    'SIMPLE_RADIAL': (*_FOCAL, *_CENTER, 'k1'),
    'RADIAL': (*_FOCAL, *_CENTER, 'k1', 'k2'),
    'OPENCV': (*_FOCALS, *_CENTER, 'k1', 'k2', 'p1', 'p2'),
    'OPENCV_FISHEYE': (*_FOCALS, *_CENTER, 'k1', 'k2', 'k3', 'k4'),
    'FULL_OPENCV': (*_FOCALS, *_CENTER, 'k1', 'k2', 'p1', 'p2', 'k3', 'k4', 'k5', 'k6'),
    'SIMPLE_RADIAL_FISHEYE': (*_FOCAL, *_CENTER, 'k1'),
    'RADIAL_FISHEYE': (*_FOCAL, *_CENTER, 'k1', 'k2'),
}
"""Parameters of the models that can be undistorted, in the order of COLMAP, by the names of
nerfstudio."""
FULL_MODEL = 'FULL_OPENCV'
FISHEYE_MODELS = tuple(model for model in PARAMETERS if model.endswith('_FISHEYE'))
PINHOLE_MODELS = tuple(model for model in PARAMETERS if model not in (FULL_MODEL, *FISHEYE_MODELS))
COEFFICIENTS = ('k1', 'k2', 'p1', 'p2', 'k3', 'k4', 'k5', 'k6')
"""Names of the distortion coefficients in the order of OpenCV."""
FISHEYE_COEFFICIENTS = ('k1', 'k2', 'k3', 'k4')


class ColmapCamera(NamedTuple):
    """A camera as COLMAP stores it."""

    number: int
    model: str
    width: int
    height: int
    values: dict[str, float]
    """Values by the names of nerfstudio, of which the focal lengths are fl_x and fl_y."""


def name_parameters(
    number: int, model: str, size: tuple[int, int], parameters: tuple[float, ...]
) -> ColmapCamera:
    """
    Name the parameters of a camera; of a model that is not in `PARAMETERS` there are no values.

    Raises
    ------
    ValueError
        If their number is not that of the model.
    """
    names = PARAMETERS.get(model, ())
    if names and len(parameters) != len(names):
        raise ValueError(f'{len(parameters)} parameters do not belong to the model {model}')
    values = dict(zip(names, parameters, strict=False))
    if 'f' in values:
        values['fl_x'] = values['fl_y'] = values.pop('f')
    return ColmapCamera(number, model, *size, values)


def read_colmap_cameras(file: Path, remedy: str) -> list[ColmapCamera]:
    """
    Read a ``cameras.txt``: CAMERA_ID MODEL WIDTH HEIGHT PARAMS.

    Raises
    ------
    CaptureError
        If it cannot be read, or a line is no camera; the message ends with the remedy.
    """
    cameras = []
    for number, line in read_lines(file):
        if not line:
            continue
        try:
            camera_id, model, width, height, *rest = line.split()
            size = int(width), int(height)
            cameras.append(name_parameters(int(camera_id), model, size, tuple(map(float, rest))))
        except ValueError as error:
            raise CaptureError(
                f'{file} line {number}, {line[:80]!r}, is no camera of COLMAP,'
                f' "CAMERA_ID MODEL WIDTH HEIGHT PARAMS" ({error}): {remedy}'
            ) from error
    return cameras


def opencv_distortion(
    model: str, coefficients: Mapping[str, float]
) -> tuple[tuple[float, ...], bool]:
    """Return the coefficients in the order of OpenCV, and whether the model is a fisheye."""
    is_fisheye = model in FISHEYE_MODELS
    names = FISHEYE_COEFFICIENTS if is_fisheye else COEFFICIENTS
    count = 4 if is_fisheye else 8 if model == FULL_MODEL else 5
    return tuple(coefficients.get(name, 0.0) for name in names[:count]), is_fisheye
