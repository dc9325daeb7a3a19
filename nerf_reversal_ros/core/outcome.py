"""What the localizer answers: a pose with its covariance, or the reason why not."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CORRECT_WITHIN_M, CORRECT_WITHIN_DEG = 0.1, 5.0
"""A pose is right when it is nearer to the truth than this [m], [deg]."""
REASONS = (
    'too dark or flat',
    'unlike the map',
    'too few matches',
    'too few inliers',
    'matches in one corner',
    'rounds disagree',
    'too uncertain',
    'outside the map',
    'render disagrees',
    'too improbable',
    'odometry disagrees',
)
"""
The localizer's reasons, in the order in which they are checked. An evaluation adds ``unusable
picture``, and a node has some of its own (LocalizerStatus.msg).
"""


@dataclass(frozen=True)
class Diagnostics:
    """How an outcome came about, accepted or not."""

    regressed_pose: NDArray[np.float64] | None = None
    """(4, 4) map_from_camera of the regressor alone, where that stage was reached."""
    refined_pose: NDArray[np.float64] | None = None
    """(4, 4) map_from_camera after refinement, before the gate judged it."""
    scores: dict[str, float] = field(default_factory=dict)
    """What the gate looked at: inliers, inlier_ratio, spread, similarity, novelty, ..."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds by stage (regress, keypoints, refine) and ``total``."""
    regressed_covariance: NDArray[np.float64] | None = None
    """(6, 6) of ``regressed``, as the regressor has it; axes as in `PoseEstimate.covariance`."""
    refined_covariance: NDArray[np.float64] | None = None
    """(6, 6) of ``refined``, the same."""


@dataclass(frozen=True)
class PoseEstimate:
    """The camera was localized."""

    map_from_camera: NDArray[np.float64]
    """(4, 4) pose of the optical camera frame in ``map``."""
    covariance: NDArray[np.float64]
    """(6, 6) of x, y, z [m] and rotations about the fixed map axes x, y, z [rad] (REP 103)."""
    diagnostics: Diagnostics = field(default_factory=Diagnostics)


@dataclass(frozen=True)
class Rejection:
    """The picture does not tell, surely enough, where the camera is."""

    reason: str
    """One of `REASONS`: few and fixed, so that rejections can be counted."""
    detail: str = ''
    """The figures behind the reason, in words."""
    diagnostics: Diagnostics = field(default_factory=Diagnostics)


Outcome = PoseEstimate | Rejection
