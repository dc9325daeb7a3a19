"""
The stages of a build after the first: field, synthesis, atlas, regressor, calibration.

Each but the last, which is quick, leaves its result in the map's staging folder and marks it
there; what is marked is not made again.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.depth_calibration import estimate_depth_correction
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.mapping_data import MappingData
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.baking import bake, baking_budget, measure_baking_loss
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.training_data import load_held_out_data, load_training_data
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_training import train_voxel_field
from nerf_reversal_ros.localization.atlas import Atlas, build_atlas, select_farthest_poses
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.localizer import Localizer
from nerf_reversal_ros.localization.surface import build_surface, Surface
from nerf_reversal_ros.mapping.calibration_fitting import (
    collect_samples,
    corrupted_variants,
    fit_calibration,
    IDENTITY_CALIBRATION,
    PERMISSIVE_GATE,
)
from nerf_reversal_ros.mapping.landmark_adjustment import refine_landmarks
from nerf_reversal_ros.maps.map_writer import MapWriter
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.training import train_regressor, views_from_frames
from nerf_reversal_ros.synthesis.image_corruption import PosedImage
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views, Views

MAX_EVAL_IMAGES, MAX_RUN_EVAL_IMAGES = 20, 8
"""So many held-out pictures, at most, a baked run and the run itself are compared with."""
MAX_CALIBRATION_FRAMES = 40
"""So many held-out frames, at most, are localized to calibrate."""


@dataclass(frozen=True)
class BuildContext:
    """What every stage is told."""

    writer: MapWriter
    mapping_data: MappingData
    config: BuildConfig
    device: torch.device
    progress: ProgressCallback


def field_stage(
    context: BuildContext, field_kind: str, source_field: RadianceField | None = None
) -> tuple[VoxelField, dict[str, Any]]:
    """
    Train a field of a kind on what the walk shows; return it, and how good it is.

    What it shows may be renders of a run, which is then compared with the field.
    """
    writer, shown, config = context.writer, context.mapping_data.field_capture, context.config
    path = writer.path('field.safetensors')
    if not writer.is_done('field'):
        work_dir = writer.work_dir / 'field'
        work_dir.mkdir(exist_ok=True)
        training = np.flatnonzero(~held_out_mask(len(shown), config.field.validation_share))
        correction = estimate_depth_correction(shown, training, context.progress)
        room, report = _train_field(
            field_kind,
            shown.with_depth_correction(correction),
            config,
            context.device,
            work_dir,
            context.progress,
        )
        if source_field is not None:
            report = _run_report(context, source_field, room, report)
        room.save(path)
        writer.finish_stage('field', {**report, 'depth_correction': asdict(correction)})
    # What is stored is what the robot will use, so that is what later stages use too.
    return VoxelField.load(path, context.device), writer.stage_info('field')


def _run_report(
    context: BuildContext,
    source_field: RadianceField,
    voxel_field: VoxelField,
    report: dict[str, Any],
) -> dict[str, Any]:
    """
    Tell how good a baked run is by a camera's pictures, if there are any.

    What was measured while it was fitted to renders of the run is how alike both are.
    """
    walk = context.mapping_data
    alike = {
        **{key: report[key] for key in ('step', 'loss')},
        'coverage': report.get('coverage'),
        'baked_alike_db': report.get('psnr_db'),
    }
    if walk.camera_capture is None or not walk.held_out.any():
        return alike
    context.progress(Progress('measuring', 0, 1))
    data = load_held_out_data(walk.camera_capture, walk.validation_fraction, MAX_EVAL_IMAGES)
    size = baking_budget(context.config.nerfstudio, context.device)[1]
    measured = measure_baking_loss(source_field, voxel_field, data, MAX_RUN_EVAL_IMAGES, size)
    context.progress(Progress('measuring', 1, 1))
    return {**alike, **measured, 'held_out_frames': int(walk.held_out.sum())}


def _train_field(
    field_kind: str,
    capture: Capture,
    config: BuildConfig,
    device: torch.device,
    work_dir: Path,
    progress: ProgressCallback,
) -> tuple[VoxelField, dict[str, Any]]:
    """Train a field of the wanted kind; one of nerfstudio is baked into a voxel field."""
    if field_kind == 'voxel':
        return train_voxel_field(
            capture,
            config.field,
            device=device,
            seed=config.seed,
            work_dir=work_dir,
            progress=progress,
        )
    from nerf_reversal_ros.fields.nerfstudio.training import BAKING_FOLDER, train_nerfacto
    from nerf_reversal_ros.fields.nerfstudio.uncertainty import nerfacto_uncertainty

    if field_kind == 'depth-nerfacto' and not capture.has_depth:
        raise BuildError(
            'the capture has no depth, which depth-nerfacto learns from: take --field nerfacto,'
            ' or record with a LiDAR or an RGB-D camera'
        )
    data = load_training_data(capture, config.field.validation_share, work_dir, progress)
    original, report = train_nerfacto(
        data,
        field_kind,
        config.nerfstudio,
        device=device,
        seed=config.seed,
        work_dir=work_dir,
        progress=progress,
    )
    uncertainty = None
    if config.nerfstudio.max_std_m > 0:
        progress(Progress('uncertainty', 0, 1))
        uncertainty = nerfacto_uncertainty(original, data)
        progress(Progress('uncertainty', 1, 1))
    room, baked = bake(
        original,
        data,
        config,
        device=device,
        work_dir=work_dir / BAKING_FOLDER,
        uncertainty=uncertainty,
        progress=progress,
    )
    return room, {**report, **baked}


def synthesis_stage(context: BuildContext, voxel_field: VoxelField) -> Views:
    """Render synthetic views around the walk."""
    config = context.config.synthesis
    views = synthesize_views(
        voxel_field,
        context.mapping_data.training_poses,
        context.mapping_data.camera.downscaled_to(config.width),
        config,
        seed=context.config.seed,
        work_dir=context.writer.work_dir / 'views',
        progress=context.progress,
    )
    context.writer.finish_stage('synthesis')
    return views


def atlas_stage(
    context: BuildContext, voxel_field: VoxelField, views: Views
) -> tuple[Atlas, Surface]:
    """Find landmarks in renders, and move them to where the walk's pictures see them."""
    writer, walk, config = context.writer, context.mapping_data, context.config.atlas
    paths = writer.path('atlas.safetensors'), writer.path('surface.safetensors')
    if not writer.is_done('atlas'):
        possible = np.concatenate([walk.training_poses, views.map_from_camera])
        chosen = possible[select_farthest_poses(possible, config.views)]
        camera = walk.camera.downscaled_to(config.size)
        rendered = []
        for done, pose in enumerate(chosen, start=1):
            rendered.append((voxel_field.render(pose[None], camera)[0], pose))
            context.progress(Progress('atlas', done, len(chosen)))
        training = np.flatnonzero(~walk.held_out)
        atlas = build_atlas(rendered, camera)
        refine_landmarks(atlas, walk.training_capture, training, context.progress).save(paths[0])
        build_surface(rendered, camera).save(paths[1])
        writer.finish_stage('atlas')
    return Atlas.load(paths[0]), Surface.load(paths[1])


def regressor_stage(context: BuildContext, voxel_field: VoxelField, views: Views) -> PoseRegressor:
    """Learn poses from synthetic views and the walk's pictures."""
    path = context.writer.path('regressor.safetensors')
    if not context.writer.is_done('regressor'):
        camera = context.mapping_data.camera.downscaled_to(context.config.synthesis.width)
        held_out = context.mapping_data.held_out
        pictures = views_from_frames(context.mapping_data.training_capture, camera, voxel_field)
        regressor = train_regressor(
            views,
            pictures.subset(~held_out),
            pictures.subset(held_out),
            camera,
            context.config.regressor,
            device=context.device,
            seed=context.config.seed,
            progress=context.progress,
        )
        regressor.save(path)
        context.writer.finish_stage('regressor')
    return PoseRegressor.load(path, context.device)


def calibration_stage(
    context: BuildContext, atlas: Atlas, surface: Surface, regressor: PoseRegressor
) -> tuple[Calibration, dict[str, Any]]:
    """
    Localize held-out pictures, easy and hard, and learn from the errors that they show.

    Without real pictures nothing is learned: renders are too much like the map.
    """
    real = context.mapping_data.camera_capture
    if real is None:
        return Calibration(), {'calibration_poses': 0, 'calibration_right': 0}
    localizer = Localizer(
        atlas,
        surface,
        regressor,
        context.mapping_data.mapping_poses[:, :3, 3],
        IDENTITY_CALIBRATION,
        PERMISSIVE_GATE,
    )
    held_out = np.flatnonzero(context.mapping_data.held_out)
    chosen = held_out[evenly_spaced_indices(len(held_out), MAX_CALIBRATION_FRAMES)]

    def shots() -> Iterator[PosedImage]:
        for done, index in enumerate(chosen, start=1):
            frame = real.frame(int(index))
            yield from corrupted_variants(
                PosedImage(frame.rgb, frame.camera, frame.map_from_camera),
                context.config.seed + int(index),
            )
            context.progress(Progress('calibration', done, len(chosen)))

    return fit_calibration(collect_samples(localizer, shots()))
