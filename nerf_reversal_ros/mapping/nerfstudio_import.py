"""
Import of a nerfstudio run: its renderings as a capture in the map frame.

The run's field is rendered, color and depth, at its training cameras. A Sim(3) takes these to the
map, and a bag of the renderings is the field capture of the build. The PSNR of the voxel field
against the renderings is what baking loses. Later stages use the images of the bag that is given
with the run; without a bag they use the renderings as well.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
import torch

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.gravity_alignment import (
    estimate_floor_normal,
    estimate_gravity_alignment,
)
from nerf_reversal_ros.capture.mapping_data import (
    is_near_any,
    MappingData,
    SAME_VIEW_M,
    SplitCapture,
)
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import BuildConfig, CaptureConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import remove
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.baking import baking_budget, render_views
from nerf_reversal_ros.fields.base import RadianceField, Rendering
from nerf_reversal_ros.fields.sim3 import make_sim3, scale_of, transform_poses
from nerf_reversal_ros.mapping.sim3_alignment import (
    fit_sim3_to_points,
    fit_sim3_to_poses,
    locate_in_renderings,
    read_known_positions,
    Sim3Alignment,
)
from nerf_reversal_ros.mapping.stages import ALIGNMENT, RUN

if TYPE_CHECKING:
    from nerf_reversal_ros.fields.nerfstudio.run import NerfstudioRun

MAX_ALIGNMENT_IMAGES = 40
"""Images of a bag, and renderings, that the alignment uses; it needs six that agree."""
RATE_HZ = 10
"""Frame rate of the bag of renderings, whose stamps have no meaning."""
MAX_STORED_DEPTH = float(np.finfo(np.float16).max)
"""Depth beyond is unknown, in units of the run: renderings are stored in half precision."""
MIN_MEDIAN_DEPTH_M, ASSUMED_MEDIAN_DEPTH_M = 0.5, 2.0
"""
Median depth of a room [m]: at least the first, at most ``capture.max_depth_m``.

With a median outside of that range a unit of the run is not a meter; the second is assumed.
"""
MAX_LISTED_IMAGES = 5
"""Image names in an error message; more would hide the remedy."""
UNKNOWN_SCALE_WARNING = (
    'warning: the scale is that of the data that the run was trained on, which may not be in'
    ' meters: give a BAG of the same room, or known positions with --align'
)
GUESSED_SCALE_WARNING = (
    'warning: the scale is a guess, because the data of the run are probably not in'
    ' meters{condition}: one of their units is taken as {scale:.3g} m, for a median depth of'
    ' {median:g} m; for the true scale give a BAG of the same room, or known positions with'
    ' --align'
)
METRIC_SCALE_HINT = ' (if they are, raise capture.max_depth_m)'
HELD_OUT_LEAK_WARNING = (
    'warning: the run was trained on {leaked} of the {held_out} held-out images (cameras within'
    ' {distance_cm:g} cm): probability and covariance may be overconfident; give a BAG of another'
    ' capture'
)


class RunAlignment(NamedTuple):
    """Alignment of a run to the map frame, from one scale source."""

    sim3: Sim3Alignment
    convention: PoseConvention
    """Pose convention of the bag, or a placeholder that localizes no bag."""
    warnings: list[str]


class RunRenderings(NamedTuple):
    """Renderings of a run at V of its training cameras, in units of the run's world."""

    rgb: NDArray[np.uint8]
    """(V, H, W, 3)."""
    depth: NDArray[np.float16]
    """(V, H, W); 0 is unknown."""
    world_from_camera: FloatArray
    """(V, 4, 4)."""
    camera: Camera


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
    work_dir.mkdir(exist_ok=True)
    validation_fraction = config.field.validation_share
    reference = None
    if bag is not None:
        capture = open_capture(bag, config.capture, progress=progress)
        reference = SplitCapture.split(capture, validation_fraction)
    renderings = _render_run(run, config, device, work_dir, progress)
    if reference is not None:
        alignment = _alignment_from_capture(reference, renderings, progress)
    elif known_alignment is not None:
        alignment = known_alignment
    else:
        alignment = _alignment_from_guess(renderings, config.capture)
    map_from_world = alignment.sim3.map_from_world
    field_capture = _capture_of_renderings(
        renderings, map_from_world, work_dir / 'renderings', config.capture.max_depth_m
    )
    metrics = _alignment_metrics(run, alignment.sim3)
    warnings = [*alignment.warnings]
    if reference is not None:
        leaked = _count_leaked_frames(reference, run, map_from_world)
        metrics['held_out_seen_by_run'] = float(leaked)
        if leaked:
            warnings.append(
                HELD_OUT_LEAK_WARNING.format(
                    leaked=leaked,
                    held_out=len(reference.held_out_frames),
                    distance_cm=100 * SAME_VIEW_M,
                )
            )
    mapping_data = MappingData(
        SplitCapture.split(field_capture, validation_fraction),
        reference,
        run.camera if reference is None else reference.capture.camera,
        alignment.convention,
        warnings,
        metrics,
    )
    return mapping_data, run.field(map_from_world)


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


def _alignment_from_capture(
    reference: SplitCapture, renderings: RunRenderings, progress: ProgressCallback
) -> RunAlignment:
    """Align by training images of a bag, whose frame and scale become those of the map."""
    sim3 = align_to_capture(
        reference.capture,
        reference.training_frames,
        renderings.rgb,
        renderings.depth,
        renderings.world_from_camera,
        renderings.camera,
        progress,
    )
    return RunAlignment(sim3, reference.capture.convention, [])


def _alignment_from_guess(renderings: RunRenderings, config: CaptureConfig) -> RunAlignment:
    """Align without a scale source: meters if the depths suggest them, z up by gravity."""
    unit_m = guess_unit_m(renderings.depth, config.max_depth_m)
    if unit_m == 1.0:
        warning = UNKNOWN_SCALE_WARNING
    else:
        warning = GUESSED_SCALE_WARNING.format(
            scale=unit_m,
            median=ASSUMED_MEDIAN_DEPTH_M,
            condition=METRIC_SCALE_HINT if unit_m < 1.0 else '',
        )
    sim3, convention = _align_to_gravity(renderings, config.up_axis, unit_m)
    return RunAlignment(sim3, convention, [warning])


def _capture_of_renderings(
    renderings: RunRenderings, map_from_world: FloatArray, bag: Path, max_depth_m: float
) -> Capture:
    """Write renderings to a bag in the map frame, in meters, and open it."""
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


def guess_unit_m(depth: NDArray[np.float16], max_depth_m: float) -> float:
    """
    Guess the length of a unit of a run from depths (N, H, W) of its renderings.

    Returns
    -------
    float
        [m]; 1 if the median depth, taken in meters, is plausible for a room.

    Raises
    ------
    BuildError
        If no depth is known.
    """
    known = depth[:, ::4, ::4].astype(np.float64)
    known = known[known > 0]
    if not len(known):
        raise BuildError(
            'the renderings of the run are empty at its training cameras: train the run longer, or'
            ' check its training'
        )
    median = float(np.median(known))
    return 1.0 if MIN_MEDIAN_DEPTH_M <= median <= max_depth_m else ASSUMED_MEDIAN_DEPTH_M / median


def align_to_capture(
    reference: Capture,
    frames: NDArray[np.int64],
    rgb: NDArray[np.uint8],
    depth: NDArray[np.float16],
    world_from_camera: FloatArray,
    camera: Camera,
    progress: ProgressCallback = no_progress,
) -> Sim3Alignment:
    """
    Localize images of a metric capture in renderings, and fit a Sim(3) to their poses.

    Parameters
    ----------
    reference : Capture
        Images with poses in the map frame; its depth is not used.
    frames : (K,) array
        Indices of the frames that may be used.
    rgb : (N, H, W, 3) array
        Renderings.
    depth : (N, H, W) array
        Their depth in units of the run's world; 0 is unknown.
    world_from_camera : (N, 4, 4) array
        Their poses, in the same units.
    camera : Camera
        Their camera.

    Raises
    ------
    BuildError
        If too few images are localized, or their poses disagree.
    """
    rows = evenly_spaced_indices(len(rgb), MAX_ALIGNMENT_IMAGES)
    opaque = np.ones(rgb.shape[1:3], np.float32)
    views = [
        (Rendering(rgb[row], depth[row].astype(np.float32), opaque), world_from_camera[row])
        for row in rows
    ]
    chosen = frames[evenly_spaced_indices(len(frames), MAX_ALIGNMENT_IMAGES)]

    def chosen_frames() -> Iterator[Frame]:
        for done, index in enumerate(chosen, start=1):
            yield reference.frame(int(index))
            progress(Progress(ALIGNMENT, done, len(chosen)))

    return fit_sim3_to_poses(*locate_in_renderings(chosen_frames(), views, camera))


def _align_to_gravity(
    renderings: RunRenderings, up_axis: str, unit_m: float
) -> tuple[Sim3Alignment, PoseConvention]:
    """Scale the run's world to meters by a given unit, and rotate it to z up."""
    metric_from_world = make_sim3(unit_m)
    metric_from_camera = transform_poses(metric_from_world, renderings.world_from_camera)

    def depth_image(index: int) -> tuple[NDArray[np.float32], Camera]:
        return renderings.depth[index].astype(np.float32) * np.float32(unit_m), renderings.camera

    def floor_normal() -> FloatArray | None:
        return estimate_floor_normal(metric_from_camera, depth_image, np.random.default_rng(0))

    rotation, source = estimate_gravity_alignment(
        'optical', 'world', up_axis, '', metric_from_camera, floor_normal
    )
    convention = PoseConvention('optical', rotation, source, of_bag=False)
    return Sim3Alignment(rotation @ metric_from_world, 0, 0.0), convention


def align_to_positions(
    path: Path,
    run: 'NerfstudioRun',
    eval_image_names: Callable[[], set[str]],
    progress: ProgressCallback,
) -> RunAlignment:
    """
    Fit a Sim(3) to the known positions of a run's cameras.

    Parameters
    ----------
    path : Path
        File of known positions, see `read_known_positions`.
    eval_image_names : callable
        Returns the names of the run's evaluation images, whose positions are skipped. It is slow
        and is called only if the file names images that the run was not trained on.

    Raises
    ------
    BuildError
        If the file names unknown or ambiguous images, or the fit fails.
    """
    positions = read_known_positions(path)
    untrained = sorted(set(positions) - set(run.names))
    if untrained:
        _check_eval_images(untrained, path, run, eval_image_names())
        skipped = f'skipping {len(untrained)} of {len(positions)} known positions'
        progress(Progress(RUN, 1, 1, f'{skipped}: the run was not trained on their images'))
        positions = {name: xyz for name, xyz in positions.items() if name in run.names}
    ambiguous = sorted(name for name in positions if run.names.count(name) > 1)
    if ambiguous:
        raise BuildError(
            f'{path} names {ambiguous[0]}, and {run.names.count(ambiguous[0])} images of the run'
            ' have that name: give positions of images with unique names'
        )
    rows = [run.names.index(name) for name in positions]
    map_points = np.array(list(positions.values())).reshape(-1, 3)
    sim3 = fit_sim3_to_points(map_points, run.world_from_camera[rows, :3, 3])
    convention = PoseConvention(
        'optical', np.eye(4), f'known positions of {path.name}', of_bag=False
    )
    return RunAlignment(sim3._replace(skipped_count=len(untrained)), convention, [])


def _check_eval_images(
    names: list[str], path: Path, run: 'NerfstudioRun', eval_names: set[str]
) -> None:
    """Raise BuildError if names are neither training nor evaluation images of the run."""
    unknown = [name for name in names if name not in eval_names]
    if not unknown:
        return
    listed = ', '.join(unknown[:MAX_LISTED_IMAGES])
    if len(unknown) > MAX_LISTED_IMAGES:
        listed += f' and {len(unknown) - MAX_LISTED_IMAGES} more'
    raise BuildError(
        f'{path} names {listed}: no such image is among the data of the run, which was trained on'
        f' {run.names[0]} to {run.names[-1]}'
    )
