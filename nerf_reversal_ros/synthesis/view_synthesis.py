"""
Synthetic views: what the regressor learns from.

Poses are drawn around, between and beyond the walked ones; the field renders those that a camera
could have; a view that could mislead is thrown away and counted by its reason.
Views are made in chunks, each with its own random numbers, and streamed to a working folder, so
that a killed run goes on where it was and ends with the same views.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import atomic_write_text, open_npy, write_npy_rows
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.base import RadianceField, Rendering
from nerf_reversal_ros.fields.pose_sampling import find_pose_rejections, sample_poses

VIEW_REJECTION_REASONS = (
    'inside matter',
    'behind matter',
    'too close to matter',
    'too much unseen',
    'too near',
)
"""Why a drawn pose gives no view, in the order in which it is checked."""

CHUNK = 250
"""Views made from one random sequence, and lost at most when a run is killed."""

RENDER_BATCH = 50
PREVIEW_DOWNSCALE = 4
"""Views are judged on a preview with this much fewer columns and rows: rejecting is cheap."""
MAX_DRAWS_PER_VIEW = 100


@dataclass(frozen=True)
class Views:
    """Pictures of the canonical camera with their poses."""

    rgb: NDArray[np.uint8]
    """(N, h, w, 3) colours, possibly a memory map."""
    valid: NDArray[np.bool_]
    """(N, h, w) where a picture shows something; elsewhere its colours mean nothing."""
    depth: NDArray[np.float16]
    """(N, h, w) metres along the optical axis as the field renders it; 0 is unknown."""
    map_from_camera: FloatArray
    """(N, 4, 4) poses of the optical camera frame in ``map``."""
    rejection_counts: dict[str, int]
    """How many drawn poses gave no view, by `VIEW_REJECTION_REASONS`; empty for real pictures."""

    def __len__(self) -> int:
        """Return the number of views."""
        return len(self.rgb)

    def subset(self, selection: NDArray[np.generic] | slice) -> 'Views':
        """Return the views that a mask, a slice or an array of indices chooses."""
        return Views(
            self.rgb[selection],
            self.valid[selection],
            self.depth[selection],
            self.map_from_camera[selection],
            {},
        )


def find_view_rejection(view: Rendering, config: SynthesisConfig) -> str | None:
    """Tell why a rendered view cannot be learned from; None where it can."""
    if float(view.opacity.mean()) < config.min_opacity:
        return 'too much unseen'
    near = (view.depth > 0.0) & (view.depth < config.near_m)
    return 'too near' if float(near.mean()) > config.max_near_share else None


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
    Render the views that the regressor learns from, or read those a killed run left.

    Parameters
    ----------
    field : RadianceField
        What to render.
    mapping_poses : (N, 4, 4) array
        Walked ``map_from_camera``, N >= 1.
    camera : Camera
        The canonical camera of the views.
    seed : int
        The same seed gives the same views, interrupted or not.
    work_dir : Path
        Folder of this stage alone: 6 bytes a pixel and view.
    reject : bool
        Throw away what could mislead; without it each drawn pose gives a view (for a study).

    Raises
    ------
    BuildError
        If too few of the drawn poses give a usable view, or the folder cannot be written.
    """
    if len(mapping_poses) == 0:
        raise BuildError('no walked pose to synthesize views around: the capture is empty')
    chunks = [min(CHUNK, config.views - start) for start in range(0, config.views, CHUNK)]
    poses, rejected = (
        np.empty((config.views, 4, 4)),
        Counter({name: 0 for name in VIEW_REJECTION_REASONS}),
    )
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        _clear_if_stale(work_dir, mapping_poses, camera, config, seed, reject)
        shape = (config.views, camera.height, camera.width)
        with (
            open_npy(work_dir / 'rgb.npy', (*shape, 3), np.uint8) as rgb_file,
            open_npy(work_dir / 'seen.npy', shape, np.bool_) as seen_file,
            open_npy(work_dir / 'depth.npy', shape, np.float16) as depth_file,
        ):
            for number, size in enumerate(chunks):
                first = number * CHUNK
                marker = work_dir / f'chunk_{number:05d}.json'
                if not marker.exists():
                    rng = np.random.default_rng([seed, number])
                    chunk = _make_chunk(field, mapping_poses, camera, config, rng, size, reject)
                    write_npy_rows(rgb_file, first, chunk.rgb)
                    write_npy_rows(seen_file, first, chunk.valid)
                    write_npy_rows(depth_file, first, chunk.depth)
                    made = {
                        'poses': chunk.map_from_camera.tolist(),
                        'rejected': chunk.rejection_counts,
                    }
                    atomic_write_text(marker, json.dumps(made))
                made = json.loads(marker.read_text(encoding='utf-8'))
                poses[first : first + size] = made['poses']
                rejected.update(made['rejected'])
                drawn = first + size + rejected.total()
                note = f'{(first + size) / drawn:.0%} of the drawn poses are usable'
                progress(Progress('synthesis', first + size, config.views, note))
        rgb, seen, depth = (
            np.load(work_dir / f'{name}.npy', mmap_mode='r' if config.views else None)
            for name in ('rgb', 'seen', 'depth')
        )
    except OSError as error:
        wanted_mb = config.views * camera.width * camera.height * 6 / 1e6
        raise BuildError(
            f'cannot write the synthetic views to {work_dir}: {error.strerror or error}'
            f' (they need {wanted_mb:.0f} MB there)'
        ) from error
    return Views(rgb, seen, depth, poses, dict(rejected))


def _make_chunk(
    field: RadianceField,
    walked: FloatArray,
    camera: Camera,
    config: SynthesisConfig,
    rng: np.random.Generator,
    size: int,
    reject: bool,
) -> Views:
    if not reject:
        anywhere = sample_poses(walked, size, config, rng).map_from_camera
        return _stack_views(zip(field.render(anywhere, camera), anywhere, strict=True), {})
    kept: list[tuple[Rendering, FloatArray]] = []
    rejected: Counter[str] = Counter()
    preview = camera.scaled_to(
        max(1, camera.width // PREVIEW_DOWNSCALE), max(1, camera.height // PREVIEW_DOWNSCALE)
    )
    while len(kept) < size:
        if len(kept) + rejected.total() >= MAX_DRAWS_PER_VIEW * size:
            reasons = ', '.join(f'{name}: {n}' for name, n in rejected.most_common())
            raise BuildError(
                f'only {len(kept)} of {len(kept) + rejected.total()} drawn poses give a usable'
                f' synthetic view ({reasons}): lower synthesis.translation_m, rotation_deg,'
                ' clearance_m or min_opacity, or walk the room more slowly and completely'
            )
        drawn = sample_poses(walked, size, config, rng)
        faults = find_pose_rejections(field, drawn, config.clearance_m)
        rejected.update(fault for fault in faults if fault)
        possible = drawn.map_from_camera[[fault is None for fault in faults]]
        for start in range(0, len(possible), RENDER_BATCH):
            batch = possible[start : start + RENDER_BATCH]
            faults = [find_view_rejection(view, config) for view in field.render(batch, preview)]
            rejected.update(fault for fault in faults if fault)
            usable = batch[[fault is None for fault in faults]][: size - len(kept)]
            kept += zip(field.render(usable, camera), usable, strict=True)
            if len(kept) == size:
                break
    return _stack_views(kept, dict(rejected))


def _stack_views(kept: Iterable[tuple[Rendering, FloatArray]], rejected: dict[str, int]) -> Views:
    views, poses = zip(*kept, strict=True)
    return Views(
        np.stack([view.rgb for view in views]),
        np.stack([view.opacity >= 0.5 for view in views]),
        np.stack([view.depth for view in views]).astype(np.float16),
        np.stack(poses),
        rejected,
    )


def _clear_if_stale(
    work_dir: Path,
    walked: FloatArray,
    camera: Camera,
    config: SynthesisConfig,
    seed: int,
    reject: bool,
) -> None:
    """Drop what another run left: other settings, camera, seed or walked poses."""
    request = {
        'settings': asdict(config),
        'camera': camera.as_dict(),
        'seed': seed,
        'reject': reject,
        'chunk': CHUNK,
        'arrays': ['rgb', 'seen', 'depth'],
        'walked': walked.tolist(),
    }
    path = work_dir / 'request.json'
    if path.exists() and path.read_text(encoding='utf-8') == json.dumps(request):
        return
    for old in (path, *work_dir.glob('chunk_*.json'), *work_dir.glob('*.npy')):
        old.unlink(missing_ok=True)
    atomic_write_text(path, json.dumps(request))
