"""Result of a pose regressor for one image, and what every kind of regressor makes of it."""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.image_resampling import resample_to_camera, ResampledImage
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.geometry import (
    FloatArray,
    orthonormalize,
    pose_errors,
    rotate_covariance,
)

WHITENING_EXPONENT = 0.15
"""Before codes are compared, each number is divided by its variance to this power."""
ROLL_NOVELTY, ROLL_GAIN = 1.5, 0.85
"""An image of a higher novelty is rolled if that reduces its code distance to less than this."""
DUPLICATE_POSE_M, DUPLICATE_POSE_DEG = 0.15, 8.0
"""Of views closer to each other than both, only the most similar one is retrieved."""
CANDIDATES_PER_POSE = 32
"""Most similar views that are searched for each pose to retrieve: many are duplicates."""
MIN_CONTRAST = 1.0 / 64.0
"""Least standard deviation, for colors in [0, 1]: normalizing a flatter image amplifies noise."""
ERROR_UNITS = (0.1, 0.1, 0.1, 0.1, 0.1, 0.1)
"""Units of the pose errors that the information matrix describes: [m] three times, [rad]."""
MIN_STD = (0.005, 0.005, 0.005, 0.003, 0.003, 0.003)
"""Least standard deviations of a pose, added in quadrature: [m] three times, [rad]."""
SMALL_TURNS_DEG = ((0.0, 0.0, 0.0), (0.0, 4.0, 0.0), (0.0, -4.0, 0.0))
"""Rotation vectors, in camera axes, of copies to average: unturned, right and left."""
ROLLS_DEG = tuple((0.0, 0.0, float(angle)) for angle in range(30, 360, 30))
"""Rotation vectors of copies that undo the roll of a camera that is held askew."""


@dataclass(frozen=True)
class RegressedPose:
    """Pose hypothesis of one image, and its similarity to the indexed views."""

    map_from_camera: FloatArray
    """(4, 4) pose of the optical camera frame in ``map``."""
    covariance: FloatArray
    """(6, 6) of x, y, z [m] and rotations about the fixed map axes x, y, z [rad] (REP 103)."""
    novelty: float
    """Code distance to the nearest indexed view; 1 is the median of the held-out images."""
    distances: NDArray[np.float32]
    """(N,) code distances to all indexed views, for `retrieve_poses`."""
    camera_from_copy: FloatArray
    """(3, 3) rotation of the copy of the image that the distances are of: the identity, or a roll
    of a camera that is held askew."""


class Regressor(Protocol):
    """A pose regressor, of PyTorch or of NumPy."""

    index_poses: FloatArray
    """(N, 4, 4) ``map_from_camera`` of the indexed views."""

    @property
    def device_type(self) -> str:
        """Device of the inference, ``cpu`` or ``cuda``."""

    def moved_to(self, device: str) -> 'Regressor':
        """Return the regressor on a device, ``cpu`` or ``cuda``; this one is used no more."""

    def regress(self, rgb: NDArray[np.uint8], camera: Camera) -> RegressedPose:
        """
        Regress the pose of one image, and compare its code with those of the indexed views.

        Parameters
        ----------
        rgb : (H, W, 3) uint8 array
            The query image.
        camera : Camera
            Pinhole intrinsics of ``rgb``, at its size.

        Raises
        ------
        ImageError
            If the image has another size than the camera, or if the fields of view of ``camera``
            and of the canonical camera do not overlap.
        """

    def search_roll(
        self, rgb: NDArray[np.uint8], camera: Camera, upright: RegressedPose
    ) -> RegressedPose:
        """
        Regress the image rolled, if it is novel and a roll makes it clearly more similar.

        It serves a camera that is held askew, and costs more than `regress`.

        Parameters
        ----------
        rgb, camera : (H, W, 3) uint8 array, Camera
            As for `regress`.
        upright : RegressedPose
            Result of `regress` for the image; it is returned if no roll helps.
        """

    def retrieve(self, regression: RegressedPose, count: int) -> FloatArray:
        """Return poses of similar views, see `retrieve_poses`."""


def resample_query(rgb: NDArray[np.uint8], camera: Camera, canonical: Camera) -> ResampledImage:
    """
    Resample a query image of a camera to the canonical camera.

    Raises
    ------
    ImageError
        If the image has another size than its camera, or if the fields of view do not overlap.
    """
    image = resample_to_camera(rgb, camera, canonical)
    if not image.valid.any():
        raise ImageError(
            f'a camera with fx={camera.fx}, cx={camera.cx}, cy={camera.cy} has no field of'
            " view in common with the map's camera: check camera_info"
        )
    return image


def make_regressed_pose(
    position: FloatArray,
    rotation: FloatArray,
    information_factor: FloatArray,
    distances: NDArray[np.float32],
    camera_from_copy: FloatArray,
    *,
    covariance_scale: float,
    typical_distance: float,
) -> RegressedPose:
    """
    Make the result for an image from what a network gives for its (rolled) copy.

    Parameters
    ----------
    position, rotation : (3,) array, (3, 3) array
        Of ``map_from_copy``.
    information_factor : (6, 6) array
        See `covariance_in_map`.
    distances, camera_from_copy : (N,) array, (3, 3) array
        See `RegressedPose`.
    covariance_scale : float
        See `covariance_in_map`.
    typical_distance : float
        Code distance of novelty 1.
    """
    pose = np.eye(4)
    pose[:3, :3] = rotation @ camera_from_copy.T
    pose[:3, 3] = position
    return RegressedPose(
        orthonormalize(pose),
        covariance_in_map(information_factor, rotation, covariance_scale),
        float(distances.min() / typical_distance),
        distances,
        camera_from_copy,
    )


def retrieve_poses(index_poses: FloatArray, regression: RegressedPose, count: int) -> FloatArray:
    """
    Return poses (K, 4, 4), K <= count, of the indexed views with the nearest codes.

    The most similar view comes first. No two poses are closer than both `DUPLICATE_POSE_M` and
    `DUPLICATE_POSE_DEG`.
    """
    distances = regression.distances
    candidates = min(len(distances), CANDIDATES_PER_POSE * count)
    order = np.argsort(distances, kind='stable')[:candidates]
    chosen = np.empty((0, 4, 4))
    for pose in index_poses[order]:
        if len(chosen) == count:
            break
        errors = pose_errors(chosen, np.broadcast_to(pose, chosen.shape))
        is_duplicate = (errors.translation < DUPLICATE_POSE_M) & (
            errors.rotation < np.radians(DUPLICATE_POSE_DEG)
        )
        if not is_duplicate.any():
            chosen = np.concatenate([chosen, pose[None]])
    chosen[:, :3, :3] = chosen[:, :3, :3] @ regression.camera_from_copy.T
    return chosen


def covariance_in_map(
    information_factor: FloatArray, rotation: FloatArray, scale: float
) -> FloatArray:
    """
    Convert the information factor of a network to a covariance in map axes.

    Parameters
    ----------
    information_factor : (6, 6) array
        Cholesky factor L. L L^T is the information matrix of the error in camera axes:
        translation, then rotation, in `ERROR_UNITS`.
    rotation : (3, 3) array
        Rotation of ``map_from_camera``.
    scale : float
        Factor on the standard deviations, measured on held-out images.

    Returns
    -------
    (6, 6) array
        x, y, z [m], rotations about the fixed map axes x, y, z [rad] (REP 103).
    """
    inverse_factor = np.linalg.inv(information_factor)
    to_units = np.diag(np.asarray(ERROR_UNITS) * scale)
    in_camera = to_units @ (inverse_factor.T @ inverse_factor) @ to_units
    in_camera += np.diag(np.square(MIN_STD))
    covariance = rotate_covariance(in_camera, rotation)
    return 0.5 * (covariance + covariance.T)
