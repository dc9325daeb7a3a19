"""
Parts of a map as files that other programs open: surface, mapping trajectory and cameras.

Everything is in the frame of the map, in meters and z up; a mesh is y up, as glTF asks for. A map
keeps neither images nor stamps of its capture: a pose has its number instead.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.files import write_output
from nerf_reversal_ros.localization.exchange_formats import FORMATS
from nerf_reversal_ros.localization.pose_text import (
    colmap_camera_line,
    COLMAP_HEADER,
    colmap_lines,
    numbers,
    TUM_HEADER,
    tum_line,
)
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import FIELD_FILE, Map

_COLMAP_TABLES = ('cameras', 'images', 'points3D', 'rigs', 'frames')
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
        One of `exchange_formats.FORMATS`: ``ply`` is the surface cloud with its colors, ``glb``
        the surface of the field as a colored mesh, y up, ``tum`` the mapping trajectory,
        ``colmap`` a text model of the mapping cameras and the surface cloud.
    overwrite : bool
        Replace the files if they exist, and any other model in the folder.

    Raises
    ------
    NerfReversalError
        If the path exists, or cannot be written; for a mesh, if a package is missing or the field
        is empty.
    MapError
        If a file of the map is corrupt or lacks, or the map was replaced while it was read.
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
    if format == 'colmap':
        _remove_other_model(path)


def _remove_other_model(folder: Path) -> None:
    """Remove the files of the model that was replaced, which readers would prefer or add."""
    others = [f'{name}.bin' for name in _COLMAP_TABLES] + ['rigs.txt', 'frames.txt']
    try:
        for name in others:
            (folder / name).unlink(missing_ok=True)
    except OSError as error:
        raise NerfReversalError(f'cannot replace {folder}: {error.strerror}') from error


def _ply_files(map_: Map) -> dict[str, str | bytes]:
    surface = Surface.of_map(map_)
    vertices = np.empty(len(surface), _PLY_VERTEX)
    vertices['position'] = surface.points + surface.origin_m
    vertices['color'] = surface.colours
    return {'': _PLY_HEADER.format(count=len(surface)).encode() + vertices.tobytes()}


def _glb_files(map_: Map) -> dict[str, str | bytes]:
    file = map_.file(FIELD_FILE)
    try:
        from nerf_reversal_ros.fields.voxel import VoxelField
        from nerf_reversal_ros.fields.voxel_mesh import extract_mesh
        from nerf_reversal_ros.localization.mesh_file import encode_glb
    except ImportError as error:
        raise NerfReversalError(
            'a mesh needs PyTorch, scikit-image and trimesh, of which one cannot be imported'
            f' ({error}): {remedies.INSTALL_MESH}'
        ) from error
    mesh, colors = extract_mesh(VoxelField.load(file))
    if not len(mesh.faces):
        raise NerfReversalError(
            f'the field of the map {map_.path} has no surface: {remedies.BUILD_AGAIN}'
        )
    return {'': encode_glb(mesh, colors)}


def _tum_files(map_: Map) -> dict[str, str | bytes]:
    lines = [TUM_HEADER.format(stamp='number')]
    lines += [tum_line(f'{number}.0', pose) for number, pose in enumerate(map_.mapping_poses)]
    return {'': '\n'.join(lines) + '\n'}


def _colmap_files(map_: Map) -> dict[str, str | bytes]:
    """Return a model without rigs and tracks, which COLMAP 4 and older versions read."""
    surface = Surface.of_map(map_)
    images = [COLMAP_HEADER]
    for number, pose in enumerate(map_.mapping_poses):
        images += colmap_lines(number + 1, pose, 1, f'{number:06d}.png')
    points = ['# POINT3D_ID, X, Y, Z, R, G, B, ERROR, TRACK[]']
    positions = surface.points + surface.origin_m
    for number, (position, color) in enumerate(zip(positions, surface.colours, strict=True)):
        points.append(f'{number + 1} {numbers(position)} {" ".join(map(str, color))} 0')
    return {
        'points3D.txt': '\n'.join(points) + '\n',
        'images.txt': '\n'.join(images) + '\n',
        'cameras.txt': '# CAMERA_ID, MODEL, WIDTH, HEIGHT, PARAMS[]\n'
        f'{colmap_camera_line(1, map_.capture_camera)}\n',
    }


_WRITERS: dict[str, Callable[[Map], dict[str, str | bytes]]] = dict(
    zip(FORMATS, (_ply_files, _glb_files, _tum_files, _colmap_files), strict=True)
)
