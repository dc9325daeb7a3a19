"""What a user should know of a map that is worse than it could be, in sentences."""

from typing import Any

from nerf_reversal_ros.capture.mapping_data import MappingData
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.mapping.calibration_fitting import MIN_CORRECT_POSES

MIN_COVERAGE = 0.5
"""A field that shows less of the held-out pictures gets a warning."""
MIN_LANDMARKS = 200
"""A map with fewer landmarks than this gets a warning."""
RENDERINGS_ONLY_WARNING = (
    'warning: the map was made of renders and no camera picture was localized: the probability and'
    ' the covariance of poses are those of other rooms; give a BAG of the same room'
)
"""Of the map of a run of nerfstudio without a bag."""


def field_warnings(report: dict[str, Any], config: BuildConfig, field_kind: str) -> list[str]:
    """
    Return sentences about a field that is worse than a map should rest on.

    That of a run without a bag, which no picture measures, is compared with the run.
    """
    remedy = {
        'voxel': 'walk slower, in better light, or check the poses and the depth',
        'nerfacto': 'train longer (nerfstudio.steps), on a GPU, or record depth',
        'depth-nerfacto': 'train longer (nerfstudio.steps), on a GPU, or check the depth',
    }.get(field_kind, 'train the run longer, or on more pictures')
    found = []
    pictures, renders = report.get('psnr_db'), report.get('baked_alike_db')
    reached = renders if pictures is None else pictures
    if reached is not None and reached < config.field.min_psnr_db:
        of = 'renders of the run' if pictures is None else 'frames'
        found.append(
            f'reaches {reached:.1f} dB on held-out {of}, less than the'
            f' {config.field.min_psnr_db} dB of field.min_psnr_db'
        )
    coverage = report.get('coverage')
    if coverage is not None and coverage < MIN_COVERAGE:
        found.append(f'shows only {coverage:.0%} of the held-out frames')
    return [
        f'warning: the field {what}: expect few pictures to be localized; {remedy}'
        for what in found
    ]


def atlas_warnings(atlas: Atlas) -> list[str]:
    """Return a sentence about an atlas that few pictures will find enough landmarks in."""
    if len(atlas) >= MIN_LANDMARKS:
        return []
    return [
        f'warning: the renders of the field agree on {len(atlas)} landmarks only (fewer than'
        f' {MIN_LANDMARKS}): expect few pictures to be localized; walk where there is texture, in'
        ' better light'
    ]


def calibration_warnings(mapping_data: MappingData, metrics: dict[str, Any]) -> list[str]:
    """Return a sentence about a map that could not learn how good its answers are."""
    if mapping_data.camera_capture is None:
        return [RENDERINGS_ONLY_WARNING]
    if metrics['calibration_right'] >= MIN_CORRECT_POSES:
        return []
    return [
        f'warning: {metrics["calibration_right"]} held-out pictures were localized rightly (fewer'
        f' than {MIN_CORRECT_POSES}): the probability and the covariance of poses are those of other'
        ' rooms; record a longer walk, or raise field.validation_share'
    ]
