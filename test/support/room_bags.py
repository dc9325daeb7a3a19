"""Bags of the box room, and copies of bags with edited messages."""

import numpy as np
from rooms import phone_camera, render_box_room, walk
from rosbags.highlevel import AnyReader
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

from nerf_reversal_ros.bags.trajectory import interpolate, Trajectory
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.capture_config import CaptureConfig

STORE = get_typestore(Stores.ROS2_HUMBLE)
TOPICS = CaptureConfig()
IMAGE, DEPTH = TOPICS.image_topic, TOPICS.depth_topic
INFO, POSE = TOPICS.camera_info_topic, TOPICS.pose_topic
EPOCH_NS = 1_700_000_000_000_000_000
Z_UP = CaptureConfig(up_axis='z')


def smooth_walk():
    """Return 40 poses of a walk at 10 Hz that turns by 4 deg a frame."""
    corners = walk(24)[:11]
    seconds = np.arange(11, dtype=np.int64)
    return interpolate(Trajectory(seconds * 10**9, corners), np.arange(40) * 250_000_000)[0]


def write_room_bag(
    path,
    poses=None,
    camera=None,
    *,
    world_from_camera=None,
    depth=True,
    render=render_box_room,
    **writer_options,
):
    """
    Write a recording of the room at 10 Hz.

    ``poses`` are the true camera poses (default: 24 poses around the room), ``world_from_camera``
    the recorded ones (default: the same), ``render`` a function like `render_box_room`.
    """
    poses = walk(24) if poses is None else poses
    camera = camera or phone_camera()
    recorded = poses if world_from_camera is None else world_from_camera
    with BagWriter(path, **writer_options) as writer:
        for i, pose in enumerate(poses):
            rgb, depth_m = render(pose, camera)
            stamp_ns = EPOCH_NS + i * 100_000_000
            writer.write(stamp_ns, rgb, depth_m if depth else None, camera, recorded[i])
    return path


def rewrite(source, target, edit, *, storage='mcap'):
    """
    Copy a bag message by message through ``edit``.

    ``edit(topic, message, number)`` receives the index of the message on its topic, may change the
    message, and returns the list of (topic, message) to write instead.
    """
    plugin = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}[storage]
    numbers, connections = {}, {}
    with AnyReader([source]) as reader, Writer(target, version=8, storage_plugin=plugin) as writer:
        for connection, log_time_ns, raw in reader.messages():
            topic = connection.topic
            numbers[topic] = numbers.get(topic, -1) + 1
            message = STORE.deserialize_cdr(raw, connection.msgtype)
            for new_topic, new in edit(topic, message, numbers[topic]):
                message_type = new.__msgtype__
                if new_topic not in connections:
                    connections[new_topic] = writer.add_connection(
                        new_topic, message_type, typestore=STORE
                    )
                data = STORE.serialize_cdr(new, message_type)
                writer.write(connections[new_topic], log_time_ns, data)
    return target


def write_ros1_bag(path, source, compression=None, definitions=None):
    """
    Write the messages of a bag as a bag of ROS 1.

    ``definitions`` has other keyword arguments of ``add_connection``, by topic.
    """
    ros1 = get_typestore(Stores.ROS1_NOETIC)
    writer = Ros1Writer(path)
    if compression:
        writer.set_compression(compression)
    topics = {}
    with AnyReader([source]) as reader, writer:
        for connection, log_time_ns, raw in reader.messages():
            topic, kind = connection.topic, connection.msgtype
            if topic not in topics:
                options = (definitions or {}).get(topic, {})
                topics[topic] = writer.add_connection(topic, kind, typestore=ros1, **options)
            writer.write(topics[topic], log_time_ns, STORE.cdr_to_ros1(raw, kind))
    return path


def edit_topic(edited_topic, change):
    """Return an edit of one topic; a message that ``change`` returns replaces the original."""

    def edit(topic, message, number):
        if topic != edited_topic:
            return [(topic, message)]
        changed = change(message, number)
        return [(topic, message if changed is None else changed)]

    return edit


def message(message_type, *fields):
    """Make a message of a type such as ``sensor_msgs/msg/Image``."""
    return STORE.types[message_type](*fields)


def raw_image(header, pixels, encoding, *, padding=0, big_endian=False):
    """Make an Image of an array (H, W) or (H, W, channels), with padded rows."""
    pixels = pixels.astype(pixels.dtype.newbyteorder('>' if big_endian else '<'))
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    height, width = pixels.shape[:2]
    fields = (header, height, width, encoding, int(big_endian), rows.shape[1], rows.ravel())
    return message('sensor_msgs/msg/Image', *fields)
