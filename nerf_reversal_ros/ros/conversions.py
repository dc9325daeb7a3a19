"""Convert between poses, covariances and outcomes of the core and ROS messages."""

from typing import TYPE_CHECKING

from builtin_interfaces.msg import Time
from geometry_msgs.msg import Pose, PoseStamped, PoseWithCovarianceStamped, Transform
from nav_msgs.msg import Path
import numpy as np
from rclpy.time import Time as RclpyTime
from std_msgs.msg import Header

from nerf_reversal_ros.core.geometry import (
    FloatArray,
    inverse,
    pose_from_quaternion,
    quaternion_xyzw,
    shift_covariance,
)
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection
from nerf_reversal_ros.msg import LocalizerStatus, LoopClosure

if TYPE_CHECKING:  # its import of scipy.stats would slow down the start of every node
    from nerf_reversal_ros.odometry.loop_closure import ClosureResult


def camera_to_base_pose(
    map_from_camera: FloatArray, covariance: FloatArray, base_from_camera: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """
    Transform a camera pose and its covariance to map_from_base (4, 4) and its covariance (6, 6).

    Both covariances are of the position of the frame's origin in map [m] and of small rotations
    about the fixed axes of map [rad], in the order of REP 103. A rotation error of the camera
    moves the base by the lever arm between them (`shift_covariance`). The extrinsics are exact.
    """
    map_from_base = map_from_camera @ inverse(base_from_camera)
    lever_arm = map_from_base[:3, 3] - map_from_camera[:3, 3]
    return map_from_base, shift_covariance(covariance, lever_arm)


def stamp_to_ns(stamp: Time) -> int:
    """Convert a stamp to one number [ns]."""
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def stamp_from_ns(stamp_ns: int) -> Time:
    """Convert a time [ns] to a stamp."""
    return RclpyTime(nanoseconds=stamp_ns).to_msg()


def pose_message(map_from_frame: FloatArray) -> Pose:
    """Convert a (4, 4) pose to a message."""
    message = Pose()
    message.position.x, message.position.y, message.position.z = map(float, map_from_frame[:3, 3])
    q = message.orientation
    q.x, q.y, q.z, q.w = map(float, quaternion_xyzw(map_from_frame))
    return message


def pose_messages(
    header: Header, map_from_frame: FloatArray, covariance: FloatArray
) -> tuple[PoseStamped, PoseWithCovarianceStamped]:
    """Convert a pose to messages without and with its covariance (6, 6), in REP 103 order."""
    with_covariance = PoseWithCovarianceStamped(header=header)
    with_covariance.pose.pose = pose_message(map_from_frame)
    with_covariance.pose.covariance = np.asarray(covariance, dtype=np.float64).ravel()
    return PoseStamped(header=header, pose=with_covariance.pose.pose), with_covariance


def pose_frame(map_frame: str, frame: str) -> str:
    """
    Return the ``frame_id`` of poses in a frame of `Diagnostics`.

    ``map`` is ``map_frame``. A room that nothing links has a frame of its own below that.
    """
    return map_frame if frame == 'map' else f'{map_frame}/{frame}'


def matrix_from_pose(pose: Pose) -> FloatArray:
    """Convert a message to a (4, 4) pose; NaN if the length of its quaternion is far from 1."""
    p, q = pose.position, pose.orientation
    quaternion = np.array([q.x, q.y, q.z, q.w])
    if not 0.5 < np.linalg.norm(quaternion) < 2.0:
        return np.full((4, 4), np.nan)
    return pose_from_quaternion(np.array([p.x, p.y, p.z]), quaternion)


def path_message(frame: str, poses: list[tuple[int, FloatArray]]) -> Path:
    """Convert any number of stamps [ns] and poses frame_from_base (4, 4) to a message."""
    message = Path(header=Header(frame_id=frame))
    for stamp_ns, frame_from_base in poses:
        message.header.stamp = stamp_from_ns(stamp_ns)
        header = Header(stamp=message.header.stamp, frame_id=frame)
        message.poses.append(PoseStamped(header=header, pose=pose_message(frame_from_base)))
    return message


def matrix_from_transform(transform: Transform) -> FloatArray:
    """Convert a TF transform to the (4, 4) pose target_from_source."""
    t, q = transform.translation, transform.rotation
    return pose_from_quaternion(np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w]))


def transform_from_matrix(target_from_source: FloatArray) -> Transform:
    """Convert a (4, 4) pose to a TF transform."""
    message, pose = Transform(), pose_message(target_from_source)
    p = pose.position
    message.translation.x, message.translation.y, message.translation.z = p.x, p.y, p.z
    message.rotation = pose.orientation
    return message


def status_message(header: Header, outcome: Outcome) -> LocalizerStatus:
    """Convert an outcome with its diagnostics to a message, its counters left at zero."""
    diagnostics = outcome.diagnostics
    stages = [stage for stage in diagnostics.latency_ms if stage != 'total']
    status = LocalizerStatus(
        header=header,
        accepted=isinstance(outcome, PoseEstimate),
        stage=stages[-1] if stages else '',
        inliers=max(0, int(diagnostics.scores.get('inliers', 0))),
        inlier_ratio=float(diagnostics.scores.get('inlier_ratio', 0.0)),
        score_names=list(diagnostics.scores),
        score_values=[float(value) for value in diagnostics.scores.values()],
        latency_stages=list(diagnostics.latency_ms),
        latency_ms=[float(value) for value in diagnostics.latency_ms.values()],
        room=diagnostics.room or '',
    )
    if isinstance(outcome, Rejection):
        status.reason, status.detail = str(outcome.reason), outcome.detail
    return status


def loop_closure_message(
    result: 'ClosureResult', map_frame: str, map_from_odom: FloatArray | None
) -> LoopClosure:
    """
    Convert a closure result to a message.

    ``map_from_odom`` (4, 4) is the correction after this closure; None becomes the identity.
    """
    return LoopClosure(
        header=Header(stamp=stamp_from_ns(result.stamp_ns), frame_id=map_frame),
        accepted=result.accepted,
        reason=str(result.reason),
        detail=result.detail,
        reanchored=result.reanchored,
        keyframe_stamp=stamp_from_ns(result.keyframe_ns),
        residual_m=result.residual_m,
        residual_deg=result.residual_deg,
        chi2=result.chi2,
        chi2_limit=result.chi2_limit,
        travelled_m=result.travelled_m,
        map_from_odom=transform_from_matrix(np.eye(4) if map_from_odom is None else map_from_odom),
        correction_m=result.correction_m,
        correction_deg=result.correction_deg,
    )
