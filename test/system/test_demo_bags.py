"""The committed demo capture: what the demo is built from and judged on."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.geometry import inverse

BAGS = Path(__file__).resolve().parents[2] / 'demo' / 'bags'


@pytest.fixture(scope='module')
def walk() -> Capture:
    return open_capture(BAGS / 'walk', CaptureConfig())


@pytest.fixture(scope='module')
def test_walk(walk) -> Capture:
    """The other walk in the map's frame of the first, nothing left out."""
    return open_capture(
        BAGS / 'test', CaptureConfig(), convention=walk.convention, select_frames=False
    )


def test_both_bags_together_take_at_most_20_megabytes():
    assert sum(path.stat().st_size for path in BAGS.rglob('*') if path.is_file()) <= 20e6


def test_the_walk_is_found_to_be_what_arkit_writes(walk):
    convention = walk.convention
    assert convention.axes == 'opengl'
    assert 'y is up' in convention.up_source
    errors = convention.depth_error_m
    assert errors['opengl'] < 0.01
    assert all(error > 2 * errors['opengl'] for axes, error in errors.items() if axes != 'opengl')


def test_the_walk_is_long_enough_and_hardly_pruned(walk):
    assert walk.has_depth
    assert walk.counts['pictures'] == 190
    assert len(walk) >= 180


def test_the_test_walk_by_itself_has_the_same_convention(test_walk):
    alone = open_capture(BAGS / 'test', CaptureConfig())
    assert alone.convention.axes == 'opengl'
    assert len(test_walk) == 90


def test_the_map_is_upright_and_the_phone_is_held_by_a_hand(walk, test_walk):
    for capture in (walk, test_walk):
        camera_up = -capture.map_from_camera[:, 2, 1]  # how far the camera's top points up
        assert (camera_up > np.cos(np.radians(45))).all()
        assert np.ptp(capture.map_from_camera[:, 2, 3]) < 0.5


def test_a_frame_has_a_picture_and_depth_of_the_room(walk):
    frame = walk.frame(20)
    assert frame.rgb.shape == (480, 360, 3)
    assert frame.rgb.std() > 30
    assert frame.depth.shape == (256, 192)
    known = frame.depth[frame.depth > 0]
    assert 0.5 < known.size / frame.depth.size < 1.0
    assert 0.3 < known.min() and known.max() < 5.1


def test_no_view_of_the_test_walk_is_a_view_of_the_walk(walk, test_walk):
    distance = np.linalg.norm(
        test_walk.map_from_camera[:, None, :3, 3] - walk.map_from_camera[None, :, :3, 3], axis=-1
    )
    turned = (inverse(test_walk.map_from_camera)[:, None] @ walk.map_from_camera)[..., :3, :3]
    angle = Rotation.from_matrix(turned.reshape(-1, 3, 3)).magnitude().reshape(distance.shape)
    angle = np.degrees(angle)
    assert not ((distance < 0.05) & (angle < 5)).any()
    # The view that is nearest, one degree counting as much as two centimetres:
    nearest = np.hypot(distance, 0.02 * angle).argmin(axis=1)
    rows = np.arange(len(nearest))
    assert 0.12 < np.median(distance[rows, nearest]) < 0.30
    assert 5 < np.median(angle[rows, nearest]) < 20


@pytest.mark.parametrize('distance_m', [0.5, 1.0])
def test_pictures_off_the_path_are_as_far_off_as_they_say(distance_m, monkeypatch):
    monkeypatch.syspath_prepend(str(BAGS.parents[1]))
    from demo import trajectories

    walked = trajectories.build_walk(190)
    poses = trajectories.beside(walked, (4.5, 3.8, 2.5), distance_m, 12, seed=3)
    to_walked = poses[:, None, :3, 3] - walked.room_from_camera[:, :3, 3]
    nearest = np.linalg.norm(to_walked, axis=-1).min(axis=1)
    assert nearest == pytest.approx(np.full(12, distance_m), abs=0.05)
    assert (poses[:, :3, 3] > 0.25).all() and (poses[:, :3, 3] < (4.25, 3.55, 2.25)).all()


def test_the_light_of_the_test_walk_is_another(walk, test_walk):
    def colour(capture: Capture) -> np.ndarray:
        frames = [capture.frame(i).rgb for i in range(0, len(capture), 10)]
        return np.mean([frame.reshape(-1, 3).mean(axis=0) for frame in frames], axis=0)

    walked, tested = colour(walk), colour(test_walk)
    assert tested[2] / tested[0] > 1.05 * walked[2] / walked[0]  # bluer
    assert tested.mean() < 0.95 * walked.mean()  # darker
