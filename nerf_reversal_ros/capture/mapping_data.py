"""Input of a build: the capture that the field is fitted to, and the camera images."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture, DepthCorrection
from nerf_reversal_ros.capture.frame_selection import select_farthest_poses
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors

COVERAGE_SPACING, COVERAGE_SPACING_DEG = 0.003, 0.4
"""Least spacing of training frames that are chosen by coverage, as a fraction of the depth of the
scene, and [deg]."""
SAME_VIEW_M, SAME_VIEW_DEG = 0.02, 2.0
"""Two cameras within both limits see the same image: one of them leaks the other."""


@dataclass(frozen=True)
class SplitCapture:
    """A capture with the frames that are excluded from training."""

    capture: Capture
    held_out: NDArray[np.bool_]
    """(N,) held-out frames, computed once for a build."""

    @classmethod
    def split(cls, capture: Capture, validation_fraction: float) -> 'SplitCapture':
        """Hold out one contiguous segment of a capture; see `held_out_mask`."""
        return cls(capture, held_out_mask(len(capture), validation_fraction))

    @property
    def training_frames(self) -> NDArray[np.int64]:
        """Indices of the frames for training, ascending."""
        return np.flatnonzero(~self.held_out)

    @property
    def held_out_frames(self) -> NDArray[np.int64]:
        """Indices of the held-out frames, ascending."""
        return np.flatnonzero(self.held_out)

    def of_most_coverage(self, max_frames: int, depth_m: float) -> 'SplitCapture':
        """
        Return the held-out frames, and at most ``max_frames`` others whose views are most spread.

        ``depth_m`` is the depth of the scene, which positions are compared with.
        """
        frames = self.training_frames
        if len(frames) <= max_frames:
            return self
        poses = self.capture.map_from_camera[frames]
        spread = select_farthest_poses(
            poses, max_frames, COVERAGE_SPACING * depth_m, COVERAGE_SPACING_DEG
        )
        kept = np.sort(np.concatenate([self.held_out_frames, frames[spread]]))
        capture = self.capture.with_poses(kept, self.capture.map_from_camera[kept])
        return SplitCapture(capture, self.held_out[kept])

    def with_depth_correction(self, correction: DepthCorrection) -> 'SplitCapture':
        """Return the same frames with another correction of their depth."""
        return replace(self, capture=self.capture.with_depth_correction(correction))


@dataclass(frozen=True)
class MappingData:
    """
    Input of a build, all of it in the map frame.

    The field is fitted to `field_capture`. Later stages are trained on, and calibrated with,
    `training_capture`: camera images where there are some.
    """

    field_capture: SplitCapture
    """Frames that the field is fitted to: the bag, or renderings of a nerfstudio run."""
    camera_capture: SplitCapture | None
    """Camera images: the same bag, or the bag that was given with a run; None without a bag."""
    camera: Camera
    """Camera of the views that later stages render, at full size."""
    convention: PoseConvention
    """Pose convention and gravity alignment from the user's bag to the map."""
    warnings: list[str] = field(default_factory=list)
    """Sentences for the user."""
    metrics: dict[str, float] = field(default_factory=dict)
    """Quality of the alignment of a run to the map; empty without a run."""
    pose_adjustment: dict[str, Any] = field(default_factory=dict)
    """Report of the adjustment of the poses to the images; empty with a run."""

    @property
    def pose_noise(self) -> tuple[float, float]:
        """Noise [m], [deg] of the given poses, each axis, where they were adjusted; else 0."""
        report = self.pose_adjustment
        return (report['noise_m'], report['noise_deg']) if report.get('kept') else (0.0, 0.0)

    @property
    def training_capture(self) -> SplitCapture:
        """Camera images if there are any, else the renderings of the run."""
        return self.field_capture if self.camera_capture is None else self.camera_capture

    @property
    def held_out(self) -> NDArray[np.bool_]:
        """(N,) held-out frames of `training_capture`."""
        return self.training_capture.held_out

    @property
    def mapping_poses(self) -> FloatArray:
        """(M, 4, 4) map_from_camera of the training capture, then of separate renderings."""
        return np.concatenate([self.training_capture.capture.map_from_camera, self._run_poses])

    @property
    def mapping_stamps_ns(self) -> NDArray[np.int64]:
        """(K,) stamps of the camera images, which the first K mapping poses are of [ns]."""
        if self.camera_capture is None:
            return np.empty(0, np.int64)
        return self.camera_capture.capture.stamps_ns

    @property
    def training_poses(self) -> FloatArray:
        """(K, 4, 4) mapping poses without held-out frames and without renderings near to one."""
        poses, held_out = self.training_capture.capture.map_from_camera, self.held_out
        leaks = is_near_any(self._run_poses, poses[held_out])
        return np.concatenate([poses[~held_out], self._run_poses[~leaks]])

    @property
    def _run_poses(self) -> FloatArray:
        """Poses of the renderings of a run that also has camera images, else none."""
        poses = self.field_capture.capture.map_from_camera
        return poses[:0] if self.training_capture is self.field_capture else poses


def is_near_any(poses: FloatArray, others: FloatArray) -> NDArray[np.bool_]:
    """Return which poses (N, 4, 4) see the same view as any other (M, 4, 4), as (N,) bool."""
    near = np.zeros(len(poses), bool)
    for index, pose in enumerate(poses):
        distance_m = np.linalg.norm(others[:, :3, 3] - pose[:3, 3], axis=1)
        close = others[distance_m < SAME_VIEW_M]
        rotation = pose_errors(np.broadcast_to(pose, close.shape), close).rotation
        near[index] = bool((rotation < np.radians(SAME_VIEW_DEG)).any())
    return near
