"""
Stages of a build after the capture: from the adjustment of its poses to the calibration.

Each except the last, which is fast, stores its result in the staging folder of the map and marks
itself as finished; a resumed build loads the result instead.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from nerf_reversal_ros.capture.capture import Capture, DepthCorrection
from nerf_reversal_ros.capture.depth_calibration import estimate_depth_correction
from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.capture.mapping_data import SplitCapture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.baking import bake, baking_budget, measure_baking_loss
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.training_data import load_held_out_data, load_training_data
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_training import train_voxel_field
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.localizer import Localizer
from nerf_reversal_ros.localization.surface import build_surface, SPACING, Surface
from nerf_reversal_ros.mapping.build_warnings import (
    atlas_warnings,
    calibration_warnings,
    field_warnings,
    regressor_warnings,
)
from nerf_reversal_ros.mapping.calibration_fitting import (
    collect_samples,
    corrupted_variants,
    fit_calibration,
    IDENTITY_CALIBRATION,
    PERMISSIVE_GATE,
)
from nerf_reversal_ros.mapping.landmark_adjustment import refine_landmarks
from nerf_reversal_ros.mapping.landmark_building import (
    build_atlas,
    DepthView,
    IMAGE_SPACING,
    IMAGE_SPACING_DEG,
    rendered_views,
    select_farthest_poses,
    VIEW_SPACING,
)
from nerf_reversal_ros.mapping.pose_adjustment import (
    adjust_poses,
    AdjustedPoses,
    AdjustmentReport,
)
from nerf_reversal_ros.mapping.stage_context import Stage, StageContext
from nerf_reversal_ros.mapping.stages import (
    ADJUSTMENT,
    ATLAS,
    CALIBRATION,
    FIELD,
    MEASURING,
    REGRESSOR,
    SYNTHESIS,
    UNCERTAINTY,
)
from nerf_reversal_ros.maps.map_writer import MapWriter
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.training import train_regressor, views_from_frames
from nerf_reversal_ros.synthesis.image_corruption import PosedImage
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views, Views

MAX_EVAL_IMAGES, MAX_RUN_EVAL_IMAGES = 20, 8
"""Held-out images that a baked run, and the slower run itself, are compared with."""
MAX_CALIBRATION_FRAMES = 40
"""Held-out frames that are localized for the calibration; each has several variants."""


class FieldResult(NamedTuple):
    """The voxel field of a map."""

    voxel_field: VoxelField
    report: dict[str, Any]
    """Loss curve, metrics and ``depth_correction``."""
    warnings: list[str]


class LandmarkResult(NamedTuple):
    """Landmark map and surface cloud."""

    atlas: Atlas
    surface: Surface
    warnings: list[str]


class CalibrationResult(NamedTuple):
    """Uncertainty calibration of the gate and the covariance."""

    calibration: Calibration
    metrics: dict[str, int]
    warnings: list[str]


def adjustment_stage(
    capture: Capture, config: BuildConfig, writer: MapWriter, progress: ProgressCallback
) -> AdjustedPoses:
    """Adjust the poses of a mapping bag to its images, unless ``capture.adjust_poses`` is off."""
    path = writer.work_dir / 'adjusted_poses.npz'
    with writer.time_stage(ADJUSTMENT):
        if not writer.is_done(ADJUSTMENT):
            if config.capture.adjust_poses == 'off':
                frames = np.arange(len(capture))
                result = AdjustedPoses(frames, capture.map_from_camera, AdjustmentReport(), [])
            else:
                result = adjust_poses(capture, seed=config.seed, progress=progress)
            np.savez(path, frames=result.frames, map_from_camera=result.map_from_camera)
            writer.finish_stage(
                ADJUSTMENT, {'report': result.report.as_dict(), 'warnings': result.warnings}
            )
        info = writer.stage_info(ADJUSTMENT)
        with np.load(path) as stored:
            return AdjustedPoses(
                stored['frames'],
                stored['map_from_camera'],
                AdjustmentReport(**info['report']),
                info['warnings'],
            )


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
            split = context.mapping_data.field_capture
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


def synthesis_stage(context: StageContext, voxel_field: VoxelField) -> Views:
    """Render synthetic views around the mapping poses."""
    config = context.config.synthesis
    with context.stage(SYNTHESIS) as stage:
        views = synthesize_views(
            voxel_field,
            context.mapping_data.training_poses,
            context.mapping_data.camera.downscaled_to(config.width),
            config,
            seed=context.seed,
            work_dir=context.writer.work_dir / 'views',
            progress=context.progress,
        )
        stage.finish()
    return views


def atlas_stage(context: StageContext, voxel_field: VoxelField, views: Views) -> LandmarkResult:
    """Triangulate landmarks and surface from renderings, then refine landmarks with images."""
    data, config = context.mapping_data, context.config.atlas
    atlas_path = context.writer.path('atlas.safetensors')
    surface_path = context.writer.path('surface.safetensors')
    with context.stage(ATLAS) as stage:
        if not stage.is_done:
            spacing_m = VIEW_SPACING * context.scene_depth_m
            candidates = np.concatenate([data.training_poses, views.map_from_camera])
            poses = candidates[select_farthest_poses(candidates, config.views, spacing_m)]
            camera = data.camera.downscaled_to(config.size)
            renderings = []
            for done, pose in enumerate(poses, start=1):
                renderings.append((voxel_field.render(pose[None], camera)[0], pose))
                stage.report(done, len(poses))
            views_of_capture = _capture_views(context, voxel_field, stage)
            training = data.training_capture
            atlas = refine_landmarks(
                build_atlas([*rendered_views(renderings, camera), *views_of_capture]),
                training.capture,
                training.training_frames,
                context.progress,
            )
            atlas.save(atlas_path)
            spacing_m = SPACING * context.scene_depth_m
            build_surface(renderings, camera, spacing_m).save(surface_path)
            stage.finish()
        atlas, surface = Atlas.load(atlas_path), Surface.load(surface_path)
        warnings = atlas_warnings(atlas)
        stage.warn(warnings)
    return LandmarkResult(atlas, surface, warnings)


def _capture_views(
    context: StageContext, voxel_field: VoxelField, stage: Stage
) -> Iterator[DepthView]:
    """Yield spread images of the camera, with depth that the field renders at their poses."""
    split, config = context.mapping_data.camera_capture, context.config.atlas
    if split is None:
        return
    frames = split.training_frames
    poses = split.capture.map_from_camera[frames]
    spacing_m = IMAGE_SPACING * context.scene_depth_m
    chosen = frames[select_farthest_poses(poses, config.images, spacing_m, IMAGE_SPACING_DEG)]
    for done, index in enumerate(np.sort(chosen), start=1):
        frame = split.capture.frame(int(index))
        camera = frame.camera.downscaled_to(config.image_size)
        rgb = downscale_image(frame.rgb, camera)
        depth_camera = camera.downscaled_to(config.size)
        depth = voxel_field.render(frame.map_from_camera[None], depth_camera)[0].depth
        yield DepthView(rgb, camera, depth, frame.map_from_camera)
        stage.report(done, len(chosen))


def regressor_stage(context: StageContext, voxel_field: VoxelField, views: Views) -> PoseRegressor:
    """Train the pose regressor on synthetic views and mapping images."""
    path = context.writer.path('regressor.safetensors')
    with context.stage(REGRESSOR) as stage:
        if not stage.is_done:
            training = context.mapping_data.training_capture
            camera = context.mapping_data.camera.downscaled_to(context.config.synthesis.width)
            image_views = views_from_frames(training.capture, camera, voxel_field)
            regressor = train_regressor(
                views,
                image_views.subset(~training.held_out),
                image_views.subset(training.held_out),
                camera,
                context.config.regressor,
                device=context.device,
                seed=context.seed,
                progress=context.progress,
            )
            regressor.save(path)
            stage.finish()
        regressor = PoseRegressor.load(path, context.device)
        stage.warn(regressor_warnings(regressor))
        return regressor


def calibration_stage(
    context: StageContext, landmarks: LandmarkResult, regressor: PoseRegressor
) -> CalibrationResult:
    """
    Localize held-out images and corrupted variants of them, and fit the calibration.

    Without camera images the defaults stay: renderings are too similar to the map.
    """
    with context.stage(CALIBRATION) as stage:
        camera_capture = context.mapping_data.camera_capture
        if camera_capture is None:
            calibration, metrics = Calibration(), {'calibration_poses': 0, 'calibration_right': 0}
        else:
            localizer = Localizer(
                landmarks.atlas,
                landmarks.surface,
                regressor,
                context.mapping_data.mapping_poses[:, :3, 3],
                IDENTITY_CALIBRATION,
                PERMISSIVE_GATE,
            )
            images = _calibration_images(camera_capture, context.seed, stage)
            noise = context.mapping_data.pose_noise
            calibration, metrics = fit_calibration(collect_samples(localizer, images), noise)
        warnings = calibration_warnings(context.mapping_data, metrics)
        stage.warn(warnings)
    return CalibrationResult(calibration, metrics, warnings)


def _calibration_images(split: SplitCapture, seed: int, stage: Stage) -> Iterator[PosedImage]:
    """Yield evenly spaced held-out images, each with its corrupted variants."""
    held_out = split.held_out_frames
    chosen = held_out[evenly_spaced_indices(len(held_out), MAX_CALIBRATION_FRAMES)]
    for done, index in enumerate(chosen, start=1):
        frame = split.capture.frame(int(index))
        image = PosedImage(frame.rgb, frame.camera, frame.map_from_camera)
        yield from corrupted_variants(image, seed + int(index))
        stage.report(done, len(chosen))
