"""Simulate what tracks a camera: visual-inertial odometry of a phone, or a tracker beside it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.geometry import inverse, make_pose

Array = NDArray[np.float64]

MEMORY = 0.975
"""Part of the slow error that one frame hands to the next: it lasts for some forty frames."""


@dataclass(frozen=True)
class Tracker:
    """Errors of the poses of one recording; the default is the odometry of a phone."""

    slow_m: float = 0.003
    """Standard deviation of the position by a bounded random walk, along each axis."""
    slow_deg: float = 0.08
    """The same of the rotation, about each axis."""
    white_m: float = 0.0003
    """Standard deviation of the position by noise that each frame has of its own, each axis."""
    white_deg: float = 0.01
    """The same of the rotation, about each axis."""
    drift_fraction: float = 0.0
    """Standard deviation of each relative pose: a fraction of its length. The errors add up."""

    def track(self, room_from_camera: Array, rng: np.random.Generator) -> Array:
        """Return poses (N, 4, 4) as the tracker gives them; true ones are given."""
        count = len(room_from_camera)
        slow = np.zeros((count, 6))
        for i in range(1, count):
            step = rng.standard_normal(6)
            slow[i] = MEMORY * slow[i - 1] + step * np.sqrt(1 - MEMORY**2)
        white = rng.standard_normal((count, 6))
        shift = self.slow_m * slow[:, :3] + self.white_m * white[:, :3]
        rotation = np.radians(self.slow_deg * slow[:, 3:] + self.white_deg * white[:, 3:])
        out = room_from_camera.copy()
        if self.drift_fraction:
            out = _drift(out, self.drift_fraction, rng)
        out[:, :3, 3] += shift
        out[:, :3, :3] = Rotation.from_rotvec(rotation).as_matrix() @ out[:, :3, :3]
        return out


DRIFT_OF_ROTATION = 0.25
"""Drift of rotation over drift of position, each as a fraction of what was covered."""


def _drift(room_from_camera: Array, fraction: float, rng: np.random.Generator) -> Array:
    """Add an error to each relative pose, and chain them from the first pose."""
    relative = inverse(room_from_camera[:-1]) @ room_from_camera[1:]
    length_m = np.linalg.norm(relative[:, :3, 3], axis=1)
    angle = Rotation.from_matrix(relative[:, :3, :3]).magnitude()
    errors = rng.standard_normal((len(relative), 6))
    out = [room_from_camera[0]]
    for step, shift, turn in zip(
        relative,
        fraction * length_m[:, None] * errors[:, :3],
        DRIFT_OF_ROTATION * fraction * angle[:, None] * errors[:, 3:],
        strict=True,
    ):
        out.append(out[-1] @ step @ make_pose(Rotation.from_rotvec(turn), shift))
    return np.stack(out)
