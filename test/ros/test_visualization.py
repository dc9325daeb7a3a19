"""Displays for RViz and rtabmap, over DDS, of a localizer node with a small localizer."""

import contextlib

from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Path as PathMessage
import numpy as np
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_rig import camera_info, compressed_image, DARK, Process, Rig, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker

from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import make_pose, transform_points
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.msg import MapDescription
from nerf_reversal_ros.ros import visualization
from nerf_reversal_ros.ros.image_localizer import ProcessedImage
from nerf_reversal_ros.ros.node_runner import LATCHED_QOS
from nerf_reversal_ros.ros.visualization import (
    coverage_cloud,
    debug_image,
    pose_markers,
    surface_cloud,
)
from nerf_reversal_ros.srv import LoadMap

CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
MAP_FROM_CAMERA = make_pose(None, (1.0, 2.0, 3.0))


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    """Return one localizer for several tests."""
    folder = tmp_path_factory.mktemp('maps') / 'room'
    folder.mkdir()
    parameters = {'map_dir': folder, 'autostart': True, 'reliability': 'reliable', 'path_poses': 3}
    with Process('localizer', '-r', '__ns:=/shared', **parameters) as process:
        process.wait_for_output('localizing the images')
        yield process


@pytest.fixture
def rig(running):
    rig = Rig('/shared')
    assert rig.call(Trigger, 'localizer/reset').success
    rig.publish('camera_info', camera_info())
    yield rig
    rig.close()


def latest(rig, kind, topic):
    messages = rig.collect(kind, topic, LATCHED_QOS)
    assert wait_until(lambda: messages), f'nothing on {topic}'
    return messages[-1]


def publish_and_wait(rig, image, messages):
    """Publish one image and return the message that follows in a collected list."""
    count = len(messages)
    rig.publish('image/compressed', image)
    assert wait_until(lambda: len(messages) > count)
    return messages[-1]


def test_late_subscribers_receive_the_map(rig):
    description = latest(rig, MapDescription, 'localizer/map_description')
    assert description.header.frame_id == 'map' and description.path.endswith('/room')
    assert (description.built, description.field, description.format_version) == (
        '2026-01-02T03:04:05+00:00', 'voxel', 3
    )  # fmt: skip
    counts = description.walked_pictures, description.landmarks, description.surface_points
    assert counts == (2, 7, 3)
    lowest, highest = description.lowest, description.highest
    assert (lowest.x, highest.x, highest.z) == (10.0, 11.0, 3.0)
    assert np.isnan(description.psnr_db)
    trajectory = latest(rig, PathMessage, 'localizer/walk')
    assert [pose.pose.position.x for pose in trajectory.poses] == [0.0, 0.5]
    assert latest(rig, PointCloud2, 'localizer/surface').width == 3
    assert latest(rig, PointCloud2, 'localizer/coverage').width == 2


@pytest.mark.parametrize('installed', [True, False], ids=['sensor_msgs_py', 'without'])
def test_the_points_and_colors_of_a_cloud_are_packed_for_rviz(monkeypatch, installed):
    if installed:
        pytest.importorskip('sensor_msgs_py', reason='it is no part of the ROS of PyPI')
    else:
        monkeypatch.setattr(visualization, 'create_cloud', None)
    points = np.array([[0.0, 1.0, 2.0], [0.5, -1.0, 3.0]], np.float32)
    colors = np.array([[1, 2, 3], [255, 128, 0]], np.uint8)
    surface = Surface(np.array([10.0, 0.0, 0.0]), points, colors)
    cloud = surface_cloud(Header(frame_id='map'), surface)
    assert (cloud.height, cloud.width, cloud.point_step, cloud.row_step) == (1, 2, 16, 32)
    assert cloud.is_dense and not cloud.is_bigendian
    fields = [(field.name, field.offset, field.datatype, field.count) for field in cloud.fields]
    assert fields == [('x', 0, 7, 1), ('y', 4, 7, 1), ('z', 8, 7, 1), ('rgb', 12, 7, 1)]
    rows = np.frombuffer(cloud.data, '<f4').reshape(2, 4)
    assert np.array_equal(rows[:, :3], points + np.array([10.0, 0.0, 0.0]))
    assert np.frombuffer(cloud.data, '<u4').reshape(2, 4)[:, 3].tolist() == [0x010203, 0xFF8000]


def test_a_loaded_map_replaces_the_displayed_one(rig, tmp_path):
    descriptions = rig.collect(MapDescription, 'localizer/map_description', LATCHED_QOS)
    other = tmp_path / 'other'
    other.mkdir()
    assert rig.call(LoadMap, 'localizer/load_map', map_dir=str(other)).success
    assert wait_until(lambda: descriptions and descriptions[-1].path == str(other))
    assert latest(rig, PointCloud2, 'localizer/coverage').width == 0


def test_a_released_map_is_not_displayed_and_a_reactivated_one_keeps_its_stamp(
    tmp_path,
):
    with (
        Process('localizer', map_dir=tmp_path, autostart=True) as process,
        contextlib.closing(Rig()) as rig,
    ):
        process.wait_for_output('localizing the images')
        before = latest(rig, MapDescription, 'localizer/map_description')
        assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
        assert rig.change_state(Transition.TRANSITION_ACTIVATE)
        assert latest(rig, MapDescription, 'localizer/map_description').header == before.header
        assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
        assert rig.change_state(Transition.TRANSITION_CLEANUP)
        late = rig.collect(MapDescription, 'localizer/map_description', LATCHED_QOS)
        rig.wait_for_discovery_by('localizer')
        assert rig.change_state(Transition.TRANSITION_CONFIGURE)
        assert late == []
        assert rig.change_state(Transition.TRANSITION_ACTIVATE)
        assert wait_until(lambda: late) and len(late) == 1


def test_sensor_pose_has_the_camera_frame_in_its_header(rig):
    poses = rig.collect(PoseWithCovarianceStamped, 'localizer/sensor_pose')
    message = publish_and_wait(rig, compressed_image((10, 20, 30), 7), poses)
    assert (message.header.frame_id, message.header.stamp.sec) == ('camera_optical', 7)
    p = message.pose.pose.position
    assert (p.x, p.y, p.z) == pytest.approx((0.1, 0.2, 0.3))
    assert np.diag(message.pose.covariance.reshape(6, 6)) == pytest.approx([1e-4] * 3 + [1e-6] * 3)


def test_the_path_holds_the_latest_poses(rig):
    paths = rig.collect(PathMessage, 'localizer/path')
    for second in range(1, 6):
        path = publish_and_wait(rig, compressed_image((10 * second, 20, 30), second), paths)
    assert [pose.header.stamp.sec for pose in path.poses] == [3, 4, 5]
    assert path.header.frame_id == 'map'


def test_a_bag_played_again_starts_a_new_path(rig, running):
    paths = rig.collect(PathMessage, 'localizer/path')
    for second in (11, 12, 1):
        path = publish_and_wait(rig, compressed_image((10, 20, 30), second), paths)
    assert [pose.header.stamp.sec for pose in path.poses] == [1]
    running.wait_for_output('went back by 11.0 s')


def test_the_debug_image_is_published_for_accepted_and_rejected_images(rig):
    images = rig.collect(Image, 'localizer/debug_image')
    accepted = rgb_from_message(publish_and_wait(rig, compressed_image((10, 20, 30), 1), images))
    rejected = rgb_from_message(publish_and_wait(rig, compressed_image(DARK, 2), images))
    assert accepted.shape == rejected.shape == (48, 128, 3)
    np.testing.assert_array_equal(accepted[10, 10], (10, 20, 30))
    assert accepted[0, 0].argmax() == 1 and rejected[0, 0].argmax() == 0  # green, red


def test_a_publisher_with_an_incompatible_qos_is_logged(tmp_path):
    with Process('localizer', map_dir=tmp_path, autostart=True, reliability='reliable') as process:
        process.wait_for_output('localizing the images')
        rig = Rig()
        rig.node.create_publisher(
            CompressedImage,
            'image/compressed',
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
        )
        process.wait_for_output('a publisher of /image/compressed has an incompatible QoS')
        assert remedies.BEST_EFFORT in process.output
        rig.close()


def test_a_latched_camera_info_from_before_the_activation_is_logged(tmp_path):
    with contextlib.closing(Rig()) as rig:
        rig.node.create_publisher(CameraInfo, 'camera_info', LATCHED_QOS).publish(camera_info())
        rig.node.create_publisher(CompressedImage, 'image/compressed', 1)
        with Process('localizer', map_dir=tmp_path, autostart=True) as process:
            process.wait_for_output(
                'nothing arrived on /camera_info, which is latched (transient local)'
            )


def test_the_coverage_is_packed_with_colors_and_its_numbers():
    places = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, 2.0]])
    coverage = Coverage(places, np.array([0.0, 1.0]), np.array([np.nan, 0.02]))
    cloud = coverage_cloud(Header(frame_id='map'), coverage)
    names = [field.name for field in cloud.fields]
    assert names == ['x', 'y', 'z', 'rgb', 'localized', 'std_m']
    rows = np.frombuffer(cloud.data, np.float32).reshape(2, 6)
    np.testing.assert_array_equal(rows[:, :3], places.astype(np.float32))
    colors = rows.view(np.uint8).reshape(2, 24)[:, 14:11:-1]
    assert colors.tolist() == [[200, 40, 40], [40, 160, 70]]
    assert rows[:, 4].tolist() == [0.0, 1.0]
    assert np.isnan(rows[0, 5]) and rows[1, 5] == np.float32(0.02)


def test_markers_are_the_camera_and_a_three_sigma_ellipsoid():
    covariance = np.diag([0.04, 0.01, 0.09, 0, 0, 0])
    outcome = PoseEstimate(MAP_FROM_CAMERA, covariance)
    rgb = np.zeros((48, 64, 3), np.uint8)
    pyramid, ellipsoid = pose_markers(
        Header(frame_id='map'), ProcessedImage(rgb, CAMERA, outcome)
    ).markers
    assert pyramid.type == Marker.LINE_LIST and len(pyramid.points) == 16
    assert all(point.z in (3.0, 3.25) for point in pyramid.points)
    widths = sorted((ellipsoid.scale.x, ellipsoid.scale.y, ellipsoid.scale.z))
    assert widths == pytest.approx([0.6, 1.2, 1.8])
    assert ellipsoid.pose.position.y == 2.0


@pytest.mark.parametrize('pose', ['refined_pose', 'regressed_pose', 'none'])
def test_the_debug_image_has_the_surface_rendered_at_the_estimated_pose(pose):
    ahead = np.array([[0.0, 0.0, 1.0]], np.float32)
    surface = Surface(MAP_FROM_CAMERA[:3, 3], ahead, np.array([[9, 8, 7]], np.uint8))
    diagnostics = Diagnostics(**({} if pose == 'none' else {pose: MAP_FROM_CAMERA}))
    image = ProcessedImage(
        np.full((48, 64, 3), 50, np.uint8),
        CAMERA,
        Rejection(RejectionReason.TOO_FEW_MATCHES, '', diagnostics),
    )
    right = debug_image(image, surface)[:, 64:]
    assert (right[24, 32].tolist() == [9, 8, 7]) == (pose != 'none')


def test_the_debug_image_marks_keypoints_and_landmarks_of_the_inliers():
    surface = Surface(np.zeros(3), np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8))
    pixel = np.array([[20.0, 12.0]])
    found = Diagnostics(
        refined_pose=MAP_FROM_CAMERA,
        inlier_points=transform_points(MAP_FROM_CAMERA, CAMERA.unproject(pixel, 2.0)),
        inlier_pixels=pixel + np.array([10.0, 0.0]),
    )
    outcome = Rejection(RejectionReason.LOW_PROBABILITY, '', found)
    image = ProcessedImage(np.zeros((48, 64, 3), np.uint8), CAMERA, outcome)
    colored = debug_image(image, surface)[4:-4, 4:-4].max(2) > 100
    left, right = (
        np.argwhere(part).mean(0) + np.array([4, 4 + start])
        for start, part in ((0, colored[:, :56]), (-4, colored[:, 60:]))
    )
    assert left == pytest.approx([12.0, 30.0], abs=0.5)
    assert right == pytest.approx([12.0, 20.0], abs=0.5)
