"""Input of a build: captures for the field, and for training and calibration."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors

SAME_VIEW_M, SAME_VIEW_DEG = 0.02, 2.0
"""Largest distance [m] and rotation [deg] between cameras that observe the same view."""


@dataclass(frozen=True)
class MappingData:
    """Input of a build: a field capture, and camera images for training and calibration."""

    field_capture: Capture
    """Capture that the field is fitted to: the bag, or renderings of a nerfstudio run in the map
    frame."""
    camera_capture: Capture | None
    """Camera images in the map frame: the same bag, or a bag given with a nerfstudio run; None
    without a bag."""
    camera: Camera
    """Intrinsics, at full size, of the views that later stages render."""
    convention: PoseConvention
    """Pose convention of the bag of the user."""
    validation_fraction: float
    """Fraction of the images in the held-out segment."""
    warnings: list[str] = field(default_factory=list)
    """Warnings for the user."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Residuals of the metric alignment of a nerfstudio run."""

    @property
    def training_capture(self) -> Capture:
        """Capture that later stages train and evaluate on: camera images, else renderings."""
        return self.field_capture if self.camera_capture is None else self.camera_capture

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """(N,) mask of the held-out images of the training capture."""
        return held_out_mask(len(self.training_capture), self.validation_fraction)

    @property
    def mapping_poses(self) -> FloatArray:
        """(M, 4, 4) map_from_camera of the training capture, then of a nerfstudio run."""
        return np.concatenate([self.training_capture.map_from_camera, self._run_poses])

    @property
    def training_poses(self) -> FloatArray:
        """Mapping poses without held-out images, and without poses of a run near one of them."""
        poses, held_out = self.training_capture.map_from_camera, self.held_out
        leaking = is_near_any(self._run_poses, poses[held_out])
        return np.concatenate([poses[~held_out], self._run_poses[~leaking]])

    @property
    def _run_poses(self) -> FloatArray:
        """(K, 4, 4) poses of renderings of a nerfstudio run, unless these are trained on."""
        poses = self.field_capture.map_from_camera
        return poses[:0] if self.training_capture is self.field_capture else poses


def is_near_any(poses: FloatArray, others: FloatArray) -> NDArray[np.bool_]:
    """Return a mask (N,) of the poses (N, 4, 4) that share a view with any of others (M, 4, 4)."""
    near = np.zeros(len(poses), bool)
    for index, pose in enumerate(poses):
        distance_m = np.linalg.norm(others[:, :3, 3] - pose[:3, 3], axis=1)
        close = others[distance_m < SAME_VIEW_M]
        rotation_rad = pose_errors(np.broadcast_to(pose, close.shape), close).rotation
        near[index] = bool((rotation_rad < np.radians(SAME_VIEW_DEG)).any())
    return near
