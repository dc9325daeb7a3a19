"""Poses and covariances, from the camera to the robot's base and into messages."""

from geometry_msgs.msg import Pose, PoseStamped, PoseWithCovarianceStamped, Transform
from nav_msgs.msg import Path
import numpy as np
from numpy.typing import NDArray
from rclpy.time import Time
from std_msgs.msg import Header

from nerf_reversal_ros.core.config import parse_floats
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import (
    inverse,
    pose_from_quaternion,
    quaternion_xyzw,
    shift_covariance,
)

FloatArray = NDArray[np.float64]


def parse_extrinsics(text: str) -> FloatArray:
    """
    Return base_from_camera (4, 4) from ``x y z qx qy qz qw``.

    x, y, z [m] is where the optical centre of the camera is in the base frame; the quaternion
    turns the camera's optical frame (z forward, x right, y down) into the base frame. It is what
    ``tf2_echo base_link camera_optical_frame`` prints.

    Raises
    ------
    ConfigError
        When there are not seven finite numbers or the quaternion is not of length one.
    """
    numbers = parse_floats(text, 7)
    if numbers is None:
        raise ConfigError(
            f'mounting must be seven numbers "x y z qx qy qz qw", got {text!r}: the pose of the'
            ' camera optical frame in the base frame'
        )
    if abs(np.linalg.norm(numbers[3:]) - 1.0) > 0.01:
        raise ConfigError(
            f'the quaternion of mounting must have length 1, got {np.linalg.norm(numbers[3:]):.3f}'
            f' in {text!r}: the order is x y z qx qy qz qw'
        )
    return pose_from_quaternion(np.array(numbers[:3]), np.array(numbers[3:]))


def camera_to_base_pose(
    map_from_camera: FloatArray, covariance: FloatArray, base_from_camera: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """
    Return map_from_base (4, 4) and its covariance (6, 6), from those of the camera.

    Both covariances are of the position of the frame's origin in map [m] and of small rotations
    about the fixed axes of map [rad], in the order of REP 103. A rotation error of the camera
    moves the base by the lever between them (`shift_covariance`). The mounting is exact.
    """
    map_from_base = map_from_camera @ inverse(base_from_camera)
    arm = map_from_base[:3, 3] - map_from_camera[:3, 3]
    return map_from_base, shift_covariance(covariance, arm)


def pose_message(map_from_frame: FloatArray) -> Pose:
    """Return a (4, 4) pose as a message."""
    message = Pose()
    message.position.x, message.position.y, message.position.z = map(float, map_from_frame[:3, 3])
    q = message.orientation
    q.x, q.y, q.z, q.w = map(float, quaternion_xyzw(map_from_frame))
    return message


def pose_messages(
    header: Header, map_from_frame: FloatArray, covariance: FloatArray
) -> tuple[PoseStamped, PoseWithCovarianceStamped]:
    """Return a pose without and with its covariance (6, 6), REP 103 order, as messages."""
    with_covariance = PoseWithCovarianceStamped(header=header)
    with_covariance.pose.pose = pose_message(map_from_frame)
    with_covariance.pose.covariance = np.asarray(covariance, dtype=np.float64).ravel()
    return PoseStamped(header=header, pose=with_covariance.pose.pose), with_covariance


def matrix_from_pose(pose: Pose) -> FloatArray:
    """Return the (4, 4) pose of a message, NaN where its quaternion is not one."""
    p, q = pose.position, pose.orientation
    quaternion = np.array([q.x, q.y, q.z, q.w])
    if not 0.5 < np.linalg.norm(quaternion) < 2.0:
        return np.full((4, 4), np.nan)
    return pose_from_quaternion(np.array([p.x, p.y, p.z]), quaternion)


def path_message(frame: str, poses: list[tuple[int, FloatArray]]) -> Path:
    """Return stamps [ns] and poses frame_from_base (4, 4), of any number, as a message."""
    message = Path(header=Header(frame_id=frame))
    for stamp_ns, matrix in poses:
        message.header.stamp = Time(nanoseconds=stamp_ns).to_msg()
        header = Header(stamp=message.header.stamp, frame_id=frame)
        message.poses.append(PoseStamped(header=header, pose=pose_message(matrix)))
    return message


def matrix_from_transform(transform: Transform) -> FloatArray:
    """Return the (4, 4) pose target_from_source of a TF transform."""
    t, q = transform.translation, transform.rotation
    return pose_from_quaternion(np.array([t.x, t.y, t.z]), np.array([q.x, q.y, q.z, q.w]))


def transform_from_matrix(target_from_source: FloatArray) -> Transform:
    """Return a (4, 4) pose as a TF transform."""
    message, pose = Transform(), pose_message(target_from_source)
    p = pose.position
    message.translation.x, message.translation.y, message.translation.z = p.x, p.y, p.z
    message.rotation = pose.orientation
    return message
