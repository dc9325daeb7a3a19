"""
Parts of a map as files that other programs open: surface, mapping trajectory and cameras.

Everything is in the frame of the map, in meters and z up. A map keeps neither images nor stamps of
its capture: a pose has its number instead.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.files import write_output
from nerf_reversal_ros.core.geometry import FloatArray, inverse, quaternion_xyzw
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map

_PLY_VERTEX = np.dtype([('position', '<f4', 3), ('color', 'u1', 3)])
_PLY_HEADER = """\
ply
format binary_little_endian 1.0
comment surface of a map of nerf_reversal_ros, in meters, z up
element vertex {count}
property float x
property float y
property float z
property uchar red
property uchar green
property uchar blue
end_header
"""


def write_exchange_file(map_: Map, path: Path, format: str, *, overwrite: bool = False) -> None:
    """
    Write a part of a map in the format of another program.

    Parameters
    ----------
    map_ : Map
        An opened map.
    path : Path
        File to write; a folder for ``colmap``.
    format : str
        One of `FORMATS`: ``ply`` is the surface cloud with its colors, ``tum`` the mapping
        trajectory, ``colmap`` a text model of the mapping cameras and the surface cloud.
    overwrite : bool
        Replace the files if they exist.

    Raises
    ------
    NerfReversalError
        If the path exists, or cannot be written.
    MapError
        If a file of the map is corrupt, or the map was replaced while it was read.
    """
    if path.exists() and not overwrite:
        raise NerfReversalError(f'{path} exists already: {remedies.OVERWRITE_FILE}')
    contents = {path / name: text for name, text in _WRITERS[format](map_).items()}
    map_.check_unchanged()
    if format == 'colmap':
        try:
            path.mkdir(exist_ok=True)
        except OSError as error:
            raise NerfReversalError(f'cannot write {path}: {error.strerror}') from error
    for file, content in contents.items():
        write_output(file, content)


def _surface(map_: Map) -> Surface:
    return Surface.load(map_.file('surface.safetensors'))


def _ply_files(map_: Map) -> dict[str, str | bytes]:
    surface = _surface(map_)
    vertices = np.empty(len(surface), _PLY_VERTEX)
    vertices['position'] = surface.points + surface.origin_m
    vertices['color'] = surface.colours
    return {'': _PLY_HEADER.format(count=len(surface)).encode() + vertices.tobytes()}


def _tum_files(map_: Map) -> dict[str, str | bytes]:
    lines = ['# number x y z qx qy qz qw, of the camera in the map']
    for number, pose in enumerate(map_.mapping_poses):
        lines.append(f'{number}.0 {_numbers((*pose[:3, 3], *quaternion_xyzw(pose)))}')
    return {'': '\n'.join(lines) + '\n'}


def _colmap_files(map_: Map) -> dict[str, str | bytes]:
    """Return a model without rigs and tracks, which COLMAP 4 and older versions read."""
    camera, surface = map_.capture_camera, _surface(map_)
    # The origin of COLMAP is the corner of the first pixel, that of Camera its center.
    values = _numbers((camera.fx, camera.fy, camera.cx + 0.5, camera.cy + 0.5))
    images = ['# IMAGE_ID, QW, QX, QY, QZ, TX, TY, TZ, CAMERA_ID, NAME, then an empty line']
    for number, pose in enumerate(map_.mapping_poses):
        camera_from_map: FloatArray = inverse(pose)
        x, y, z, w = quaternion_xyzw(camera_from_map)
        row = _numbers((w, x, y, z, *camera_from_map[:3, 3]))
        images += [f'{number + 1} {row} 1 {number:06d}.png', '']
    points = ['# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]']
    positions = surface.points + surface.origin_m
    for number, (position, color) in enumerate(zip(positions, surface.colours, strict=True)):
        points.append(f'{number + 1} {_numbers(position)} {" ".join(map(str, color))} 0')
    return {
        'points3D.txt': '\n'.join(points) + '\n',
        'images.txt': '\n'.join(images) + '\n',
        'cameras.txt': '# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n'
        f'1 PINHOLE {camera.width} {camera.height} {values}\n',
    }


def _numbers(values: Iterable[float]) -> str:
    return ' '.join(f'{value:.9g}' for value in values)


_WRITERS: dict[str, Callable[[Map], dict[str, str | bytes]]] = {
    'ply': _ply_files,
    'tum': _tum_files,
    'colmap': _colmap_files,
}
FORMATS = tuple(_WRITERS)
"""What `write_exchange_file` writes."""
