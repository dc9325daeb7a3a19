"""Camera poses at given stamps, interpolated from a pose topic or from TF of a bag."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_from_quaternion

Stamps = NDArray[np.int64]

MAX_TF_GAP_NS = 1_000_000_000
"""Longest gap over which TF is interpolated: 1 s, because longer motion is not linear."""


class Trajectory(NamedTuple):
    """Stamped poses over time."""

    stamps_ns: Stamps
    """(N,) ascending [ns]."""
    poses: FloatArray
    """(N, 4, 4) in the convention of the bag."""


class InterpolatedPoses(NamedTuple):
    """Poses at M queried stamps."""

    poses: FloatArray
    """(M, 4, 4); valid only where ``gap_ns`` is small."""
    gap_ns: Stamps
    """(M,) time to the nearest recorded pose [ns]."""
    frame: str
    """Fixed coordinate frame of the poses."""
    invalid_count: int
    """Number of poses skipped because of NaN or a zero quaternion."""


def camera_poses_at(
    bag: BagReader, config: CaptureConfig, stamps_ns: Stamps, image_frame: str
) -> InterpolatedPoses:
    """
    Interpolate the camera poses of a bag at the stamps of images.

    Parameters
    ----------
    bag : BagReader
        An open bag.
    config : CaptureConfig
        The pose topic, or the two frames of TF.
    stamps_ns : (M,) array
        Stamps of the images [ns].
    image_frame : str
        Coordinate frame of the images; the child frame of an Odometry must equal it.

    Raises
    ------
    ConfigError
        If neither a pose topic nor the two frames of TF are set.
    CaptureError
        If the bag has no such poses, or they belong to another frame than the camera.
    """
    if config.pose_topic:
        trajectory, frame, invalid_count = _topic_trajectory(bag, config.pose_topic, image_frame)
        poses, gap_ns = interpolate(trajectory, stamps_ns)
        return InterpolatedPoses(poses, gap_ns, frame, invalid_count)
    if not config.tf_parent or not config.tf_child:
        raise ConfigError('pose_topic is empty, so set tf_parent and tf_child to frames of TF')
    return _tf_poses(bag, config.tf_parent, config.tf_child, stamps_ns)


def interpolate(trajectory: Trajectory, query_ns: Stamps) -> tuple[FloatArray, Stamps]:
    """
    Interpolate a trajectory: slerp of rotations, linear interpolation of positions.

    Stamps outside of the trajectory get its first or last pose.

    Returns
    -------
    (M, 4, 4) array, (M,) array
        Poses, and the time to the nearest recorded pose [ns].
    """
    stamps = trajectory.stamps_ns
    after = np.clip(np.searchsorted(stamps, query_ns), 0, len(stamps) - 1)
    before = np.clip(after - 1, 0, None)
    gap_ns = np.minimum(abs(stamps[after] - query_ns), abs(stamps[before] - query_ns))
    if len(stamps) == 1:
        return np.repeat(trajectory.poses, len(query_ns), axis=0), gap_ns
    start = stamps[0]  # float64 cannot resolve nanoseconds in seconds since 1970
    times_s, query_s = (stamps - start) * 1e-9, np.clip((query_ns - start) * 1e-9, 0, None)
    query_s = np.minimum(query_s, times_s[-1])
    poses = np.broadcast_to(np.eye(4), (len(query_ns), 4, 4)).copy()
    slerp = Slerp(times_s, Rotation.from_matrix(trajectory.poses[:, :3, :3]))
    poses[:, :3, :3] = slerp(query_s).as_matrix()
    for axis in range(3):
        poses[:, axis, 3] = np.interp(query_s, times_s, trajectory.poses[:, axis, 3])
    return poses, gap_ns


def _topic_trajectory(bag: BagReader, topic: str, image_frame: str) -> tuple[Trajectory, str, int]:
    message_type = bag.require_topic(topic, 'pose_topic', ('PoseStamped', 'Odometry'))
    stamps, values, frame, child = [], [], '', image_frame
    for raw in bag.messages([topic]):
        message = bag.decode(raw)
        pose = message.pose
        if message_type == 'Odometry':
            child, pose = message.child_frame_id, message.pose.pose
        stamps.append(raw.stamp_ns)
        values.append(_pose_values(pose.position, pose.orientation))
        frame = message.header.frame_id
    if not stamps:
        raise CaptureError(f'pose_topic {topic} has no message: record poses, or set TF frames')
    if child and image_frame and child != image_frame:
        raise CaptureError(
            f'the Odometry on {topic} is of the frame {child}, the images are of {image_frame}:'
            f' set pose_topic to nothing, tf_parent to {frame} and tf_child to {image_frame}'
        )
    trajectory, invalid_count = _make_trajectory(stamps, values)
    if invalid_count * 2 > len(stamps):
        raise CaptureError(
            f'{invalid_count} of {len(stamps)} poses on {topic} are NaN or have a zero quaternion:'
            ' tracking was lost, record again'
        )
    return trajectory, frame, invalid_count


def _tf_poses(bag: BagReader, parent: str, child: str, stamps_ns: Stamps) -> InterpolatedPoses:
    edges, invalid_count = _tf_edges(bag)
    path = _frame_path(edges, parent, child)
    if path is None:
        frames = sorted({frame for edge in edges for frame in edge})
        raise CaptureError(
            f'TF of the bag does not connect tf_parent {parent} with tf_child {child}: its frames'
            f' are {", ".join(frames) or "none"}'
        )
    poses = np.broadcast_to(np.eye(4), (len(stamps_ns), 4, 4))
    gap_ns = np.zeros(len(stamps_ns), np.int64)
    for source, target in pairwise(path):
        is_forward = (source, target) in edges
        edge = edges[(source, target) if is_forward else (target, source)]
        if edge.is_static:
            step = np.repeat(edge.trajectory.poses[:1], len(stamps_ns), axis=0)
        else:
            step, gap = interpolate(edge.trajectory, stamps_ns)
            stamps = edge.trajectory.stamps_ns
            after = np.searchsorted(stamps, stamps_ns)
            bracketed = (after > 0) & (after < len(stamps))
            after = np.clip(after, 1, max(1, len(stamps) - 1))
            if len(stamps) > 1:
                bracketed &= stamps[after] - stamps[after - 1] <= MAX_TF_GAP_NS
            gap_ns = np.maximum(gap_ns, np.where(bracketed, 0, gap))
        poses = poses @ (step if is_forward else inverse(step))
    return InterpolatedPoses(poses, gap_ns, parent, invalid_count)


class _TfEdge(NamedTuple):
    trajectory: Trajectory
    is_static: bool


def _tf_edges(bag: BagReader) -> tuple[dict[tuple[str, str], _TfEdge], int]:
    samples: dict[tuple[str, str], tuple[list[int], list[list[float]], bool]] = {}
    for raw in bag.messages(['/tf', '/tf_static']):
        for item in bag.decode(raw).transforms:
            edge = (item.header.frame_id.strip('/'), item.child_frame_id.strip('/'))
            stamps, values, _ = samples.setdefault(edge, ([], [], raw.topic == '/tf_static'))
            stamp = item.header.stamp
            stamps.append(stamp.sec * 1_000_000_000 + stamp.nanosec)
            values.append(_pose_values(item.transform.translation, item.transform.rotation))
    edges, invalid_count = {}, 0
    for edge, (stamps, values, is_static) in samples.items():
        trajectory, edge_invalid_count = _make_trajectory(stamps, values)
        invalid_count += edge_invalid_count
        if len(trajectory.stamps_ns):
            edges[edge] = _TfEdge(trajectory, is_static)
    return edges, invalid_count


def _frame_path(
    edges: dict[tuple[str, str], _TfEdge], parent: str, child: str
) -> list[str] | None:
    """Find the path of frames from ``parent`` to ``child`` by breadth-first search."""
    paths = [[parent.strip('/')]]
    visited = {parent.strip('/')}
    while paths:
        path = paths.pop(0)
        if path[-1] == child.strip('/'):
            return path
        for edge in edges:
            for source, target in (edge, edge[::-1]):
                if source == path[-1] and target not in visited:
                    visited.add(target)
                    paths.append([*path, target])
    return None


def _pose_values(position: Any, rotation: Any) -> list[float]:
    return [position.x, position.y, position.z, rotation.x, rotation.y, rotation.z, rotation.w]


def _make_trajectory(stamps: list[int], values: list[list[float]]) -> tuple[Trajectory, int]:
    """Sort poses by stamp, and drop repeated stamps and invalid poses; also count the latter."""
    numbers = np.array(values, dtype=np.float64).reshape(-1, 7)
    norm = np.linalg.norm(numbers[:, 3:], axis=1)
    valid = np.all(np.isfinite(numbers), axis=1) & (norm > 0.5) & (norm < 2.0)
    stamps_ns, first = np.unique(np.array(stamps, dtype=np.int64)[valid], return_index=True)
    if not len(stamps_ns):
        return Trajectory(stamps_ns, np.empty((0, 4, 4))), len(stamps)
    unique = numbers[valid][first]
    poses = pose_from_quaternion(unique[:, :3], unique[:, 3:])
    return Trajectory(stamps_ns, poses), int(np.sum(~valid))
