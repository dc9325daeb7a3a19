"""Read a calibration file in the YAML format of camera_calibration, as of ``camera_info_url``."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.validated_config import read_yaml


@dataclass(frozen=True)
class RegionOfInterest:
    """The fields of sensor_msgs/RegionOfInterest; the default is the whole image."""

    x_offset: int = 0
    y_offset: int = 0
    width: int = 0
    height: int = 0


@dataclass(frozen=True)
class CameraInfoFile:
    """The content of a calibration file, with the fields of sensor_msgs/CameraInfo."""

    width: int
    height: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    p: tuple[float, ...]
    binning_x: int = 0
    binning_y: int = 0
    roi: RegionOfInterest = field(default_factory=RegionOfInterest)


def read_camera_info_file(path: str) -> CameraInfoFile:
    """
    Read the calibration file that the setting ``camera_info_file`` names.

    The file has image_width, image_height, camera_matrix, and where they are needed
    distortion_model, distortion_coefficients and projection_matrix. A path may start with
    ``file://``.

    Raises
    ------
    ConfigError
        If the file cannot be read, or lacks an entry.
    """
    try:
        values = read_yaml(Path(path.removeprefix('file://')))
    except ConfigError as error:
        raise ConfigError(f'camera_info_file: {error}') from error
    try:
        return CameraInfoFile(
            width=int(values['image_width']),
            height=int(values['image_height']),
            distortion_model=str(values.get('distortion_model', '')),
            d=_numbers(values.get('distortion_coefficients', {'data': ()})),
            k=_numbers(values['camera_matrix'], 9),
            p=_numbers(values.get('projection_matrix', {'data': (0.0,) * 12}), 12),
        )
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ConfigError(
            f'camera_info_file {path} is no calibration ({error!r}): give image_width,'
            ' image_height and camera_matrix as camera_calibration writes them'
        ) from error


def _numbers(matrix: Any, count: int | None = None) -> tuple[float, ...]:
    """Return the entry ``data`` of a matrix; ValueError unless it has ``count`` numbers."""
    numbers = tuple(float(value) for value in matrix['data'])
    if count is not None and len(numbers) != count:
        raise ValueError(f'{len(numbers)} numbers instead of {count}')
    return numbers
