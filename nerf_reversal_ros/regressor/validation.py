"""Scores of regressed and retrieved poses on validation images."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.regressor.image_codec import to_tensors
from nerf_reversal_ros.regressor.pose_network import (
    camera_frame_error,
    NetworkOutput,
    whitened_error,
)
from nerf_reversal_ros.synthesis.view_synthesis import Views

BATCH = 256
LOSS_UNIT_M, LOSS_UNIT_DEG = 0.1, 5.0
"""Errors of equal weight, in the loss and in the comparison of two sets of weights."""


@dataclass
class ValidationScores:
    """Pose errors of a network on the validation images."""

    translation_m: float
    """Median error [m]."""
    rotation_deg: float
    """Median error [deg]."""
    covariance_scale: float
    """Root mean square of the whitened errors, at least 1: factor on the predicted std."""

    @property
    def combined(self) -> float:
        """Return the sum of both errors in units of the loss."""
        return self.translation_m / LOSS_UNIT_M + self.rotation_deg / LOSS_UNIT_DEG

    def to_dict(self) -> dict[str, float]:
        """Return the scores for the report, by the names that files have."""
        return {
            'translation_m': self.translation_m,
            'rotation_deg': self.rotation_deg,
            'covariance_scale': self.covariance_scale,
        }


@torch.no_grad()
def score_poses(
    infer: Callable[[Tensor, Tensor], NetworkOutput], validation: Views, device: torch.device
) -> ValidationScores:
    """Return the errors of inferred poses on the validation images."""
    errors, mean_squares = [], []
    for start in range(0, len(validation), BATCH):
        part = validation.subset(slice(start, start + BATCH))
        outputs = infer(*to_tensors(part.rgb, part.valid, device))
        poses = torch.from_numpy(part.map_from_camera).float().to(device)
        error = camera_frame_error(outputs, poses[:, :3, 3], poses[:, :3, :3])
        errors.append(error)
        mean_squares.append(whitened_error(outputs, error).square().mean(1))
    error = torch.cat(errors)
    return ValidationScores(
        float(error[:, :3].norm(dim=1).median()),
        float(error[:, 3:].norm(dim=1).median() * 180 / torch.pi),
        max(1.0, float(torch.cat(mean_squares).mean().sqrt())),
    )


def constant_pose_scores(
    map_from_camera: FloatArray, map_from_camera_gt: FloatArray
) -> ValidationScores:
    """Return the errors of one pose (4, 4), estimated for all ground-truth poses (N, 4, 4)."""
    errors = pose_errors(
        np.broadcast_to(map_from_camera, map_from_camera_gt.shape), map_from_camera_gt
    )
    return ValidationScores(
        float(np.median(errors.translation)), float(np.degrees(np.median(errors.rotation))), 1.0
    )
