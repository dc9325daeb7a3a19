"""Where the camera was at given times, from the poses or the TF of a bag, as the bag has them."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation, Slerp

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_from_quaternion

Stamps = NDArray[np.int64]

MAX_TF_GAP_NS = 1_000_000_000
"""TF is not interpolated over a longer silence."""


class Trajectory(NamedTuple):
    """Poses over time."""

    stamps_ns: Stamps
    """(N,), growing."""
    poses: FloatArray
    """(N, 4, 4)."""


class InterpolatedPoses(NamedTuple):
    """Poses at M asked times."""

    poses: FloatArray
    """(M, 4, 4); meaningless where ``gap_ns`` is large."""
    gap_ns: Stamps
    """(M,) how far the nearest recorded pose is in time."""
    frame: str
    """The fixed frame the poses are in."""
    invalid_count: int
    """Messages left out because of NaN or a quaternion of length 0."""


def camera_poses_at(
    bag: BagReader, config: CaptureConfig, stamps_ns: Stamps, image_frame: str
) -> InterpolatedPoses:
    """
    Read the camera's pose at the stamps of the pictures.

    Parameters
    ----------
    bag : Bag
        An open bag.
    config : CaptureConfig
        Names the pose topic, or the two frames of TF.
    stamps_ns : (M,) array
        Stamps of the pictures.
    image_frame : str
        Frame of the pictures' headers; an Odometry must be of that frame.

    Raises
    ------
    ConfigError
        If neither a pose topic nor two frames of TF are set.
    CaptureError
        If the bag has no such poses, or they are not of the camera.
    """
    if config.pose_topic:
        track, frame, broken = _topic_trajectory(bag, config.pose_topic, image_frame)
        poses, gap_ns = interpolate(track, stamps_ns)
        return InterpolatedPoses(poses, gap_ns, frame, broken)
    if not config.tf_parent or not config.tf_child:
        raise ConfigError('pose_topic is empty, so set tf_parent and tf_child to frames of TF')
    return _tf_poses(bag, config.tf_parent, config.tf_child, stamps_ns)


def interpolate(trajectory: Trajectory, query_ns: Stamps) -> tuple[FloatArray, Stamps]:
    """
    Interpolate a track at some times; before its first and after its last pose, those hold.

    Returns
    -------
    (M, 4, 4) array, (M,) array
        Poses, and how far the nearest recorded pose is in time [ns].
    """
    stamps = trajectory.stamps_ns
    after = np.clip(np.searchsorted(stamps, query_ns), 0, len(stamps) - 1)
    before = np.clip(after - 1, 0, None)
    gap_ns = np.minimum(abs(stamps[after] - query_ns), abs(stamps[before] - query_ns))
    if len(stamps) == 1:
        return np.repeat(trajectory.poses, len(query_ns), axis=0), gap_ns
    start = stamps[0]  # float64 has no nanoseconds left in seconds since 1970
    times, at = (stamps - start) * 1e-9, np.clip((query_ns - start) * 1e-9, 0, None)
    at = np.minimum(at, times[-1])
    poses = np.broadcast_to(np.eye(4), (len(query_ns), 4, 4)).copy()
    slerp = Slerp(times, Rotation.from_matrix(trajectory.poses[:, :3, :3]))
    poses[:, :3, :3] = slerp(at).as_matrix()
    for axis in range(3):
        poses[:, axis, 3] = np.interp(at, times, trajectory.poses[:, axis, 3])
    return poses, gap_ns


def _topic_trajectory(bag: BagReader, topic: str, image_frame: str) -> tuple[Trajectory, str, int]:
    kind = bag.require_topic(topic, 'pose_topic', ('PoseStamped', 'Odometry'))
    stamps, values, frame, child = [], [], '', image_frame
    for raw in bag.messages([topic]):
        message = bag.decode(raw)
        pose = message.pose
        if kind == 'Odometry':
            child, pose = message.child_frame_id, message.pose.pose
        stamps.append(raw.stamp_ns)
        values.append(_pose_values(pose.position, pose.orientation))
        frame = message.header.frame_id
    if not stamps:
        raise CaptureError(f'pose_topic {topic} has no message: record poses, or set TF frames')
    if child and image_frame and child != image_frame:
        raise CaptureError(
            f'the Odometry on {topic} is of the frame {child}, the pictures are of {image_frame}:'
            f' set pose_topic to nothing, tf_parent to {frame} and tf_child to {image_frame}'
        )
    track, broken = _make_trajectory(stamps, values)
    if broken * 2 > len(stamps):
        raise CaptureError(
            f'{broken} of {len(stamps)} poses on {topic} are NaN or have a quaternion of length'
            ' 0: tracking was lost, record again'
        )
    return track, frame, broken


def _tf_poses(bag: BagReader, parent: str, child: str, stamps_ns: Stamps) -> InterpolatedPoses:
    edges, broken = _tf_edges(bag)
    chain = _frame_path(edges, parent, child)
    if chain is None:
        frames = sorted({frame for edge in edges for frame in edge})
        raise CaptureError(
            f'TF of the bag does not connect tf_parent {parent} with tf_child {child}: its frames'
            f' are {", ".join(frames) or "none"}'
        )
    poses = np.broadcast_to(np.eye(4), (len(stamps_ns), 4, 4))
    gap_ns = np.zeros(len(stamps_ns), np.int64)
    for upper, lower in pairwise(chain):
        down = (upper, lower) in edges
        edge = edges[(upper, lower) if down else (lower, upper)]
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
        poses = poses @ (step if down else inverse(step))
    return InterpolatedPoses(poses, gap_ns, parent, broken)


class _TfEdge(NamedTuple):
    trajectory: Trajectory
    is_static: bool


def _tf_edges(bag: BagReader) -> tuple[dict[tuple[str, str], _TfEdge], int]:
    found: dict[tuple[str, str], tuple[list[int], list[list[float]], bool]] = {}
    for raw in bag.messages(['/tf', '/tf_static']):
        for item in bag.decode(raw).transforms:
            edge = (item.header.frame_id.strip('/'), item.child_frame_id.strip('/'))
            stamps, values, _ = found.setdefault(edge, ([], [], raw.topic == '/tf_static'))
            time = item.header.stamp
            stamps.append(time.sec * 1_000_000_000 + time.nanosec)
            values.append(_pose_values(item.transform.translation, item.transform.rotation))
    edges, broken = {}, 0
    for edge, (stamps, values, static) in found.items():
        track, bad = _make_trajectory(stamps, values)
        broken += bad
        if len(track.stamps_ns):
            edges[edge] = _TfEdge(track, static)
    return edges, broken


def _frame_path(
    edges: dict[tuple[str, str], _TfEdge], parent: str, child: str
) -> list[str] | None:
    """Find the frames from ``parent`` to ``child``, breadth first."""
    chains = [[parent.strip('/')]]
    seen = {parent.strip('/')}
    while chains:
        chain = chains.pop(0)
        if chain[-1] == child.strip('/'):
            return chain
        for upper, lower in edges:
            for here, there in ((upper, lower), (lower, upper)):
                if here == chain[-1] and there not in seen:
                    seen.add(there)
                    chains.append([*chain, there])
    return None


def _pose_values(position: object, turn: object) -> list[float]:
    return [getattr(position, name) for name in 'xyz'] + [getattr(turn, name) for name in 'xyzw']


def _make_trajectory(stamps: list[int], values: list[list[float]]) -> tuple[Trajectory, int]:
    """Sort by stamp, drop repeated stamps and impossible poses (counted)."""
    numbers = np.array(values, dtype=np.float64).reshape(-1, 7)
    norm = np.linalg.norm(numbers[:, 3:], axis=1)
    good = np.all(np.isfinite(numbers), axis=1) & (norm > 0.5) & (norm < 2.0)
    kept, first = np.unique(np.array(stamps, dtype=np.int64)[good], return_index=True)
    chosen = numbers[good][first]
    if not len(kept):
        return Trajectory(kept, np.empty((0, 4, 4))), len(stamps)
    return Trajectory(kept, pose_from_quaternion(chosen[:, :3], chosen[:, 3:])), int(np.sum(~good))
