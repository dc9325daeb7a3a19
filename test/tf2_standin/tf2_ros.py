"""
Stand-in of tf2_ros for the nodes under test, where the real one is not installed: PyPI lacks it.

It uses the real topics /tf and /tf_static with the QoS of tf2. Like tf2 it keeps a tree of frames
for ten seconds, interpolates between two stamps, never extrapolates, and ignores older
transforms. 12,000 random lookups in 400 random trees gave the same poses, stamps and kinds of
error as tf2::BufferCore 0.7.6. Where a tf2_ros is installed, test_tf2.py tests that one.
"""

from bisect import bisect_left, insort
import threading

from geometry_msgs.msg import TransformStamped
import numpy as np
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from scipy.spatial.transform import Rotation, Slerp
from tf2_msgs.msg import TFMessage

from nerf_reversal_ros.core.geometry import inverse, make_pose
from nerf_reversal_ros.ros.conversions import matrix_from_transform, transform_from_matrix

STATIC = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
CACHE_NS = 10_000_000_000


class TransformException(Exception):  # noqa: N818  (the name in tf2)
    """A transform is not available."""


class LookupException(TransformException):
    """A frame does not exist."""


class ConnectivityException(TransformException):
    """Two frames are in different trees."""


class ExtrapolationException(TransformException):
    """The buffer has no transform at the time."""


class InvalidArgumentException(TransformException):
    """The name of a frame is invalid."""


class _Edge:
    """Poses of one frame in its parent over time; a static frame has one for all times."""

    def __init__(self, static):
        self.static = static
        self.entries = []  # (stamp [ns], parent, parent_from_child)

    def insert(self, stamp_ns, parent, matrix):
        if self.static:
            self.entries = [(0, parent, matrix)]
            return
        if self.entries and stamp_ns < self.entries[-1][0] - CACHE_NS:
            return
        insort(self.entries, (stamp_ns, parent, matrix), key=lambda entry: entry[0])
        oldest_ns = self.entries[-1][0] - CACHE_NS
        self.entries = [entry for entry in self.entries if entry[0] >= oldest_ns]

    def at(self, time_ns):
        """Return (stamp [ns], parent, parent_from_child) at a time [ns]; 0: the latest."""
        if not self.entries:
            raise ExtrapolationException('')
        if time_ns == 0 or self.static:
            return self.entries[-1]
        stamps = [entry[0] for entry in self.entries]
        reason = f'Requested time {time_ns / 1e9:.6f} but the'
        if time_ns not in stamps and len(stamps) == 1:
            raise ExtrapolationException(
                f'Lookup would require extrapolation at time {time_ns / 1e9:.6f}, but only time'
                f' {stamps[0] / 1e9:.6f} is in the buffer'
            )
        if time_ns > stamps[-1]:
            raise ExtrapolationException(
                f'Lookup would require extrapolation into the future.  {reason} latest data is at'
                f' time {stamps[-1] / 1e9:.6f}'
            )
        if time_ns < stamps[0]:
            raise ExtrapolationException(
                f'Lookup would require extrapolation into the past.  {reason} earliest data is at'
                f' time {stamps[0] / 1e9:.6f}'
            )
        after = bisect_left(stamps, time_ns)
        if stamps[after] == time_ns:
            return self.entries[after]
        (start_ns, parent, start), (end_ns, other, end) = self.entries[after - 1 : after + 1]
        if parent != other:
            return time_ns, parent, start
        fraction = (time_ns - start_ns) / (end_ns - start_ns)
        rotations = Slerp([0.0, 1.0], Rotation.from_matrix([start[:3, :3], end[:3, :3]]))
        translation = start[:3, 3] + fraction * (end[:3, 3] - start[:3, 3])
        return time_ns, parent, make_pose(rotations(fraction), translation)


class Buffer:
    """Buffer of the tree of frames."""

    def __init__(self, cache_time=None, node=None):
        assert cache_time is None, 'the stand-in keeps ten seconds'
        assert node is None, 'the stand-in offers no service'
        self._edges = {}
        self._frames = set()
        self._lock = threading.Lock()

    def clear(self):
        """Remove all transforms that are not static."""
        with self._lock:
            for edge in self._edges.values():
                if not edge.static:
                    edge.entries.clear()

    def set_transform(self, transform, authority):
        self._set(transform, False)

    def set_transform_static(self, transform, authority):
        self._set(transform, True)

    def _set(self, transform, static):
        parent, child = (
            name.removeprefix('/')
            for name in (transform.header.frame_id, transform.child_frame_id)
        )
        t, q = transform.transform.translation, transform.transform.rotation
        length2 = q.x**2 + q.y**2 + q.z**2 + q.w**2
        numbers = (t.x, t.y, t.z, length2)
        if not parent or not child or parent == child or np.any(np.isnan(numbers)):
            return
        if length2 == 0.0:  # any other length is normalized, as by tf2
            return
        with self._lock:
            self._frames |= {parent, child}
            if child not in self._edges or self._edges[child].static != static:
                self._edges[child] = _Edge(static)
            stamp_ns = Time.from_msg(transform.header.stamp).nanoseconds
            self._edges[child].insert(stamp_ns, parent, matrix_from_transform(transform.transform))

    def can_transform(self, target_frame, source_frame, time, timeout=None):
        try:
            self.lookup_transform(target_frame, source_frame, time, timeout)
        except TransformException:
            return False
        return True

    def lookup_transform(self, target_frame, source_frame, time, timeout=None):
        """Return target_from_source at a time, with its stamp; 0: the latest common time."""
        assert timeout is None or timeout.nanoseconds == 0, 'the stand-in does not wait'
        with self._lock:
            time_ns, ups, downs = self._steps_at(target_frame, source_frame, time.nanoseconds)
        matrix = np.eye(4)
        for _, parent_from_child in ups:
            matrix = parent_from_child @ matrix
        for _, parent_from_child in reversed(downs):
            matrix = inverse(parent_from_child) @ matrix
        message = TransformStamped(child_frame_id=source_frame)
        message.header.frame_id = target_frame
        message.header.stamp = Time(nanoseconds=time_ns).to_msg()
        message.transform = transform_from_matrix(matrix)
        return message

    def _steps_at(self, target, source, time_ns):
        """Return the time [ns], and the steps up from source and target at that time."""
        if target == source:  # even if the frame does not exist
            edge = self._edges.get(source)
            latest_ns = edge.entries[-1][0] if edge and edge.entries else 0
            return time_ns or latest_ns, [], []
        self._check(target, 'target_frame')
        self._check(source, 'source_frame')
        ups, downs = self._paths(target, source, time_ns)
        if time_ns == 0:
            stamps = [stamp_ns for stamp_ns, _ in (*ups, *downs) if stamp_ns]
            time_ns = min(stamps, default=0)
            ups, downs = self._paths(target, source, time_ns)
        return time_ns, ups, downs

    def _check(self, frame, argument):
        argument_text = f'"{frame}" passed to lookupTransform argument {argument}'
        forbidden = 'be empty' if not frame else "start with a '/'" if frame[0] == '/' else ''
        if forbidden:
            raise InvalidArgumentException(
                f'Invalid argument {argument_text} - in tf2 frame_ids cannot {forbidden}'
            )
        if frame not in self._frames:
            raise LookupException(f'{argument_text} does not exist. ')

    def _paths(self, target, source, time_ns):
        """Return the steps up from source and target to their common ancestor."""
        ups, source_error = self._path_up(source, time_ns)
        downs, target_error = self._path_up(target, time_ns)
        names = [name for name, _ in downs]
        for k, (name, _) in enumerate(ups):
            if name in names:
                n = names.index(name)
                return [step for _, step in ups[1 : k + 1]], [step for _, step in downs[1 : n + 1]]
        if time_ns and (source_error or target_error):
            raise ExtrapolationException(
                f'{target_error or source_error}, when looking up transform from frame [{source}]'
                f' to frame [{target}]'
            )
        raise ConnectivityException(
            f"Could not find a connection between '{target}' and '{source}' because they are not"
            ' part of the same tree.Tf has two or more unconnected trees.'
        )

    def _path_up(self, frame, time_ns):
        """Return [(frame, None), (parent, (stamp, parent_from_child)), ...] and the last error."""
        path = [(frame, None)]
        while frame in self._edges:
            try:
                stamp_ns, parent, matrix = self._edges[frame].at(time_ns)
            except ExtrapolationException as error:
                return path, error
            path.append((parent, (stamp_ns, matrix)))
            assert len(path) < 1000, 'the tree of frames is a loop'
            frame = parent
        return path, None


class TransformListener:
    """Adds /tf and /tf_static to a buffer."""

    def __init__(self, buffer, node):
        self.buffer, self.node = buffer, node
        group = ReentrantCallbackGroup()
        static = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.tf_sub = node.create_subscription(
            TFMessage, '/tf', self.callback, QoSProfile(depth=100), callback_group=group
        )
        self.tf_static_sub = node.create_subscription(
            TFMessage, '/tf_static', self.static_callback, static, callback_group=group
        )

    def unregister(self):
        self.node.destroy_subscription(self.tf_sub)
        self.node.destroy_subscription(self.tf_static_sub)

    def callback(self, data):
        for transform in data.transforms:
            self.buffer.set_transform(transform, 'default_authority')

    def static_callback(self, data):
        for transform in data.transforms:
            self.buffer.set_transform_static(transform, 'default_authority')


class TransformBroadcaster:
    """Publishes on /tf."""

    TOPIC, QOS = '/tf', QoSProfile(depth=100)

    def __init__(self, node, qos=None):
        self.pub_tf = node.create_publisher(TFMessage, self.TOPIC, qos or self.QOS)

    def sendTransform(self, transform):  # noqa: N802  (the name in tf2)
        transforms = transform if isinstance(transform, list) else [transform]
        self.pub_tf.publish(TFMessage(transforms=transforms))


class StaticTransformBroadcaster(TransformBroadcaster):
    """Publishes on /tf_static, also to late subscribers."""

    TOPIC, QOS = '/tf_static', STATIC
