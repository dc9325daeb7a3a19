"""
From a bag to a map, one call a stage; a repeated build resumes an unfinished one.

Stages: capture, adjustment, field, atlas, first map, synthesis, regressor, calibration. Each
except the first and the last, which are fast, stores its result in the staging folder of the map
and is marked as finished there. A later build with the same inputs and settings skips it. The
first map stands in the place of the map until that is finished.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.mapping_data import MappingData, SplitCapture
from nerf_reversal_ros.capture.scene_scale import estimate_scene_depth, settings_for_scene
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.devices import free_memory
from nerf_reversal_ros.core.parallel import one_blas_thread
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.mapping.build_request import BuildRequest, validate_request
from nerf_reversal_ros.mapping.build_stages import (
    adjustment_stage,
    calibration_stage,
    image_views,
    regressor_stage,
    synthesis_stage,
)
from nerf_reversal_ros.mapping.field_stage import field_stage
from nerf_reversal_ros.mapping.first_map import first_map_stage
from nerf_reversal_ros.mapping.landmark_stage import atlas_stage
from nerf_reversal_ros.mapping.manifest import BuildResults, make_manifest, training_curves
from nerf_reversal_ros.mapping.mapping_capture import (
    check_regressor_settings,
    open_mapping_capture,
)
from nerf_reversal_ros.mapping.nerfstudio_import import (
    load_run_and_positions,
    mapping_data_from_run,
)
from nerf_reversal_ros.mapping.run_alignment import RunAlignment
from nerf_reversal_ros.mapping.stage_context import report_warnings, StageContext
from nerf_reversal_ros.mapping.stages import CAPTURE
from nerf_reversal_ros.maps.map_folder import Map, MAPPING_POSES
from nerf_reversal_ros.maps.map_writer import MapWriter

if TYPE_CHECKING:
    from nerf_reversal_ros.fields.nerfstudio.run import NerfstudioRun


@one_blas_thread()
def build_map(
    bag: Path | None,
    map_dir: Path,
    config: BuildConfig,
    *,
    device: str = 'auto',
    field: str = 'voxel',
    positions: Path | None = None,
    progress: ProgressCallback = no_progress,
    overwrite: bool = False,
) -> Map:
    """
    Build the map of a mapping capture, or of a nerfstudio run.

    Parameters
    ----------
    bag : Path or None
        rosbag2 with color, depth and poses; optional with a nerfstudio run. With a run, a bag of
        the same room determines scale and frame of the map, and its images refine the landmarks,
        train the regressor and calibrate.
    map_dir : Path
        Map folder to write; an unfinished build is in ``<map_dir>.partial``.
    config : BuildConfig
        All settings.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    field : str
        Kind of the radiance field, one of `FIELD_KINDS`, or ``nerfstudio:`` and the path of the
        config.yml of an existing run.
    positions : Path, optional
        With a run, instead of a bag: known positions of its cameras, see
        `sim3_alignment.read_known_positions`.
    progress : callable
        Called with a `Progress` of one of `stages.PROGRESS_STAGES`.
    overwrite : bool
        Replace an existing map when the new one is complete.

    Raises
    ------
    ConfigError, CaptureError, BuildError
        If a setting, the bag or the result cannot be used; the message contains the remedy.
    """
    request = validate_request(bag, config, device=device, field_kind=field, positions=positions)
    run, known_alignment = load_run_and_positions(
        request.run_config, positions, request.device, progress
    )
    fingerprint = request.fingerprint(None if run is None else run.sha256)
    with MapWriter(map_dir, fingerprint, overwrite=overwrite) as writer:
        mapping_data, run_field = _capture_stage(request, run, known_alignment, writer, progress)
        context = _make_context(request, mapping_data, writer, progress)
        trained = field_stage(context, field, run_field)
        del run, run_field  # later stages need the memory of the run's model
        free_memory()
        landmarks = atlas_stage(context, trained.voxel_field)
        images = image_views(context, trained.voxel_field)
        _write_mapping_poses(writer, mapping_data)
        first_map_stage(context, request, trained, landmarks, images)
        views = synthesis_stage(context, trained.voxel_field)
        regressor = regressor_stage(context, views, images)
        calibration = calibration_stage(context, landmarks, regressor)
        results = BuildResults(trained, views, landmarks, regressor, calibration)
        _write_curves(writer, results, config)
        return writer.finish(make_manifest(request, context, results))


def _make_context(
    request: BuildRequest, mapping_data: MappingData, writer: MapWriter, progress: ProgressCallback
) -> StageContext:
    """Return what all stages share; lengths in the settings follow the scene."""
    scene_depth_m = estimate_scene_depth(mapping_data.field_capture.capture)
    config = settings_for_scene(request.config, scene_depth_m)
    return StageContext(writer, mapping_data, config, request.device, progress, scene_depth_m)


def _capture_stage(
    request: BuildRequest,
    run: 'NerfstudioRun | None',
    known_alignment: RunAlignment | None,
    writer: MapWriter,
    progress: ProgressCallback,
) -> tuple[MappingData, RadianceField | None]:
    """Open the bag, render the run, or both; return also the run's field in the map frame."""
    if writer.note:
        progress(Progress(CAPTURE, 0, 1, writer.note))
    run_field = None
    if run is None:
        mapping_data = _mapping_data_from_bag(request, writer, progress)
    else:
        with writer.time_stage(CAPTURE):
            mapping_data, run_field = mapping_data_from_run(
                run,
                request.bag,
                known_alignment,
                request.config,
                device=request.device,
                work_dir=writer.work_dir / 'run',
                progress=progress,
            )
            frames = len(mapping_data.training_capture.training_frames)
            check_regressor_settings(frames, mapping_data.camera, request.config)
    report_warnings(mapping_data.warnings, CAPTURE, progress)
    return mapping_data, run_field


def _mapping_data_from_bag(
    request: BuildRequest, writer: MapWriter, progress: ProgressCallback
) -> MappingData:
    """Open a bag as the input of all stages, and adjust its poses."""
    assert request.bag is not None
    config = request.config
    with writer.time_stage(CAPTURE):
        capture = open_mapping_capture(request.bag, config, request.field_kind, progress)
    adjusted = adjustment_stage(capture, config, writer, progress)
    capture = capture.with_poses(adjusted.frames, adjusted.map_from_camera)
    split = SplitCapture.split(capture, config.field.validation_share)
    return MappingData(
        split,
        split,
        capture.camera,
        capture.convention,
        [*_pose_warnings(capture), *adjusted.warnings],
        pose_adjustment=adjusted.report.as_dict(),
    )


def _pose_warnings(capture: Capture) -> list[str]:
    """Return what is wrong with the poses; the adjustment mends and reports jumps."""
    return [f'warning: {item.text}' for item in capture.findings if item.cause != 'tracking']


def _write_mapping_poses(writer: MapWriter, mapping_data: MappingData) -> None:
    np.savez_compressed(
        writer.path(MAPPING_POSES),
        map_from_camera=mapping_data.mapping_poses,
        stamps_ns=mapping_data.mapping_stamps_ns,
    )


def _write_curves(writer: MapWriter, results: BuildResults, config: BuildConfig) -> None:
    """Write the training curves of all stages."""
    curves = json.dumps(training_curves(results, config.regressor))
    writer.path('training.json').write_text(curves, encoding='utf-8')
