"""What RViz and rtabmap get from the localizer node, over DDS, around a small localizer."""

import contextlib

from geometry_msgs.msg import PoseWithCovarianceStamped
from lifecycle_msgs.msg import Transition
from nav_msgs.msg import Path as PathMessage
import numpy as np
import pytest
from rclpy.qos import QoSProfile, ReliabilityPolicy
from ros_rig import camera_info, DARK, picture, Process, Rig, wait_until
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2
from std_msgs.msg import Header
from std_srvs.srv import Trigger
from visualization_msgs.msg import Marker

from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.msg import MapDescription
from nerf_reversal_ros.ros.image_localizer import ProcessedImage
from nerf_reversal_ros.ros.node_runner import LATCHED_QOS
from nerf_reversal_ros.ros.visualization import debug_image, point_cloud, pose_markers
from nerf_reversal_ros.srv import LoadMap

CAMERA = Camera(64, 48, 50.0, 50.0, 31.5, 23.5)
PLACE = make_pose(None, (1.0, 2.0, 3.0))


@pytest.fixture(scope='module')
def running(tmp_path_factory):
    """One localizer for several tests, apart from those that a test starts for itself."""
    folder = tmp_path_factory.mktemp('maps') / 'room'
    folder.mkdir()
    given = {'map_dir': folder, 'autostart': True, 'reliability': 'reliable', 'path_poses': 3}
    with Process('localizer', '-r', '__ns:=/shared', **given) as process:
        process.says('localizes the pictures')
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


def shown(rig, message, messages):
    """Show one picture, and return the message that it brings about."""
    seen = len(messages)
    rig.publish('image/compressed', message)
    assert wait_until(lambda: len(messages) > seen)
    return messages[-1]


def test_who_comes_late_still_gets_the_map(rig):
    told = latest(rig, MapDescription, 'localizer/map_description')
    assert told.header.frame_id == 'map' and told.path.endswith('/room')
    assert (told.built, told.field, told.format_version) == (
        '2026-01-02T03:04:05+00:00', 'voxel', 3
    )  # fmt: skip
    assert (told.walked_pictures, told.landmarks, told.surface_points) == (2, 7, 3)
    assert (told.lowest.x, told.highest.x, told.highest.z) == (10.0, 11.0, 3.0)
    assert np.isnan(told.psnr_db)
    walk = latest(rig, PathMessage, 'localizer/walk')
    assert [one.pose.position.x for one in walk.poses] == [0.0, 0.5]
    assert latest(rig, PointCloud2, 'localizer/surface').width == 3


def test_another_map_is_shown_when_it_is_loaded(rig, tmp_path):
    descriptions = rig.collect(MapDescription, 'localizer/map_description', LATCHED_QOS)
    before = tmp_path / 'other'
    before.mkdir()
    assert rig.call(LoadMap, 'localizer/load_map', map_dir=str(before)).success
    assert wait_until(lambda: descriptions and descriptions[-1].path == str(before))


def test_a_map_that_was_let_go_is_shown_to_nobody_and_one_that_was_only_paused_is_the_same(
    tmp_path,
):
    with (
        Process('localizer', map_dir=tmp_path, autostart=True) as process,
        contextlib.closing(Rig()) as rig,
    ):
        process.says('localizes the pictures')
        before = latest(rig, MapDescription, 'localizer/map_description')
        assert rig.change(Transition.TRANSITION_DEACTIVATE)
        assert rig.change(Transition.TRANSITION_ACTIVATE)
        assert latest(rig, MapDescription, 'localizer/map_description').header == before.header
        assert rig.change(Transition.TRANSITION_DEACTIVATE)
        assert rig.change(Transition.TRANSITION_CLEANUP)
        late = rig.collect(MapDescription, 'localizer/map_description', LATCHED_QOS)
        rig.knows('localizer')
        assert rig.change(Transition.TRANSITION_CONFIGURE)
        assert late == []
        assert rig.change(Transition.TRANSITION_ACTIVATE)
        assert wait_until(lambda: late) and len(late) == 1


def test_the_pose_for_rtabmap_names_the_frame_of_the_camera(rig):
    poses = rig.collect(PoseWithCovarianceStamped, 'localizer/sensor_pose')
    told = shown(rig, picture((10, 20, 30), 7), poses)
    assert (told.header.frame_id, told.header.stamp.sec) == ('camera_optical', 7)
    p = told.pose.pose.position
    assert (p.x, p.y, p.z) == pytest.approx((0.1, 0.2, 0.3))
    assert np.diag(told.pose.covariance.reshape(6, 6)) == pytest.approx([1e-4] * 3 + [1e-6] * 3)


def test_the_path_holds_the_latest_poses(rig):
    paths = rig.collect(PathMessage, 'localizer/path')
    for second in range(1, 6):
        path = shown(rig, picture((10 * second, 20, 30), second), paths)
    assert [one.header.stamp.sec for one in path.poses] == [3, 4, 5]
    assert path.header.frame_id == 'map'


def test_a_bag_that_is_played_again_starts_a_new_path(rig, running):
    paths = rig.collect(PathMessage, 'localizer/path')
    for second in (11, 12, 1):
        path = shown(rig, picture((10, 20, 30), second), paths)
    assert [one.header.stamp.sec for one in path.poses] == [1]
    running.says('went back by 11.0 s')


def test_the_debug_image_shows_also_what_was_rejected(rig):
    images = rig.collect(Image, 'localizer/debug_image')
    accepted = rgb_from_message(shown(rig, picture((10, 20, 30), 1), images))
    rejected = rgb_from_message(shown(rig, picture(DARK, 2), images))
    assert accepted.shape == rejected.shape == (48, 128, 3)
    np.testing.assert_array_equal(accepted[10, 10], (10, 20, 30))
    assert accepted[0, 0].argmax() == 1 and rejected[0, 0].argmax() == 0  # green, red


def test_a_publisher_that_cannot_be_heard_is_named(tmp_path):
    with Process('localizer', map_dir=tmp_path, autostart=True, reliability='reliable') as process:
        process.says('localizes the pictures')
        rig = Rig()
        rig.node.create_publisher(
            CompressedImage,
            'image/compressed',
            QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT),
        )
        process.says('a publisher of /image/compressed offers another QoS than is asked for')
        assert 'set the parameter reliability to best_effort' in process.output
        rig.close()


def test_a_camera_info_that_was_latched_before_is_told(tmp_path):
    with contextlib.closing(Rig()) as rig:
        rig.node.create_publisher(CameraInfo, 'camera_info', LATCHED_QOS).publish(camera_info())
        rig.node.create_publisher(CompressedImage, 'image/compressed', 1)
        with Process('localizer', map_dir=tmp_path, autostart=True) as process:
            process.says('nothing came on /camera_info, which is latched (transient local)')


def test_the_surface_is_packed_as_rviz_reads_it():
    points = np.array([[0.5, -1.0, 2.0], [3.0, 4.0, 5.0]], np.float32)
    colours = np.array([[255, 128, 1], [0, 0, 9]], np.uint8)
    cloud = point_cloud(Header(), Surface(np.array([10.0, 0.0, 0.0]), points, colours))
    assert [(field.name, field.offset) for field in cloud.fields] == [
        ('x', 0), ('y', 4), ('z', 8), ('rgb', 12)
    ]  # fmt: skip
    rows = np.frombuffer(cloud.data, np.float32).reshape(2, 4)
    np.testing.assert_array_equal(rows[:, :3], points + np.array([10.0, 0.0, 0.0]))
    # blue, green, red, as the bytes of a little-endian number lie
    np.testing.assert_array_equal(rows.view(np.uint8)[0, 12:15], (1, 128, 255))
    assert (cloud.point_step, cloud.row_step, cloud.width) == (16, 32, 2)


def test_markers_are_the_camera_and_the_ellipsoid_of_three_sigma():
    covariance = np.diag([0.04, 0.01, 0.09, 0, 0, 0])
    outcome = PoseEstimate(PLACE, covariance)
    rgb = np.zeros((48, 64, 3), np.uint8)
    pyramid, ellipsoid = pose_markers(
        Header(frame_id='map'), ProcessedImage(rgb, CAMERA, outcome)
    ).markers
    assert pyramid.type == Marker.LINE_LIST and len(pyramid.points) == 16
    assert all(point.z in (3.0, 3.25) for point in pyramid.points)
    widths = sorted((ellipsoid.scale.x, ellipsoid.scale.y, ellipsoid.scale.z))
    assert widths == pytest.approx([0.6, 1.2, 1.8])
    assert ellipsoid.pose.position.y == 2.0


@pytest.mark.parametrize('known', ['refined', 'regressed', 'nothing'])
def test_beside_the_picture_is_what_the_map_shows_there(known):
    ahead = np.array([[0.0, 0.0, 1.0]], np.float32)
    surface = Surface(PLACE[:3, 3], ahead, np.array([[9, 8, 7]], np.uint8))
    told = Diagnostics(**({} if known == 'nothing' else {known: PLACE}))
    seen = ProcessedImage(
        np.full((48, 64, 3), 50, np.uint8), CAMERA, Rejection('too few matches', '', told)
    )
    right = debug_image(seen, surface)[:, 64:]
    assert (right[24, 32].tolist() == [9, 8, 7]) == (known != 'nothing')
