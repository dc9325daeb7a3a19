"""Placement of a map in another frame: all published poses are transformed."""

import contextlib

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from localizer_rig import LocalizerRig
from nav_msgs.msg import Path as PathMessage
import numpy as np
import pytest
from ros_rig import camera_info, compressed_image, GRAY, Process, Rig, wait_until
from scipy.spatial.transform import Rotation
from visualization_msgs.msg import MarkerArray

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import make_pose, rotate_covariance, transform_points
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection, RejectionReason
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

QUARTER_TURN = '10 20 0.5 90'
MAP_FROM_NERF = make_pose(Rotation.from_euler('z', 90, degrees=True), (10.0, 20.0, 0.5))


def test_map_from_nerf_is_given_in_meters_and_degrees():
    np.testing.assert_allclose(parse_map_from_nerf(QUARTER_TURN), MAP_FROM_NERF, atol=1e-12)
    np.testing.assert_allclose(parse_map_from_nerf('10, 20, 0.5, 90'), MAP_FROM_NERF, atol=1e-12)


def test_a_covariance_rotates_with_its_frame():
    covariance = np.diag([1.0, 4.0, 9.0, 16.0, 25.0, 36.0])
    rotated = rotate_covariance(covariance, MAP_FROM_NERF)
    np.testing.assert_allclose(np.diag(rotated), [4.0, 1.0, 9.0, 25.0, 16.0, 36.0], atol=1e-12)
    rng = np.random.default_rng(0)
    errors = rng.multivariate_normal(np.zeros(6), covariance, 100_000)
    transformed = np.hstack(
        [errors[:, :3] @ MAP_FROM_NERF[:3, :3].T, errors[:, 3:] @ MAP_FROM_NERF[:3, :3].T]
    )
    np.testing.assert_allclose(np.cov(transformed.T), rotated, atol=0.6)


@pytest.mark.parametrize('accepted', [True, False])
def test_an_outcome_is_transformed_with_its_diagnostics(accepted):
    pose = make_pose(None, (1.0, 2.0, 3.0))
    covariance = np.diag([1.0, 4.0, 9.0, 1.0, 4.0, 9.0])
    diagnostics = Diagnostics(pose, pose, {'inliers': 3.0}, {'total': 1.0}, covariance, covariance)
    rejection = Rejection(RejectionReason.HIGH_COVARIANCE, 'x', diagnostics)
    outcome = PoseEstimate(pose, covariance, diagnostics) if accepted else rejection
    transformed = transform_outcome(outcome, MAP_FROM_NERF)
    if accepted:
        np.testing.assert_allclose(transformed.map_from_camera[:3, 3], [8.0, 21.0, 3.5])
        np.testing.assert_allclose(
            np.diag(transformed.covariance)[:3], [4.0, 1.0, 9.0], atol=1e-12
        )
    else:
        assert (transformed.reason, transformed.detail) == ('high covariance', 'x')
    result = transformed.diagnostics
    assert (result.scores, result.latency_ms) == (diagnostics.scores, diagnostics.latency_ms)
    for name in ('regressed', 'refined'):
        np.testing.assert_allclose(getattr(result, f'{name}_pose')[:3, 3], [8.0, 21.0, 3.5])
        rotated = getattr(result, f'{name}_covariance')
        np.testing.assert_allclose(np.diag(rotated)[3:], [4.0, 1.0, 9.0], atol=1e-12)
    without_poses = transform_outcome(Rejection(RejectionReason.LOW_CONTRAST), MAP_FROM_NERF)
    assert without_poses.diagnostics == Diagnostics()


def test_a_surface_is_transformed_with_its_points():
    points = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]], np.float32)
    surface = Surface(np.array([5.0, 6.0, 7.0]), points, np.zeros((2, 3), np.uint8))
    transformed = transform_surface(surface, MAP_FROM_NERF)
    expected = transform_points(MAP_FROM_NERF, surface.origin_m + points)
    np.testing.assert_allclose(transformed.origin_m + transformed.points, expected, atol=1e-6)
    assert transformed.points.dtype == np.float32


def test_the_debug_image_does_not_depend_on_the_placement_of_the_map():
    rng = np.random.default_rng(0)
    points = rng.uniform(-1.0, 1.0, (500, 3)).astype(np.float32) + np.float32([0, 0, 3])
    surface = Surface(np.zeros(3), points, rng.integers(1, 256, (500, 3)).astype(np.uint8))
    camera = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
    rgb = np.full((48, 64, 3), 50, np.uint8)
    outcome = Rejection(
        RejectionReason.LOW_PROBABILITY,
        '',
        Diagnostics(
            refined_pose=make_pose(None, (0.1, 0.2, 0.3)),
            inlier_points=points[:3].astype(np.float64),
            inlier_pixels=np.array([[10.0, 10.0], [30.0, 30.0], [50.0, 20.0]]),
        ),
    )
    original = debug_image(ProcessedImage(rgb, camera, outcome), surface)
    placed = debug_image(
        ProcessedImage(rgb, camera, transform_outcome(outcome, MAP_FROM_NERF)),
        transform_surface(surface, MAP_FROM_NERF),
    )
    assert np.ptp(original[:, 64:]) > 100  # the surface is visible
    assert np.mean(np.any(original != placed, axis=2)) < 0.01  # points at the edge of a pixel


def test_load_map_rejects_another_map_while_map_from_nerf_is_set(tmp_path):
    for name in ('slow0', 'slow1'):
        (tmp_path / name).mkdir()
    parameters = {'map_dir': tmp_path / 'slow0', 'autostart': True, 'map_from_nerf': QUARTER_TURN}
    with (
        Process('localizer', **parameters) as process,
        contextlib.closing(LocalizerRig()) as rig,
    ):
        process.wait_for_output('localizing the images of')
        loaded = rig.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow1'))
        assert not loaded.success
        assert f'map_from_nerf is set for the map {tmp_path / "slow0"}' in loaded.message
        assert remedies.PLACE_ANOTHER_MAP in loaded.message
        assert rig.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow0')).success
        assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
        assert rig.change_state(Transition.TRANSITION_CLEANUP)
        assert rig.set_parameter('map_from_nerf', '').successful
        assert rig.set_parameter('map_dir', str(tmp_path / 'slow1')).successful
        assert rig.change_state(Transition.TRANSITION_CONFIGURE)


def test_a_placed_localizer_publishes_all_poses_in_map_frame(tmp_path):
    (tmp_path / 'slow0').mkdir()
    parameters = {'map_dir': tmp_path / 'slow0', 'autostart': True, 'reliability': 'reliable'}
    with (
        Process('localizer', map_from_nerf=QUARTER_TURN, **parameters) as process,
        contextlib.closing(Rig()) as rig,
    ):
        process.wait_for_output('localizing the images of')
        described = rig.collect(MapDescription, 'localizer/map_description', LATCHED_QOS)
        trajectories = rig.collect(PathMessage, 'localizer/walk', LATCHED_QOS)
        poses = rig.collect(PoseStamped, 'nerf_pose')
        sensor_poses = rig.collect(PoseWithCovarianceStamped, 'localizer/sensor_pose')
        markers = rig.collect(MarkerArray, 'localizer/markers')
        rig.wait_for_discovery_by('localizer')
        rig.publish('camera_info', camera_info())
        rig.publish('image/compressed', compressed_image(GRAY))
        assert wait_until(
            lambda: poses and sensor_poses and markers and described and trajectories
        )
        expected = MAP_FROM_NERF @ make_pose(None, (1.0, 1.0, 1.0))  # the gray of the image
        assert matrix_from_pose(poses[0].pose) == pytest.approx(expected, abs=1e-6)
        assert matrix_from_pose(sensor_poses[0].pose.pose) == pytest.approx(expected, abs=1e-6)
        center = markers[0].markers[1].pose.position
        assert (center.x, center.y, center.z) == pytest.approx((9.0, 21.0, 1.5))
        lowest, highest = described[0].lowest, described[0].highest
        assert (lowest.x, lowest.y, lowest.z) == pytest.approx((8.0, 30.0, 0.5))
        assert (highest.x, highest.y, highest.z) == pytest.approx((10.0, 31.0, 3.5))
        start = trajectories[0].poses[0].pose.position
        assert (start.x, start.y, start.z) == pytest.approx((10.0, 20.0, 1.5))
