"""The regressor without PyTorch gives what that with PyTorch gives."""

from dataclasses import replace
import sys

import numpy as np
import pytest
from regressor_files import rewrite_regressor
from rooms import render_box_room, walk
from small_map import CAMERA

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.regressor.cpu_regressor import CpuRegressor, load_regressor
from nerf_reversal_ros.regressor.regressed_pose import ROLL_NOVELTY
from nerf_reversal_ros.regressor.regressor import PoseRegressor

POSES = walk(37)[3::9]


class WithoutTorch:
    """Hides what needs PyTorch, as if that were not installed."""

    def find_spec(self, name, *_):
        if name == 'nerf_reversal_ros.regressor.regressor':
            raise ModuleNotFoundError("No module named 'torch'", name='torch')


@pytest.fixture(scope='module')
def file(small_map):
    return small_map.file('regressor.safetensors')


@pytest.fixture(scope='module')
def both(file):
    """Return the regressors with NumPy and with PyTorch."""
    with_numpy = load_regressor(file, 'cpu')
    assert isinstance(with_numpy, CpuRegressor)
    return with_numpy, PoseRegressor.load(file)


def assert_same(first, second):
    np.testing.assert_allclose(first.map_from_camera, second.map_from_camera, atol=1e-4)
    smallest = 1e-3 * np.abs(second.covariance).max()
    np.testing.assert_allclose(first.covariance, second.covariance, atol=smallest)
    np.testing.assert_allclose(first.distances, second.distances, rtol=1e-3, atol=0.01)
    np.testing.assert_allclose(first.camera_from_copy, second.camera_from_copy, atol=1e-6)
    assert first.novelty == pytest.approx(second.novelty, abs=1e-3)


@pytest.mark.parametrize('pose', POSES)
def test_both_give_the_same_pose_distances_and_similar_views(both, pose):
    rgb, _ = render_box_room(pose, CAMERA)
    first, second = (regressor.regress(rgb, CAMERA) for regressor in both)
    assert_same(first, second)
    retrieved = [r.retrieve(result, 5) for r, result in zip(both, (first, second), strict=True)]
    np.testing.assert_allclose(*retrieved, atol=1e-6)


def test_both_see_a_smaller_field_of_view_and_a_camera_upside_down_alike(both):
    rgb, _ = render_box_room(POSES[0], CAMERA)
    crop = np.ascontiguousarray(rgb[20:100, 30:130])
    camera = CAMERA.__class__(100, 80, CAMERA.fx, CAMERA.fy, CAMERA.cx - 30, CAMERA.cy - 20)
    assert_same(*(regressor.regress(crop, camera) for regressor in both))
    rolled = np.ascontiguousarray(rgb[::-1, ::-1])
    # In this room an image upside down is hardly novel: it is taken for a novel one.
    upright = [
        replace(regressor.regress(rolled, CAMERA), novelty=ROLL_NOVELTY + 1) for regressor in both
    ]
    found = [
        regressor.search_roll(rolled, CAMERA, result)
        for regressor, result in zip(both, upright, strict=True)
    ]
    assert_same(*found)
    assert not np.allclose(found[0].camera_from_copy, np.eye(3))
    assert found[0].novelty < upright[0].novelty


def test_a_regressor_moves_to_a_device_as_a_whole(both):
    assert both[0].moved_to('cpu') is both[0]
    assert both[0].device_type == both[1].device_type == 'cpu'


def test_another_kind_of_regressor_is_read_by_pytorch(file, tmp_path, monkeypatch):
    other = tmp_path / 'other.safetensors'
    rewrite_regressor(file, other, header={'compression': 'reconstruction'})
    assert isinstance(load_regressor(other, 'cpu'), PoseRegressor)
    monkeypatch.delitem(sys.modules, 'nerf_reversal_ros.regressor.regressor')
    monkeypatch.setattr(sys, 'meta_path', [WithoutTorch(), *sys.meta_path])
    with pytest.raises(MapError) as error:
        load_regressor(other, 'cpu')
    assert str(error.value).endswith(remedies.INSTALL_TORCH)


@pytest.mark.parametrize(
    ('name', 'change', 'told'),
    [
        ('network.head.bias', None, 'head.bias'),
        ('network.head.bias', lambda tensor: tensor[:-1], ''),
        ('network.center', lambda tensor: tensor[:1], 'center'),
        ('network.coarse.0.weight', lambda tensor: tensor[:, :3], ''),
        ('numbers.position_mean', lambda tensor: tensor[:1], 'mean'),
    ],
)
def test_weights_of_another_network_are_told(file, tmp_path, name, change, told):
    other = tmp_path / 'other.safetensors'
    rewrite_regressor(file, other, {name: change})
    with pytest.raises(MapError, match=rf'do not fit together \(.*{told}'):
        load_regressor(other, 'cpu')
