"""A map is exported as a mesh that viewers of glTF show as the room looks."""

import json
import sys

from command_line import run_command, user_error
import numpy as np
import pytest
from rooms import FURNITURE, render_box_room, ROOM
from small_map import CAMERA, SETTINGS

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.geometry import inverse, transform_points
from nerf_reversal_ros.localization.exchange_files import write_exchange_file
from nerf_reversal_ros.maps.map_export import export_for_robot
from nerf_reversal_ros.maps.map_folder import open_map

pytest.importorskip('skimage', reason='pip install -r requirements/mesh.txt')
trimesh = pytest.importorskip('trimesh', reason='pip install -r requirements/mesh.txt')

VOXEL_M = SETTINGS.field.voxel_m


@pytest.fixture(scope='module')
def glb(small_map, tmp_path_factory):
    file = tmp_path_factory.mktemp('mesh') / 'room.glb'
    completed = run_command('export', small_map.path, file)
    assert completed.stdout == f'wrote {file}\n', completed.stderr
    return file


@pytest.fixture(scope='module')
def mesh(glb):
    """Return the mesh of the file in the frame of the map."""
    (read,) = trimesh.load(glb, process=False).geometry.values()
    x, y, z = read.vertices.T
    read.vertices = np.stack([x, -z, y], axis=1)
    return read


def distance_to_walls(points):
    """Return the distances (N,) [m] of points to the room's sides and its furniture."""
    distances = []
    for low, high in [ROOM, *FURNITURE]:
        outside = np.maximum(low - points, points - high)
        nearest = outside.max(axis=1)
        beside = np.linalg.norm(np.maximum(outside, 0), axis=1)
        distances.append(np.where(nearest > 0, beside, -nearest))
    return np.min(distances, axis=0)


def test_the_mesh_lies_on_the_walls(mesh):
    assert len(mesh.faces) > 10_000
    distance = distance_to_walls(mesh.vertices)
    assert np.median(distance) < VOXEL_M
    assert np.quantile(distance, 0.95) < 3 * VOXEL_M


def test_the_walls_face_the_room(mesh):
    floor = np.abs(mesh.triangles_center[:, 2]) < VOXEL_M
    up = mesh.face_normals[floor, 2]
    assert floor.sum() > 1000 and np.mean(up > 0.5) > 0.9


def test_the_colors_are_those_of_the_images(mesh, small_map):
    linear = mesh.visual.vertex_attributes['color'][:, :3] / 65535
    colors = 255 * np.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055
    )
    differences = []
    for pose in small_map.mapping_poses[::8]:
        rgb, depth = render_box_room(pose, CAMERA)
        local = transform_points(inverse(pose), np.asarray(mesh.vertices))
        local, shown = local[local[:, 2] > 0.1], colors[local[:, 2] > 0.1]
        u, v = np.round(CAMERA.project(local)).astype(int).T
        inside = (u >= 0) & (u < CAMERA.width) & (v >= 0) & (v < CAMERA.height)
        u, v, z, shown = u[inside], v[inside], local[inside, 2], shown[inside]
        seen = np.abs(depth[v, u] - z) < 2 * VOXEL_M
        differences.append(shown[seen] - rgb[v, u][seen])
    difference = np.concatenate(differences)
    assert len(difference) > 1000
    assert np.abs(difference.mean(0)).max() < 8 and np.abs(difference).mean() < 30


def test_viewers_show_the_colors_as_they_are(glb):
    content = glb.read_bytes()
    length = int.from_bytes(content[12:16], 'little')
    tree = json.loads(content[20 : 20 + length])
    (primitive,) = tree['meshes'][0]['primitives']
    assert 'KHR_materials_unlit' in tree['materials'][primitive['material']]['extensions']
    assert tree['extensionsUsed'] == ['KHR_materials_unlit']
    color = tree['accessors'][primitive['attributes']['COLOR_0']]
    assert (color['componentType'], color['normalized'], color['type']) == (5123, True, 'VEC4')


def test_a_map_for_a_robot_has_no_mesh(small_map, tmp_path):
    export_for_robot(small_map, tmp_path / 'robot.map')
    error = user_error('export', tmp_path / 'robot.map', tmp_path / 'room.glb')
    assert error.endswith(f'{remedies.MAP_WITH_FIELD}\n')
    assert not (tmp_path / 'room.glb').exists()


@pytest.mark.parametrize('missing', ['skimage.measure', 'trimesh'])
def test_without_a_package_its_installation_is_advised(small_map, tmp_path, monkeypatch, missing):
    for module in ('fields.voxel_mesh', 'localization.mesh_file'):
        monkeypatch.delitem(sys.modules, f'nerf_reversal_ros.{module}', raising=False)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(NerfReversalError) as error:
        write_exchange_file(open_map(small_map.path), tmp_path / 'room.glb', 'glb')
    assert str(error.value).endswith(remedies.INSTALL_MESH) and missing in str(error.value)
    assert not any(tmp_path.iterdir())
