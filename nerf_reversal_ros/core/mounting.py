"""
Mounting of a camera: its pose in another frame of the same rigid body.

NumPy is imported on use, because the command line checks settings without it.
"""

import math
from typing import TYPE_CHECKING

from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.validated_config import parse_floats

if TYPE_CHECKING:
    from nerf_reversal_ros.core.geometry import FloatArray


def mounting_numbers(text: str) -> list[float]:
    """
    Return the seven numbers of a mounting, ``x y z qx qy qz qw``.

    Raises
    ------
    ConfigError
        If there are not seven finite numbers or the quaternion does not have length 1.
    """
    numbers = parse_floats(text, 7)
    if numbers is None:
        raise ConfigError(
            f'mounting must be seven numbers "x y z qx qy qz qw", got {text!r}: set it to the'
            ' pose of the camera optical frame in the base frame'
        )
    length = math.hypot(*numbers[3:])
    if abs(length - 1.0) > 0.01:
        raise ConfigError(
            f'the quaternion of mounting must have length 1, got {length:.3f} in {text!r}: give it'
            ' in the order x y z qx qy qz qw'
        )
    return numbers


def parse_mounting(text: str) -> 'FloatArray':
    """
    Parse base_from_camera (4, 4) from ``x y z qx qy qz qw``.

    x, y, z [m] is the position of the optical center of the camera in the base frame. The
    quaternion rotates the optical frame of the camera (z forward, x right, y down) into the base
    frame. ``tf2_echo base_link camera_optical_frame`` prints these numbers.

    Raises
    ------
    ConfigError
        As by `mounting_numbers`.
    """
    import numpy as np

    from nerf_reversal_ros.core.geometry import pose_from_quaternion

    numbers = np.array(mounting_numbers(text))
    return pose_from_quaternion(numbers[:3], numbers[3:])


def format_mounting(base_from_camera: 'FloatArray') -> str:
    """Write a mounting (4, 4) as `parse_mounting` reads it, to 0.1 mm."""
    from nerf_reversal_ros.core.geometry import quaternion_xyzw

    numbers = [*base_from_camera[:3, 3], *quaternion_xyzw(base_from_camera)]
    return ' '.join(f'{number:.4f}' for number in numbers)
