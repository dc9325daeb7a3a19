"""What a map is made from: what its field is fitted to, and pictures that a camera took."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.capture import Capture
from nerf_reversal_ros.convention import Convention
from nerf_reversal_ros.fields.training_data import held_out_frames
from nerf_reversal_ros.geometry import Array


@dataclass(frozen=True)
class Walk:
    """A walk through a room with a camera, or through somebody else's NeRF."""

    shown: Capture
    """What the field is fitted to: the bag itself, or renders of a run in the frame of the map."""
    real: Capture | None
    """Pictures that a camera took, in the frame of the map: the same bag, or the one that was
    given with a run; None where there are none."""
    camera: Camera
    """Of the views that are rendered for later stages, at full size."""
    convention: Convention
    """What takes poses of the user's own bag to the map."""
    validation_share: float
    """Share of the pictures from which nothing is learned."""
    warnings: list[str] = field(default_factory=list)
    """What the user should know."""
    metrics: dict[str, float] = field(default_factory=dict)
    """How well a run was brought to metres."""

    @property
    def pictures(self) -> Capture:
        """What later stages learn from and are judged by: real pictures, else the renders."""
        return self.shown if self.real is None else self.real

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """Which of the pictures nothing is learned from, (N,) bool."""
        return held_out_frames(len(self.pictures), self.validation_share)

    @property
    def poses(self) -> Array:
        """Where there was a camera, of the pictures and then of a run, (M, 4, 4) in the map."""
        return self._with_renders(self.pictures.map_from_camera)

    @property
    def training_poses(self) -> Array:
        """The same without those of held-out pictures, (M, 4, 4)."""
        return self._with_renders(self.pictures.map_from_camera[~self.held_out])

    def _with_renders(self, map_from_camera: Array) -> Array:
        if self.pictures is self.shown:
            return map_from_camera
        return np.concatenate([map_from_camera, self.shown.map_from_camera])
