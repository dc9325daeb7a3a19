"""Coordinate frames of nerfstudio fields: Sim(3), OpenGL axes, dataparsers, cameras."""

import json

from nerfacto_room import POSES
from nerfstudio_runs import needs_nerfstudio
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import inverse, make_pose, pose_errors, transform_points
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.fields.sim3 import (
    field_from_data,
    from_opengl,
    make_sim3,
    scale_of,
    to_opengl,
    transform_poses,
)


def random_sim3(seed=0):
    rng = np.random.default_rng(seed)
    pose = make_pose(Rotation.random(random_state=seed), tuple(rng.normal(size=3)))
    return make_sim3(0.37, pose)


def test_poses_transform_to_the_field_and_back():
    field_from_map = random_sim3()
    in_field = transform_poses(field_from_map, POSES)
    np.testing.assert_allclose(
        inverse(in_field) @ in_field, np.tile(np.eye(4), (48, 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(
        transform_poses(np.linalg.inv(field_from_map), in_field), POSES, atol=1e-12
    )
    assert scale_of(field_from_map) == pytest.approx(0.37)


def test_a_point_projects_to_the_same_pixel_in_map_and_field():
    field_from_map = random_sim3()
    points = np.random.default_rng(1).normal(size=(20, 3))
    in_camera = transform_points(inverse(POSES[3]), points)
    field_from_camera = transform_poses(field_from_map, POSES)[3]
    in_field_camera = transform_points(
        inverse(field_from_camera), transform_points(field_from_map, points)
    )
    np.testing.assert_allclose(in_field_camera, 0.37 * in_camera, atol=1e-12)


def test_conversion_to_opengl_axes_is_invertible():
    np.testing.assert_allclose(from_opengl(to_opengl(np.eye(4), POSES)), POSES, atol=1e-12)


@needs_nerfstudio
def test_the_transform_of_the_dataparser_is_inverted_to_micrometers(tmp_path):
    require_nerfstudio()
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig

    world = transform_poses(
        make_pose(Rotation.from_euler('xyz', [0.4, -0.2, 1.0]), (3.0, -1.0, 2.0)), POSES
    )
    frames = []
    for number, camera_to_world in enumerate(to_opengl(np.eye(4), world)):
        (tmp_path / f'{number:03d}.png').touch()
        matrix = [*camera_to_world.tolist(), [0.0, 0.0, 0.0, 1.0]]
        frames.append({'file_path': f'{number:03d}.png', 'transform_matrix': matrix})
    scene = {'fl_x': 130, 'fl_y': 130, 'cx': 80, 'cy': 60, 'w': 160, 'h': 120, 'frames': frames}
    (tmp_path / 'transforms.json').write_text(json.dumps(scene))
    parser = NerfstudioDataParserConfig(data=tmp_path, downscale_factor=1, eval_mode='all').setup()
    parsed = parser.get_dataparser_outputs('train')
    field_from_world = field_from_data(
        parsed.dataparser_transform.numpy(), parsed.dataparser_scale
    )
    inverted = transform_poses(
        np.linalg.inv(field_from_world), from_opengl(parsed.cameras.camera_to_worlds.numpy())
    )
    errors = pose_errors(inverted, world)
    assert errors.translation.max() < 5e-6 and errors.rotation.max() < 5e-6
    assert scale_of(field_from_world) == pytest.approx(parsed.dataparser_scale)


@needs_nerfstudio
def test_rays_of_nerfstudio_cameras_match_those_of_the_camera_model():
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.field import nerfstudio_cameras

    field_from_map = random_sim3()
    camera = Camera(40, 30, 31.0, 33.0, 18.2, 15.1)
    intrinsics = np.array([camera.fx, camera.fy, camera.cx, camera.cy])
    cameras = nerfstudio_cameras(field_from_map, POSES[:2], intrinsics, (40, 30))
    rays = cameras.generate_rays(camera_indices=1, keep_shape=True)
    expected = transform_points(field_from_map, transform_points(POSES[1], camera.rays()))
    norm = rays.metadata['directions_norm'].numpy()
    points = rays.origins.numpy() + rays.directions.numpy() * norm * scale_of(field_from_map)
    np.testing.assert_allclose(points, expected, atol=2e-6)
