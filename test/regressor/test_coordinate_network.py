"""Behavior of the coordinate network: points of an image's cells, and the pose from them."""

from box_room import CAMERA, pictures, walk
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import RegressorConfig
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.regressor.coordinate_network import (
    cell_labels,
    CellPoints,
    CoordinateNetwork,
    fit_pose,
    scene_labels,
)
from nerf_reversal_ros.regressor.image_codec import to_tensors
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.training import train_regressor
from nerf_reversal_ros.synthesis.augmentation import warp_by_depth

POSES = walk(4)


def seen_points(seed=0, noise_m=0.0):
    """Points in double precision that two cameras see, with weights."""
    random = torch.Generator().manual_seed(seed)
    poses = torch.from_numpy(POSES[:2])
    in_camera = torch.randn(2, 30, 3, generator=random, dtype=torch.double)
    in_map = in_camera @ poses[:, :3, :3].mT + poses[:, None, :3, 3]
    in_map += noise_m * torch.randn(2, 30, 3, generator=random, dtype=torch.double)
    weight = torch.rand(2, 30, generator=random, dtype=torch.double)
    return in_map, in_camera, weight / weight.sum(1, keepdim=True)


def test_the_pose_is_that_of_the_camera_that_sees_the_points():
    in_map, in_camera, weight = seen_points()
    rotation, position = fit_pose(CellPoints(in_map, in_camera[..., 2], in_camera, weight))
    np.testing.assert_allclose(rotation, POSES[:2, :3, :3], atol=1e-9)
    np.testing.assert_allclose(position, POSES[:2, :3, 3], atol=1e-9)


@pytest.mark.parametrize('changed', [0, 1, 2])
def test_gradients_of_the_pose_equal_finite_differences(changed, monkeypatch):
    monkeypatch.setattr('nerf_reversal_ros.regressor.coordinate_network.REGULARIZATION', 0.0)
    parts = [part.requires_grad_() for part in seen_points(noise_m=0.3)]
    direction = torch.randn_like(parts[changed]) * 1e-4
    weights = torch.randn(2, 3, 4, dtype=torch.double)

    def value(step):
        in_map, in_camera, weight = (
            part + step * direction if i == changed else part for i, part in enumerate(parts)
        )
        rotation, position = fit_pose(
            CellPoints(in_map, in_camera[..., 2], in_camera, weight / weight.sum(1, keepdim=True))
        )
        return (torch.cat([rotation, position[..., None]], -1) * weights).sum()

    value(0.0).backward()
    expected = float((value(0.5) - value(-0.5)).detach())
    assert float((parts[changed].grad * direction).sum()) == pytest.approx(expected, rel=1e-3)


def test_gradients_are_finite_where_all_points_coincide():
    same = torch.zeros(1, 5, 3, requires_grad=True)
    rotation, position = fit_pose(CellPoints(same, same[..., 2], same + 0, torch.ones(1, 5) / 5))
    (rotation.sum() + position.sum()).backward()
    assert torch.isfinite(same.grad).all()


def test_labels_of_moved_images_are_the_points_that_they_show():
    views = pictures(POSES)
    motions = np.stack([make_pose(Rotation.from_rotvec([0.02, 0.1, 0.3]), (0.1, 0.0, 0.1))] * 4)
    target = pictures(POSES @ motions)
    depth, moves = torch.from_numpy(views.depth).float(), torch.from_numpy(motions).float()
    depth[0] = 0.0  # unknown
    rgb, valid = to_tensors(views.rgb, views.valid, 'cpu')
    _, _, pixels = warp_by_depth(rgb, valid, depth, CAMERA, moves)
    poses = torch.from_numpy(POSES).float()
    in_map, label_depth = cell_labels((depth, poses), pixels, CAMERA, moves)
    assert float(label_depth[0].max()) == 0.0
    truth, truth_depth = cell_labels(
        (torch.from_numpy(target.depth).float(), poses @ moves),
        torch.from_numpy(np.stack(np.meshgrid(range(48), range(36)), -1))
        .float()
        .repeat(4, 1, 1, 1),
        CAMERA,
        torch.eye(4).repeat(4, 1, 1),
    )
    known = label_depth > 0.0
    assert 0.5 < float(known[1:].float().mean()) < 1.0  # outside of the source image: unknown
    assert float((in_map - truth).norm(dim=-1)[known].median()) < 0.05
    assert float((label_depth - truth_depth).abs()[known].median()) < 0.05


def test_points_of_a_scene_are_those_that_images_show():
    views = pictures(POSES)
    poses, depth = torch.from_numpy(POSES).float(), torch.from_numpy(views.depth).float()
    points, depths = scene_labels(depth, poses, CAMERA)
    assert len(points) == len(depths) == 4 * 6 * 5
    network = CoordinateNetwork(CAMERA)
    network.set_scene(points, depths)
    assert torch.all((network.center > points.amin(0)) & (network.center < points.amax(0)))


@pytest.mark.parametrize('size', [(64, 48), (48, 36), (36, 64), (16, 5), (17, 16)])
def test_images_of_all_sizes_have_cells_and_a_pose(size):
    width, height = size
    camera = Camera(width, height, 50.0, 50.0, width / 2 - 0.5, height / 2 - 0.5)
    network = CoordinateNetwork(camera).eval()
    raw = network(torch.rand(2, 3, height, width))
    cells = -(-width // 8) * -(-height // 8)
    assert network.points(raw).in_camera.shape == (2, cells, 3)
    assert network.pose_numbers(raw).shape == (2, 30)


def test_a_saved_network_gives_the_same_poses(tmp_path):
    views, queries = pictures(walk(60)), pictures(POSES)
    config = RegressorConfig(components=12, epochs=1)
    regressor = train_regressor(views, views.subset(slice(0)), queries, CAMERA, config)
    regressor.save(tmp_path / 'regressor.safetensors')
    loaded = PoseRegressor.load(tmp_path / 'regressor.safetensors')
    for rgb in queries.rgb:
        first, second = (one.regress(rgb, CAMERA) for one in (regressor, loaded))
        np.testing.assert_allclose(first.map_from_camera, second.map_from_camera, atol=1e-4)
        np.testing.assert_allclose(first.covariance, second.covariance, rtol=1e-3, atol=1e-7)
