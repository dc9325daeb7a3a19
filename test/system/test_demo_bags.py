"""The demo captures of the repository: one to build a map from, one to localize."""

from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import inverse

BAGS = Path(__file__).resolve().parents[2] / 'demo' / 'bags'


@pytest.fixture(scope='module')
def mapping() -> Capture:
    return open_capture(BAGS / 'walk', CaptureConfig())


@pytest.fixture(scope='module')
def query(mapping) -> Capture:
    """Open every frame of the query capture in the map frame of the mapping capture."""
    return open_capture(
        BAGS / 'test', CaptureConfig(), convention=mapping.convention, select_frames=False
    )


def test_both_bags_together_take_at_most_20_megabytes():
    assert sum(path.stat().st_size for path in BAGS.rglob('*') if path.is_file()) <= 20e6


def test_the_pose_convention_of_arkit_is_detected(mapping):
    convention = mapping.convention
    assert convention.axes == 'opengl'
    assert 'y is up' in convention.up_source
    errors = convention.depth_error_m
    assert errors['opengl'] < 0.01
    assert all(error > 2 * errors['opengl'] for axes, error in errors.items() if axes != 'opengl')


def test_nearly_all_frames_of_the_mapping_capture_are_selected(mapping):
    assert mapping.has_depth
    assert mapping.counts['pictures'] == 190
    assert len(mapping) >= 180


def test_the_query_capture_alone_has_the_same_convention(query):
    alone = open_capture(BAGS / 'test', CaptureConfig())
    assert alone.convention.axes == 'opengl'
    assert len(query) == 90


def test_z_is_up_and_the_phone_is_at_the_height_of_a_hand(mapping, query):
    for capture in (mapping, query):
        camera_up = -capture.map_from_camera[:, 2, 1]  # cosine of camera up and z
        assert (camera_up > np.cos(np.radians(45))).all()
        assert np.ptp(capture.map_from_camera[:, 2, 3]) < 0.5


def test_a_frame_has_a_color_image_and_depth_of_the_room(mapping):
    frame = mapping.frame(20)
    assert frame.rgb.shape == (480, 360, 3)
    assert frame.rgb.std() > 30
    assert frame.depth.shape == (256, 192)
    depth = frame.depth[frame.depth > 0]
    assert 0.5 < depth.size / frame.depth.size < 1.0
    assert 0.3 < depth.min() and depth.max() < 5.1


def test_no_query_pose_is_a_mapping_pose(mapping, query):
    distance = np.linalg.norm(
        query.map_from_camera[:, None, :3, 3] - mapping.map_from_camera[None, :, :3, 3], axis=-1
    )
    rotation = (inverse(query.map_from_camera)[:, None] @ mapping.map_from_camera)[..., :3, :3]
    angle = Rotation.from_matrix(rotation.reshape(-1, 3, 3)).magnitude().reshape(distance.shape)
    angle = np.degrees(angle)
    assert not ((distance < 0.05) & (angle < 5)).any()
    # The nearest pose, where one degree counts as two centimeters:
    nearest = np.hypot(distance, 0.02 * angle).argmin(axis=1)
    rows = np.arange(len(nearest))
    assert 0.12 < np.median(distance[rows, nearest]) < 0.30
    assert 5 < np.median(angle[rows, nearest]) < 20


def test_the_query_capture_is_bluer_and_darker(mapping, query):
    def mean_color(capture: Capture) -> np.ndarray:
        frames = [capture.frame(i).rgb for i in range(0, len(capture), 10)]
        return np.mean([frame.reshape(-1, 3).mean(axis=0) for frame in frames], axis=0)

    mapping_rgb, query_rgb = mean_color(mapping), mean_color(query)
    assert query_rgb[2] / query_rgb[0] > 1.05 * mapping_rgb[2] / mapping_rgb[0]
    assert query_rgb.mean() < 0.95 * mapping_rgb.mean()
