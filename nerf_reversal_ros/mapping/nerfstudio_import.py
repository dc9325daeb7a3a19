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
from nerf_reversal_ros.capture.gravity_alignment import floor_normal, solve_up
from nerf_reversal_ros.capture.held_out import held_out_frames
from nerf_reversal_ros.capture.mapping_data import NEAR_M, near_others, Walk
from nerf_reversal_ros.capture.pose_convention import Convention
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import BuildConfig, CaptureConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import remove
from nerf_reversal_ros.core.geometry import Array
from nerf_reversal_ros.core.progress import Progress, ProgressCallback, silent
from nerf_reversal_ros.core.sampling import evenly
from nerf_reversal_ros.fields.baking import baking_effort, render_views
from nerf_reversal_ros.fields.base import RadianceField, Rendering
from nerf_reversal_ros.fields.sim3 import moved_poses, scale_of, similarity
from nerf_reversal_ros.mapping.sim3_alignment import (
    align_points,
    align_poses,
    Aligned,
    locate_in_renders,
    read_positions,
)

if TYPE_CHECKING:
    from nerf_reversal_ros.fields.nerfstudio.run import Run

LOCATED = 40
"""So many pictures of a bag, at most, are looked for in the run's renders."""
RATE_HZ = 10
FARTHEST = float(np.finfo(np.float16).max)
"""Depth beyond is unknown, in the units of the run: it is kept in half precision."""
NEAR, LIKELY = 0.5, 2.0
"""A room whose median depth is less than the first, or more than ``capture.max_depth_m``, is not
in metres: it is taken to be the second [m]."""
NAMED = 5
"""So many pictures, at most, are named in a message."""
NOT_METRES = (
    'warning: lengths are those of the data that the run was trained on, metres only if those'
    ' were: give a BAG of the same room, or known positions by --align'
)
GUESSED = (
    'warning: lengths are a guess, for the data of the run are probably not in metres{if_so}: one'
    ' of their units is taken as {scale:.3g} m, with which half of what its cameras see is nearer'
    ' than {likely:g} m; for lengths that are right give a BAG of the same room, or known'
    ' positions by --align'
)
IN_METRES = ' (if they are, raise capture.max_depth_m)'
SEEN = (
    'warning: {seen} of the {held_out} held-out pictures were seen by the run (cameras within'
    ' {near:g} cm): probability and covariance may be too sure; give a BAG of another walk'
)


def opened_run(
    config_yml: Path | None,
    positions: Path | None,
    device: torch.device,
    progress: ProgressCallback = silent,
) -> tuple['Run | None', tuple[Aligned, Convention] | None]:
    """Return the run, if there is one, and what known positions, if any, tell of its world."""
    if config_yml is None:
        return None, None
    from nerf_reversal_ros.fields.nerfstudio.run import (  # it imports nerfstudio
        judged_names,
        open_run,
    )

    progress(Progress('run', 0, 1, f'reading {config_yml} as data, its checkpoint as weights'))
    run = open_run(config_yml, device)
    if positions is None:
        return run, None
    return run, aligned_by_positions(positions, run, lambda: judged_names(config_yml), progress)


def walk_through_run(
    run: 'Run',
    bag: Path | None,
    known: tuple[Aligned, Convention] | None,
    config: BuildConfig,
    *,
    device: torch.device,
    work_dir: Path,
    progress: ProgressCallback = silent,
) -> tuple[Walk, RadianceField]:
    """
    Render a run where its training cameras were, as a capture in metres.

    Parameters
    ----------
    run : Run
        See `nerfstudio_run.open_run`.
    bag : Path, optional
        A walk in the same room, with poses in metres: its pictures are found in the renders, and
        are what later stages learn from. It needs no depth if its pose convention is told.
    known : tuple, optional
        Instead of a bag: what `aligned_by_positions` tells.
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
    views, size = baking_effort(config.nerfstudio, device)
    chosen = evenly(len(run.names), views)
    poses, camera = run.world_from_camera[chosen], run.camera.shrunk_to(size)
    # In the run's own units: metres are not known before the renders are.
    rgb, depth = render_views(
        run.field(np.eye(4)), poses, camera, work_dir, max_depth_m=FARTHEST, progress=progress
    )
    warnings: list[str] = []
    if real is not None:
        learned = np.flatnonzero(~held_out_frames(len(real), share))
        aligned = aligned_by_pictures(real, learned, rgb, depth, poses, camera, progress)
        convention = real.convention
    elif known is not None:
        aligned, convention = known
    else:
        unit = likely_unit_m(depth, config.capture.max_depth_m)
        if_so = IN_METRES if unit < 1.0 else ''
        guessed = GUESSED.format(scale=unit, likely=LIKELY, if_so=if_so)
        warnings.append(guessed if unit != 1.0 else NOT_METRES)
        aligned, convention = _upright(poses, depth, camera, config.capture.up_axis, unit)
    scale = scale_of(aligned.map_from_world)
    walk = work_dir / 'walk'
    remove(walk)
    with BagWriter(walk, up_axis='z') as writer:
        for index, pose in enumerate(moved_poses(aligned.map_from_world, poses)):
            png = cv2.imencode('.png', cv2.cvtColor(rgb[index], cv2.COLOR_RGB2BGR))[1].tobytes()
            metres = depth[index].astype(np.float32) * np.float32(scale)
            writer.write(round((index + 1) * 1e9 / RATE_HZ), png, metres, camera, pose)
    renders = open_capture(
        walk,
        CaptureConfig(
            max_depth_m=config.capture.max_depth_m, min_move_m=0, min_turn_deg=0, blur_ratio=0
        ),
        convention=Convention('optical', np.eye(4), 'the map itself'),
    )
    metrics = {'run_scale': scale, 'run_cameras': float(len(run.names))}
    if aligned.used:
        metrics |= {'aligned': float(aligned.used), 'alignment_error_m': aligned.error_m}
        metrics['positions_left_out'] = float(aligned.left_out)
    if real is not None:
        held_out = real.map_from_camera[held_out_frames(len(real), share)]
        cameras = moved_poses(aligned.map_from_world, run.world_from_camera)
        seen = int(near_others(held_out, cameras).sum())
        metrics['held_out_seen_by_run'] = float(seen)
        if seen:
            warnings.append(SEEN.format(seen=seen, held_out=len(held_out), near=100 * NEAR_M))
    shown_by = run.camera if real is None else real.camera
    made_from = Walk(renders, real, shown_by, convention, share, warnings, metrics)
    return made_from, run.field(aligned.map_from_world)


def likely_unit_m(depth: NDArray[np.float16], max_depth_m: float) -> float:
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
    return 1.0 if NEAR <= middle <= max_depth_m else LIKELY / middle


def aligned_by_pictures(
    reference: Capture,
    frames: NDArray[np.int64],
    rgb: NDArray[np.uint8],
    depth: NDArray[np.float16],
    world_from_camera: Array,
    camera: Camera,
    progress: ProgressCallback = silent,
) -> Aligned:
    """
    Find pictures of a capture in metres in renders (N, H, W), and fit the similarity.

    ``frames`` are the indices of the pictures that may be looked at; ``depth`` and
    ``world_from_camera`` are in the units of the run's world, whatever these are.
    """
    rows = evenly(len(rgb), LOCATED)
    opaque = np.ones(rgb.shape[1:3], np.float32)
    views = [
        (Rendering(rgb[row], depth[row].astype(np.float32), opaque), world_from_camera[row])
        for row in rows
    ]
    wanted = frames[evenly(len(frames), LOCATED)]

    def pictures() -> Iterator[Frame]:
        for done, index in enumerate(wanted, start=1):
            yield reference.frame(int(index))
            progress(Progress('alignment', done, len(wanted)))

    return align_poses(*locate_in_renders(pictures(), views, camera))


def _upright(
    world_from_camera: Array,
    depth: NDArray[np.float16],
    camera: Camera,
    up_axis: str,
    unit_m: float,
) -> tuple[Aligned, Convention]:
    """Take a unit of the run's world as so many metres, and turn its z up."""
    metric = similarity(unit_m)
    cameras = moved_poses(metric, world_from_camera)

    def floor() -> Array | None:
        rng = np.random.default_rng(0)
        return floor_normal(
            cameras, lambda i: (depth[i].astype(np.float32) * np.float32(unit_m), camera), rng
        )

    turn, source = solve_up('optical', 'world', up_axis, '', cameras, floor)
    return Aligned(turn @ metric, 0, 0.0), Convention('optical', turn, source, of_bag=False)


def aligned_by_positions(
    path: Path, run: 'Run', judged_names: Callable[[], set[str]], progress: ProgressCallback
) -> tuple[Aligned, Convention]:
    """
    Fit the similarity to where a file says that cameras of the run were.

    Pictures that the run was judged by, not trained on, are left out: ``judged_names`` is asked
    for these where there are others than those that it was trained on.
    """
    known = read_positions(path)
    others = sorted(set(known) - set(run.names))
    judged = judged_names() if others else set()
    strange = [name for name in others if name not in judged]
    if strange:
        more = f' and {len(strange) - NAMED} more' if len(strange) > NAMED else ''
        raise BuildError(
            f'{path} names {", ".join(strange[:NAMED])}{more}: no such picture is among the data'
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
    aligned = align_points(there, run.world_from_camera[rows, :3, 3])
    told = f'known positions of {path.name}'
    convention = Convention('optical', np.eye(4), told, of_bag=False)
    return aligned._replace(left_out=len(others)), convention
