"""
The study of the seed project, done right: which network, seeing what, learns positions how well.

"NeRF Reversal" (student project, Georgia Tech, 2023) trained a NeRF of one walk, rendered 14,000
views near it, compressed them by PCA, and let a CNN or an MLP tell where they were taken; it
judged them on random views of the same walk. Here the field and the networks never see one
stretch of the walk, and the networks are judged on its real pictures, in metres and degrees. The
random split is judged beside it, and called leaking wherever it is shown.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
import json
from pathlib import Path
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from nerf_reversal_ros import __version__
from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.capture import Capture, open_capture
from nerf_reversal_ros.compression import Compression, Pca
from nerf_reversal_ros.compression_training import (
    fit_compression,
    refuse_too_many_components,
)
from nerf_reversal_ros.config import BuildConfig, RegressorConfig
from nerf_reversal_ros.depth_calibration import calibrate_depth
from nerf_reversal_ros.devices import resolve_device
from nerf_reversal_ros.errors import BuildError, ConfigError
from nerf_reversal_ros.fields.training_data import held_out_frames
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_training import train_voxel_field
from nerf_reversal_ros.files import remove, replace_text
from nerf_reversal_ros.progress import Progress, ProgressCallback, silent
from nerf_reversal_ros.seed_networks import LONGER_SIDE_PX
from nerf_reversal_ros.study_training import (
    compression_quality,
    Halves,
    Network,
    Row,
    train_row,
    trivial_answers,
)
from nerf_reversal_ros.synthesis import synthesize_views, Views
from nerf_reversal_ros.warp import warp

STRETCH_SHARE = 0.15
"""Share of the walk, one stretch, that only judges."""
MARGIN = 0.025
"""Share of the walk on both sides of it that no network learns from."""
LEAKING_SHARE = 1 / 7
"""Share of the pictures that the leaking split judges by: the seed took 2,000 of 14,000."""
CODE_VIEWS = 3000
"""A code is learned from at most so many of a row's pictures: more cost memory."""
FULL_SIZE_PX = 960
"""Longer side of the seed's larger pictures."""
JUDGING = 1.3
"""Training a row and judging it takes so many times what its steps alone take."""


@dataclass(frozen=True)
class StudyPlan:
    """What is trained, and for how long."""

    views: tuple[int, ...] = (1000, 4000, 14000)
    """Numbers of views for the CNN on PCA reconstructions; all else is compared at the middle."""
    epochs: int = 10
    width: int = LONGER_SIDE_PX
    """Longer side of the pictures [px]."""
    full_width: int = FULL_SIZE_PX
    """Longer side of those of the full size, at most the capture's [px]."""
    full_views: int = 200
    """Views of the full size, which are slow to render."""
    only: tuple[str, ...] = ()
    """Only rows whose names contain one of these texts; all if there is none."""

    def __post_init__(self) -> None:
        """Refuse a plan of nothing, and one whose only rows do not exist."""
        if not self.views or min(*self.views, self.full_views) < 2 or self.epochs < 1:
            raise ConfigError(
                f'a study needs 2 views and 1 epoch at least, got views {self.views}, full_views'
                f' {self.full_views}, epochs {self.epochs}'
            )
        if min(self.width, self.full_width) < 32:
            raise ConfigError(
                f'pictures of {min(self.width, self.full_width)} px are too small for three'
                ' max-poolings: take 32 px at least'
            )
        if not self.rows():
            names = '; '.join(row.name for row in replace(self, only=()).rows())
            raise ConfigError(f'only {", ".join(self.only)} leaves no row of: {names}')

    def rows(self) -> list[Row]:
        """List what is to be trained."""
        counts = sorted(set(self.views))
        middle = counts[len(counts) // 2]
        rows = [
            *(Row('cnn', 'pca', False, count) for count in counts),
            Row('mlp', 'pca', False, middle),
            Row('cnn', 'none', False, middle),
            Row('mlp', 'none', False, middle),
            Row('mlp', 'pca', True, middle),
            Row('cnn', 'vae', False, middle),
            Row('mlp', 'vae', True, middle),
            Row('cnn', 'pca', False, middle, filtered=False),
            Row('cnn', 'none', False, self.full_views),
            Row('cnn', 'none', False, self.full_views, full_size=True),
        ]
        chosen = [row for row in rows if any(text in row.name for text in self.only or ('',))]
        return list(dict.fromkeys(chosen))


def run_study(
    bag: Path,
    work_dir: Path,
    config: BuildConfig,
    plan: StudyPlan,
    *,
    device: str = 'auto',
    progress: ProgressCallback = silent,
) -> dict[str, Any]:
    """
    Train a field and all networks of the plan, and judge them.

    Parameters
    ----------
    bag : Path
        Colour, depth and poses of one walk.
    work_dir : Path
        Keeps the field, the views and each finished row, for the same command to go on with.
    config : BuildConfig
        How the bag is read, the field trained and views drawn; number and size of the views are
        the plan's.
    progress : callable
        Told where the study is and, once the field is there, how long it will take.

    Returns
    -------
    dict
        Plain JSON: ``rows`` as `train_row` returns them, each with ``compression_quality`` and
        ``trivial``, and what they have in common.

    Raises
    ------
    NerfReversalError
        If the bag or a setting is not fit, or the folder cannot be written.
    """
    where = resolve_device(device)
    capture = open_capture(bag, config.capture, progress=progress)
    try:
        work_dir.mkdir(parents=True, exist_ok=True)
        _start_afresh_if_changed(work_dir, capture, config, where)
        study = _Study(capture, work_dir, config, plan, where, progress)
        rows = plan.rows()
        progress(Progress('estimate', 0, 1, study.estimate(rows)))
        done = [study.result(row) for row in rows]
    except OSError as error:
        raise BuildError(f'cannot write to {work_dir}: {error.strerror or error}') from error
    return {
        'bag': capture.source.name,
        'package_version': __version__,
        'device': str(where),
        'seed': config.seed,
        'plan': asdict(plan),
        'field': study.field_report,
        'frames': {
            'learned': len(study.learned_frames),
            'stretch': len(study.stretch_frames),
        },
        'rows': done,
    }


class _Study:
    """Field, views and codes that rows share; each made when it is first needed."""

    def __init__(
        self,
        capture: Capture,
        work_dir: Path,
        config: BuildConfig,
        plan: StudyPlan,
        device: torch.device,
        progress: ProgressCallback,
    ) -> None:
        self.work_dir, self.config, self.plan = work_dir, config, plan
        self.device, self.progress = device, progress
        held_out = held_out_frames(len(capture), STRETCH_SHARE)
        self.stretch_frames = np.flatnonzero(held_out)
        margin = round(MARGIN * len(capture))
        places = np.arange(len(capture))
        near = (places >= self.stretch_frames[0] - margin) & (
            places <= self.stretch_frames[-1] + margin
        )
        self.learned_frames = np.flatnonzero(~near)
        if not len(self.learned_frames):
            raise BuildError(f'{capture.source} has {len(capture)} frames: too few for a study')
        self.capture = capture
        for row in plan.rows():
            if row.compression != 'none':
                camera = self._camera(row.full_size)
                known = min(self._pictures(row), CODE_VIEWS)
                values = 3 * camera.width * camera.height
                refuse_too_many_components(config.regressor.components, known, values)
        self.field, self.field_report = self._field()
        self._real: dict[bool, Views] = {}
        self._codes: dict[tuple[Any, ...], Compression] = {}

    def result(self, row: Row) -> dict[str, Any]:
        """Train a row and judge it, or read what an earlier run found."""
        name = row.name.replace(', ', '_').replace(' ', '-')
        sizes = f'{self.plan.width}-{self.plan.full_width}px'
        path = self.work_dir / 'rows' / f'{name}_{self.plan.epochs}-epochs_{sizes}.json'
        if path.exists():
            found: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
            return found
        halves = self._halves(row)
        code = self._code(row, halves)
        found = train_row(
            row,
            halves,
            code,
            self.plan.epochs,
            device=self.device,
            seed=self.config.seed,
            progress=self.progress,
        )
        found['rejected'] = halves.rejected
        judged = {'stretch': halves.stretch, 'leaking': halves.leaking}
        found['trivial'] = {name: trivial_answers(halves, to) for name, to in judged.items()}
        if row.compression != 'none':
            found['compression_quality'] = {
                'retained_training': [round(float(share), 5) for share in code.retained],
                **{name: compression_quality(code, views) for name, views in judged.items()},
            }
        path.parent.mkdir(exist_ok=True)
        replace_text(path, json.dumps(found))
        return found

    def estimate(self, rows: list[Row]) -> str:
        """Tell how long the rows will take, by a few views and training steps."""
        views_s = rows_s = codes_s = 0.0
        pose = self.capture.map_from_camera[self.learned_frames[:1]]
        for full, filtered in sorted({(row.full_size, row.filtered) for row in rows}):
            alike = [row for row in rows if (row.full_size, row.filtered) == (full, filtered)]
            camera, count = self._camera(full), max(row.views for row in alike)
            views_s += count * _seconds(partial(self.field.render, pose, camera))
        coded = set()
        for row in rows:
            pictures = self._pictures(row)
            camera = self._camera(row.full_size)
            code = self._made_up_code(row, camera)
            network = Network(row, code, _made_up_views(camera, 2), self.device)
            some = _made_up_views(camera, network.batch)
            which = np.arange(network.batch)
            optimizer = torch.optim.Adam(network.layers.parameters())
            step_s = _seconds(partial(network.step, optimizer, some, which))
            rows_s += JUDGING * self.plan.epochs * pictures / network.batch * step_s
            if row.compression == 'vae' and (row.views, row.filtered) not in coded:
                coded.add((row.views, row.filtered))
                settings = replace(self._code_config(row), components=8, vae_epochs=1)
                fit = [_made_up_views(camera, 32)]
                epoch_s = _seconds(partial(self._fit, fit, settings)) / 32
                codes_s += min(pictures, CODE_VIEWS) * self._code_config(row).vae_epochs * epoch_s
        parts = {'views': views_s, 'autoencoder': codes_s, 'networks': rows_s}
        told = ', '.join(f'{name} {_minutes(took)}' for name, took in parts.items())
        return (
            f'the {len(rows)} rows will take {_minutes(sum(parts.values()))} in all on this'
            f' machine, less what is there already ({told}): fewer with --views, --epochs or'
            ' --only'
        )

    def _field(self) -> tuple[VoxelField, dict[str, Any]]:
        path, told = self.work_dir / 'field.safetensors', self.work_dir / 'field.json'
        if not told.exists():
            training = np.flatnonzero(~held_out_frames(len(self.capture), STRETCH_SHARE))
            correction = calibrate_depth(self.capture, training, self.progress)
            files = self.work_dir / 'field'
            files.mkdir(exist_ok=True)
            field, report = train_voxel_field(
                self.capture.with_depth(correction),
                replace(self.config.field, validation_share=STRETCH_SHARE),
                device=self.device,
                seed=self.config.seed,
                work_dir=files,
                progress=self.progress,
            )
            field.save(path)
            figures = {k: v for k, v in report.items() if not isinstance(v, list)}
            replace_text(told, json.dumps(figures))
            remove(files)
        return VoxelField.load(path, self.device), json.loads(told.read_text(encoding='utf-8'))

    def _pictures(self, row: Row) -> int:
        """Return how many pictures a row learns from."""
        return int((row.views + len(self.learned_frames)) * (1 - LEAKING_SHARE))

    def _camera(self, full_size: bool) -> Camera:
        return self.capture.camera.shrunk_to(
            self.plan.full_width if full_size else self.plan.width
        )

    def _halves(self, row: Row) -> Halves:
        """Render what the row learns from, and take a random share of it to show the leak."""
        alike = [r for r in self.plan.rows() if r[-2:] == row[-2:]]
        camera = self._camera(row.full_size)
        views = synthesize_views(
            self.field,
            self.capture.map_from_camera[self.learned_frames],
            camera,
            replace(self.config.synthesis, views=max(r.views for r in alike)),
            seed=self.config.seed,
            work_dir=self.work_dir
            / f'views_{camera.width}x{camera.height}{"" if row.filtered else "_unfiltered"}',
            reject=row.filtered,
            progress=self.progress,
        )
        if row.full_size not in self._real:
            self._real[row.full_size] = _real_pictures(self.capture, camera)
        real = self._real[row.full_size]
        pool = _joined(views.part(slice(row.views)), real.part(self.learned_frames))
        rng = np.random.default_rng(self.config.seed)
        order = rng.permutation(len(pool))
        leaking = max(1, round(LEAKING_SHARE * len(pool)))
        return Halves(
            pool.part(np.sort(order[leaking:])),
            real.part(self.stretch_frames),
            pool.part(np.sort(order[:leaking])),
            views.rejected,
        )

    def _code(self, row: Row, halves: Halves) -> Compression:
        if row.compression == 'none':
            return _no_code(self._camera(row.full_size), self.device)
        key = (row.compression, *row[3:])
        if key not in self._codes:
            count = len(halves.learned)
            some = np.linspace(0, count - 1, min(count, CODE_VIEWS)).astype(int)
            self._codes[key] = self._fit([halves.learned.part(some)], self._code_config(row))
        return self._codes[key]

    def _code_config(self, row: Row) -> RegressorConfig:
        return replace(
            self.config.regressor, compression=row.compression, network_sees='reconstruction'
        )

    def _fit(self, views: list[Views], config: RegressorConfig) -> Compression:
        return fit_compression(
            views, config, device=self.device, seed=self.config.seed, progress=self.progress
        )

    def _made_up_code(self, row: Row, camera: Camera) -> Compression:
        """Return a code that costs what a row's would, about, and knows nothing."""
        code = _no_code(camera, self.device)
        count = self.config.regressor.components if row.compression != 'none' else 0
        components = torch.zeros(count, len(code.mean), device=self.device)
        return replace(code, variance=components.new_ones(count), components=components)


def _start_afresh_if_changed(
    work_dir: Path, capture: Capture, config: BuildConfig, device: torch.device
) -> None:
    """Drop the field and the rows of another walk, other settings or another version."""
    request = json.dumps(
        {
            'poses': capture.map_from_camera.tolist(),
            'stamps_ns': capture.stamps_ns.tolist(),
            'config': asdict(config),
            'device': device.type,
            'version': __version__,
        }
    )
    path = work_dir / 'request.json'
    if path.exists() and path.read_text(encoding='utf-8') == request:
        return
    for name in ('rows', 'field', 'field.json', 'field.safetensors'):
        remove(work_dir / name)
    for old in work_dir.glob('views_*'):
        remove(old)
    replace_text(path, request)


def _real_pictures(capture: Capture, camera: Camera) -> Views:
    """Return all frames as pictures of another camera; nobody asks for their depth."""
    warped = [warp(frame.rgb, frame.camera, camera) for frame in capture]
    return Views(
        np.stack([picture.rgb for picture in warped]),
        np.stack([picture.seen for picture in warped]),
        np.zeros((len(warped), 0, 0), np.float16),
        capture.map_from_camera,
        {},
    )


def _joined(views: Views, real: Views) -> Views:
    """Put views and real pictures one after the other, without depth."""
    return Views(
        np.concatenate([views.rgb, real.rgb]),
        np.concatenate([views.seen, real.seen]),
        np.zeros((len(views) + len(real), 0, 0), np.float16),
        np.concatenate([views.map_from_camera, real.map_from_camera]),
        {},
    )


def _no_code(camera: Camera, device: torch.device) -> Pca:
    """Return what only standardizes pictures: of no number, its mean picture is grey."""
    mean = torch.zeros(3 * camera.height * camera.width, device=device)
    return Pca(mean, mean[:0], mean[:0], mean[None][:0])


def _made_up_views(camera: Camera, count: int) -> Views:
    """Return pictures of noise."""
    shape = (count, camera.height, camera.width)
    rng = np.random.default_rng(0)
    noise: NDArray[np.uint8] = rng.integers(256, size=(*shape, 3), dtype=np.uint8)
    poses = np.tile(np.eye(4), (count, 1, 1))
    return Views(noise, np.ones(shape, np.bool_), np.zeros((count, 0, 0), np.float16), poses, {})


def _seconds(work: Callable[[], object]) -> float:
    """Time a piece of work, the second time that it is done."""
    work()
    began_s = time.perf_counter()
    work()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began_s


def _minutes(seconds: float) -> str:
    return f'{seconds / 3600:.1f} h' if seconds >= 5400 else f'{np.ceil(seconds / 60):.0f} min'
