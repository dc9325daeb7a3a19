"""Warnings of a build: sentences for the user about a field or map of low quality."""

from typing import Any

from nerf_reversal_ros.capture.mapping_data import MappingData
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.mapping.calibration_fitting import MIN_CORRECT_POSES
from nerf_reversal_ros.regressor.regressor import PoseRegressor

MIN_COVERAGE = 0.5
"""Fraction of the held-out pixels that the field covers; below it most queries are rejected."""
MIN_LANDMARKS = 200
"""Landmarks of a map; with fewer, few views see enough of them for PnP."""
MAX_BASELINE_FRACTION = 0.8
"""Largest error of a useful regressor, relative to that of the mean pose: more may be chance."""
RENDERINGS_ONLY_WARNING = (
    'warning: the map was made from renderings and no camera image was localized: probability and'
    ' covariance of poses are those of other rooms; give a BAG of the same room'
)
"""Warning for the map of a nerfstudio run without a bag."""

FIRST_MAP_WARNING = (
    'warning: this is a first map, whose regressor has not learned yet: more images are matched'
    ' with the whole map, which is slow, until its build is done; if that was interrupted,'
    f' {remedies.RESUME}'
)
"""Warning for the map that a build writes before its regressor is trained."""


def field_warnings(report: dict[str, Any], config: BuildConfig, field_kind: str) -> list[str]:
    """
    Return sentences about low PSNR and low coverage of a field.

    The PSNR is measured against held-out camera images; for a run without a bag, against
    renderings of the run.
    """
    remedy = {
        'voxel': 'record more slowly, in better light, or check the poses and the depth',
        'nerfacto': f'{remedies.LONGER_TRAINING}, or record depth',
        'depth-nerfacto': f'{remedies.LONGER_TRAINING}, or check the depth',
    }.get(field_kind, 'train the run longer, or on more images')
    problems = []
    image_psnr_db, rendering_psnr_db = report.get('psnr_db'), report.get('baked_alike_db')
    psnr_db = rendering_psnr_db if image_psnr_db is None else image_psnr_db
    if psnr_db is not None and psnr_db < config.field.min_psnr_db:
        reference = 'renderings of the run' if image_psnr_db is None else 'frames'
        problems.append(
            f'reaches {psnr_db:.1f} dB on held-out {reference}, less than the'
            f' {config.field.min_psnr_db} dB of field.min_psnr_db'
        )
    coverage = report.get('coverage')
    if coverage is not None and coverage < MIN_COVERAGE:
        problems.append(f'covers only {coverage:.0%} of the held-out frames')
    return [
        f'warning: the field {problem}: expect few images to be localized; {remedy}'
        for problem in problems
    ]


def atlas_warnings(atlas: Atlas) -> list[str]:
    """Return a sentence about a map with too few landmarks."""
    if len(atlas) >= MIN_LANDMARKS:
        return []
    return [
        f'warning: the renderings of the field agree on only {len(atlas)} landmarks (fewer than'
        f' {MIN_LANDMARKS}): expect few images to be localized; record places with texture, in'
        ' better light'
    ]


def regressor_warnings(regressor: PoseRegressor) -> list[str]:
    """Return a sentence about a regressor that is hardly better than the mean pose."""
    found, mean_pose = regressor.report['validation'], regressor.report['mean_pose']
    ratios = [found[name] / max(mean_pose[name], 1e-6) for name in mean_pose]
    if max(ratios) < MAX_BASELINE_FRACTION or sum(ratios) < 2 * MAX_BASELINE_FRACTION:
        return []
    return [
        'warning: the regressor does not generalize to the validation images: median error'
        f' {found["translation_m"]:.2f} m / {found["rotation_deg"]:.0f} deg, where the mean pose'
        f' gives {mean_pose["translation_m"]:.2f} m / {mean_pose["rotation_deg"]:.0f} deg; images'
        f' are matched with the whole map, which is slow: {remedies.LONGER_REGRESSION}'
    ]


def calibration_warnings(mapping_data: MappingData, metrics: dict[str, int]) -> list[str]:
    """Return a sentence about a map whose calibration is that of other rooms."""
    if mapping_data.camera_capture is None:
        return [RENDERINGS_ONLY_WARNING]
    if metrics['calibration_right'] >= MIN_CORRECT_POSES:
        return []
    return [
        f'warning: {metrics["calibration_right"]} held-out images were localized correctly (fewer'
        f' than {MIN_CORRECT_POSES}): probability and covariance of poses are those of other'
        f' rooms; {remedies.MORE_HELD_OUT}'
    ]
