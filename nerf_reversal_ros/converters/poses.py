"""Check the poses of a recording."""

from typing import Any

import numpy as np

from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.core.geometry import FloatArray, orthonormalize

MIN_QUATERNION_NORM = 0.5
"""A shorter quaternion stands for an unknown pose; others are normalized."""
MAX_SHEAR = 1.05
"""Largest ratio of the singular values of a rotation; a common scale is removed."""


def is_pose(translation: FloatArray, quaternion_xyzw: FloatArray) -> bool:
    """Return whether all numbers are finite, and the quaternion is one of a rotation."""
    is_finite = np.all(np.isfinite(translation)) and np.all(np.isfinite(quaternion_xyzw))
    return bool(is_finite and np.linalg.norm(quaternion_xyzw) >= MIN_QUATERNION_NORM)


def rigid_pose(rows: Any, name: str) -> FloatArray:
    """
    Return a pose (4, 4) with an exact rotation.

    Parameters
    ----------
    rows : array_like
        (3, 4) or (4, 4).
    name : str
        Name of the pose, for messages.

    Raises
    ------
    UnusableFrameError
        If it is not finite or not rigid.
    """
    try:
        matrix = np.array(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise _invalid(f'{name} holds no numbers ({error})') from error
    if matrix.shape not in ((3, 4), (4, 4)) or not np.isfinite(matrix).all():
        raise _invalid(f'{name} of shape {matrix.shape} is no finite 4x4 matrix')
    if matrix.shape == (4, 4) and not np.allclose(matrix[3], (0, 0, 0, 1), atol=1e-6):
        raise _invalid(f'{name} ends in the row {matrix[3].tolist()}, not 0, 0, 0, 1')
    pose = np.eye(4)
    pose[:3] = matrix[:3]
    with np.errstate(over='ignore', invalid='ignore'):
        determinant = np.linalg.det(pose[:3, :3])
        if not (np.isfinite(determinant) and determinant > 0):
            raise _invalid(f'{name} mirrors or is singular')
        sizes = np.linalg.svd(pose[:3, :3], compute_uv=False)
    if sizes[0] > MAX_SHEAR * sizes[-1]:
        raise _invalid(f'{name} is not rigid, it stretches by {sizes[0] / sizes[-1]:.3g}')
    return orthonormalize(pose)


def _invalid(message: str) -> UnusableFrameError:
    return UnusableFrameError(LeftOutReason.BAD_POSE, f'{message}: export it again with poses')
