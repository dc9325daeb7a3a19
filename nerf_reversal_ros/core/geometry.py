"""
Rigid-body poses: composition, inversion, errors and covariances.

A pose is a (4, 4) float64 matrix named ``target_from_source``: it takes homogeneous points of
the source frame to the target frame, so that adjacent names cancel in products
(``map_from_world @ world_from_camera``). Camera frames are optical (REP 103: x right, y down,
z forward); the map frame is z up (REP 105). Lengths are in meters; angles are in radians unless a
name ends in ``_deg``.
"""

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

FloatArray = NDArray[np.float64]

OPTICAL_FROM_OPENGL: FloatArray = np.diag([1.0, -1.0, -1.0, 1.0])
"""Rotation from OpenGL/ARKit camera axes (x right, y up, z backward) to optical axes, its own
inverse."""

Z_UP_FROM_Y_UP: FloatArray = np.array(
    [[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
)
"""Rotation of 90 degrees about x from a y-up world (ARKit) to a z-up world."""

ELLIPSOID_SIGMAS = 3.0
"""Half axes of an ellipsoid that is drawn, in standard deviations."""


class PoseErrors(NamedTuple):
    """Errors of N estimated poses."""

    translation: FloatArray
    """(N,) distance between the camera centers, meters."""

    rotation: FloatArray
    """(N,) angle between the orientations, radians in [0, pi]."""


def make_pose(
    rotation: Rotation | None = None,
    translation: tuple[float, float, float] | FloatArray = (0, 0, 0),
) -> FloatArray:
    """Assemble a (4, 4) pose from a rotation (default: identity) and a translation in meters."""
    matrix = np.eye(4)
    if rotation is not None:
        matrix[:3, :3] = rotation.as_matrix()
    matrix[:3, 3] = translation
    return matrix


def pose_from_quaternion(translation: FloatArray, quaternion_xyzw: FloatArray) -> FloatArray:
    """
    Assemble (..., 4, 4) poses from translations (..., 3) [m] and quaternions (..., 4).

    The quaternions need not have unit length. A zero quaternion raises ValueError (scipy).
    """
    translation = np.asarray(translation, dtype=np.float64)
    quaternion_xyzw = np.asarray(quaternion_xyzw, dtype=np.float64)
    out = np.broadcast_to(np.eye(4), (*translation.shape[:-1], 4, 4)).copy()
    rotation = Rotation.from_quat(quaternion_xyzw.reshape(-1, 4)).as_matrix()
    out[..., :3, :3] = rotation.reshape(*translation.shape[:-1], 3, 3)
    out[..., :3, 3] = translation
    return out


def quaternion_xyzw(matrix: FloatArray) -> FloatArray:
    """Return the unit quaternion (4,), w >= 0, of the rotation of a (4, 4) pose."""
    return Rotation.from_matrix(matrix[:3, :3]).as_quat(canonical=True)


def inverse(matrix: FloatArray) -> FloatArray:
    """Invert rigid poses (..., 4, 4): ``inverse(a_from_b)`` is ``b_from_a``."""
    out = np.zeros_like(matrix)
    rotation = np.swapaxes(matrix[..., :3, :3], -1, -2)
    out[..., :3, :3] = rotation
    out[..., :3, 3] = -(rotation @ matrix[..., :3, 3, None])[..., 0]
    out[..., 3, 3] = 1.0
    return out


def scale_motion(motion: FloatArray, fraction: float) -> FloatArray:
    """Return a fraction of a motion (4, 4), ``first_from_second``: above 1, it is continued."""
    rotvec = fraction * Rotation.from_matrix(motion[:3, :3]).as_rotvec()
    return make_pose(Rotation.from_rotvec(rotvec), fraction * motion[:3, 3])


def shift_covariance(covariance: FloatArray, lever_arm: FloatArray) -> FloatArray:
    """
    Propagate a pose covariance (6, 6) to another point of the same body.

    ``lever_arm`` (3,) [m] is the offset of the other point. Both covariances are of a position and
    of small rotations about the fixed axes of the frame of position and lever arm (REP 103).
    A rotation error moves the other point by ``rotation x lever_arm``. With
    J = [[I, -skew(lever_arm)], [0, I]] the result is J C J^T.
    """
    x, y, z = lever_arm
    jacobian = np.eye(6)
    jacobian[:3, 3:] = [[0.0, z, -y], [-z, 0.0, x], [y, -x, 0.0]]
    return jacobian @ covariance @ jacobian.T


def rotate_covariance(covariance: FloatArray, target_from_source: FloatArray) -> FloatArray:
    """
    Rotate a pose covariance (6, 6) to the axes of another frame.

    The covariance is of a position and of small rotations about the fixed axes of the source
    frame (REP 103). ``target_from_source`` is a rotation (3, 3), or a pose (4, 4).
    """
    rotation = np.kron(np.eye(2), target_from_source[:3, :3])
    return rotation @ covariance @ rotation.T


def transform_points(target_from_source: FloatArray, points: FloatArray) -> FloatArray:
    """Transform points (..., 3) from the source frame to the target frame by a (4, 4) pose."""
    return points @ target_from_source[:3, :3].T + target_from_source[:3, 3]


def transform_coordinates(
    rotation: NDArray[np.float32], translation: NDArray[np.float32], points: NDArray[np.float32]
) -> NDArray[np.float32]:
    """
    Return the coordinates (3, N) of rotated (3, 3) and translated (3,) points (N, 3).

    Tens of thousands of points take a fraction of a millisecond, on one core: OpenCV computes
    them in float32, and each coordinate is contiguous in the result.
    """
    if not len(points):
        return np.empty((3, 0), np.float32)
    moved = cv2.transform(points[None], np.column_stack([rotation, translation]))[0]
    return np.ascontiguousarray(moved.T, dtype=np.float32)


def nearest_rotations(matrices: FloatArray) -> FloatArray:
    """
    Return the rotations (..., 3, 3) of least squared difference to matrices.

    References
    ----------
    Special orthogonal Procrustes by SVD, see Levinson et al., "An Analysis of SVD for Deep
    Rotation Estimation", NeurIPS 2020.
    """
    u, _, vt = np.linalg.svd(matrices)
    u[..., :, 2] *= np.sign(np.linalg.det(u @ vt))[..., None]  # -1 for a reflection
    rotations: FloatArray = u @ vt
    return rotations


def orthonormalize(matrix: FloatArray) -> FloatArray:
    """Replace the rotation of poses (..., 4, 4) by the nearest rotation (Frobenius norm)."""
    out = np.array(matrix, dtype=np.float64)
    out[..., :3, :3] = nearest_rotations(out[..., :3, :3])
    return out


def mean_pose(poses: FloatArray) -> FloatArray:
    """Average poses (N, 4, 4): mean position, and chordal mean of the rotations."""
    return orthonormalize(poses.mean(axis=0))


def pose_errors(map_from_camera: FloatArray, map_from_camera_gt: FloatArray) -> PoseErrors:
    """
    Compute the errors of estimated camera poses against ground truth, image by image.

    The translation error is the distance between the two camera centers. The
    rotation error is the angle between the two orientations. Both poses are in
    the same map frame; no alignment is applied.

    Parameters
    ----------
    map_from_camera : (N, 4, 4) array
        Estimated poses. ``map_from_camera @ [x, y, z, 1]`` transforms a point from
        the optical frame of the camera (z forward, x right, y down) to ``map``.
    map_from_camera_gt : (N, 4, 4) array
        Ground-truth poses, same frames, same order.

    Returns
    -------
    PoseErrors
        Translation errors in meters, rotation errors in radians in [0, pi].

    Raises
    ------
    ValueError
        If the two arrays are not both (N, 4, 4) with the same N.

    References
    ----------
    Frames: REP 103 (``_optical`` suffix), REP 105 (``map``).
    Metric: Shotton et al., Scene Coordinate Regression Forests, CVPR 2013.
    """
    if map_from_camera.shape != map_from_camera_gt.shape or map_from_camera.shape[1:] != (4, 4):
        raise ValueError(
            f'need two arrays (N, 4, 4), got {map_from_camera.shape} and'
            f' {map_from_camera_gt.shape}'
        )
    if len(map_from_camera) == 0:
        return PoseErrors(np.empty(0), np.empty(0))
    difference = inverse(map_from_camera_gt) @ map_from_camera
    rotation = difference[:, :3, :3]
    # sin(angle) is in the antisymmetric part, cos(angle) in the trace: precise at every angle.
    antisymmetric = rotation - np.swapaxes(rotation, 1, 2)
    twice_sine = np.sqrt(np.square(antisymmetric).sum((1, 2)) / 2)
    angle = np.arctan2(twice_sine, np.trace(rotation, axis1=1, axis2=2) - 1)
    return PoseErrors(np.linalg.norm(difference[:, :3, 3], axis=1), angle)


def pose_distance(a: FloatArray, b: FloatArray) -> tuple[float, float]:
    """Return the distance [m] and the angle [deg] between two poses (4, 4)."""
    errors = pose_errors(a[None], b[None])
    return float(errors.translation[0]), float(np.degrees(errors.rotation[0]))


def look_at(
    eye: FloatArray, target: FloatArray, up: tuple[float, float, float] = (0, 0, 1)
) -> FloatArray:
    """Return map_from_camera (4, 4) of an optical camera at ``eye`` aimed at ``target``."""
    forward = np.asarray(target, dtype=np.float64) - eye
    forward /= np.linalg.norm(forward)
    right = np.cross(forward, up)
    right /= np.linalg.norm(right)
    out = np.eye(4)
    out[:3, :3] = np.stack([right, np.cross(forward, right), forward], axis=1)
    out[:3, 3] = eye
    return out


def error_ellipsoid(covariance: FloatArray) -> tuple[FloatArray, FloatArray]:
    """
    Return the ellipsoids of `ELLIPSOID_SIGMAS` standard deviations of positions.

    Parameters
    ----------
    covariance : (..., 3, 3) array
        Of the positions [m^2], positive semidefinite.

    Returns
    -------
    (..., 3) array, (..., 3, 3) array
        Lengths of the half axes [m], and their directions in the columns, which are a rotation.
    """
    variances, axes = np.linalg.eigh(covariance)
    axes[..., 0] *= np.linalg.det(axes)[..., None]
    return ELLIPSOID_SIGMAS * np.sqrt(np.maximum(variances, 0.0)), axes
