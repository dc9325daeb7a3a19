"""
Import of a nerfstudio run: its renderings as a capture in the map frame.

The run's field is rendered, color and depth, at its training cameras. A Sim(3) takes these to the
map, and a bag of the renderings is the field capture of the build. The PSNR of the voxel field
against the renderings is what baking loses. Later stages use the images of the bag that is given
with the run; without a bag they use the renderings as well.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
import torch

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.mapping_data import (
    is_near_any,
    MappingData,
    SAME_VIEW_M,
    SplitCapture,
)
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.files import remove
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.baking import baking_budget, render_views
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.sim3 import scale_of, transform_poses
from nerf_reversal_ros.mapping.run_alignment import (
    align_to_positions,
    alignment_from_capture,
    alignment_from_guess,
    RunAlignment,
    RunRenderings,
)
from nerf_reversal_ros.mapping.sim3_alignment import Sim3Alignment
from nerf_reversal_ros.mapping.stages import RUN

if TYPE_CHECKING:
    from nerf_reversal_ros.fields.nerfstudio.run import NerfstudioRun

RATE_HZ = 10
"""Frame rate of the bag of renderings, whose stamps have no meaning."""
MAX_STORED_DEPTH = float(np.finfo(np.float16).max)
"""Depth beyond is unknown, in units of the run: renderings are stored in half precision."""
HELD_OUT_LEAK_WARNING = (
    'warning: the run was trained on {leaked} of the {held_out} held-out images (cameras within'
    ' {distance_cm:g} cm): probability and covariance may be overconfident; give a BAG of another'
    ' capture'
)


def load_run_and_positions(
    config_yml: Path | None,
    positions: Path | None,
    device: torch.device,
    progress: ProgressCallback = no_progress,
) -> tuple['NerfstudioRun | None', RunAlignment | None]:
    """Load a run, if there is one, and align it to known positions, if there are any."""
    if config_yml is None:
        return None, None
    from nerf_reversal_ros.fields.nerfstudio.run import (  # imports nerfstudio
        eval_image_names,
        load_run,
    )

    progress(Progress(RUN, 0, 1, f'reading {config_yml} as data, its checkpoint as weights'))
    run = load_run(config_yml, device)
    if positions is None:
        return run, None
    return run, align_to_positions(positions, run, lambda: eval_image_names(config_yml), progress)


def mapping_data_from_run(
    run: 'NerfstudioRun',
    bag: Path | None,
    known_alignment: RunAlignment | None,
    config: BuildConfig,
    *,
    device: torch.device,
    work_dir: Path,
    progress: ProgressCallback = no_progress,
) -> tuple[MappingData, RadianceField]:
    """
    Render a run at its training cameras, as a capture in meters.

    Parameters
    ----------
    run : NerfstudioRun
        See `nerfstudio.run.load_run`.
    bag : Path, optional
        Capture of the same room with poses in meters. Its images are localized in the renderings,
        and later stages use them. It needs no depth if its pose convention is set.
    known_alignment : RunAlignment, optional
        Instead of a bag: the result of `align_to_positions`.
    work_dir : Path
        Folder for the renderings and their bag; files of a killed build are reused.

    Returns
    -------
    tuple
        The input of the build, and the run's field in the map frame.

    Raises
    ------
    BuildError
        If the alignment to the map fails.
    """
    reference = None if bag is None else _open_reference(bag, config, progress)
    renderings = _render_run(run, config, device, work_dir, progress)
    if reference is not None:
        alignment = alignment_from_capture(reference, renderings, progress)
    elif known_alignment is not None:
        alignment = known_alignment
    else:
        alignment = alignment_from_guess(renderings, config.capture)
    field_capture = _capture_of_renderings(
        renderings, alignment, work_dir / 'renderings', config.capture.max_depth_m
    )
    metrics, warnings = _alignment_metrics(run, alignment.sim3), [*alignment.warnings]
    if reference is not None:
        leaked = _count_leaked_frames(reference, run, alignment.sim3.map_from_world)
        metrics['held_out_seen_by_run'] = float(leaked)
        warnings += _leak_warnings(leaked, len(reference.held_out_frames))
    mapping_data = MappingData(
        SplitCapture.split(field_capture, config.field.validation_share),
        reference,
        run.camera if reference is None else reference.capture.camera,
        alignment.convention,
        warnings,
        metrics,
    )
    return mapping_data, run.field(alignment.sim3.map_from_world)


def _open_reference(bag: Path, config: BuildConfig, progress: ProgressCallback) -> SplitCapture:
    """Open the bag that is given with a run."""
    capture = open_capture(bag, config.capture, progress=progress)
    return SplitCapture.split(capture, config.field.validation_share)


def _render_run(
    run: 'NerfstudioRun',
    config: BuildConfig,
    device: torch.device,
    work_dir: Path,
    progress: ProgressCallback,
) -> RunRenderings:
    """
    Render a run at evenly spaced training cameras.

    Depth stays in units of the run, because the scale is estimated from the renderings.
    """
    work_dir.mkdir(exist_ok=True)
    max_count, size_px = baking_budget(config.nerfstudio, device)
    poses = run.world_from_camera[evenly_spaced_indices(len(run.names), max_count)]
    camera = run.camera.downscaled_to(size_px)
    rgb, depth = render_views(
        run.field(np.eye(4)),
        poses,
        camera,
        work_dir,
        max_depth_m=MAX_STORED_DEPTH,
        progress=progress,
    )
    return RunRenderings(rgb, depth, poses, camera)


def _capture_of_renderings(
    renderings: RunRenderings, alignment: RunAlignment, bag: Path, max_depth_m: float
) -> Capture:
    """Write renderings to a bag in the map frame, in meters, and open it."""
    map_from_world = alignment.sim3.map_from_world
    scale = np.float32(scale_of(map_from_world))
    remove(bag)
    with BagWriter(bag, up_axis='z') as writer:
        poses = transform_poses(map_from_world, renderings.world_from_camera)
        for index, pose in enumerate(poses):
            bgr = cv2.cvtColor(renderings.rgb[index], cv2.COLOR_RGB2BGR)
            png = cv2.imencode('.png', bgr)[1].tobytes()
            depth_m = renderings.depth[index].astype(np.float32) * scale
            stamp_ns = round((index + 1) * 1e9 / RATE_HZ)
            writer.write(stamp_ns, png, depth_m, renderings.camera, pose)
    return open_capture(
        bag,
        CaptureConfig(max_depth_m=max_depth_m, min_move_m=0, min_turn_deg=0, blur_ratio=0),
        convention=PoseConvention('optical', np.eye(4), 'the map itself'),
    )


def _alignment_metrics(run: 'NerfstudioRun', sim3: Sim3Alignment) -> dict[str, float]:
    """Return the metrics of an alignment for the manifest; its error only if it was fitted."""
    metrics = {'run_scale': scale_of(sim3.map_from_world), 'run_cameras': float(len(run.names))}
    if sim3.correspondence_count:
        metrics['aligned'] = float(sim3.correspondence_count)
        metrics['alignment_error_m'] = sim3.error_m
        metrics['positions_left_out'] = float(sim3.skipped_count)
    return metrics


def _count_leaked_frames(
    reference: SplitCapture, run: 'NerfstudioRun', map_from_world: FloatArray
) -> int:
    """Count held-out frames that a training camera of the run sees as well."""
    held_out_poses = reference.capture.map_from_camera[reference.held_out]
    run_poses = transform_poses(map_from_world, run.world_from_camera)
    return int(is_near_any(held_out_poses, run_poses).sum())


def _leak_warnings(leaked: int, held_out: int) -> list[str]:
    """Return a sentence if held-out frames leak into the training of the run."""
    if not leaked:
        return []
    distance_cm = 100 * SAME_VIEW_M
    return [
        HELD_OUT_LEAK_WARNING.format(leaked=leaked, held_out=held_out, distance_cm=distance_cm)
    ]
