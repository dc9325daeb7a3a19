"""Data of a study, shared by its experiments: frame split, field, views and image codecs."""

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
from nerf_reversal_ros.capture.scene_scale import estimate_scene_depth, settings_for_scene
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import BuildConfig, RegressorConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import atomic_write, remove
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_training import train_voxel_field
from nerf_reversal_ros.regressor.image_codec import ImageCodec, Pca
from nerf_reversal_ros.regressor.image_codec_training import check_component_count, fit_codec
from nerf_reversal_ros.regressor.training import views_from_frames
from nerf_reversal_ros.study.plan import Experiment, StudyPlan
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views, Views

HELD_OUT_FRACTION = 0.2
"""Fraction of the frames in the held-out segment."""
VALIDATION_FRACTION = 0.25
"""Fraction of the held-out segment, its first frames, that decides when a training stops. The
others are the test. The leaking split has as many frames as the test."""
MARGIN_FRACTION = 0.025
"""Fraction of the frames, on each side of the held-out segment, that no network trains on."""
MIN_FRAMES = 10
"""Least frames of a capture, for at least one frame in each part of the split."""
MAX_CODEC_VIEWS = 3000
"""Images that a codec is fitted to, at most: more cost memory."""


class Split(NamedTuple):
    """Indices of the frames of a capture, (N,) each, by their use."""

    validation: NDArray[np.int64]
    """First frames of the held-out segment, by which trainings are stopped."""
    stretch: NDArray[np.int64]
    """The others: neither the field nor a network is trained on them or selected by them."""
    leaking: NDArray[np.int64]
    """Random frames outside of the segment. No network is trained on them, but the field is, and
    so are networks on views and frames all around them. Results on them have a LEAK."""
    learned: NDArray[np.int64]
    """Training frames: all others, without a margin on both sides of the segment."""

    @property
    def synthesis_frames(self) -> NDArray[np.int64]:
        """Frames whose poses synthetic views are sampled around."""
        return np.sort(np.concatenate([self.learned, self.leaking]))

    def counts(self) -> dict[str, int]:
        """Return the numbers of frames as under ``frames`` of study.json."""
        return {
            'validation': len(self.validation),
            'stretch': len(self.stretch),
            'leaking': len(self.leaking),
            'learned': len(self.learned),
        }


def split_frames(held_out: NDArray[np.bool_], seed: int) -> Split:
    """
    Split the frames of a capture for training and evaluation.

    Parameters
    ----------
    held_out : (N,) bool array
        The held-out segment.
    seed : int
        Of the random choice of the leaking frames.

    Raises
    ------
    BuildError
        If there are fewer than `MIN_FRAMES`.
    """
    count = len(held_out)
    if count < MIN_FRAMES:
        raise BuildError(
            f'a capture of {count} frames is too short for a study: record at least {MIN_FRAMES}'
        )
    segment = np.flatnonzero(held_out)
    margin, indices = round(MARGIN_FRACTION * count), np.arange(count)
    near = (indices >= segment[0] - margin) & (indices <= segment[-1] + margin)
    rest = np.flatnonzero(~near)
    validation, stretch = np.split(segment, [max(1, round(VALIDATION_FRACTION * len(segment)))])
    leaking = np.sort(np.random.default_rng(seed).choice(rest, len(stretch), replace=False))
    return Split(validation, stretch, leaking, np.setdiff1d(rest, leaking))


@dataclass(frozen=True)
class StudyImages:
    """Training and evaluation images of one experiment, all of one camera."""

    camera: Camera
    training: Views
    """Synthetic views, then mapping images."""
    validation: Views
    """Mapping images of the first part of the held-out segment."""
    held_out: Views
    """Mapping images of the rest of it, the test."""
    leaking: Views
    """Mapping images of the leaking split."""
    rejection_counts: dict[str, int]
    """Number of sampled poses without a view, by reason."""


class StudyData:
    """
    Field, views and codecs of a study, shared by its experiments and made on first use.

    Attributes
    ----------
    held_out : (N,) bool array
        The held-out segment of the capture.
    split : Split
        The frames of the capture by their use.

    Raises
    ------
    BuildError
        If the capture is too short, or if an image codec would have too many components.
    """

    def __init__(
        self,
        capture: Capture,
        work_dir: Path,
        config: BuildConfig,
        plan: StudyPlan,
        device: torch.device,
        progress: ProgressCallback = no_progress,
    ) -> None:
        self.capture, self.work_dir, self.plan = capture, work_dir, plan
        self.config = settings_for_scene(config, estimate_scene_depth(capture))
        self.device, self.progress = device, progress
        self.held_out = held_out_mask(len(capture), HELD_OUT_FRACTION)
        self.split = split_frames(self.held_out, config.seed)
        self._codecs: dict[tuple[Any, ...], ImageCodec] = {}
        for experiment in plan.experiments():
            if experiment.compression != 'none':
                camera = self.camera(experiment)
                images = min(self.image_count(experiment), MAX_CODEC_VIEWS)
                values = 3 * camera.width * camera.height
                check_component_count(config.regressor.components, images, values)

    def camera(self, experiment: Experiment) -> Camera:
        """Return the camera of an experiment's images."""
        width = self.plan.full_width if experiment.full_size else self.plan.width
        return self.capture.camera.downscaled_to(width)

    def image_count(self, experiment: Experiment) -> int:
        """Return the number of training images: synthetic views, and at most as many frames."""
        return experiment.views + min(experiment.views, len(self.split.learned))

    def pixel_count(self, experiment: Experiment) -> int:
        """Return the number of pixels of the training images, by which a training takes longer."""
        camera = self.camera(experiment)
        return self.image_count(experiment) * camera.width * camera.height

    @cached_property
    def field(self) -> VoxelField:
        """The voxel field, trained without the held-out segment or read from the folder."""
        path, report_path = self.work_dir / 'field.safetensors', self.work_dir / 'field.json'
        if not report_path.exists():
            training = np.flatnonzero(~self.held_out)
            correction = estimate_depth_correction(self.capture, training, self.progress)
            files = self.work_dir / 'field'
            files.mkdir(exist_ok=True)
            field, report = train_voxel_field(
                self.capture.with_depth_correction(correction),
                self.held_out,
                self.config.field,
                device=self.device,
                seed=self.config.seed,
                work_dir=files,
                progress=self.progress,
            )
            field.save(path)
            metrics = {
                name: value for name, value in report.items() if not isinstance(value, list)
            }
            atomic_write(report_path, json.dumps(metrics))
            remove(files)
        return VoxelField.load(path, self.device)

    def field_metrics(self) -> dict[str, Any]:
        """Return the metrics of the field on the held-out segment."""
        metrics: dict[str, Any] = json.loads((self.work_dir / 'field.json').read_text('utf-8'))
        return metrics

    def synthetic_views(self, experiment: Experiment) -> Views:
        """Render the views that an experiment and all others of its kind share, or read them."""
        camera = self.camera(experiment)
        suffix = '' if experiment.filtered else '_unfiltered'
        return synthesize_views(
            self.field,
            self.capture.map_from_camera[self.split.synthesis_frames],
            camera,
            replace(self.config.synthesis, views=self.plan.max_views(experiment)),
            seed=self.config.seed,
            work_dir=self.work_dir / f'views_{camera.width}x{camera.height}{suffix}',
            reject=experiment.filtered,
            progress=self.progress,
        )

    def images(self, experiment: Experiment) -> StudyImages:
        """Render the synthetic views of an experiment, or read them, and add mapping images."""
        camera, views = self.camera(experiment), self.synthetic_views(experiment)
        validation, stretch, leaking, learned = self.split
        learned = learned[evenly_spaced_indices(len(learned), experiment.views)]
        chosen = np.unique(np.concatenate([learned, validation, stretch, leaking]))
        indices = set(chosen.tolist())
        frames = (frame for index, frame in enumerate(self.capture) if index in indices)
        real = views_from_frames(frames, camera)
        training, validating, held_out, leaking_images = (
            real.subset(np.searchsorted(chosen, part))
            for part in (learned, validation, stretch, leaking)
        )
        return StudyImages(
            camera,
            _concatenate_views(views.subset(slice(experiment.views)), training),
            validating,
            held_out,
            leaking_images,
            views.rejection_counts,
        )

    def codec(self, experiment: Experiment, training: Views) -> ImageCodec:
        """Fit the image codec of an experiment, once for all with the same training images."""
        if experiment.compression == 'none':
            return identity_codec(self.camera(experiment), 0, self.device)
        key = (
            experiment.compression,
            experiment.views,
            experiment.filtered,
            experiment.full_size,
        )
        if key not in self._codecs:
            chosen = evenly_spaced_indices(len(training), MAX_CODEC_VIEWS)
            self._codecs[key] = fit_codec(
                [training.subset(chosen)],
                self.codec_config(experiment),
                device=self.device,
                seed=self.config.seed,
                progress=self.progress,
            )
        return self._codecs[key]

    def codec_config(self, experiment: Experiment) -> RegressorConfig:
        """Return the regressor's settings with the codec of an experiment."""
        return replace(
            self.config.regressor,
            compression=experiment.compression,
            network_sees='reconstruction',
        )


def identity_codec(camera: Camera, components: int, device: torch.device) -> Pca:
    """Return an untrained PCA of zeros; without components it only standardizes images."""
    mean = torch.zeros(3 * camera.height * camera.width, device=device)
    one = mean.new_ones(components)
    return Pca(mean, one, one, mean.expand(components, -1))


def _concatenate_views(views: Views, real: Views) -> Views:
    """Concatenate synthetic views and mapping images, without depth."""
    return Views(
        np.concatenate([views.rgb, real.rgb]),
        np.concatenate([views.valid, real.valid]),
        np.zeros((len(views) + len(real), 0, 0), np.float16),
        np.concatenate([views.map_from_camera, real.map_from_camera]),
        {},
    )
