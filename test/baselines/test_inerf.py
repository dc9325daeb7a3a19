"""iNeRF: convergence to the pose of an image, for any exposure."""

from functools import partialmethod

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

POSES_GT = walk(48)[5:45:13]
INITIAL_ERROR = make_pose(
    Rotation.from_euler('xyz', (1.0, -1.5, 1.0), degrees=True), (0.03, -0.02, 0.03)
)
"""Error of the initial pose: 4.7 cm and 2 degrees."""


@pytest.fixture(scope='module')
def field(small_map: Map) -> VoxelField:
    return VoxelField.load(small_map.file('field.safetensors'))


def frame(field: VoxelField, map_from_camera: np.ndarray, index: int = 0) -> Frame:
    """Render a frame from the field itself, so that errors of the field do not count."""
    (view,) = field.render(map_from_camera[None], CAMERA)
    return Frame(index, 0, view.rgb, CAMERA, None, None, map_from_camera)


class Prior:
    """A regressor that returns the same pose for every image."""

    def __init__(self, map_from_camera: np.ndarray) -> None:
        self.map_from_camera = map_from_camera

    def regress(self, rgb: np.ndarray, camera: object) -> 'Prior':
        """Return the stored pose."""
        return self


def yawed_pose(degrees: float, x: float) -> np.ndarray:
    return make_pose(Rotation.from_euler('z', degrees, degrees=True), (x, 0, 0))


def errors_of(estimated: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    metres, radians = pose_errors(np.stack(estimated), POSES_GT)
    return metres, np.degrees(radians)


def test_a_twist_maps_to_translation_and_rotation() -> None:
    rotation = se3_exp(torch.tensor([0.0, 0, 0, 0, 0, np.pi / 2], dtype=torch.float64)).numpy()
    assert rotation == pytest.approx(make_pose(Rotation.from_euler('z', 90, degrees=True)))
    shift = se3_exp(torch.tensor([1.0, 2, 3, 0, 0, 0], dtype=torch.float64)).numpy()
    assert shift == pytest.approx(make_pose(translation=(1, 2, 3)))


def test_differentiable_rendering_matches_the_field(field: VoxelField) -> None:
    rays = torch.from_numpy(CAMERA.rays()[::7, ::7].reshape(-1, 3) @ POSES_GT[0, :3, :3].T).float()
    origins = torch.from_numpy(POSES_GT[0, :3, 3] - field.origin_m).float().expand_as(rays)
    traced, _, _ = field.trace(origins, rays)
    assert render_rays(field, origins, rays).numpy() == pytest.approx(traced.numpy(), abs=0.03)


@pytest.mark.parametrize('exposure', [1.0, 0.6])
def test_descent_reaches_the_pose_of_the_image(field: VoxelField, exposure: float) -> None:
    descent = INerf(field)
    images = [(frame(field, pose_gt).rgb * exposure).astype(np.uint8) for pose_gt in POSES_GT]
    estimated = [
        descent.refine(rgb, CAMERA, pose_gt @ INITIAL_ERROR, steps=60)
        for rgb, pose_gt in zip(images, POSES_GT, strict=True)
    ]
    metres, degrees = errors_of(estimated)
    assert np.median(metres) < 0.015
    assert np.median(degrees) < 0.5


def test_zero_steps_return_the_initial_pose(field: VoxelField) -> None:
    unchanged = INerf(field).refine(frame(field, POSES_GT[0]).rgb, CAMERA, POSES_GT[0], steps=0)
    assert unchanged == pytest.approx(POSES_GT[0])


def test_a_pose_far_from_the_field_stays(field: VoxelField) -> None:
    far_pose = make_pose(translation=(100, 0, 0)) @ POSES_GT[0]
    estimated = INerf(field).refine(frame(field, POSES_GT[0]).rgb, CAMERA, far_pose, steps=3)
    assert estimated == pytest.approx(far_pose, abs=0.05)


def test_the_prior_variant_starts_at_the_regressed_pose(field: VoxelField) -> None:
    pose_gt = POSES_GT[1]
    locate = BASELINES['inerf_prior'](
        BaselineInputs(POSES_GT, Prior(pose_gt @ INITIAL_ERROR), field=field)
    )
    estimated = locate(frame(field, pose_gt))
    assert estimated is not None
    assert pose_errors(estimated[None], pose_gt[None]).translation < 0.015


def test_a_random_pose_lies_in_the_bounding_box_of_the_mapping_poses() -> None:
    mapping_poses = np.stack([yawed_pose(10, 1.0), yawed_pose(30, 3.0)])
    samples = [random_pose(mapping_poses, np.random.default_rng(seed)) for seed in range(20)]
    x = np.array([pose[0, 3] for pose in samples])
    assert 1 <= x.min() < 1.5 and 2.5 < x.max() <= 3
    angles = {round(np.degrees(np.arctan2(pose[1, 0], pose[0, 0]))) for pose in samples}
    assert angles == {10, 30}


def test_a_random_start_is_repeatable_per_image(
    field: VoxelField, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(INerf, 'refine', partialmethod(INerf.refine, steps=10))
    locate = BASELINES['inerf_random'](BaselineInputs(POSES_GT, Prior(np.eye(4)), field=field))
    first, repeated, other = (locate(frame(field, POSES_GT[1], index)) for index in (1, 1, 2))
    assert first is not None and other is not None
    assert np.array_equal(first, repeated) and not np.allclose(first, other, atol=0.01)
    assert first[:3, :3] @ first[:3, :3].T == pytest.approx(np.eye(3))


def test_a_map_without_a_voxel_field_raises_a_config_error() -> None:
    with pytest.raises(ConfigError, match='inerf_prior needs a map with a voxel field'):
        BASELINES['inerf_prior'](BaselineInputs(POSES_GT, Prior(np.eye(4))))
