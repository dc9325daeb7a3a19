"""Behavior of tf2_ros that the nodes rely on: the installed one, otherwise the stand-in."""

import json
from pathlib import Path

from ament_index_python import get_package_share_directory
from geometry_msgs.msg import TransformStamped
import numpy as np
import pytest
from rclpy.time import Time
from ros_rig import Rig, wait_until
from rosbags.typesys import get_typestore, Stores

BASE, CAMERA, LASER, ODOM = 'base_link', 'camera', 'laser', 'odom'
HALF = np.sqrt(0.5)


@pytest.fixture
def buffer(tf2_ros):
    return tf2_ros.Buffer()


def transform(parent, child, second, translation, xyzw=(0.0, 0.0, 0.0, 1.0)):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp = Time(seconds=second).to_msg()
    t, q = message.transform.translation, message.transform.rotation
    t.x, t.y, t.z = translation
    q.x, q.y, q.z, q.w = xyzw
    return message


def look_up(buffer, target, source, second=0.0):
    """Return (x, y, z) and (qx, qy, qz, qw) with qw >= 0."""
    stamped = buffer.lookup_transform(target, source, Time(seconds=second))
    assert (stamped.header.frame_id, stamped.child_frame_id) == (target, source)
    t, q = stamped.transform.translation, stamped.transform.rotation
    quaternion = np.array([q.x, q.y, q.z, q.w])
    return (t.x, t.y, t.z), tuple(quaternion * (1.0 if q.w >= 0.0 else -1.0))


def test_tf2_msgs_has_the_type_hash_of_ros_2_jazzy():
    pytest.importorskip('tf2_msgs', reason='`make setup` builds it, where no ROS 2 brings it')
    name = 'tf2_msgs/msg/TFMessage'
    description = json.loads(
        Path(get_package_share_directory('tf2_msgs'), 'msg/TFMessage.json').read_text()
    )
    (type_hash,) = [
        item['hash_string'] for item in description['type_hashes'] if item['type_name'] == name
    ]
    assert type_hash == get_typestore(Stores.ROS2_JAZZY).hash_rihs01(name)


def test_translation_and_rotation_are_interpolated_between_two_stamps(buffer):
    buffer.set_transform(transform(ODOM, BASE, 10, (1.0, 2.0, 0.0)), 'test')
    quarter_turn = (0.0, 0.0, HALF, HALF)  # 90 degrees about z
    buffer.set_transform(transform(ODOM, BASE, 11, (2.0, 2.0, 0.0), quarter_turn), 'test')
    translation, quaternion = look_up(buffer, ODOM, BASE, 10.5)
    assert translation == pytest.approx((1.5, 2.0, 0.0))
    assert quaternion == pytest.approx((0.0, 0.0, np.sin(np.pi / 8), np.cos(np.pi / 8)))


def test_transforms_are_chained_up_and_down_the_tree(buffer):
    quarter_turn = (0.0, 0.0, HALF, HALF)
    buffer.set_transform_static(transform(BASE, CAMERA, 0, (1.0, 0.0, 0.0), quarter_turn), 'test')
    buffer.set_transform_static(transform(BASE, LASER, 0, (0.0, 0.0, 3.0)), 'test')
    buffer.set_transform(transform(ODOM, BASE, 10, (5.0, 0.0, 0.0), quarter_turn), 'test')
    # base's x axis is odom's y: the camera is one meter further along it, turned by 180 degrees.
    translation, quaternion = look_up(buffer, ODOM, CAMERA)
    assert translation == pytest.approx((5.0, 1.0, 0.0))
    assert np.abs(quaternion) == pytest.approx((0.0, 0.0, 1.0, 0.0), abs=1e-9)
    assert look_up(buffer, LASER, CAMERA, 4.0)[0] == pytest.approx((1.0, 0.0, -3.0))
    assert look_up(buffer, CAMERA, LASER)[0] == pytest.approx((0.0, 1.0, 3.0))
    assert look_up(buffer, CAMERA, CAMERA)[0] == (0.0, 0.0, 0.0)


def test_time_zero_gives_the_latest_common_time(buffer):
    for second, x in ((1, 1.0), (2, 2.0), (3, 3.0)):
        buffer.set_transform(transform('map', ODOM, second, (0.0, x, 0.0)), 'test')
    for second, x in ((1, 1.0), (2, 2.0)):
        buffer.set_transform(transform(ODOM, BASE, second, (x, 0.0, 0.0)), 'test')
    assert look_up(buffer, 'map', BASE)[0] == pytest.approx((2.0, 2.0, 0.0))
    stamped = buffer.lookup_transform('map', BASE, Time())
    assert stamped.header.stamp.sec == 2


@pytest.mark.parametrize(
    ('target', 'source', 'second', 'error', 'message'),
    [
        (ODOM, BASE, 12.0, 'ExtrapolationException', 'extrapolation into the future'),
        (ODOM, BASE, 9.0, 'ExtrapolationException', 'extrapolation into the past'),
        (ODOM, 'pole', 10.0, 'LookupException', '"pole" passed to lookupTransform .* not exist'),
        (ODOM, CAMERA, 0.0, 'ConnectivityException', 'not part of the same tree'),
        (ODOM, '/base_link', 0.0, 'InvalidArgumentException', "cannot start with a '/'"),
    ],
)
def test_an_unknown_transform_is_an_error_and_never_extrapolated(
    tf2_ros, buffer, target, source, second, error, message
):
    buffer.set_transform(transform(ODOM, BASE, 10, (1.0, 0.0, 0.0)), 'test')
    buffer.set_transform(transform(ODOM, BASE, 11, (1.0, 0.0, 0.0)), 'test')
    buffer.set_transform_static(transform('mast', CAMERA, 0, (1.0, 0.0, 0.0)), 'test')
    with pytest.raises(getattr(tf2_ros, error), match=message):
        buffer.lookup_transform(target, source, Time(seconds=second))
    assert issubclass(getattr(tf2_ros, error), tf2_ros.TransformException)


def test_transforms_ten_seconds_older_are_ignored_until_the_buffer_is_cleared(tf2_ros, buffer):
    buffer.set_transform_static(transform(BASE, CAMERA, 0, (0.0, 0.0, 1.0)), 'test')
    buffer.set_transform(transform(ODOM, BASE, 100, (1.0, 0.0, 0.0)), 'test')
    buffer.set_transform(transform(ODOM, BASE, 5, (2.0, 0.0, 0.0)), 'test')
    assert look_up(buffer, ODOM, CAMERA)[0] == pytest.approx((1.0, 0.0, 1.0))
    buffer.clear()
    with pytest.raises(tf2_ros.TransformException):
        buffer.lookup_transform(ODOM, BASE, Time())
    buffer.set_transform(transform(ODOM, BASE, 5, (2.0, 0.0, 0.0)), 'test')
    assert look_up(buffer, ODOM, CAMERA)[0] == pytest.approx((2.0, 0.0, 1.0))


def test_invalid_transforms_are_ignored(tf2_ros, buffer):
    buffer.set_transform(transform(ODOM, BASE, 10, (np.nan, 0.0, 0.0)), 'test')
    buffer.set_transform(transform(ODOM, BASE, 10, (1.0, 0.0, 0.0), (0.0, 0.0, 0.0, 0.0)), 'test')
    buffer.set_transform(transform(BASE, BASE, 10, (1.0, 0.0, 0.0)), 'test')
    with pytest.raises(tf2_ros.TransformException):
        buffer.lookup_transform(ODOM, BASE, Time())


def test_quaternions_are_normalized(buffer):
    buffer.set_transform(transform(ODOM, BASE, 10, (1.0, 0.0, 0.0), (0.0, 0.0, 2.0, 0.0)), 'test')
    translation, quaternion = look_up(buffer, ODOM, BASE)
    assert translation == pytest.approx((1.0, 0.0, 0.0))
    assert np.abs(quaternion) == pytest.approx((0.0, 0.0, 1.0, 0.0))


def test_transforms_arrive_over_dds_and_static_ones_at_late_subscribers(tf2_ros, buffer):
    rig = Rig()
    static_broadcaster, broadcaster = (
        tf2_ros.StaticTransformBroadcaster(rig.node),
        tf2_ros.TransformBroadcaster(rig.node),
    )
    static_broadcaster.sendTransform(
        [transform(BASE, CAMERA, 0, (1.0, 0.0, 0.0)), transform(BASE, LASER, 0, (2.0, 0.0, 0.0))]
    )
    listener = tf2_ros.TransformListener(buffer, rig.node)
    assert wait_until(lambda: buffer.can_transform(CAMERA, LASER, Time()))
    assert look_up(buffer, CAMERA, LASER)[0] == pytest.approx((1.0, 0.0, 0.0))
    assert wait_until(lambda: broadcaster.pub_tf.get_subscription_count() == 1)
    broadcaster.sendTransform(transform(ODOM, BASE, 3, (7.0, 0.0, 0.0)))
    assert wait_until(lambda: buffer.can_transform(ODOM, CAMERA, Time(seconds=3)))
    listener.unregister()
    assert wait_until(lambda: rig.node.count_subscribers('/tf') == 0)
    rig.close()
