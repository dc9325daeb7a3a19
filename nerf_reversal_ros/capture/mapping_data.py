"""What a map is made from: what its field is fitted to, and pictures that a camera took."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors

SAME_VIEW_M, SAME_VIEW_DEG = 0.02, 2.0
"""A camera that is so near to another sees the same."""


@dataclass(frozen=True)
class MappingData:
    """A walk through a room with a camera, or through somebody else's NeRF."""

    field_capture: Capture
    """What the field is fitted to: the bag itself, or renders of a run in the frame of the map."""
    camera_capture: Capture | None
    """Pictures that a camera took, in the frame of the map: the same bag, or the one that was
    given with a run; None where there are none."""
    camera: Camera
    """Of the views that are rendered for later stages, at full size."""
    convention: PoseConvention
    """What takes poses of the user's own bag to the map."""
    validation_fraction: float
    """Share of the pictures from which nothing is learned."""
    warnings: list[str] = field(default_factory=list)
    """What the user should know."""
    metrics: dict[str, float] = field(default_factory=dict)
    """How well a run was brought to metres."""

    @property
    def training_capture(self) -> Capture:
        """What later stages learn from and are judged by: real pictures, else the renders."""
        return self.field_capture if self.camera_capture is None else self.camera_capture

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which of the pictures nothing is learned from, (N,) bool."""
        return held_out_mask(len(self.training_capture), self.validation_fraction)

    @property
    def mapping_poses(self) -> FloatArray:
        """Where there was a camera, of the pictures and then of a run, (M, 4, 4) in the map."""
        return np.concatenate([self.training_capture.map_from_camera, self._run_poses])

    @property
    def training_poses(self) -> FloatArray:
        """The same without held-out pictures, and without those of a run that are near to one."""
        taken, held_out = self.training_capture.map_from_camera, self.held_out
        seen = is_near_any(self._run_poses, taken[held_out])
        return np.concatenate([taken[~held_out], self._run_poses[~seen]])

    @property
    def _run_poses(self) -> FloatArray:
        """Where renders were made, if they are not the pictures themselves."""
        shown = self.field_capture.map_from_camera
        return shown[:0] if self.training_capture is self.field_capture else shown


def is_near_any(poses: FloatArray, others: FloatArray) -> NDArray[np.bool_]:
    """Tell which of the poses (N, 4, 4) are near to one of the others (M, 4, 4), (N,) bool."""
    near = np.zeros(len(poses), bool)
    for index, at in enumerate(poses):
        apart_m = np.linalg.norm(others[:, :3, 3] - at[:3, 3], axis=1)
        close = others[apart_m < SAME_VIEW_M]
        turned = pose_errors(np.broadcast_to(at, close.shape), close).rotation
        near[index] = bool((turned < np.radians(SAME_VIEW_DEG)).any())
    return near
