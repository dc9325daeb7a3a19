"""Copies of images as turned cameras with the same center see them."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn, Tensor

from nerf_reversal_ros.capture.image_resampling import MIN_VALID
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.regressor.copy_geometry import copy_geometry
from nerf_reversal_ros.regressor.pose_network import nearest_rotation


class TurnedCopies:
    """
    Makes C copies of images of one camera by rotations (C, 3), given as vectors in degrees.

    The errors of a network for slightly turned copies differ, so
    that the mean of the poses is more accurate than each.
    """

    def __init__(
        self,
        camera: Camera,
        rotations_deg: Sequence[tuple[float, float, float]],
        device: str | torch.device,
    ) -> None:
        turns, pixels, within = copy_geometry(camera, rotations_deg)
        last = np.array([camera.width - 1, camera.height - 1])
        self.camera_from_copy = torch.from_numpy(turns).float().to(device)
        """(C, 3, 3) rotations."""
        self._grid = torch.from_numpy(2.0 * pixels / last - 1.0).float().to(device)
        self._within = torch.from_numpy(within).float().to(device)

    def __len__(self) -> int:
        """Return the number of copies of an image, itself included."""
        return len(self._grid)

    def make(self, rgb: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Return copies (N * C, 3, h, w) and their masks of images with masks (N, 1, h, w)."""
        both = torch.cat([rgb, valid], 1).repeat_interleave(len(self), 0)
        copies = nn.functional.grid_sample(
            both,
            self._grid.repeat(len(rgb), 1, 1, 1),
            padding_mode='border',
            align_corners=True,
        )
        within = self._within.repeat(len(rgb), 1, 1)[:, None]
        return copies[:, :3], (copies[:, 3:] > MIN_VALID) * within

    def mean_pose(self, position: Tensor, rotation: Tensor) -> tuple[Tensor, Tensor]:
        """Average positions (N * C, 3) and rotations (N * C, 3, 3) to those of the N images."""
        turned = rotation.unflatten(0, (-1, len(self))) @ self.camera_from_copy.mT
        return position.unflatten(0, (-1, len(self))).mean(1), nearest_rotation(turned.sum(1))
