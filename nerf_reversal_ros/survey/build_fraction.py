"""How far a build is: its stages, weighted by how long they usually take."""

from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.mapping.stages import (
    ADJUSTMENT,
    ATLAS,
    BUILD_STAGES,
    CALIBRATION,
    CAPTURE,
    FIELD,
    FIRST_MAP,
    REGRESSOR,
    SYNTHESIS,
)

STAGE_SHARES = {
    CAPTURE: 0.05,
    ADJUSTMENT: 0.2,
    FIELD: 0.13,
    ATLAS: 0.15,
    FIRST_MAP: 0.04,
    SYNTHESIS: 0.08,
    REGRESSOR: 0.3,
    CALIBRATION: 0.05,
}
"""Usual share of each stage in the time of a build on a CPU: a walk of 400 frames on two cores."""


def build_fraction(progress: Progress) -> float | None:
    """Return the part of a build that is done, from 0 to 1; None if a stage does not tell."""
    if progress.stage not in STAGE_SHARES:
        return None
    before = BUILD_STAGES[: BUILD_STAGES.index(progress.stage)]
    own = min(1.0, progress.done / max(1, progress.total))
    return sum(STAGE_SHARES[stage] for stage in before) + STAGE_SHARES[progress.stage] * own
