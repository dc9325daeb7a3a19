"""Camera poses come from PoseStamped, Odometry or TF, and are interpolated."""

import numpy as np
import pytest
from room_bags import edit_topic, message, POSE, rewrite, write_room_bag, Z_UP
from rooms import walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import inverse, make_pose


def test_odometry_of_the_camera_is_a_pose(edit_bag):
    kind = 'nav_msgs/msg/Odometry'
    twist = message(
        'geometry_msgs/msg/TwistWithCovariance',
        message(
            'geometry_msgs/msg/Twist',
            message('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0),
            message('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0),
        ),
        np.zeros(36),
    )

    def odometry(child):
        def change(item, _):
            posed = message('geometry_msgs/msg/PoseWithCovariance', item.pose, np.zeros(36))
            return message(kind, item.header, child, posed, twist)

        return edit_topic(POSE, change)

    bag = edit_bag(odometry('camera_optical_frame'))
    assert np.allclose(open_capture(bag, Z_UP).map_from_camera, walk(24), atol=1e-6)


def test_odometry_of_another_frame_is_rejected_with_the_tf_settings(edit_bag):
    def change(item, _):
        zero = message('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0)
        twist = message('geometry_msgs/msg/Twist', zero, zero)
        return message(
            'nav_msgs/msg/Odometry',
            item.header,
            'base_link',
            message('geometry_msgs/msg/PoseWithCovariance', item.pose, np.zeros(36)),
            message('geometry_msgs/msg/TwistWithCovariance', twist, np.zeros(36)),
        )

    with pytest.raises(CaptureError, match=r'is of the frame base_link.*pose_topic to nothing'):
        open_capture(edit_bag(edit_topic(POSE, change)), Z_UP)


def transform(header, child, matrix):
    x, y, z = matrix[:3, 3]
    rotation = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    return message(
        'geometry_msgs/msg/TransformStamped',
        header,
        child,
        message(
            'geometry_msgs/msg/Transform',
            message('geometry_msgs/msg/Vector3', x, y, z),
            message('geometry_msgs/msg/Quaternion', *rotation),
        ),
    )


BASE_FROM_CAMERA = make_pose(
    Rotation.from_euler('xyz', [100, 5, -80], degrees=True), (0.1, 0.2, 0.3)
)


def tf_from_poses(topic, item, number):
    """The base moves in the world, the camera is fixed on the base."""
    if topic != POSE:
        return [(topic, item)]
    out = []
    if number == 0:
        header = message('std_msgs/msg/Header', item.header.stamp, 'base')
        static = transform(header, 'camera', BASE_FROM_CAMERA)
        out.append(('/tf_static', message('tf2_msgs/msg/TFMessage', [static])))
    world_from_base = walk(24)[number] @ inverse(BASE_FROM_CAMERA)
    moving = transform(item.header, 'base', world_from_base)
    return [*out, ('/tf', message('tf2_msgs/msg/TFMessage', [moving]))]


def test_a_chain_of_tf_between_two_frames_is_a_pose(edit_bag):
    config = CaptureConfig(pose_topic='', tf_parent='world', tf_child='camera', up_axis='z')
    capture = open_capture(edit_bag(tf_from_poses), config)
    assert np.allclose(capture.map_from_camera, walk(24), atol=1e-6)


def test_unconnected_tf_frames_are_rejected_with_the_frames_of_the_bag(edit_bag):
    config = CaptureConfig(pose_topic='', tf_parent='world', tf_child='hand')
    with pytest.raises(CaptureError, match=r'world with tf_child hand: .* base, camera, world'):
        open_capture(edit_bag(tf_from_poses), config)


def test_without_a_pose_topic_tf_frames_are_required(room_bag):
    with pytest.raises(ConfigError, match='set tf_parent and tf_child'):
        open_capture(room_bag, CaptureConfig(pose_topic=''))


def test_a_pose_between_two_others_is_interpolated(tmp_path, edit_bag):
    """Poses 15 ms later than the images, of a camera that moves 1 m/s along x."""
    poses = np.repeat(walk(24)[:1], 20, axis=0)
    poses[:, 0, 3] += np.arange(20) * 0.1 - 1.0
    bag = write_room_bag(tmp_path / 'straight', poses)

    def later(item, _):
        item.pose.position.x += 0.015
        item.header.stamp.nanosec += 15_000_000

    capture = open_capture(rewrite(bag, tmp_path / 'later', edit_topic(POSE, later)), Z_UP)
    assert np.allclose(capture.map_from_camera[1:, 0, 3], poses[1:, 0, 3], atol=1e-6)


def test_a_few_invalid_poses_are_skipped_and_counted(edit_bag):
    def invalidate(item, number):
        if number == 6:
            item.pose.position.x = float('nan')
        if number == 7:
            item.pose.orientation = message('geometry_msgs/msg/Quaternion', 0.0, 0.0, 0.0, 0.0)

    capture = open_capture(edit_bag(edit_topic(POSE, invalidate)), Z_UP)
    assert capture.counts['poses broken'] == 2
    assert len(capture) == 22


def test_nan_poses_are_rejected(edit_bag):
    def invalidate(item, _):
        item.pose.position.z = float('nan')

    with pytest.raises(CaptureError, match=r'24 of 24 poses on .*camera_pose are NaN'):
        open_capture(edit_bag(edit_topic(POSE, invalidate)), Z_UP)
