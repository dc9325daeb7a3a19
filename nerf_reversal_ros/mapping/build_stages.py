"""
Stages of a build beside the field and the landmarks: poses, views, regressor and calibration.

Each except the last, which is fast, stores its result in the staging folder of the map and marks
itself as finished; a resumed build loads the result instead.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.mapping_data import SplitCapture
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.devices import free_memory
from nerf_reversal_ros.core.parallel import parallel_stream
from nerf_reversal_ros.core.progress import ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.localizer import Localizer
from nerf_reversal_ros.mapping.build_warnings import calibration_warnings, regressor_warnings
from nerf_reversal_ros.mapping.calibration_fitting import (
    collect_samples,
    corrupted_variants,
    fit_calibration,
    IDENTITY_CALIBRATION,
    PERMISSIVE_GATE,
)
from nerf_reversal_ros.mapping.landmark_stage import LandmarkResult
from nerf_reversal_ros.mapping.pose_adjustment import (
    adjust_poses,
    AdjustedPoses,
    AdjustmentReport,
)
from nerf_reversal_ros.mapping.stage_context import StageContext
from nerf_reversal_ros.mapping.stages import ADJUSTMENT, CALIBRATION, REGRESSOR, SYNTHESIS
from nerf_reversal_ros.maps.map_writer import MapWriter
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.training import train_regressor, views_from_frames
from nerf_reversal_ros.synthesis.image_corruption import PosedImage
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views, Views

MAX_CALIBRATION_FRAMES = 40
"""Held-out frames that are localized for the calibration; each has several variants."""


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
                free_memory()  # a gigabyte of 550 frames
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


def image_views(context: StageContext, voxel_field: VoxelField) -> Callable[[], Views]:
    """Return a function that makes views of all training images, when it is first called."""

    @cache
    def make() -> Views:
        camera = context.mapping_data.camera.downscaled_to(context.config.synthesis.width)
        return views_from_frames(
            context.mapping_data.training_capture.capture, camera, voxel_field
        )

    return make


def regressor_stage(
    context: StageContext, views: Views, images: Callable[[], Views]
) -> PoseRegressor:
    """Train the pose regressor on synthetic views and mapping images; see `image_views`."""
    path = context.writer.path('regressor.safetensors')
    with context.stage(REGRESSOR) as stage:
        if not stage.is_done:
            held_out = context.mapping_data.held_out
            regressor = train_regressor(
                views,
                images().subset(~held_out),
                images().subset(held_out),
                context.mapping_data.camera.downscaled_to(context.config.synthesis.width),
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
    """Calibrate the finished map with `MAX_CALIBRATION_FRAMES`."""
    with context.stage(CALIBRATION) as stage:
        result = calibrate(
            context, landmarks, regressor, MAX_CALIBRATION_FRAMES, report=stage.report
        )
        stage.warn(result.warnings)
    return result


def calibrate(
    context: StageContext,
    landmarks: LandmarkResult,
    regressor: PoseRegressor,
    max_frames: int,
    report: Callable[[int, int], None],
) -> CalibrationResult:
    """
    Localize held-out images and corrupted variants of them, and fit the calibration.

    Without camera images the defaults stay: renderings are too similar to the map. ``report``
    is called with the number of images done, and of all.
    """
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
        images = _calibration_images(camera_capture, context.seed, max_frames, report)
        noise = context.mapping_data.pose_noise
        calibration, metrics = fit_calibration(collect_samples(localizer, images), noise)
    warnings = calibration_warnings(context.mapping_data, metrics)
    return CalibrationResult(calibration, metrics, warnings)


def _calibration_images(
    split: SplitCapture, seed: int, max_frames: int, report: Callable[[int, int], None]
) -> Iterator[PosedImage]:
    """Yield evenly spaced held-out images, each with its corrupted variants."""
    held_out = split.held_out_frames
    chosen = held_out[evenly_spaced_indices(len(held_out), max_frames)].tolist()

    def variants(index: int) -> list[PosedImage]:
        frame = split.capture.frame(index)
        image = PosedImage(frame.rgb, frame.camera, frame.map_from_camera)
        return corrupted_variants(image, seed + index)

    for done, images in enumerate(parallel_stream(variants, chosen), start=1):
        yield from images
        report(done, len(chosen))
