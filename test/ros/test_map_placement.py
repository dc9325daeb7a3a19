"""A map placed in the frame of another one: everything that is published moves with it."""

import contextlib

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Path as PathMessage
import numpy as np
import pytest
from ros_rig import camera_info, GREY, picture, Process, Rig, wait_until
from scipy.spatial.transform import Rotation
from visualization_msgs.msg import MarkerArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import make_pose, rotate_covariance, transform_points
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection
from nerf_reversal_ros.localization.map_placement import (
    parse_map_from_nerf,
    transform_outcome,
    transform_surface,
)
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.msg import MapDescription
from nerf_reversal_ros.ros.conversions import matrix_from_pose
from nerf_reversal_ros.ros.image_localizer import ProcessedImage
from nerf_reversal_ros.ros.node_runner import LATCHED_QOS
from nerf_reversal_ros.ros.visualization import debug_image
from nerf_reversal_ros.srv import LoadMap

QUARTER = '10 20 0.5 90'
PLACED = make_pose(Rotation.from_euler('z', 90, degrees=True), (10.0, 20.0, 0.5))


def test_the_text_is_metres_and_degrees():
    np.testing.assert_allclose(parse_map_from_nerf(QUARTER), PLACED, atol=1e-12)
    np.testing.assert_allclose(parse_map_from_nerf('10, 20, 0.5, 90'), PLACED, atol=1e-12)


def test_a_covariance_turns_with_its_frame():
    covariance = np.diag([1.0, 4.0, 9.0, 16.0, 25.0, 36.0])
    turned = rotate_covariance(covariance, PLACED)
    np.testing.assert_allclose(np.diag(turned), [4.0, 1.0, 9.0, 25.0, 16.0, 36.0], atol=1e-12)
    rng = np.random.default_rng(0)
    errors = rng.multivariate_normal(np.zeros(6), covariance, 100_000)
    moved = np.hstack([errors[:, :3] @ PLACED[:3, :3].T, errors[:, 3:] @ PLACED[:3, :3].T])
    np.testing.assert_allclose(np.cov(moved.T), turned, atol=0.6)


@pytest.mark.parametrize('accepted', [True, False])
def test_an_outcome_is_moved_with_all_that_it_tells(accepted):
    at, covariance = make_pose(None, (1.0, 2.0, 3.0)), np.diag([1.0, 4.0, 9.0, 1.0, 4.0, 9.0])
    told = Diagnostics(at, at, {'inliers': 3.0}, {'total': 1.0}, covariance, covariance)
    outcome = PoseEstimate(at, covariance, told) if accepted else Rejection('unsure', 'x', told)
    moved = transform_outcome(outcome, PLACED)
    if accepted:
        np.testing.assert_allclose(moved.map_from_camera[:3, 3], [8.0, 21.0, 3.5])
        np.testing.assert_allclose(np.diag(moved.covariance)[:3], [4.0, 1.0, 9.0], atol=1e-12)
    else:
        assert (moved.reason, moved.detail) == ('unsure', 'x')
    there = moved.diagnostics
    assert (there.scores, there.latency_ms) == (told.scores, told.latency_ms)
    for name in ('regressed', 'refined'):
        np.testing.assert_allclose(getattr(there, name)[:3, 3], [8.0, 21.0, 3.5])
        found = getattr(there, f'{name}_covariance')
        np.testing.assert_allclose(np.diag(found)[3:], [4.0, 1.0, 9.0], atol=1e-12)
    nothing = transform_outcome(Rejection('low contrast'), PLACED)
    assert nothing.diagnostics == Diagnostics()


def test_a_surface_is_where_its_points_are():
    points = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], np.float32)
    surface = Surface(np.array([5.0, 6.0, 7.0]), points, np.zeros((2, 3), np.uint8))
    moved = transform_surface(surface, PLACED)
    expected = transform_points(PLACED, surface.origin_m + points)
    np.testing.assert_allclose(moved.origin_m + moved.points, expected, atol=1e-6)
    assert moved.points.dtype == np.float32


def test_what_is_shown_beside_a_picture_is_the_same_wherever_the_map_is_placed():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1.0, 1.0, (500, 3)).astype(np.float32) + np.float32([0, 0, 3])
    surface = Surface(np.zeros(3), points, rng.integers(1, 256, (500, 3)).astype(np.uint8))
    camera = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
    rgb = np.full((48, 64, 3), 50, np.uint8)
    outcome = Rejection(
        'low probability', '', Diagnostics(refined_pose=make_pose(None, (0.1, 0.2, 0.3)))
    )
    here = debug_image(ProcessedImage(rgb, camera, outcome), surface)
    there = debug_image(
        ProcessedImage(rgb, camera, transform_outcome(outcome, PLACED)),
        transform_surface(surface, PLACED),
    )
    assert np.ptp(here[:, 64:]) > 100  # it shows something
    assert np.mean(np.any(here != there, axis=2)) < 0.01  # but for points at the edge of a pixel


def test_another_map_is_refused_where_the_placement_is_of_the_first(tmp_path):
    for name in ('slow0', 'slow1'):
        (tmp_path / name).mkdir()
    given = {'map_dir': tmp_path / 'slow0', 'autostart': True, 'map_from_nerf': QUARTER}
    with Process('localizer', **given) as process, contextlib.closing(Rig()) as rig:
        process.says('localizes the pictures of')
        loaded = rig.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow1'))
        assert not loaded.success
        assert f'map_from_nerf is set for the map {tmp_path / "slow0"}' in loaded.message
        assert 'clean up, set it and map_dir, and configure' in loaded.message
        assert rig.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow0')).success


def test_a_placed_localizer_publishes_everything_in_that_frame(tmp_path):
    (tmp_path / 'slow0').mkdir()
    given = {'map_dir': tmp_path / 'slow0', 'autostart': True, 'reliability': 'reliable'}
    with (
        Process('localizer', map_from_nerf=QUARTER, **given) as process,
        contextlib.closing(Rig()) as rig,
    ):
        process.says('localizes the pictures of')
        described = rig.collect(MapDescription, 'localizer/map_description', LATCHED_QOS)
        walks = rig.collect(PathMessage, 'localizer/walk', LATCHED_QOS)
        poses = rig.collect(PoseStamped, 'nerf_pose')
        unsure = rig.collect(PoseWithCovarianceStamped, 'localizer/sensor_pose')
        shown = rig.collect(MarkerArray, 'localizer/markers')
        rig.knows('localizer')
        rig.publish('camera_info', camera_info())
        rig.publish('image/compressed', picture(GREY))
        assert wait_until(lambda: poses and unsure and shown and described and walks)
        there = PLACED @ make_pose(None, (1.0, 1.0, 1.0))  # the grey of the picture
        assert matrix_from_pose(poses[0].pose) == pytest.approx(there, abs=1e-6)
        assert matrix_from_pose(unsure[0].pose.pose) == pytest.approx(there, abs=1e-6)
        centre = shown[0].markers[1].pose.position
        assert (centre.x, centre.y, centre.z) == pytest.approx((9.0, 21.0, 1.5))
        lowest, highest = described[0].lowest, described[0].highest
        assert (lowest.x, lowest.y, lowest.z) == pytest.approx((8.0, 30.0, 0.5))
        assert (highest.x, highest.y, highest.z) == pytest.approx((10.0, 31.0, 3.5))
        start = walks[0].poses[0].pose.position
        assert (start.x, start.y, start.z) == pytest.approx((10.0, 20.0, 1.5))
