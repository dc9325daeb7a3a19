"""Result of localizing one image: a pose with covariance, or a rejection with its reason."""

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

CORRECT_WITHIN_M, CORRECT_WITHIN_DEG = 0.1, 5.0
"""Largest errors of a correct pose against ground truth [m], [deg]."""


class _Reason(str, Enum):
    """A reason as text of messages and files, with its cause and a remedy for the user."""

    cause: str
    """Condition of the reason, as one sentence."""
    remedy: str
    """Action for the user, as one sentence."""

    def __new__(cls, text: str, cause: str, remedy: str) -> '_Reason':
        """Create a member that compares equal to its text."""
        member = str.__new__(cls, text)
        member._value_ = text
        member.cause, member.remedy = cause, remedy
        return member

    def __str__(self) -> str:
        """Return the text."""
        return str.__str__(self)

    def __format__(self, format_spec: str) -> str:
        """Format the text; without this, Python 3.11 and 3.12 differ."""
        return str.__format__(self, format_spec)


class RejectionReason(_Reason):
    """
    Why an image is not localized.

    The order is that of the checks: localizer, odometry check, node, evaluation.
    LocalizerStatus.msg has the same texts, except those of an evaluation.
    """

    LOW_CONTRAST = (
        'low contrast',
        'The image is dark, overexposed or blank.',
        'Add light, clean the lens, or turn the camera toward textured surfaces.',
    )
    NOVEL_IMAGE = (
        'novel image',
        'The image code is farther than `max_novelty` from every view that the regressor knows.',
        'Check that the map is of this room, and map the part of the room that is missing.',
    )
    TOO_FEW_MATCHES = (
        'too few matches',
        'No pose hypothesis explains the matches of keypoints with landmarks.',
        'Hold the camera still, move it away from close or bare surfaces, or map this view.',
    )
    TOO_FEW_INLIERS = (
        'too few inliers',
        'Fewer than `min_inliers` landmarks, or `min_inlier_ratio` of the matches, fit the pose.',
        'Check camera_info, or move to where the mapping capture saw more texture.',
    )
    CLUSTERED_INLIERS = (
        'clustered inliers',
        'The inliers cover less of the image than `min_spread`.',
        'Turn the camera so that mapped surfaces fill the image.',
    )
    UNSTABLE_REFINEMENT = (
        'unstable refinement',
        'Guided matching moved the pose by more than `max_disagreement_m` or `_deg`.',
        'Check camera_info and its distortion, and hold the camera still.',
    )
    IMPLAUSIBLE_CAMERA = (
        'implausible camera model',
        'The matches fit other intrinsics than camera_info, by more than `max_camera_deviation`.',
        'Calibrate the camera, and check that camera_info belongs to images of this size.',
    )
    HIGH_COVARIANCE = (
        'high covariance',
        'A standard deviation of the position exceeds `max_std_m`.',
        'Raise `max_std_m` if a filter behind it uses the covariance, or move closer.',
    )
    OUTSIDE_THE_MAP = (
        'outside the map',
        'The pose is farther than `max_distance_m` from every mapping position.',
        'Extend the mapping capture to this place, or raise `max_distance_m`.',
    )
    APPEARANCE_MISMATCH = (
        'appearance mismatch',
        'The surface drawn at the pose correlates with the image by less than `min_similarity`.',
        'Map the room again if furniture or light changed.',
    )
    LOW_PROBABILITY = (
        'low probability',
        'The gate finds the pose correct with less than `min_probability`.',
        'Map this view, or set `use_odometry`: earlier poses may confirm this one.',
    )
    AMBIGUOUS_VIEW = (
        'ambiguous view',
        'Two different poses, or rooms, explain the image equally well: its texture repeats.',
        'Turn the camera toward something that the room has only once.',
    )
    ROOM_NOT_LOADED = (
        'room not loaded',
        'The room of a building that the image may show is not in memory yet.',
        'Wait until it is loaded, or raise `memory_limit_mb` to keep more rooms.',
    )
    ODOMETRY_DISAGREES = (
        'odometry disagrees',
        'The pose contradicts the odometry since recent accepted poses.',
        'Check `odometry_drift` and `base_frame`, or wait for `odometry_witnesses` new poses.',
    )
    NO_CAMERA_INFO = (
        'no camera_info yet',
        'No CameraInfo of the image was received in time.',
        'Remap camera_info to the topic of this camera, or set camera_info_file.',
    )
    INVALID_IMAGE = (
        'invalid image',
        'The image cannot be decoded, or does not fit its CameraInfo.',
        'Read the detail: it names the encoding, the size or the setting that is at fault.',
    )
    NO_MOUNTING = (
        'mounting of the camera unknown',
        'Neither TF nor the parameter `mounting` gives base_from_camera at the stamp.',
        'Publish the mounting on /tf_static, or set `mounting`.',
    )
    INTERNAL_ERROR = (
        'internal error',
        'The program has a defect.',
        'Report it with the traceback in the log.',
    )
    DROPPED = (
        'dropped',
        'An evaluation over ROS received no result for the image.',
        'Play the bag in lockstep with evaluate.launch.py.',
    )
    NO_ANSWER = (
        'no answer',
        'A baseline found no pose.',
        'None: this counts the failures of the baseline.',
    )


class ClosureRejectionReason(_Reason):
    """Why the loop closer rejects a pose; LoopClosure.msg has the same texts."""

    UNUSABLE_POSE = (
        'unusable pose',
        'The pose has a NaN, or its covariance is not positive definite.',
        'Correct the node that publishes the pose.',
    )
    DUPLICATE_STAMP = (
        'duplicate stamp',
        'A pose of the same stamp was received before.',
        'Let one localizer publish on the topic.',
    )
    NO_ODOMETRY = (
        'no odometry',
        'No odometry was received near the stamp of the pose.',
        'Remap `odom`, and check that odometry and camera share a clock.',
    )
    REDUNDANT = (
        'redundant',
        'The pose agrees with the graph, which holds a more certain one at that place.',
        'None is needed.',
    )
    OUTLIER = (
        'outlier',
        'The pose is farther from the graph than drift and covariances explain.',
        'Raise `odometry_drift` if the odometry drifts more; otherwise none is needed.',
    )


@dataclass(frozen=True)
class Diagnostics:
    """Intermediate results of localizing one image, accepted or rejected."""

    regressed_pose: NDArray[np.float64] | None = None
    """(4, 4) map_from_camera of the regressor, if that stage was reached and needed."""
    refined_pose: NDArray[np.float64] | None = None
    """(4, 4) map_from_camera after refinement, before the gate."""
    scores: dict[str, float] = field(default_factory=dict)
    """Evidence of the gate: inliers, inlier_ratio, spread, similarity, novelty, ..."""
    latency_ms: dict[str, float] = field(default_factory=dict)
    """Milliseconds by stage (regress, keypoints, refine) and ``total``."""
    regressed_covariance: NDArray[np.float64] | None = None
    """(6, 6) of ``regressed_pose`` by the regressor, axes as in `PoseEstimate.covariance`."""
    refined_covariance: NDArray[np.float64] | None = None
    """(6, 6) of ``refined_pose``, same axes."""
    inlier_points: NDArray[np.float64] | None = None
    """(M, 3) landmarks in ``map`` that fit ``refined_pose`` [m]."""
    inlier_pixels: NDArray[np.float64] | None = None
    """(M, 2) their keypoints, in pixels of the image."""
    room: str | None = None
    """Room of a building in which the image was localized, or that explains it best."""
    frame: str = 'map'
    """Coordinate frame of the poses: ``map``, or that of a room that nothing links."""


@dataclass(frozen=True)
class PoseEstimate:
    """Pose of a localized image."""

    map_from_camera: NDArray[np.float64]
    """(4, 4) pose of the optical camera frame in ``map``."""
    covariance: NDArray[np.float64]
    """(6, 6) of x, y, z [m] and rotations about the fixed map axes x, y, z [rad] (REP 103)."""
    diagnostics: Diagnostics = field(default_factory=Diagnostics)


@dataclass(frozen=True)
class Rejection:
    """The image could not be localized reliably."""

    reason: str
    """A `RejectionReason`, or its text from a message."""
    detail: str = ''
    """Values behind the reason, as text."""
    diagnostics: Diagnostics = field(default_factory=Diagnostics)


Outcome = PoseEstimate | Rejection
