"""
Synthetic views: renderings of a field as training data of the regressor.

Poses are sampled around, between and beyond mapping poses. The field renders those that a camera
could have. A view that could mislead is rejected and counted by its reason. Views are rendered in
chunks, each with its own random generator, and streamed to a working folder, so that an
interrupted run resumes and ends with the same views.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.array_files import open_npy, write_npy_rows
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import atomic_write, clear_if_stale
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.base import RadianceField, Rendering
from nerf_reversal_ros.fields.pose_sampling import (
    find_pose_rejections,
    relative_depths,
    sample_poses,
    SampledPoses,
)

VIEW_REJECTION_REASONS = (
    'inside matter',
    'behind matter',
    'too close to matter',
    'too much unseen',
    'too near',
)
"""Why a sampled pose gives no view, in the order of the checks."""
_REMEDIES = dict(
    zip(
        VIEW_REJECTION_REASONS,
        (
            remedies.NARROWER_SAMPLING,
            remedies.NARROWER_SAMPLING,
            remedies.SMALLER_CLEARANCE,
            remedies.MORE_OPAQUE_VIEWS,
            remedies.NEARER_VIEWS,
        ),
        strict=True,
    )
)

CHUNK = 250
"""Views of one random generator; at most this many are lost by an interruption."""

PREVIEW_BATCH = 50
"""Sampled poses that are previewed, and rendered, together, which bounds the memory."""
PREVIEW_DOWNSCALE = 4
"""Reduction of columns and rows of the preview that views are rejected by, which saves time."""
MAX_DRAWS_PER_VIEW = 100
"""Sampled poses per requested view after which the synthesis gives up."""
BYTES_PER_PIXEL = 6
"""Color, mask and depth of a view on disk."""


@dataclass(frozen=True)
class Views:
    """Images of the canonical camera with depth and poses."""

    rgb: NDArray[np.uint8]
    """(N, h, w, 3) colors, possibly a memory map."""
    valid: NDArray[np.bool_]
    """(N, h, w) pixels that carry data; the colors of others are undefined."""
    depth: NDArray[np.float16]
    """(N, h, w) rendered depth in meters along the optical axis; 0 is unknown."""
    map_from_camera: FloatArray
    """(N, 4, 4) poses of the optical camera frame in ``map``."""
    rejection_counts: dict[str, int]
    """Number of sampled poses without a view, by `VIEW_REJECTION_REASONS`; empty for images."""

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.rgb)

    def subset(self, selection: NDArray[np.generic] | slice) -> 'Views':
        """Return the views that a mask, a slice or an array of indices selects."""
        return Views(
            self.rgb[selection],
            self.valid[selection],
            self.depth[selection],
            self.map_from_camera[selection],
            {},
        )


def find_view_rejection(
    view: Rendering, config: SynthesisConfig, scale: float = 1.0
) -> str | None:
    """
    Find why a rendered view is unsuitable for training: a reason, or None.

    ``scale`` is a factor of ``config.near_m``; see `relative_depths`.
    """
    if float(view.opacity.mean()) < config.min_opacity:
        return 'too much unseen'
    near = (view.depth > 0.0) & (view.depth < scale * config.near_m)
    return 'too near' if float(near.mean()) > config.max_near_share else None


def gather_views(parts: list[Views], indices: NDArray[np.int64]) -> Views:
    """Copy views by their indices in the concatenation of all parts."""
    starts = np.cumsum([0, *(len(part) for part in parts)])
    numbers = np.searchsorted(starts, indices, side='right') - 1
    pairs = [(parts[n], i - starts[n]) for n, i in zip(numbers, indices, strict=True)]
    return Views(
        np.stack([part.rgb[i] for part, i in pairs]),
        np.stack([part.valid[i] for part, i in pairs]),
        np.stack([part.depth[i] for part, i in pairs]),
        np.stack([part.map_from_camera[i] for part, i in pairs]),
        {},
    )


def synthesize_views(
    field: RadianceField,
    mapping_poses: FloatArray,
    camera: Camera,
    config: SynthesisConfig,
    *,
    seed: int,
    work_dir: Path,
    reject: bool = True,
    progress: ProgressCallback = no_progress,
) -> Views:
    """
    Render training views of a field, or read those of an interrupted run.

    Parameters
    ----------
    field : RadianceField
        Field to render.
    mapping_poses : (N, 4, 4) array
        ``map_from_camera`` of the mapping images, N >= 1.
    camera : Camera
        Canonical camera of the views.
    config : SynthesisConfig
        Number of views, ranges of the poses, limits of the rejection.
    seed : int
        The same seed gives the same views, interrupted or not.
    work_dir : Path
        Folder of this stage alone: `BYTES_PER_PIXEL` per pixel and view.
    reject : bool
        Reject poses and views that could mislead; otherwise each sampled pose gives a view.
    progress : callable
        Called once per chunk.

    Raises
    ------
    BuildError
        If too few sampled poses give a usable view, or if the folder cannot be written.
    """
    if len(mapping_poses) == 0:
        raise BuildError('no mapping poses to synthesize views around: the capture is empty')
    sampler = _ViewSampler(field, mapping_poses, camera, config, reject)
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        _clear_if_stale(work_dir, mapping_poses, camera, config, seed, reject)
        poses, rejected = _write_chunks(sampler, seed, work_dir, progress)
        rgb, valid, depth = (
            np.load(work_dir / f'{name}.npy', mmap_mode='r' if config.views else None)
            for name in ('rgb', 'seen', 'depth')
        )
    except OSError as error:
        required_mb = config.views * camera.width * camera.height * BYTES_PER_PIXEL / 1e6
        raise BuildError(
            f'cannot write the synthetic views to {work_dir}: {error.strerror or error}; make'
            f' {required_mb:.0f} MB available there'
        ) from error
    return Views(rgb, valid, depth, poses, dict(rejected))


@dataclass(frozen=True)
class _ViewSampler:
    """Samples poses around mapping poses and renders the possible ones."""

    field: RadianceField
    mapping_poses: FloatArray
    camera: Camera
    config: SynthesisConfig
    reject: bool

    def render(self, size: int, rng: np.random.Generator) -> Views:
        """Render ``size`` views at random poses."""
        if not self.reject:
            poses = self._sample(size, rng).map_from_camera
            return _stack_views(zip(self.field.render(poses, self.camera), poses, strict=True), {})
        accepted: list[tuple[Rendering, FloatArray]] = []
        rejected: Counter[str] = Counter()
        while len(accepted) < size:
            self._check_yield(len(accepted), rejected, size)
            candidates = self._sample(size, rng)
            reasons = find_pose_rejections(self.field, candidates, self.config.clearance_m)
            rejected.update(reason for reason in reasons if reason)
            chosen = np.array([reason is None for reason in reasons])
            possible, scales = candidates.map_from_camera[chosen], candidates.scales[chosen]
            for start in range(0, len(possible), PREVIEW_BATCH):
                part = slice(start, start + PREVIEW_BATCH)
                batch = self._filter_by_preview(possible[part], scales[part], rejected)
                batch = batch[: size - len(accepted)]
                accepted += zip(self.field.render(batch, self.camera), batch, strict=True)
                if len(accepted) == size:
                    break
        return _stack_views(accepted, dict(rejected))

    def _sample(self, count: int, rng: np.random.Generator) -> SampledPoses:
        return sample_poses(self.mapping_poses, count, self.config, rng, self.scales)

    @cached_property
    def scales(self) -> NDArray[np.float64]:
        """How near the scene is at each mapping pose."""
        return relative_depths(self.field, self.mapping_poses, self.camera)

    def _filter_by_preview(
        self, poses: FloatArray, scales: NDArray[np.float64], rejected: Counter[str]
    ) -> FloatArray:
        """Return the poses whose preview is suitable for training; count the others."""
        preview = self.camera.scaled_to(
            max(1, self.camera.width // PREVIEW_DOWNSCALE),
            max(1, self.camera.height // PREVIEW_DOWNSCALE),
        )
        views = self.field.render(poses, preview)
        reasons = [
            find_view_rejection(view, self.config, scale)
            for view, scale in zip(views, scales, strict=True)
        ]
        rejected.update(reason for reason in reasons if reason)
        return poses[[reason is None for reason in reasons]]

    def _check_yield(self, accepted: int, rejected: Counter[str], size: int) -> None:
        """Raise BuildError after `MAX_DRAWS_PER_VIEW` sampled poses per view."""
        sampled = accepted + rejected.total()
        if sampled >= MAX_DRAWS_PER_VIEW * size:
            reasons = ', '.join(f'{name}: {n}' for name, n in rejected.most_common())
            remedy = _REMEDIES[rejected.most_common(1)[0][0]].format(**asdict(self.config))
            raise BuildError(
                f'only {accepted} of {sampled} sampled poses give a usable synthetic view'
                f' ({reasons}): {remedy}, or record the room more slowly and completely'
            )


def _write_chunks(
    sampler: _ViewSampler, seed: int, work_dir: Path, progress: ProgressCallback
) -> tuple[FloatArray, Counter[str]]:
    """Write the chunks that ``work_dir`` lacks; return all poses and rejection counts."""
    camera, views = sampler.camera, sampler.config.views
    poses = np.empty((views, 4, 4))
    rejected = Counter({name: 0 for name in VIEW_REJECTION_REASONS})
    shape = (views, camera.height, camera.width)
    with (
        open_npy(work_dir / 'rgb.npy', (*shape, 3), np.uint8) as rgb_file,
        open_npy(work_dir / 'seen.npy', shape, np.bool_) as valid_file,
        open_npy(work_dir / 'depth.npy', shape, np.float16) as depth_file,
    ):
        for number, first in enumerate(range(0, views, CHUNK)):
            size = min(CHUNK, views - first)
            marker = work_dir / f'chunk_{number:05d}.json'
            if not marker.exists():
                chunk = sampler.render(size, np.random.default_rng([seed, number]))
                write_npy_rows(rgb_file, first, chunk.rgb)
                write_npy_rows(valid_file, first, chunk.valid)
                write_npy_rows(depth_file, first, chunk.depth)
                finished = {
                    'poses': chunk.map_from_camera.tolist(),
                    'rejected': chunk.rejection_counts,
                }
                atomic_write(marker, json.dumps(finished))
            finished = json.loads(marker.read_text(encoding='utf-8'))
            poses[first : first + size] = finished['poses']
            rejected.update(finished['rejected'])
            done = first + size
            note = f'{done / (done + rejected.total()):.0%} of the sampled poses are usable'
            progress(Progress('synthesis', done, views, note))
    return poses, rejected


def _stack_views(
    rendered: Iterable[tuple[Rendering, FloatArray]], rejected: dict[str, int]
) -> Views:
    views, poses = zip(*rendered, strict=True)
    return Views(
        np.stack([view.rgb for view in views]),
        np.stack([view.opacity >= 0.5 for view in views]),
        np.stack([view.depth for view in views]).astype(np.float16),
        np.stack(poses),
        rejected,
    )


def _clear_if_stale(
    work_dir: Path,
    mapping_poses: FloatArray,
    camera: Camera,
    config: SynthesisConfig,
    seed: int,
    reject: bool,
) -> None:
    """Remove views of other settings, another camera or seed, or other mapping poses."""
    request = {
        'settings': asdict(config),
        'camera': camera.as_dict(),
        'seed': seed,
        'reject': reject,
        'chunk': CHUNK,
        'lengths': 'relative to the depth at each mapping pose',
        'arrays': ['rgb', 'seen', 'depth'],
        'mapping_poses': mapping_poses.tolist(),
    }
    clear_if_stale(work_dir, request, ('chunk_*.json', '*.npy'))
