"""hloc with SIFT poses a picture by what it triangulated from others; it needs no depth."""

from pathlib import Path

import numpy as np
import pytest
from small_room import CAMERA, walk, write_bag

from nerf_reversal_ros.baselines.baselines import BaselineInputs, BASELINES
from nerf_reversal_ros.capture.capture import Capture, Frame, open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import look_at, pose_errors

pytest.importorskip('pycolmap', reason='hloc_sift needs pycolmap')
from nerf_reversal_ros.baselines.hloc_sift import HlocSift

AS_IT_IS = PoseConvention('optical', np.eye(4), 'configured')


def opened(bag: Path) -> Capture:
    return open_capture(bag, CaptureConfig(), convention=AS_IT_IS, select_frames=False)


@pytest.fixture(scope='module')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    bag = tmp_path_factory.mktemp('bags') / 'walk'
    return opened(write_bag(bag, walk(120), depth=False))


@pytest.fixture(scope='module')
def peer(reference: Capture) -> HlocSift:
    return HlocSift(reference)


@pytest.fixture(scope='module')
def queries(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    bag = tmp_path_factory.mktemp('bags') / 'other'
    return list(opened(write_bag(bag, walk(6, height=1.4, phase=0.1)[:5], depth=False)))


def test_it_finds_the_camera_to_a_centimetre_without_depth(
    peer: HlocSift, queries: list[Frame]
) -> None:
    found = [peer.localize(frame.rgb, frame.camera) for frame in queries]
    true = np.stack([frame.map_from_camera for frame in queries])
    errors = pose_errors(np.stack(found), true)
    assert errors.translation.max() < 0.02
    assert np.degrees(errors.rotation).max() < 0.6


def test_a_picture_gets_the_same_pose_each_time(peer: HlocSift, queries: list[Frame]) -> None:
    one, two = (peer.localize(queries[0].rgb, queries[0].camera) for _ in range(2))
    assert one == pytest.approx(two, abs=1e-12)


def test_a_blank_wall_has_no_answer(peer: HlocSift) -> None:
    assert peer.localize(np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8), CAMERA) is None


def test_a_picture_of_something_else_has_no_answer(peer: HlocSift) -> None:
    specks = np.random.default_rng(0).integers(0, 256, (CAMERA.height // 6, CAMERA.width // 6, 3))
    elsewhere = np.kron(specks, np.ones((6, 6, 1))).astype(np.uint8)
    assert peer.localize(elsewhere, CAMERA) is None


def test_as_a_baseline_it_keeps_a_map_of_its_own(reference: Capture, peer: HlocSift) -> None:
    class Unasked:
        def regress(self, rgb: object, camera: object) -> None:
            raise AssertionError('hloc_sift stands on nothing of ours')

    made = BASELINES['hloc_sift'](BaselineInputs(reference.map_from_camera, Unasked(), reference))
    frame = reference.frame(2)
    answer = made(frame)
    assert answer is not None
    assert answer[:3, 3] == pytest.approx(frame.map_from_camera[:3, 3], abs=0.02)
    assert made.storage_bytes == peer.nbytes > 1e5 and not made.position_only


def test_a_walk_that_only_turns_on_the_spot_is_refused(tmp_path: Path) -> None:
    eye = np.array([0.0, 0.0, 1.3])
    angles = np.linspace(0, 1, 40)
    ahead = [np.array([np.cos(angle), np.sin(angle), -0.2]) for angle in angles]
    turning = np.stack([look_at(eye, eye + direction) for direction in ahead])
    with pytest.raises(CaptureError, match=r'no point can be triangulated .* from several sides'):
        HlocSift(opened(write_bag(tmp_path / 'turning', turning, depth=False)))


def test_pictures_without_texture_are_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'blank', up_axis='z') as bag:
        for number, map_from_camera in enumerate(walk(8)):
            grey = np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8)
            bag.write(10**18 + number * 10**8, grey, None, CAMERA, map_from_camera)
    with pytest.raises(CaptureError, match='has SIFT features: hloc_sift needs'):
        HlocSift(opened(tmp_path / 'blank'))
