"""
A walk through somebody else's NeRF: its renders, as the bag that a field is fitted to.

Where the run's training cameras were, its field is rendered, colours and depth. From there on a
map is built as from any walk: the voxel field is fitted to the renders, and its PSNR against them
is what baking lost. Later stages learn from the pictures of the bag that is given with the run, if
one is, else from the renders as well.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
import torch

from nerf_reversal_ros.capture.capture import Capture, Frame, open_capture
from nerf_reversal_ros.capture.gravity_alignment import (
    estimate_floor_normal,
    estimate_gravity_alignment,
)
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.mapping_data import is_near_any, MappingData, SAME_VIEW_M
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

if TYPE_CHECKING:
    from nerf_reversal_ros.fields.nerfstudio.run import NerfstudioRun

MAX_ALIGNMENT_IMAGES = 40
"""So many pictures of a bag, at most, are looked for in the run's renders."""
RATE_HZ = 10
MAX_STORED_DEPTH = float(np.finfo(np.float16).max)
"""Depth beyond is unknown, in the units of the run: it is kept in half precision."""
MIN_MEDIAN_DEPTH_M, ASSUMED_MEDIAN_DEPTH_M = 0.5, 2.0
"""A room whose median depth is less than the first, or more than ``capture.max_depth_m``, is not
in metres: it is taken to be the second [m]."""
MAX_LISTED_IMAGES = 5
"""So many pictures, at most, are named in a message."""
UNKNOWN_SCALE_WARNING = (
    'warning: lengths are those of the data that the run was trained on, metres only if those'
    ' were: give a BAG of the same room, or known positions by --align'
)
GUESSED_SCALE_WARNING = (
    'warning: lengths are a guess, for the data of the run are probably not in metres{if_so}: one'
    ' of their units is taken as {scale:.3g} m, with which half of what its cameras see is nearer'
    ' than {likely:g} m; for lengths that are right give a BAG of the same room, or known'
    ' positions by --align'
)
METRIC_SCALE_HINT = ' (if they are, raise capture.max_depth_m)'
HELD_OUT_LEAK_WARNING = (
    'warning: {seen} of the {held_out} held-out pictures were seen by the run (cameras within'
    ' {near:g} cm): probability and covariance may be too sure; give a BAG of another walk'
)


def load_run_and_positions(
    config_yml: Path | None,
    positions: Path | None,
    device: torch.device,
    progress: ProgressCallback = no_progress,
) -> tuple['NerfstudioRun | None', tuple[Sim3Alignment, PoseConvention] | None]:
    """Return the run, if there is one, and what known positions, if any, tell of its world."""
    if config_yml is None:
        return None, None
    from nerf_reversal_ros.fields.nerfstudio.run import (  # it imports nerfstudio
        eval_image_names,
        load_run,
    )

    progress(Progress('run', 0, 1, f'reading {config_yml} as data, its checkpoint as weights'))
    run = load_run(config_yml, device)
    if positions is None:
        return run, None
    return run, align_to_positions(positions, run, lambda: eval_image_names(config_yml), progress)


def mapping_data_from_run(
    run: 'NerfstudioRun',
    bag: Path | None,
    known_alignment: tuple[Sim3Alignment, PoseConvention] | None,
    config: BuildConfig,
    *,
    device: torch.device,
    work_dir: Path,
    progress: ProgressCallback = no_progress,
) -> tuple[MappingData, RadianceField]:
    """
    Render a run where its training cameras were, as a capture in metres.

    Parameters
    ----------
    run : Run
        See `nerfstudio_run.load_run`.
    bag : Path, optional
        A walk in the same room, with poses in metres: its pictures are found in the renders, and
        are what later stages learn from. It needs no depth if its pose convention is told.
    known_alignment : tuple, optional
        Instead of a bag: what `align_to_positions` tells.
    work_dir : Path
        For renders and bag; what a killed build left is used.

    Returns
    -------
    tuple
        The walk, and the run's own field in the frame of the map.

    Raises
    ------
    BuildError
        If the run cannot be brought to metres.
    """
    work_dir.mkdir(exist_ok=True)
    share = config.field.validation_share
    real = None if bag is None else open_capture(bag, config.capture, progress=progress)
    views, size = baking_budget(config.nerfstudio, device)
    chosen = evenly_spaced_indices(len(run.names), views)
    poses, camera = run.world_from_camera[chosen], run.camera.downscaled_to(size)
    # In the run's own units: metres are not known before the renders are.
    rgb, depth = render_views(
        run.field(np.eye(4)),
        poses,
        camera,
        work_dir,
        max_depth_m=MAX_STORED_DEPTH,
        progress=progress,
    )
    warnings: list[str] = []
    if real is not None:
        learned = np.flatnonzero(~held_out_mask(len(real), share))
        aligned = align_to_capture(real, learned, rgb, depth, poses, camera, progress)
        convention = real.convention
    elif known_alignment is not None:
        aligned, convention = known_alignment
    else:
        unit = guess_unit_m(depth, config.capture.max_depth_m)
        if_so = METRIC_SCALE_HINT if unit < 1.0 else ''
        guessed = GUESSED_SCALE_WARNING.format(
            scale=unit, likely=ASSUMED_MEDIAN_DEPTH_M, if_so=if_so
        )
        warnings.append(guessed if unit != 1.0 else UNKNOWN_SCALE_WARNING)
        aligned, convention = _align_to_gravity(poses, depth, camera, config.capture.up_axis, unit)
    scale = scale_of(aligned.map_from_world)
    walk = work_dir / 'walk'
    remove(walk)
    with BagWriter(walk, up_axis='z') as writer:
        for index, pose in enumerate(transform_poses(aligned.map_from_world, poses)):
            png = cv2.imencode('.png', cv2.cvtColor(rgb[index], cv2.COLOR_RGB2BGR))[1].tobytes()
            metres = depth[index].astype(np.float32) * np.float32(scale)
            writer.write(round((index + 1) * 1e9 / RATE_HZ), png, metres, camera, pose)
    renders = open_capture(
        walk,
        CaptureConfig(
            max_depth_m=config.capture.max_depth_m, min_move_m=0, min_turn_deg=0, blur_ratio=0
        ),
        convention=PoseConvention('optical', np.eye(4), 'the map itself'),
    )
    metrics = {'run_scale': scale, 'run_cameras': float(len(run.names))}
    if aligned.correspondence_count:
        metrics |= {
            'aligned': float(aligned.correspondence_count),
            'alignment_error_m': aligned.error_m,
        }
        metrics['positions_left_out'] = float(aligned.skipped_count)
    if real is not None:
        held_out = real.map_from_camera[held_out_mask(len(real), share)]
        cameras = transform_poses(aligned.map_from_world, run.world_from_camera)
        seen = int(is_near_any(held_out, cameras).sum())
        metrics['held_out_seen_by_run'] = float(seen)
        if seen:
            warnings.append(
                HELD_OUT_LEAK_WARNING.format(
                    seen=seen, held_out=len(held_out), near=100 * SAME_VIEW_M
                )
            )
    shown_by = run.camera if real is None else real.camera
    made_from = MappingData(renders, real, shown_by, convention, share, warnings, metrics)
    return made_from, run.field(aligned.map_from_world)


def guess_unit_m(depth: NDArray[np.float16], max_depth_m: float) -> float:
    """
    Guess how long a unit of a run is by depths (N, H, W) of its renders.

    Returns
    -------
    float
        [m]; 1 if a room with such depths in metres is likely.
    """
    known = depth[:, ::4, ::4].astype(np.float64)
    known = known[known > 0]
    if not len(known):
        raise BuildError(
            'the renders of the run show nothing at its training cameras: its training was too'
            ' short, or went wrong'
        )
    middle = float(np.median(known))
    return 1.0 if MIN_MEDIAN_DEPTH_M <= middle <= max_depth_m else ASSUMED_MEDIAN_DEPTH_M / middle


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
    Find pictures of a capture in metres in renders (N, H, W), and fit the similarity.

    ``frames`` are the indices of the pictures that may be looked at; ``depth`` and
    ``world_from_camera`` are in the units of the run's world, whatever these are.
    """
    rows = evenly_spaced_indices(len(rgb), MAX_ALIGNMENT_IMAGES)
    opaque = np.ones(rgb.shape[1:3], np.float32)
    views = [
        (Rendering(rgb[row], depth[row].astype(np.float32), opaque), world_from_camera[row])
        for row in rows
    ]
    wanted = frames[evenly_spaced_indices(len(frames), MAX_ALIGNMENT_IMAGES)]

    def pictures() -> Iterator[Frame]:
        for done, index in enumerate(wanted, start=1):
            yield reference.frame(int(index))
            progress(Progress('alignment', done, len(wanted)))

    return fit_sim3_to_poses(*locate_in_renderings(pictures(), views, camera))


def _align_to_gravity(
    world_from_camera: FloatArray,
    depth: NDArray[np.float16],
    camera: Camera,
    up_axis: str,
    unit_m: float,
) -> tuple[Sim3Alignment, PoseConvention]:
    """Take a unit of the run's world as so many metres, and turn its z up."""
    metric = make_sim3(unit_m)
    cameras = transform_poses(metric, world_from_camera)

    def floor() -> FloatArray | None:
        rng = np.random.default_rng(0)
        return estimate_floor_normal(
            cameras, lambda i: (depth[i].astype(np.float32) * np.float32(unit_m), camera), rng
        )

    turn, source = estimate_gravity_alignment('optical', 'world', up_axis, '', cameras, floor)
    return Sim3Alignment(turn @ metric, 0, 0.0), PoseConvention(
        'optical', turn, source, of_bag=False
    )


def align_to_positions(
    path: Path,
    run: 'NerfstudioRun',
    eval_image_names: Callable[[], set[str]],
    progress: ProgressCallback,
) -> tuple[Sim3Alignment, PoseConvention]:
    """
    Fit the similarity to where a file says that cameras of the run were.

    Pictures that the run was judged by, not trained on, are left out: ``eval_image_names`` is asked
    for these where there are others than those that it was trained on.
    """
    known = read_known_positions(path)
    others = sorted(set(known) - set(run.names))
    judged = eval_image_names() if others else set()
    strange = [name for name in others if name not in judged]
    if strange:
        more = (
            f' and {len(strange) - MAX_LISTED_IMAGES} more'
            if len(strange) > MAX_LISTED_IMAGES
            else ''
        )
        raise BuildError(
            f'{path} names {", ".join(strange[:MAX_LISTED_IMAGES])}{more}: no such picture is among the data'
            f' of the run, which was trained on {run.names[0]} to {run.names[-1]}'
        )
    if others:
        left = f'{len(others)} of the {len(known)} known positions are left out: the run was not'
        progress(Progress('run', 1, 1, f'{left} trained on their pictures'))
        known = {name: at for name, at in known.items() if name in run.names}
    twice = sorted(name for name in known if run.names.count(name) > 1)
    if twice:
        raise BuildError(
            f'{path} names {twice[0]}, and {run.names.count(twice[0])} pictures of the run have'
            ' that name: give positions of pictures whose names are their own'
        )
    rows = [run.names.index(name) for name in known]
    there = np.array(list(known.values())).reshape(-1, 3)
    aligned = fit_sim3_to_points(there, run.world_from_camera[rows, :3, 3])
    told = f'known positions of {path.name}'
    convention = PoseConvention('optical', np.eye(4), told, of_bag=False)
    return aligned._replace(skipped_count=len(others)), convention
