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
from nerf_reversal_ros.maps.map_store import MapWriter
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
    walk: MappingData
    config: BuildConfig
    device: torch.device
    progress: ProgressCallback


def field_stage(
    build: BuildContext, field: str, run: RadianceField | None = None
) -> tuple[VoxelField, dict[str, Any]]:
    """
    Train a field of a kind on what the walk shows; return it, and how good it is.

    What it shows may be renders of a run, which is then compared with the field.
    """
    writer, shown, config = build.writer, build.walk.shown, build.config
    path = writer.path('field.safetensors')
    if not writer.done('field'):
        work_dir = writer.work_dir / 'field'
        work_dir.mkdir(exist_ok=True)
        training = np.flatnonzero(~held_out_mask(len(shown), config.field.validation_share))
        correction = estimate_depth_correction(shown, training, build.progress)
        room, report = _train_field(
            field, shown.with_depth(correction), config, build.device, work_dir, build.progress
        )
        if run is not None:
            report = _run_report(build, run, room, report)
        room.save(path)
        writer.mark('field', {**report, 'depth_correction': asdict(correction)})
    # What is stored is what the robot will use, so that is what later stages use too.
    return VoxelField.load(path, build.device), writer.info('field')


def _run_report(
    build: BuildContext, run: RadianceField, room: VoxelField, report: dict[str, Any]
) -> dict[str, Any]:
    """
    Tell how good a baked run is by a camera's pictures, if there are any.

    What was measured while it was fitted to renders of the run is how alike both are.
    """
    walk = build.walk
    alike = {
        **{key: report[key] for key in ('step', 'loss')},
        'coverage': report.get('coverage'),
        'baked_alike_db': report.get('psnr_db'),
    }
    if walk.real is None or not walk.held_out.any():
        return alike
    build.progress(Progress('measuring', 0, 1))
    data = load_held_out_data(walk.real, walk.validation_share, MAX_EVAL_IMAGES)
    size = baking_budget(build.config.nerfstudio, build.device)[1]
    measured = measure_baking_loss(run, room, data, MAX_RUN_EVAL_IMAGES, size)
    build.progress(Progress('measuring', 1, 1))
    return {**alike, **measured, 'held_out_frames': int(walk.held_out.sum())}


def _train_field(
    field: str,
    capture: Capture,
    config: BuildConfig,
    device: torch.device,
    work_dir: Path,
    progress: ProgressCallback,
) -> tuple[VoxelField, dict[str, Any]]:
    """Train a field of the wanted kind; one of nerfstudio is baked into a voxel field."""
    if field == 'voxel':
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

    if field == 'depth-nerfacto' and not capture.has_depth:
        raise BuildError(
            'the capture has no depth, which depth-nerfacto learns from: take --field nerfacto,'
            ' or record with a LiDAR or an RGB-D camera'
        )
    data = load_training_data(capture, config.field.validation_share, work_dir, progress)
    original, report = train_nerfacto(
        data,
        field,
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


def synthesis_stage(build: BuildContext, room: VoxelField) -> Views:
    """Render synthetic views around the walk."""
    config = build.config.synthesis
    views = synthesize_views(
        room,
        build.walk.training_poses,
        build.walk.camera.shrunk_to(config.width),
        config,
        seed=build.config.seed,
        work_dir=build.writer.work_dir / 'views',
        progress=build.progress,
    )
    build.writer.mark('synthesis')
    return views


def atlas_stage(build: BuildContext, room: VoxelField, views: Views) -> tuple[Atlas, Surface]:
    """Find landmarks in renders, and move them to where the walk's pictures see them."""
    writer, walk, config = build.writer, build.walk, build.config.atlas
    paths = writer.path('atlas.safetensors'), writer.path('surface.safetensors')
    if not writer.done('atlas'):
        possible = np.concatenate([walk.training_poses, views.map_from_camera])
        chosen = possible[select_farthest_poses(possible, config.views)]
        camera = walk.camera.shrunk_to(config.size)
        rendered = []
        for done, pose in enumerate(chosen, start=1):
            rendered.append((room.render(pose[None], camera)[0], pose))
            build.progress(Progress('atlas', done, len(chosen)))
        training = np.flatnonzero(~walk.held_out)
        atlas = build_atlas(rendered, camera)
        refine_landmarks(atlas, walk.pictures, training, build.progress).save(paths[0])
        build_surface(rendered, camera).save(paths[1])
        writer.mark('atlas')
    return Atlas.load(paths[0]), Surface.load(paths[1])


def regressor_stage(build: BuildContext, room: VoxelField, views: Views) -> PoseRegressor:
    """Learn poses from synthetic views and the walk's pictures."""
    path = build.writer.path('regressor.safetensors')
    if not build.writer.done('regressor'):
        camera = build.walk.camera.shrunk_to(build.config.synthesis.width)
        held_out = build.walk.held_out
        pictures = views_from_frames(build.walk.pictures, camera, room)
        regressor = train_regressor(
            views,
            pictures.part(~held_out),
            pictures.part(held_out),
            camera,
            build.config.regressor,
            device=build.device,
            seed=build.config.seed,
            progress=build.progress,
        )
        regressor.save(path)
        build.writer.mark('regressor')
    return PoseRegressor.load(path, build.device)


def calibration_stage(
    build: BuildContext, atlas: Atlas, surface: Surface, regressor: PoseRegressor
) -> tuple[Calibration, dict[str, Any]]:
    """
    Localize held-out pictures, easy and hard, and learn from the errors that they show.

    Without real pictures nothing is learned: renders are too much like the map.
    """
    real = build.walk.real
    if real is None:
        return Calibration(), {'calibration_poses': 0, 'calibration_right': 0}
    localizer = Localizer(
        atlas,
        surface,
        regressor,
        build.walk.poses[:, :3, 3],
        IDENTITY_CALIBRATION,
        PERMISSIVE_GATE,
    )
    held_out = np.flatnonzero(build.walk.held_out)
    chosen = held_out[evenly_spaced_indices(len(held_out), MAX_CALIBRATION_FRAMES)]

    def shots() -> Iterator[PosedImage]:
        for done, index in enumerate(chosen, start=1):
            frame = real.frame(int(index))
            yield from corrupted_variants(
                PosedImage(frame.rgb, frame.camera, frame.map_from_camera),
                build.config.seed + int(index),
            )
            build.progress(Progress('calibration', done, len(chosen)))

    return fit_calibration(collect_samples(localizer, shots()))
