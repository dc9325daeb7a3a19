"""hloc with SIFT localizes images on triangulated points, without depth."""

from pathlib import Path

import numpy as np
import pytest
from small_room import CAMERA, walk, write_bag

from nerf_reversal_ros.baselines.baselines import BaselineInputs, BASELINES
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import look_at, pose_errors

pytest.importorskip('pycolmap', reason='hloc_sift needs pycolmap')
from nerf_reversal_ros.baselines.hloc_sift import HlocSift

IDENTITY_CONVENTION = PoseConvention('optical', np.eye(4), 'configured')


def open_bag(bag: Path) -> Capture:
    return open_capture(bag, CaptureConfig(), convention=IDENTITY_CONVENTION, select_frames=False)


@pytest.fixture(scope='module')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    bag = tmp_path_factory.mktemp('bags') / 'walk'
    return open_bag(write_bag(bag, walk(120), depth=False))


@pytest.fixture(scope='module')
def hloc(reference: Capture) -> HlocSift:
    return HlocSift(reference)


@pytest.fixture(scope='module')
def queries(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    bag = tmp_path_factory.mktemp('bags') / 'other'
    return list(open_bag(write_bag(bag, walk(6, height=1.4, phase=0.1)[:5], depth=False)))


def test_it_localizes_within_two_centimeters_without_depth(
    hloc: HlocSift, queries: list[Frame]
) -> None:
    estimated = [hloc.localize(frame.rgb, frame.camera) for frame in queries]
    ground_truth = np.stack([frame.map_from_camera for frame in queries])
    errors = pose_errors(np.stack(estimated), ground_truth)
    assert errors.translation.max() < 0.02
    assert np.degrees(errors.rotation).max() < 0.6


def test_localization_is_deterministic(hloc: HlocSift, queries: list[Frame]) -> None:
    first, second = (hloc.localize(queries[0].rgb, queries[0].camera) for _ in range(2))
    assert first == pytest.approx(second, abs=1e-12)


def test_a_blank_wall_is_not_localized(hloc: HlocSift) -> None:
    assert hloc.localize(np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8), CAMERA) is None


def test_an_image_of_another_scene_is_not_localized(hloc: HlocSift) -> None:
    blocks = np.random.default_rng(0).integers(0, 256, (CAMERA.height // 6, CAMERA.width // 6, 3))
    other_scene = np.kron(blocks, np.ones((6, 6, 1))).astype(np.uint8)
    assert hloc.localize(other_scene, CAMERA) is None


def test_as_a_baseline_it_uses_its_own_map_alone(reference: Capture, hloc: HlocSift) -> None:
    class UnusedRegressor:
        def regress(self, rgb: object, camera: object) -> None:
            raise AssertionError('hloc_sift must not use the map')

    inputs = BaselineInputs(reference.map_from_camera, UnusedRegressor(), reference)
    baseline = BASELINES['hloc_sift'](inputs)
    frame = reference.frame(2)
    estimated = baseline(frame)
    assert estimated is not None
    assert estimated[:3, 3] == pytest.approx(frame.map_from_camera[:3, 3], abs=0.02)
    assert baseline.storage_bytes == hloc.nbytes > 1e5 and not baseline.position_only


def test_a_capture_of_pure_rotation_is_rejected(tmp_path: Path) -> None:
    eye = np.array([0.0, 0.0, 1.3])
    angles = np.linspace(0, 1, 40)
    directions = [np.array([np.cos(angle), np.sin(angle), -0.2]) for angle in angles]
    poses = np.stack([look_at(eye, eye + direction) for direction in directions])
    message = r'no point can be triangulated .* from several positions'
    with pytest.raises(CaptureError, match=message):
        HlocSift(open_bag(write_bag(tmp_path / 'rotation', poses, depth=False)))


def test_images_without_texture_are_rejected(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'blank', up_axis='z') as bag:
        for index, map_from_camera in enumerate(walk(8)):
            gray = np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8)
            bag.write(10**18 + index * 10**8, gray, None, CAMERA, map_from_camera)
    with pytest.raises(CaptureError, match='has SIFT features: give hloc_sift a reference'):
        HlocSift(open_bag(tmp_path / 'blank'))
