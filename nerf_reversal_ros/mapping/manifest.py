"""The manifest of a map and its training curves, each key written out."""

from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from typing import Any

from nerf_reversal_ros import __version__
from nerf_reversal_ros.core.config import RegressorConfig
from nerf_reversal_ros.mapping.build_request import BuildRequest
from nerf_reversal_ros.mapping.build_stages import CalibrationResult
from nerf_reversal_ros.mapping.build_warnings import FIRST_MAP_WARNING, regressor_warnings
from nerf_reversal_ros.mapping.field_stage import FieldResult
from nerf_reversal_ros.mapping.landmark_stage import LandmarkResult
from nerf_reversal_ros.mapping.stage_context import StageContext
from nerf_reversal_ros.maps.map_folder import COMPLETE, FIRST
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.synthesis.view_synthesis import Views

FIELD_METRICS = frozenset(
    {
        'psnr_db',
        'psnr_plain_db',
        'psnr_covered_db',
        'coverage',
        'depth_error_m',
        'held_out_frames',
        'measured_frames',
        'baked_alike_db',
        'original_psnr_db',
        'original_depth_error_m',
        'original_measured_frames',
        'baking_loss_db',
    }
)
"""Keys of a field's report that are metrics of the map."""


@dataclass(frozen=True)
class BuildResults:
    """Results of all stages of a build."""

    field: FieldResult
    views: Views
    landmarks: LandmarkResult
    regressor: PoseRegressor
    calibration: CalibrationResult


def make_manifest(
    request: BuildRequest, context: StageContext, results: BuildResults, *, is_first: bool = False
) -> dict[str, Any]:
    """
    Return the manifest without ``format_version`` and ``files``, which the writer adds.

    A first map says that it is one, and not how its regressor compares with the mean pose.
    """
    data, report = context.mapping_data, results.field.report
    # The depth of a run's field capture is rendered, so its correction is not that of a sensor.
    depth_correction_key = (
        'depth_correction' if request.run_config is None else 'render_depth_correction'
    )
    of_regressor = [FIRST_MAP_WARNING] if is_first else regressor_warnings(results.regressor)
    return {
        'stage': FIRST if is_first else COMPLETE,
        'built': {
            'date': datetime.now(timezone.utc).isoformat(timespec='seconds'),
            'seed': context.seed,
            'package_version': __version__,
            'device': str(context.device),
            'field': request.field_kind,
            'seconds': {stage: round(s, 2) for stage, s in context.writer.seconds.items()},
            'config': asdict(context.config),
        },
        'camera': results.regressor.camera.as_dict(),
        'capture_camera': data.camera.as_dict(),
        'convention': data.convention.as_dict(),
        depth_correction_key: report['depth_correction'],
        'capture': {
            'source': request.source_name,
            'counts': data.training_capture.capture.counts,
            'pose_adjustment': data.pose_adjustment,
        },
        'calibration': results.calibration.calibration.as_dict(),
        'warnings': [
            *data.warnings,
            *results.field.warnings,
            *results.landmarks.warnings,
            *of_regressor,
            *results.calibration.warnings,
        ],
        'metrics': {
            **data.metrics,
            'scene_depth_m': context.scene_depth_m,
            **{key: value for key, value in report.items() if key in FIELD_METRICS},
            'synthetic_views': len(results.views),
            'landmarks': len(results.landmarks.atlas),
            'surface_points': len(results.landmarks.surface),
            **results.calibration.metrics,
        },
    }


def training_curves(results: BuildResults, config: RegressorConfig) -> dict[str, Any]:
    """Return the contents of ``training.json``, which the report plots."""
    report = results.regressor.report
    history: list[dict[str, float]] = report['history']
    return {
        'field': {'step': results.field.report['step'], 'loss': results.field.report['loss']},
        'synthesis': {'kept': len(results.views), 'rejected': results.views.rejection_counts},
        'regressor': {
            'epoch': list(range(1, len(history) + 1)),
            'train_loss': [epoch['loss'] for epoch in history],
            'val_translation_m': [epoch['validation_translation_m'] for epoch in history],
            'val_rotation_deg': [epoch['validation_rotation_deg'] for epoch in history],
            'mean_pose': report['mean_pose'],
        },
        'vae' if config.compression == 'vae' else 'pca': {
            'retained_variance': report['retained_variance']
        },
    }
