"""Bags of the room, and bags that are like another one but for something that is wrong."""

import numpy as np
from rooms import phone_camera, render_box_room, walk
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import get_typestore, Stores

from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.config import CaptureConfig

STORE = get_typestore(Stores.ROS2_HUMBLE)
TOPICS = CaptureConfig()
IMAGE, DEPTH = TOPICS.image_topic, TOPICS.depth_topic
INFO, POSE = TOPICS.camera_info_topic, TOPICS.pose_topic
EPOCH_NS = 1_700_000_000_000_000_000


def write_room_bag(path, poses=None, camera=None, *, world_from_camera=None, depth=True, **how):
    """
    Write a walk through the room, 10 Hz.

    ``poses`` is where the pictures are taken (default: 24 poses around the room),
    ``world_from_camera`` what the bag says of it (default: the same).
    """
    poses = walk(24) if poses is None else poses
    camera = camera or phone_camera()
    said = poses if world_from_camera is None else world_from_camera
    with BagWriter(path, **how) as writer:
        for i, pose in enumerate(poses):
            rgb, metres = render_box_room(pose, camera)
            stamp_ns = EPOCH_NS + i * 100_000_000
            writer.write(stamp_ns, rgb, metres if depth else None, camera, said[i])
    return path


def rewrite(source, target, edit, *, storage='mcap'):
    """
    Copy a bag message by message through ``edit``.

    ``edit(topic, message, number)`` is told the how-many-th message of its topic it is, may change
    it, and returns the list of (topic, message) to write in its place.
    """
    plugin = {'mcap': StoragePlugin.MCAP, 'sqlite3': StoragePlugin.SQLITE3}[storage]
    seen, connections = {}, {}
    with AnyReader([source]) as reader, Writer(target, version=8, storage_plugin=plugin) as writer:
        for connection, logged_ns, raw in reader.messages():
            topic = connection.topic
            seen[topic] = seen.get(topic, -1) + 1
            message = STORE.deserialize_cdr(raw, connection.msgtype)
            for new_topic, new in edit(topic, message, seen[topic]):
                kind = new.__msgtype__
                if new_topic not in connections:
                    connections[new_topic] = writer.add_connection(
                        new_topic, kind, typestore=STORE
                    )
                data = STORE.serialize_cdr(new, kind)
                writer.write(connections[new_topic], logged_ns, data)
    return target


def message(kind, *fields):
    """Make a message of a type such as ``sensor_msgs/msg/Image``."""
    return STORE.types[kind](*fields)


def raw_image(header, pixels, encoding, *, padding=0, big=False):
    """Make an Image of an array (H, W) or (H, W, channels), its rows padded."""
    pixels = pixels.astype(pixels.dtype.newbyteorder('>' if big else '<'))
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=0xEE)
    height, width = pixels.shape[:2]
    fields = (header, height, width, encoding, int(big), rows.shape[1], rows.ravel())
    return message('sensor_msgs/msg/Image', *fields)
