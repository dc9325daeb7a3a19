"""The stage of a build that fits the voxel field, directly or by baking a nerfacto field."""

from typing import Any, NamedTuple

from nerf_reversal_ros.capture.capture import DepthCorrection
from nerf_reversal_ros.capture.depth_calibration import estimate_depth_correction
from nerf_reversal_ros.capture.mapping_data import SplitCapture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.fields.baking import bake, baking_budget, measure_baking_loss
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.training_data import load_held_out_data, load_training_data
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_training import train_voxel_field
from nerf_reversal_ros.mapping.build_warnings import field_warnings
from nerf_reversal_ros.mapping.stage_context import StageContext
from nerf_reversal_ros.mapping.stages import FIELD, MEASURING, UNCERTAINTY

MAX_EVAL_IMAGES, MAX_RUN_EVAL_IMAGES = 20, 8
"""Held-out images that a baked run, and the slower run itself, are compared with."""


class FieldResult(NamedTuple):
    """The voxel field of a map."""

    voxel_field: VoxelField
    report: dict[str, Any]
    """Loss curve, metrics and ``depth_correction``."""
    warnings: list[str]


def field_stage(
    context: StageContext, field_kind: str, run_field: RadianceField | None = None
) -> FieldResult:
    """
    Fit a voxel field to the field capture, directly or by baking a nerfacto field.

    Parameters
    ----------
    context : StageContext
        Its field capture holds renderings of the run, if there is one.
    field_kind : str
        Value of ``--field``.
    run_field : RadianceField, optional
        Field of a nerfstudio run in the map frame; held-out images measure it and the voxel field.
    """
    path = context.writer.path('field.safetensors')
    with context.stage(FIELD) as stage:
        if not stage.is_done:
            split = context.mapping_data.field_capture.of_most_coverage(
                context.config.field.max_frames, context.scene_depth_m
            )
            correction = estimate_depth_correction(
                split.capture, split.training_frames, context.progress
            )
            split = split.with_depth_correction(correction)
            if run_field is not None or field_kind == 'voxel':
                voxel_field, report = _train_voxel_field(context, split)
            else:
                voxel_field, report = _train_and_bake_nerfacto(context, split, field_kind)
            if run_field is not None:
                report = _run_report(context, run_field, voxel_field, report)
            voxel_field.save(path)
            stage.finish({**report, 'depth_correction': _depth_correction_to_dict(correction)})
        report = stage.info
        warnings = field_warnings(report, context.config, field_kind)
        stage.warn(warnings)
        # Later stages use the stored field, at its stored precision, as the robot does.
        return FieldResult(VoxelField.load(path, context.device), report, warnings)


def _train_voxel_field(
    context: StageContext, split: SplitCapture
) -> tuple[VoxelField, dict[str, Any]]:
    """Train a voxel field on the images and depth of a capture."""
    return train_voxel_field(
        split.capture,
        split.held_out,
        context.config.field,
        device=context.device,
        seed=context.seed,
        work_dir=context.work_dir(FIELD),
        progress=context.progress,
    )


def _train_and_bake_nerfacto(
    context: StageContext, split: SplitCapture, field_kind: str
) -> tuple[VoxelField, dict[str, Any]]:
    """Train a nerfacto or depth-nerfacto field and bake it into a voxel field."""
    from nerf_reversal_ros.fields.nerfstudio.training import BAKING_FOLDER, train_nerfacto
    from nerf_reversal_ros.fields.nerfstudio.uncertainty import nerfacto_uncertainty

    if field_kind == 'depth-nerfacto' and not split.capture.has_depth:
        raise BuildError(
            f'the capture has no depth for depth-nerfacto: {remedies.FIELD_WITHOUT_DEPTH}'
        )
    work_dir = context.work_dir(FIELD)
    data = load_training_data(split.capture, split.held_out, work_dir, context.progress)
    nerfacto_field, report = train_nerfacto(
        data,
        field_kind,
        context.config.nerfstudio,
        device=context.device,
        seed=context.seed,
        work_dir=work_dir,
        progress=context.progress,
    )
    uncertainty = None
    if context.config.nerfstudio.max_std_m > 0:
        context.progress(Progress(UNCERTAINTY, 0, 1))
        uncertainty = nerfacto_uncertainty(nerfacto_field, data)
        context.progress(Progress(UNCERTAINTY, 1, 1))
    voxel_field, baking_report = bake(
        nerfacto_field,
        data,
        context.config,
        device=context.device,
        work_dir=work_dir / BAKING_FOLDER,
        uncertainty=uncertainty,
        progress=context.progress,
    )
    return voxel_field, {**report, **baking_report}


def _run_report(
    context: StageContext,
    run_field: RadianceField,
    voxel_field: VoxelField,
    report: dict[str, Any],
) -> dict[str, Any]:
    """
    Measure a nerfstudio run and its voxel field with held-out camera images, if there are any.

    The PSNR of ``report`` is measured against renderings of the run, so it is reported as
    ``baked_alike_db``.
    """
    data = context.mapping_data
    run_report = {
        'step': report['step'],
        'loss': report['loss'],
        'coverage': report.get('coverage'),
        'baked_alike_db': report.get('psnr_db'),
    }
    if data.camera_capture is None or not data.held_out.any():
        return run_report
    context.progress(Progress(MEASURING, 0, 1))
    held_out_data = load_held_out_data(data.camera_capture.capture, data.held_out, MAX_EVAL_IMAGES)
    size_px = baking_budget(context.config.nerfstudio, context.device)[1]
    metrics = measure_baking_loss(
        run_field, voxel_field, held_out_data, MAX_RUN_EVAL_IMAGES, size_px
    )
    context.progress(Progress(MEASURING, 1, 1))
    return {**run_report, **metrics, 'held_out_frames': int(data.held_out.sum())}


def _depth_correction_to_dict(correction: DepthCorrection) -> dict[str, Any]:
    """Return a depth correction for the manifest; `DepthCorrection(**d)` reads it."""
    return {
        'scale': correction.scale,
        'offset_m': correction.offset_m,
        'points': correction.points,
        'error_m': correction.error_m,
        'corrected_error_m': correction.corrected_error_m,
    }
