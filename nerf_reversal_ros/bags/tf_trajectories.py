"""Transforms of a bag: the trajectory between any two connected frames of TF."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_reader import BagReader, short_type
from nerf_reversal_ros.bags.trajectory import (
    interpolate,
    make_trajectory,
    POSE_TYPES,
    pose_values,
    Trajectory,
)
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import FloatArray, inverse

TF_TYPES = ('TFMessage', 'tfMessage')
"""Message types of TF in ROS 2 and ROS 1."""
MAX_TF_GAP_NS = 1_000_000_000
"""Longest gap over which TF is interpolated: 1 s, because longer motion is not linear."""

Edge = tuple[str, str]
"""Parent and child frame of a transform."""


class _Transforms(NamedTuple):
    trajectory: Trajectory
    is_static: bool


class TfTrajectories:
    """
    The transforms of a bag.

    Parameters
    ----------
    bag : BagReader
        An open bag.
    tf_topic : str
        Topic of TF; the static transforms are on the same name with ``_static``. Empty: all
        topics of the type TFMessage.
    unit_m : float
        Length unit of the moving transforms [m].

    Raises
    ------
    CaptureError
        If the bag has no topic ``tf_topic``, or two topics give the same moving transform.
    """

    def __init__(self, bag: BagReader, tf_topic: str = '', unit_m: float = 1.0) -> None:
        """Read all transforms."""
        self._bag_path, self._unit_m = bag.path, unit_m
        self._pose_topics = [
            topic for topic, kind in sorted(bag.topics.items()) if short_type(kind) in POSE_TYPES
        ]
        self._topics = _tf_topics(bag, tf_topic)
        self.log_delay_ns = 0
        """Median time from the stamp of a moving transform to its recording [ns]."""
        self._edges, self.invalid_count = self._read(bag)

    @property
    def frames(self) -> list[str]:
        """All frames, sorted."""
        return sorted({frame for edge in self._edges for frame in edge})

    def connects(self, parent: str, child: str) -> bool:
        """Return whether a chain of transforms joins two frames."""
        return self._path(parent, child) is not None

    def stamps_ns(self, parent: str, child: str) -> NDArray[np.int64]:
        """Return the stamps (N,) of the slowest moving transform between two frames."""
        edges = [
            self._edges.get(pair) or self._edges[pair[::-1]]
            for pair in pairwise(self._path(parent, child) or ())
        ]
        moving = [edge.trajectory.stamps_ns for edge in edges if not edge.is_static]
        return min(moving, key=len, default=np.empty(0, np.int64))

    def parent_from_child(
        self, parent: str, child: str, stamps_ns: NDArray[np.int64]
    ) -> tuple[FloatArray, NDArray[np.int64]]:
        """
        Interpolate the transform of two frames at stamps (M,) [ns].

        Returns
        -------
        (M, 4, 4) array, (M,) array
            Transforms, and the time to the nearest recorded one [ns]; 0 between two that are
            at most `MAX_TF_GAP_NS` apart.

        Raises
        ------
        CaptureError
            If the frames are not connected; the message lists those of the bag.
        """
        path = self._path(parent, child)
        if path is None:
            raise CaptureError(self._unconnected(parent, child))
        poses = np.broadcast_to(np.eye(4), (len(stamps_ns), 4, 4))
        gap_ns = np.zeros(len(stamps_ns), np.int64)
        for source, target in pairwise(path):
            is_forward = (source, target) in self._edges
            edge = self._edges[(source, target) if is_forward else (target, source)]
            if edge.is_static:
                step = np.repeat(edge.trajectory.poses[:1], len(stamps_ns), axis=0)
            else:
                step, gap = interpolate(edge.trajectory, stamps_ns)
                is_between = _is_between(edge.trajectory.stamps_ns, stamps_ns)
                gap_ns = np.maximum(gap_ns, np.where(is_between, 0, gap))
            poses = poses @ (step if is_forward else inverse(step))
        return poses, gap_ns

    def _unconnected(self, parent: str, child: str) -> str:
        """Describe why two frames are not connected, with a remedy."""
        topics = self._pose_topics
        poses = f' or {remedies.POSE_TOPIC.format(topic=topics[0])}' if topics else ''
        if not self._topics:
            return (
                f'the bag {self._bag_path} has no topic of type TFMessage: record /tf and'
                f' /tf_static,{poses or " or a topic of poses"}'
            )
        frames = remedies.CONNECTED_FRAMES.format(frames=', '.join(self.frames) or 'none')
        return (
            f'TF of the bag on {", ".join(self._topics)} does not connect {parent} with {child}:'
            f' {frames}{"," if poses else ""}{poses}'
        )

    def _read(self, bag: BagReader) -> tuple[dict[Edge, _Transforms], int]:
        delays_ns = []
        samples: dict[Edge, tuple[list[int], list[list[float]], str]] = {}
        for raw in bag.messages(self._topics):
            for item in bag.decode(raw).transforms:
                edge = (item.header.frame_id.strip('/'), item.child_frame_id.strip('/'))
                stamps, values, topic = samples.setdefault(edge, ([], [], raw.topic))
                if topic != raw.topic and not _is_static(topic) and not _is_static(raw.topic):
                    raise CaptureError(
                        f'the bag {bag.path} has transforms from {edge[0]} to {edge[1]} on {topic}'
                        f' and on {raw.topic}: {remedies.TF_TOPIC}'
                    )
                stamp = item.header.stamp
                stamps.append(stamp.sec * 1_000_000_000 + stamp.nanosec or raw.log_time_ns)
                if not _is_static(raw.topic):
                    delays_ns.append(raw.log_time_ns - stamps[-1])
                values.append(pose_values(item.transform.translation, item.transform.rotation))
        self.log_delay_ns = int(np.median(delays_ns)) if delays_ns else 0
        edges, invalid_count = {}, 0
        for edge, (stamps, values, topic) in samples.items():
            trajectory, edge_invalid_count = make_trajectory(stamps, values)
            invalid_count += edge_invalid_count
            if len(trajectory.stamps_ns):
                if not _is_static(topic):
                    trajectory.poses[:, :3, 3] *= self._unit_m
                edges[edge] = _Transforms(trajectory, _is_static(topic))
        return edges, invalid_count

    def _path(self, parent: str, child: str) -> list[str] | None:
        """Find the path of frames from ``parent`` to ``child`` by breadth-first search."""
        paths = [[parent.strip('/')]]
        visited = {parent.strip('/')}
        while paths:
            path = paths.pop(0)
            if path[-1] == child.strip('/'):
                return path
            for edge in self._edges:
                for source, target in (edge, edge[::-1]):
                    if source == path[-1] and target not in visited:
                        visited.add(target)
                        paths.append([*path, target])
        return None


def _tf_topics(bag: BagReader, tf_topic: str) -> list[str]:
    """Return the topics of TF: that of the setting and its static one, or all by type."""
    if not tf_topic:
        return [topic for topic, kind in bag.topics.items() if kind.endswith(TF_TYPES)]
    bag.require_topic(tf_topic, 'tf_topic', TF_TYPES)
    return [topic for topic in (tf_topic, f'{tf_topic}_static') if topic in bag.topics]


def _is_static(topic: str) -> bool:
    return topic.endswith('_static')


def _is_between(stamps: NDArray[np.int64], query_ns: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which queries lie between two stamps at most `MAX_TF_GAP_NS` apart."""
    after = np.searchsorted(stamps, query_ns)
    between = (after > 0) & (after < len(stamps))
    if len(stamps) > 1:
        after = np.clip(after, 1, len(stamps) - 1)
        between &= stamps[after] - stamps[after - 1] <= MAX_TF_GAP_NS
    return between
