"""Camera poses come from a topic of poses or TF, and are interpolated."""

from dataclasses import replace

import numpy as np
import pytest
from room_bags import edit_topic, IMAGE, INFO, message, POSE, rewrite, write_room_bag, Z_UP
from rooms import walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import inverse, make_pose
from nerf_reversal_ros.core.mounting import format_mounting


def covered(pose):
    return message('geometry_msgs/msg/PoseWithCovariance', pose, np.zeros(36))


def odometry(item, child):
    zero = message('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0)
    twist = message('geometry_msgs/msg/Twist', zero, zero)
    speed = message('geometry_msgs/msg/TwistWithCovariance', twist, np.zeros(36))
    return message('nav_msgs/msg/Odometry', item.header, child, covered(item.pose), speed)


def as_transform(item):
    p, q = item.pose.position, item.pose.orientation
    vector = message('geometry_msgs/msg/Vector3', p.x, p.y, p.z)
    moved = message('geometry_msgs/msg/Transform', vector, q)
    return message('geometry_msgs/msg/TransformStamped', item.header, '/camera', moved)


def as_covered(item):
    kind = 'geometry_msgs/msg/PoseWithCovarianceStamped'
    return message(kind, item.header, covered(item.pose))


@pytest.mark.parametrize(
    'convert',
    [
        lambda item: message(
            'geometry_msgs/msg/PoseWithCovarianceStamped', item.header, covered(item.pose)
        ),
        as_transform,
        lambda item: odometry(item, 'camera_optical_frame'),
        lambda item: message('nav_msgs/msg/Path', item.header, [item]),
    ],
    ids=['PoseWithCovarianceStamped', 'TransformStamped', 'Odometry', 'Path'],
)
def test_all_types_of_stamped_poses_are_read(edit_bag, convert):
    def edit(topic, item, _):
        if topic == IMAGE:
            item.header.frame_id = 'camera' if convert is as_transform else 'camera_optical_frame'
        return [(topic, convert(item) if topic == POSE else item)]

    assert np.allclose(open_capture(edit_bag(edit), Z_UP).map_from_camera, walk(24), atol=1e-6)


TF = CaptureConfig(pose_topic='', tf_parent='world', tf_child='camera', up_axis='z')


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


def test_a_path_that_grows_without_stamps_of_its_poses_is_read(edit_bag):
    path = []

    def grow(item, _):
        header = message('std_msgs/msg/Header', message('builtin_interfaces/msg/Time', 0, 0), '')
        path.append(message('geometry_msgs/msg/PoseStamped', header, item.pose))
        return message('nav_msgs/msg/Path', item.header, list(path))

    bag = edit_bag(edit_topic(POSE, grow))
    assert np.allclose(open_capture(bag, Z_UP).map_from_camera, walk(24), atol=1e-6)


def header_of(item, frame):
    return message('std_msgs/msg/Header', item.header.stamp, frame)


def static_mounting(item, camera='camera'):
    static = transform(header_of(item, 'base'), camera, BASE_FROM_CAMERA)
    return message('tf2_msgs/msg/TFMessage', [static])


def tf_from_poses(topic, item, number, prefix=''):
    """The base moves in the world, the camera is fixed on the base."""
    if topic != POSE:
        return [(topic, item)]
    out = [(f'{prefix}/tf_static', static_mounting(item))] if number == 0 else []
    world_from_base = walk(24)[number] @ inverse(BASE_FROM_CAMERA)
    moving = transform(item.header, 'base', world_from_base)
    return [*out, (f'{prefix}/tf', message('tf2_msgs/msg/TFMessage', [moving]))]


def base_poses(convert=None, *, static=True):
    """Poses of the base on the topic of poses; images of the frame /camera, as of old drivers."""

    def edit(topic, item, number):
        if topic in (IMAGE, INFO):
            item.header.frame_id = '/camera'
        if topic != POSE:
            return [(topic, item)]
        out = [('/tf_static', static_mounting(item))] if static and number == 0 else []
        pose = walk(24)[number] @ inverse(BASE_FROM_CAMERA)
        p, q = item.pose.position, item.pose.orientation
        p.x, p.y, p.z = pose[:3, 3]
        q.x, q.y, q.z, q.w = Rotation.from_matrix(pose[:3, :3]).as_quat()
        return [*out, (topic, convert(item) if convert else item)]

    return edit


def base_odometry(item):
    return odometry(item, '/base')


MOUNTING = replace(Z_UP, mounting=format_mounting(BASE_FROM_CAMERA))


@pytest.mark.parametrize(
    ('edit', 'config'),
    [
        (base_poses(base_odometry), Z_UP),
        (base_poses(base_odometry, static=False), MOUNTING),
        (base_poses(), replace(Z_UP, pose_frame='base')),
        (base_poses(static=False), MOUNTING),
    ],
    ids=['odometry and tf', 'odometry and mounting', 'poses and tf', 'poses and mounting'],
)
def test_poses_of_the_base_are_moved_to_the_camera(edit_bag, edit, config):
    capture = open_capture(edit_bag(edit), config)
    assert np.allclose(capture.map_from_camera, walk(24), atol=2e-3)
    assert capture.convention.axes == 'optical'


def test_the_base_without_its_mounting_is_rejected_with_a_remedy(edit_bag):
    bag = edit_bag(base_poses(base_odometry, static=False))
    with pytest.raises(CaptureError, match=r'frame base, ') as caught:
        open_capture(bag, Z_UP)
    assert remedies.MOUNTING.format(frame='base') in str(caught.value)
    assert len(open_capture(bag, MOUNTING)) == 24


def test_tf_in_a_namespace_is_found_by_its_type(edit_bag):
    bag = edit_bag(lambda *item: tf_from_poses(*item, prefix='/robot1'))
    capture = open_capture(bag, TF)
    assert np.allclose(capture.map_from_camera, walk(24), atol=1e-6)


def test_tf_of_two_robots_is_told_apart_by_the_setting(edit_bag):
    def edit(*item):
        return [*tf_from_poses(*item, prefix='/robot1'), *tf_from_poses(*item, prefix='/robot2')]

    bag = edit_bag(edit)
    with pytest.raises(CaptureError, match=f'/robot1/tf and on /robot2/tf: {remedies.TF_TOPIC}'):
        open_capture(bag, TF)
    capture = open_capture(bag, replace(TF, tf_topic='/robot2/tf'))
    assert np.allclose(capture.map_from_camera, walk(24), atol=1e-6)


def test_a_bag_without_tf_is_rejected_as_such(room_bag):
    with pytest.raises(CaptureError, match='no topic of type TFMessage: ') as caught:
        open_capture(room_bag, TF)
    assert str(caught.value).endswith(remedies.POSE_TOPIC.format(topic=POSE))
    assert len(open_capture(room_bag, replace(Z_UP, pose_topic=POSE))) == 24


def test_the_unit_of_poses_and_the_offset_of_clocks_are_settings(edit_bag):
    def edit(topic, item, _):
        if topic == POSE:
            position = item.pose.position
            position.x, position.y, position.z = (
                1000 * position.x,
                1000 * position.y,
                1000 * position.z,
            )
            item.header.stamp.sec += 3600
        return [(topic, item)]

    config = replace(Z_UP, pose_unit_m=0.001, camera_time_offset_s=3600.0)
    capture = open_capture(edit_bag(edit), config)
    assert np.allclose(capture.map_from_camera, walk(24), atol=1e-6)


def test_stamps_that_begin_late_are_used(edit_bag):
    def edit(topic, item, number):
        if topic != POSE and number < 5:
            item.header.stamp.sec, item.header.stamp.nanosec = 0, 0
        if topic != POSE or number >= 5:
            item.header.stamp.sec -= 3600 * (item.header.stamp.sec > 0)
        return [(topic, item)]

    capture = open_capture(edit_bag(edit), Z_UP)
    assert np.allclose(capture.map_from_camera[:19], walk(24)[5:], atol=1e-6)  # an hour before


@pytest.mark.parametrize('seconds', [0, 1_700_000_000], ids=['zero', 'all the same'])
@pytest.mark.parametrize('stamped', [(POSE,), ()], ids=['but poses', 'nothing'])
def test_without_stamps_the_times_of_recording_are_used_and_it_is_said(
    edit_bag, seconds, stamped, caplog
):
    def edit(topic, item, _):
        if topic not in stamped:
            item.header.stamp.sec, item.header.stamp.nanosec = seconds, 0
        return [(topic, item)]

    capture = open_capture(edit_bag(edit), Z_UP)
    assert np.allclose(capture.map_from_camera, walk(24), atol=1e-6)
    assert [frame.index for frame in capture] == list(range(24))
    assert 'are 0 or all the same, times of recording are used' in caplog.text


def test_a_chain_of_tf_between_two_frames_is_a_pose(edit_bag):
    capture = open_capture(edit_bag(tf_from_poses), TF)
    assert np.allclose(capture.map_from_camera, walk(24), atol=1e-6)


def test_unconnected_tf_frames_are_rejected_with_the_frames_of_the_bag(edit_bag):
    bag, config = edit_bag(tf_from_poses), replace(TF, tf_child='hand')
    remedy = remedies.CONNECTED_FRAMES.format(frames='base, camera, world')
    with pytest.raises(CaptureError, match=f'world with hand: {remedy}'):
        open_capture(bag, config)
    assert len(open_capture(bag, replace(config, tf_child='camera'))) == 24


def test_without_a_pose_topic_tf_frames_are_required(edit_bag):
    bag = edit_bag(tf_from_poses)
    with pytest.raises(CaptureError, match=f'no topic {POSE}: .*, or {remedies.POSES_OF_TF}'):
        open_capture(bag, Z_UP)
    with pytest.raises(ConfigError, match=remedies.TF_FRAMES):
        open_capture(bag, replace(Z_UP, pose_topic=''))
    assert len(open_capture(bag, TF)) == 24


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
