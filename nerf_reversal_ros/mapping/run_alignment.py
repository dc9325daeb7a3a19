"""
Alignment of a nerfstudio run to the metric map frame, by one of three scale sources.

A bag of the same room gives scale and frame by its images, a file by known camera positions. With
neither, the scale is a guess from the rendered depth, and gravity gives the z axis.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.gravity_alignment import (
    estimate_floor_normal,
    estimate_gravity_alignment,
)
from nerf_reversal_ros.capture.mapping_data import SplitCapture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.sim3 import make_sim3, transform_poses
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
MIN_MEDIAN_DEPTH_M, ASSUMED_MEDIAN_DEPTH_M = 0.5, 2.0
"""
Median depth of a room [m]: at least the first, at most ``capture.max_depth_m``.

With a median outside of that range a unit of the run is not a meter; the second is assumed.
"""
MAX_LISTED_IMAGES = 5
"""Image names in an error message; more would hide the remedy."""
UNKNOWN_SCALE_WARNING = (
    'warning: the scale is that of the data that the run was trained on, which may not be in'
    f' meters: {remedies.SCALE_OF_RUN}'
)
GUESSED_SCALE_WARNING = (
    'warning: the scale is a guess, because the data of the run are probably not in'
    ' meters{condition}: one of their units is taken as {scale:.3g} m, for a median depth of'
    f' {{median:g}} m; for the true scale {remedies.SCALE_OF_RUN}'
)
METRIC_SCALE_HINT = f' ({remedies.DEEPER_RUN})'


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


def alignment_from_capture(
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


def alignment_from_guess(renderings: RunRenderings, config: CaptureConfig) -> RunAlignment:
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
