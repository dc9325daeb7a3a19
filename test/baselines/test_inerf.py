"""iNeRF descends to where the field looks like the picture, whatever its exposure."""

import numpy as np
import pytest
from rooms import walk
from scipy.spatial.transform import Rotation
from small_map import CAMERA
import torch

from nerf_reversal_ros.baselines.baselines import BaselineInputs, BASELINES
from nerf_reversal_ros.baselines.inerf import INerf, random_pose, render_rays, se3_exp
from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import make_pose, pose_errors
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.maps.map_folder import Map

TRUE = walk(48)[5:45:13]
OFF = make_pose(Rotation.from_euler('xyz', (1.0, -1.5, 1.0), degrees=True), (0.03, -0.02, 0.03))
"""4.7 cm and 2 degrees."""


@pytest.fixture(scope='module')
def field(small_map: Map) -> VoxelField:
    return VoxelField.load(small_map.file('field.safetensors'))


def frame(field: VoxelField, map_from_camera: np.ndarray, index: int = 0) -> Frame:
    """Show what the field shows, so that its own errors do not count."""
    (view,) = field.render(map_from_camera[None], CAMERA)
    return Frame(index, 0, view.rgb, CAMERA, None, None, map_from_camera)


class Prior:
    """A regressor that is off by as much in every picture."""

    def __init__(self, map_from_camera: np.ndarray) -> None:
        self.map_from_camera = map_from_camera

    def regress(self, rgb: np.ndarray, camera: object) -> 'Prior':
        """Answer the same always."""
        return self


def turned(degrees: float, x: float) -> np.ndarray:
    return make_pose(Rotation.from_euler('z', degrees, degrees=True), (x, 0, 0))


def errors_of(found: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    metres, radians = pose_errors(np.stack(found), TRUE)
    return metres, np.degrees(radians)


def test_a_twist_is_a_shift_and_a_turn() -> None:
    turn = se3_exp(torch.tensor([0.0, 0, 0, 0, 0, np.pi / 2], dtype=torch.float64)).numpy()
    assert turn == pytest.approx(make_pose(Rotation.from_euler('z', 90, degrees=True)))
    shift = se3_exp(torch.tensor([1.0, 2, 3, 0, 0, 0], dtype=torch.float64)).numpy()
    assert shift == pytest.approx(make_pose(translation=(1, 2, 3)))


def test_what_is_descended_on_is_what_the_field_shows(field: VoxelField) -> None:
    rays = torch.from_numpy(CAMERA.rays()[::7, ::7].reshape(-1, 3) @ TRUE[0, :3, :3].T).float()
    origins = torch.from_numpy(TRUE[0, :3, 3] - field.origin_m).float().expand_as(rays)
    shown, _, _ = field.trace(origins, rays)
    assert render_rays(field, origins, rays).numpy() == pytest.approx(shown.numpy(), abs=0.03)


@pytest.mark.parametrize('exposure', [1.0, 0.6])
def test_it_descends_to_the_pose_of_the_picture(field: VoxelField, exposure: float) -> None:
    descent = INerf(field)
    pictures = [(frame(field, true).rgb * exposure).astype(np.uint8) for true in TRUE]
    found = [
        descent.refine(rgb, CAMERA, true @ OFF, steps=60)
        for rgb, true in zip(pictures, TRUE, strict=True)
    ]
    metres, degrees = errors_of(found)
    assert np.median(metres) < 0.015
    assert np.median(degrees) < 0.5


def test_without_a_step_it_stays_where_it_began(field: VoxelField) -> None:
    stayed = INerf(field).refine(frame(field, TRUE[0]).rgb, CAMERA, TRUE[0], steps=0)
    assert stayed == pytest.approx(TRUE[0])


def test_a_camera_that_sees_nothing_of_the_field_stays(field: VoxelField) -> None:
    away = make_pose(translation=(100, 0, 0)) @ TRUE[0]
    found = INerf(field).refine(frame(field, TRUE[0]).rgb, CAMERA, away, steps=3)
    assert found == pytest.approx(away, abs=0.05)


def test_the_prior_is_the_regressor_s_pose(field: VoxelField) -> None:
    true = TRUE[1]
    locate = BASELINES['inerf_prior'](BaselineInputs(TRUE, Prior(true @ OFF), field=field))
    found = locate(frame(field, true))
    assert found is not None
    assert pose_errors(found[None], true[None]).translation < 0.015


def test_a_random_pose_is_in_the_box_of_the_walk_and_turned_like_one_of_it() -> None:
    walked = np.stack([turned(10, 1.0), turned(30, 3.0)])
    drawn = [random_pose(walked, np.random.default_rng(seed)) for seed in range(20)]
    places = np.array([pose[0, 3] for pose in drawn])
    assert 1 <= places.min() < 1.5 and 2.5 < places.max() <= 3
    angles = {round(np.degrees(np.arctan2(pose[1, 0], pose[0, 0]))) for pose in drawn}
    assert angles == {10, 30}


def test_a_random_start_is_the_same_for_the_same_picture_and_another_for_others(
    field: VoxelField,
) -> None:
    locate = BASELINES['inerf_random'](BaselineInputs(TRUE, Prior(np.eye(4)), field=field))
    once, again, other = (locate(frame(field, TRUE[1], index)) for index in (1, 1, 2))
    assert once is not None and other is not None
    assert np.array_equal(once, again) and not np.allclose(once, other, atol=0.01)
    assert once[:3, :3] @ once[:3, :3].T == pytest.approx(np.eye(3))


def test_it_needs_the_field() -> None:
    with pytest.raises(ConfigError, match='inerf_prior needs a map with a voxel field'):
        BASELINES['inerf_prior'](BaselineInputs(TRUE, Prior(np.eye(4))))
