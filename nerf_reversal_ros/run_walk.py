"""
A walk through somebody else's NeRF: its renders, as the bag that a map is built from.

Where the run's training cameras were, its field is rendered, colours and depth. From there on a
map is built as from any walk: the voxel field is fitted to the renders, and its PSNR against them
is what baking lost.
"""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray
import torch

from nerf_reversal_ros.alignment import (
    align_points,
    align_poses,
    Aligned,
    locate_in_renders,
    read_positions,
)
from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.capture import Capture, Frame, open_capture
from nerf_reversal_ros.config import BuildConfig
from nerf_reversal_ros.convention import Convention
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.errors import BuildError
from nerf_reversal_ros.fields.baking import baking_effort, render_views
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.similarity import moved_poses, scale_of
from nerf_reversal_ros.files import remove
from nerf_reversal_ros.geometry import Array
from nerf_reversal_ros.progress import Progress, ProgressCallback, silent
from nerf_reversal_ros.upright import floor_normal, solve_up

if TYPE_CHECKING:
    from nerf_reversal_ros.fields.nerfstudio_run import Run

LOCATED = 40
"""So many pictures of a bag, at most, are looked for in the run's renders."""
RATE_HZ = 10
FARTHEST = float(np.finfo(np.float16).max)
"""Depth beyond is unknown, in the units of the run: it is kept in half precision."""
NOT_METRES = (
    'warning: lengths are those of the data that the run was trained on, metres only if those'
    ' were: give a BAG of the same room, or known positions by --align'
)


class RunWalk(NamedTuple):
    """The rendered walk, in metres as far as they are known."""

    capture: Capture
    convention: Convention
    """What takes poses of the user's own bag to the map."""
    warnings: list[str]
    """What the user should know."""
    metrics: dict[str, float]
    """How well the run was brought to metres."""


def walk_through_run(
    config_yml: Path,
    bag: Path | None,
    positions: Path | None,
    config: BuildConfig,
    *,
    device: torch.device,
    work_dir: Path,
    progress: ProgressCallback = silent,
) -> RunWalk:
    """
    Render a run where its training cameras were, as a capture in metres.

    Parameters
    ----------
    config_yml : Path
        Of the run.
    bag : Path, optional
        A walk in the same room, with poses in metres: its pictures are found in the renders.
    positions : Path, optional
        Instead of a bag: see `alignment.read_positions`.
    work_dir : Path
        For renders and bag; what a killed build left is used.

    Raises
    ------
    BuildError
        If the run cannot be loaded, or cannot be brought to metres.
    """
    from nerf_reversal_ros.fields.nerfstudio_run import open_run  # it imports nerfstudio

    work_dir.mkdir(exist_ok=True)
    progress(Progress('run', 0, 1, f'reading {config_yml} as data, its checkpoint as weights'))
    run = open_run(config_yml, device)
    views, size = baking_effort(config.nerfstudio, device)
    chosen = np.linspace(0, len(run.names) - 1, min(views, len(run.names))).astype(int)
    poses, camera = run.world_from_camera[chosen], run.camera.shrunk_to(size)
    # In the run's own units: metres are not known before the renders are.
    rgb, depth = render_views(
        run.field(np.eye(4)), poses, camera, work_dir, max_depth_m=FARTHEST, progress=progress
    )
    warnings: list[str] = []
    if bag is not None:
        reference = open_capture(bag, config.capture, progress=progress)
        aligned = aligned_by_pictures(reference, rgb, depth, poses, camera, progress)
        convention = reference.convention
    elif positions is not None:
        aligned = aligned_by_positions(positions, run)
        convention = Convention('optical', np.eye(4), f'known positions of {positions.name}')
    else:
        warnings.append(NOT_METRES)
        aligned, convention = _upright(poses, depth, camera, config.capture.up_axis)
    scale = scale_of(aligned.map_from_world)
    walk = work_dir / 'walk'
    remove(walk)
    with BagWriter(walk, up_axis='z') as writer:
        for index, pose in enumerate(moved_poses(aligned.map_from_world, poses)):
            png = cv2.imencode('.png', cv2.cvtColor(rgb[index], cv2.COLOR_RGB2BGR))[1].tobytes()
            metres = depth[index].astype(np.float32) * np.float32(scale)
            writer.write(round((index + 1) * 1e9 / RATE_HZ), png, metres, camera, pose)
    capture = open_capture(
        walk,
        replace(config.capture, min_move_m=0.0, min_turn_deg=0.0, blur_ratio=0.0),
        convention=Convention('optical', np.eye(4), 'the map itself'),
    )
    metrics = {'run_scale': scale, 'run_cameras': float(len(run.names))}
    if aligned.used:
        metrics |= {'aligned': float(aligned.used), 'alignment_error_m': aligned.error_m}
    return RunWalk(capture, convention, warnings, metrics)


def aligned_by_pictures(
    reference: Capture,
    rgb: NDArray[np.uint8],
    depth: NDArray[np.float16],
    world_from_camera: Array,
    camera: Camera,
    progress: ProgressCallback = silent,
) -> Aligned:
    """
    Find pictures of a capture in metres in renders (N, H, W), and fit the similarity.

    ``depth`` and ``world_from_camera`` are in the units of the run's world, whatever these are.
    """
    rows = np.unique(np.linspace(0, len(rgb) - 1, LOCATED).astype(int))
    opaque = np.ones(rgb.shape[1:3], np.float32)
    views = [
        (Rendering(rgb[row], depth[row].astype(np.float32), opaque), world_from_camera[row])
        for row in rows
    ]
    wanted = np.unique(np.linspace(0, len(reference) - 1, LOCATED).astype(int))

    def frames() -> Iterator[Frame]:
        for done, index in enumerate(wanted, start=1):
            yield reference.frame(int(index))
            progress(Progress('alignment', done, len(wanted)))

    return align_poses(*locate_in_renders(frames(), views, camera))


def _upright(
    world_from_camera: Array, depth: NDArray[np.float16], camera: Camera, up_axis: str
) -> tuple[Aligned, Convention]:
    """Keep the run's own lengths, and turn its world z up."""

    def floor() -> Array | None:
        rng = np.random.default_rng(0)
        return floor_normal(
            world_from_camera, lambda i: (depth[i].astype(np.float32), camera), rng
        )

    turn, source = solve_up('optical', 'world', up_axis, '', world_from_camera, floor)
    return Aligned(turn, 0, 0.0), Convention('optical', turn, source)


def aligned_by_positions(path: Path, run: 'Run') -> Aligned:
    """Fit the similarity to where a file says that cameras of the run were."""
    known = read_positions(path)
    strange = sorted(set(known) - set(run.names))
    if strange:
        raise BuildError(
            f'{path} names {strange[0]}, which the run was not trained on: its pictures are'
            f' {run.names[0]} to {run.names[-1]}'
        )
    twice = sorted(name for name in known if run.names.count(name) > 1)
    if twice:
        raise BuildError(
            f'{path} names {twice[0]}, and {run.names.count(twice[0])} pictures of the run have'
            ' that name: give positions of pictures whose names are their own'
        )
    rows = [run.names.index(name) for name in known]
    there = np.array(list(known.values())).reshape(-1, 3)
    return align_points(there, run.world_from_camera[rows, :3, 3])
