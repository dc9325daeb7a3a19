"""
The first map of a build: it localizes while the regressor still learns.

Landmarks and surface are those of the finished map. The regressor has seen the mapping images
alone, for seconds: the codes of the images retrieve the pose hypotheses. The gate is calibrated
with few held-out images.
"""

from collections.abc import Callable
from dataclasses import replace

from nerf_reversal_ros.core.config import RegressorConfig
from nerf_reversal_ros.core.progress import format_duration, no_progress, Progress
from nerf_reversal_ros.mapping.build_request import BuildRequest
from nerf_reversal_ros.mapping.build_stages import calibrate
from nerf_reversal_ros.mapping.field_stage import FieldResult
from nerf_reversal_ros.mapping.landmark_stage import LandmarkResult
from nerf_reversal_ros.mapping.manifest import BuildResults, make_manifest
from nerf_reversal_ros.mapping.stage_context import StageContext
from nerf_reversal_ros.mapping.stages import FIRST_MAP
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.training import train_regressor
from nerf_reversal_ros.synthesis.view_synthesis import Views

EPOCHS = 1
"""Epochs of the regressor over the mapping images: retrieval, not the network, finds the poses."""
MAX_CALIBRATION_FRAMES = 6
"""Held-out frames that the gate of a first map is calibrated with."""


def first_map_stage(
    context: StageContext,
    request: BuildRequest,
    field: FieldResult,
    landmarks: LandmarkResult,
    images: Callable[[], Views],
) -> None:
    """
    Write a first map, unless a finished map is to be replaced, or it was written before.

    ``images`` returns the views of all training images; see `build_stages.image_views`.
    """
    writer = context.writer
    if writer.is_done(FIRST_MAP) or not writer.takes_first_map:
        return
    context.progress(Progress(FIRST_MAP, 0, 1))
    with context.stage(FIRST_MAP):
        regressor = _retrieving_regressor(context, images())
        calibration = calibrate(
            context, landmarks, regressor, MAX_CALIBRATION_FRAMES, lambda *_: None
        )
    views = images().subset(slice(0))
    results = BuildResults(field, views, landmarks, regressor, calibration)
    manifest = make_manifest(request, context, results, is_first=True)
    path = writer.publish_first(manifest, {'regressor.safetensors': regressor.save})
    writer.finish_stage(FIRST_MAP)
    duration = format_duration(sum(writer.seconds.values()))
    note = f'a first map is ready after {duration}: {path}; it gets better while the build goes on'
    context.progress(Progress(FIRST_MAP, 1, 1, note))


def _retrieving_regressor(context: StageContext, images: Views) -> PoseRegressor:
    """Train a regressor on the mapping images for seconds; its index holds their codes."""
    held_out = context.mapping_data.held_out
    return train_regressor(
        images.subset(slice(0)),
        images.subset(~held_out),
        images.subset(held_out),
        context.mapping_data.camera.downscaled_to(context.config.synthesis.width),
        _first_settings(context.config.regressor, int((~held_out).sum())),
        device=context.device,
        seed=context.seed,
        progress=no_progress,
    )


def _first_settings(config: RegressorConfig, images: int) -> RegressorConfig:
    """Return settings that a few images and seconds allow."""
    return replace(
        config,
        compression='pca' if config.compression == 'vae' else config.compression,
        components=min(config.components, images - 1),
        epochs=EPOCHS,
    )
