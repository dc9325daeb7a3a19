"""What the rows of the study learn from and are judged on: frames, field, views and codes."""

from dataclasses import dataclass, replace
from functools import cached_property
import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
import torch

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.depth_calibration import estimate_depth_correction
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import BuildConfig, RegressorConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import atomic_write_text, remove
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_training import train_voxel_field
from nerf_reversal_ros.regressor.image_codec import ImageCodec, Pca
from nerf_reversal_ros.regressor.image_codec_training import (
    check_component_count,
    fit_codec,
)
from nerf_reversal_ros.regressor.training import views_from_frames
from nerf_reversal_ros.study.plan import Experiment, StudyPlan
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views, Views

HELD_OUT_FRACTION = 0.15
"""Share of the walk, one stretch, that only judges; the leaking split judges by as many frames."""
MARGIN_FRACTION = 0.025
"""Share of the walk on both sides of it that no network learns from."""
MIN_FRAMES = 10
MAX_CODEC_VIEWS = 3000
"""A code is learned from at most so many of a row's pictures: more cost memory."""


class Split(NamedTuple):
    """Frames of a walk, each (N,) of their numbers."""

    stretch: NDArray[np.int64]
    """One stretch, which neither field nor networks learn from."""
    leaking: NDArray[np.int64]
    """Drawn at random from the rest: no network sees them, but the field does, and views are
    rendered and frames learned from on all sides of them. A LEAK."""
    learned: NDArray[np.int64]
    """What is left, but for a margin on both sides of the stretch."""

    @property
    def walked(self) -> NDArray[np.int64]:
        """The frames that views are rendered around."""
        return np.sort(np.concatenate([self.learned, self.leaking]))


def split_frames(count: int, seed: int) -> Split:
    """
    Split a walk of so many frames.

    Raises
    ------
    BuildError
        If they are too few to learn from.
    """
    if count < MIN_FRAMES:
        raise BuildError(
            f'a walk of {count} frames is too short for a study: record {MIN_FRAMES} at least'
        )
    stretch = np.flatnonzero(held_out_mask(count, HELD_OUT_FRACTION))
    margin, places = round(MARGIN_FRACTION * count), np.arange(count)
    near = (places >= stretch[0] - margin) & (places <= stretch[-1] + margin)
    rest = np.flatnonzero(~near)
    leaking = np.sort(np.random.default_rng(seed).choice(rest, len(stretch), replace=False))
    return Split(stretch, leaking, np.setdiff1d(rest, leaking))


@dataclass(frozen=True)
class StudyImages:
    """Pictures to learn from, and real ones to judge by; all of one camera."""

    camera: Camera
    training: Views
    """Rendered views, then real frames."""
    held_out: Views
    leaking: Views
    rejection_counts: dict[str, int]
    """How many drawn poses gave no view, by reason."""


class StudyData:
    """Field, views and codes that rows share; each made when it is first needed."""

    def __init__(
        self,
        capture: Capture,
        work_dir: Path,
        config: BuildConfig,
        plan: StudyPlan,
        device: torch.device,
        progress: ProgressCallback = no_progress,
    ) -> None:
        self.capture, self.work_dir, self.config, self.plan = capture, work_dir, config, plan
        self.device, self.progress = device, progress
        self.split = split_frames(len(capture), config.seed)
        self._codecs: dict[tuple[Any, ...], ImageCodec] = {}
        for row in plan.experiments():
            if row.compression != 'none':
                camera = self.camera(row)
                known = min(self.image_count(row), MAX_CODEC_VIEWS)
                values = 3 * camera.width * camera.height
                check_component_count(config.regressor.components, known, values)

    def camera(self, row: Experiment) -> Camera:
        """Return the camera of a row's pictures."""
        width = self.plan.full_width if row.full_size else self.plan.width
        return self.capture.camera.downscaled_to(width)

    def image_count(self, row: Experiment) -> int:
        """Return how many pictures a row learns from: no more real ones than views."""
        return row.views + min(row.views, len(self.split.learned))

    @cached_property
    def field(self) -> VoxelField:
        """The field, trained without the stretch or read from the folder."""
        path, told = self.work_dir / 'field.safetensors', self.work_dir / 'field.json'
        if not told.exists():
            held_out = held_out_mask(len(self.capture), HELD_OUT_FRACTION)
            training = np.flatnonzero(~held_out)
            correction = estimate_depth_correction(self.capture, training, self.progress)
            files = self.work_dir / 'field'
            files.mkdir(exist_ok=True)
            field, report = train_voxel_field(
                self.capture.with_depth_correction(correction),
                held_out,
                self.config.field,
                device=self.device,
                seed=self.config.seed,
                work_dir=files,
                progress=self.progress,
            )
            field.save(path)
            figures = {name: kept for name, kept in report.items() if not isinstance(kept, list)}
            atomic_write_text(told, json.dumps(figures))
            remove(files)
        return VoxelField.load(path, self.device)

    def field_metrics(self) -> dict[str, Any]:
        """Return how good the field is on the stretch."""
        figures: dict[str, Any] = json.loads((self.work_dir / 'field.json').read_text('utf-8'))
        return figures

    def images(self, row: Experiment) -> StudyImages:
        """Render or read what a row learns from and is judged on."""
        camera = self.camera(row)
        kind = f'views_{camera.width}x{camera.height}{"" if row.filtered else "_unfiltered"}'
        views = synthesize_views(
            self.field,
            self.capture.map_from_camera[self.split.walked],
            camera,
            replace(self.config.synthesis, views=self.plan.max_views(row)),
            seed=self.config.seed,
            work_dir=self.work_dir / kind,
            reject=row.filtered,
            progress=self.progress,
        )
        learned = self.split.learned[evenly_spaced_indices(len(self.split.learned), row.views)]
        chosen = np.unique(np.concatenate([learned, self.split.stretch, self.split.leaking]))
        wanted = set(chosen.tolist())
        frames = (frame for number, frame in enumerate(self.capture) if number in wanted)
        real = views_from_frames(frames, camera)
        known, stretch, leaking = (
            real.subset(np.searchsorted(chosen, which))
            for which in (learned, self.split.stretch, self.split.leaking)
        )
        lessons = _concatenate_views(views.subset(slice(row.views)), known)
        return StudyImages(camera, lessons, stretch, leaking, views.rejection_counts)

    def codec(self, row: Experiment, training: Views) -> ImageCodec:
        """Learn the code of a row's pictures, once for all rows that learn from the same."""
        if row.compression == 'none':
            return identity_codec(self.camera(row), 0, self.device)
        key = (row.compression, row.views, row.filtered, row.full_size)
        if key not in self._codecs:
            some = evenly_spaced_indices(len(training), MAX_CODEC_VIEWS)
            self._codecs[key] = fit_codec(
                [training.subset(some)],
                self.codec_config(row),
                device=self.device,
                seed=self.config.seed,
                progress=self.progress,
            )
        return self._codecs[key]

    def codec_config(self, row: Experiment) -> RegressorConfig:
        """Return the settings with a row's compression."""
        return replace(
            self.config.regressor, compression=row.compression, network_sees='reconstruction'
        )


def identity_codec(camera: Camera, components: int, device: torch.device) -> Pca:
    """Return a PCA that knows nothing; without components it only standardizes pictures."""
    mean = torch.zeros(3 * camera.height * camera.width, device=device)
    one = mean.new_ones(components)
    return Pca(mean, one, one, mean.expand(components, -1))


def _concatenate_views(views: Views, real: Views) -> Views:
    """Put views and real pictures one after the other, without depth."""
    return Views(
        np.concatenate([views.rgb, real.rgb]),
        np.concatenate([views.valid, real.valid]),
        np.zeros((len(views) + len(real), 0, 0), np.float16),
        np.concatenate([views.map_from_camera, real.map_from_camera]),
        {},
    )
