"""
Camera poses at the stamps of images, from a topic of poses or from TF of a bag.

Poses of another frame of the robot, such as base_link, are moved to the camera by the setting
``mounting`` or by TF of the bag.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nerf_reversal_ros.bags.bag_reader import BagReader, RawMessage
from nerf_reversal_ros.bags.tf_trajectories import TF_TYPES, TfTrajectories
from nerf_reversal_ros.bags.trajectory import (
    interpolate,
    make_trajectory,
    POSE_TYPES,
    pose_values,
    Stamps,
    Trajectory,
)
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import FloatArray, pose_distance
from nerf_reversal_ros.core.mounting import parse_mounting

SAME_FRAME_M, SAME_FRAME_DEG = 0.1, 5.0
"""Errors of a measured mounting, by which its frame is recognized [m], [deg]."""


class InterpolatedPoses(NamedTuple):
    """Poses at M queried stamps."""

    poses: FloatArray
    """(M, 4, 4); valid only where ``gap_ns`` is small."""
    gap_ns: Stamps
    """(M,) time to the nearest recorded pose [ns]."""


class _TopicPoses(NamedTuple):
    """Content of a topic of poses."""

    trajectory: Trajectory
    log_delay_ns: int
    frame: str
    child: str
    invalid_count: int


class CameraPoses:
    """
    The recorded poses of the camera over time.

    Parameters
    ----------
    bag : BagReader
        An open bag.
    config : CaptureConfig
        The topic of poses, or the two frames of TF; mounting and units.
    image_frame : str
        Coordinate frame of the images; where it differs from that of the poses, TF must connect
        both.

    Raises
    ------
    ConfigError
        If neither a topic of poses nor the two frames of TF are set.
    CaptureError
        If the bag has no such poses, or their relation to the camera is unknown.
    """

    def __init__(self, bag: BagReader, config: CaptureConfig, image_frame: str) -> None:
        """Read the poses."""
        self._bag, self._config = bag, config
        self.image_frame = image_frame.strip('/')
        """Frame of the images."""
        self._offset_ns = round(config.camera_time_offset_s * 1e9)
        self._mounting = parse_mounting(config.mounting) if config.mounting else None
        self._tf: TfTrajectories | None = None
        self._topic: _TopicPoses | None = None
        self.frame = config.tf_parent.strip('/')
        """Fixed coordinate frame of the poses."""
        self.invalid_count = 0
        """Number of poses left out because of NaN or a zero quaternion."""
        if not config.pose_topic:
            if not config.tf_parent or not config.tf_child:
                raise ConfigError(f'pose_topic is empty, so {remedies.TF_FRAMES}')
            self._child = config.tf_child
            self._tf = TfTrajectories(bag, config.tf_topic, config.pose_unit_m)
            self.invalid_count = self._tf.invalid_count
            return
        topic = _read_topic(bag, config)
        self._topic, self.frame = topic, topic.frame
        self.invalid_count = topic.invalid_count
        self._child = config.pose_frame.strip('/') or topic.child
        if self._mounting is None and self._child not in ('', self.image_frame):
            self._tf = self._mounting_tf(bag, config)

    @property
    def stamps_ns(self) -> Stamps:
        """Stamps (N,) of the recorded poses; of TF, those of the moving frame with the fewest."""
        if self._topic is not None:
            return self._topic.trajectory.stamps_ns
        assert self._tf is not None
        return self._tf.stamps_ns(self.frame, self._child)

    @property
    def log_delay_ns(self) -> int:
        """Median time from the stamp of a pose to its recording [ns]."""
        if self._topic is not None:
            return self._topic.log_delay_ns
        assert self._tf is not None
        return self._tf.log_delay_ns

    def frame_at(self, pose_from_camera: FloatArray) -> str:
        """Return the frame of TF in which the camera has about this pose (4, 4); '' if none."""
        tf = TfTrajectories(self._bag, self._config.tf_topic)
        stamp = self.stamps_ns[:1]
        found = (SAME_FRAME_M, '')
        for frame in tf.frames:
            if frame != self.image_frame and tf.connects(frame, self.image_frame):
                pose, _ = tf.parent_from_child(frame, self.image_frame, stamp)
                distance_m, angle_deg = pose_distance(pose[0], pose_from_camera)
                if angle_deg < SAME_FRAME_DEG:
                    found = min(found, (distance_m, frame))
        return found[1]

    def at(self, stamps_ns: Stamps) -> InterpolatedPoses:
        """Interpolate the poses of the camera at the stamps of images (M,) [ns]."""
        stamps_ns = stamps_ns + self._offset_ns
        if self._topic is None:
            assert self._tf is not None
            poses, gap_ns = self._tf.parent_from_child(self.frame, self._child, stamps_ns)
        else:
            poses, gap_ns = interpolate(self._topic.trajectory, stamps_ns)
            if self._tf is not None:
                mounting = self._tf.parent_from_child(self._child, self.image_frame, stamps_ns)
                poses, gap_ns = poses @ mounting[0], np.maximum(gap_ns, mounting[1])
        if self._mounting is not None:
            poses = poses @ self._mounting
        return InterpolatedPoses(poses, gap_ns)

    def _mounting_tf(self, bag: BagReader, config: CaptureConfig) -> TfTrajectories:
        """Return TF that connects the frame of the poses with the camera, or raise an error."""
        of = f'the poses on {config.pose_topic} are of the frame {self._child}'
        if not self.image_frame:
            raise CaptureError(
                f'{of}, and the images have no frame:'
                f' {remedies.MOUNTING.format(frame=self._child)}'
            )
        tf = TfTrajectories(bag, config.tf_topic)
        if not tf.connects(self._child, self.image_frame):
            raise CaptureError(
                f'{of}, the images are of {self.image_frame}, and TF of the bag does not connect'
                f' them: {remedies.MOUNTING.format(frame=self._child)}, or record /tf_static'
            )
        return tf


def _read_topic(bag: BagReader, config: CaptureConfig) -> _TopicPoses:
    topic = config.pose_topic
    has_tf = any(kind.endswith(TF_TYPES) for kind in bag.topics.values())
    alternative = f', or {remedies.POSES_OF_TF}' if has_tf else ''
    kind = bag.require_topic(topic, 'pose_topic', POSE_TYPES, alternative)
    samples: dict[int, list[float]] = {}
    delays_ns = []
    frame, child = '', ''
    for raw in bag.messages([topic]):
        message = bag.decode(raw)
        frame, child = message.header.frame_id, getattr(message, 'child_frame_id', '')
        samples.update(_poses_of(raw, message, kind))
        delays_ns.append(raw.log_time_ns - raw.stamp_ns)
    if not samples:
        raise CaptureError(f'pose_topic {topic} has no message: record poses{alternative}')
    trajectory, invalid_count = make_trajectory(list(samples), list(samples.values()))
    if invalid_count * 2 > len(samples):
        raise CaptureError(
            f'{invalid_count} of {len(samples)} poses on {topic} are NaN or have a zero'
            ' quaternion: tracking was lost, record again'
        )
    trajectory.poses[:, :3, 3] *= config.pose_unit_m
    delay_ns = int(np.median(delays_ns))
    return _TopicPoses(trajectory, delay_ns, frame.strip('/'), child.strip('/'), invalid_count)


def _poses_of(raw: RawMessage, message: Any, kind: str) -> Iterator[tuple[int, list[float]]]:
    """Return stamp [ns], position and quaternion of each pose of a message."""
    if kind == 'Path':
        for item in message.poses:
            stamp = item.header.stamp
            stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
            if stamp_ns or item is message.poses[-1]:  # the newest one has the stamp of the path
                pose = pose_values(item.pose.position, item.pose.orientation)
                yield stamp_ns or raw.stamp_ns, pose
    elif kind == 'TransformStamped':
        transform = message.transform
        yield raw.stamp_ns, pose_values(transform.translation, transform.rotation)
    else:
        pose = message.pose if kind == 'PoseStamped' else message.pose.pose
        yield raw.stamp_ns, pose_values(pose.position, pose.orientation)
