"""Poses and cameras as lines of the text files of the TUM benchmark and of COLMAP."""

from collections.abc import Iterable

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, inverse, quaternion_xyzw

TUM_HEADER = '# {stamp} x y z qx qy qz qw, of the camera in the map'
COLMAP_HEADER = '# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME, then an empty line'


def tum_line(stamp: str, map_from_camera: FloatArray) -> str:
    """Return a line of a trajectory: stamp x y z qx qy qz qw."""
    return f'{stamp} {numbers((*map_from_camera[:3, 3], *quaternion_xyzw(map_from_camera)))}'


def colmap_lines(
    number: int, map_from_camera: FloatArray, camera_id: int, name: str
) -> tuple[str, str]:
    """Return the lines of an image in ``images.txt``: camera_from_map, and no points."""
    camera_from_map = inverse(map_from_camera)
    x, y, z, w = quaternion_xyzw(camera_from_map)
    return f'{number} {numbers((w, x, y, z, *camera_from_map[:3, 3]))} {camera_id} {name}', ''


def colmap_camera_line(camera_id: int, camera: Camera) -> str:
    """Return the line of a camera in ``cameras.txt``."""
    # The origin of COLMAP is the corner of the first pixel, that of Camera its center.
    values = numbers((camera.fx, camera.fy, camera.cx + 0.5, camera.cy + 0.5))
    return f'{camera_id} PINHOLE {camera.width} {camera.height} {values}'


def numbers(values: Iterable[float]) -> str:
    """Return numbers with nine digits, separated by spaces."""
    return ' '.join(f'{value:.9g}' for value in values)
