"""Estimated durations of a study, extrapolated from timed samples of each kind of work."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
import time

import numpy as np
from numpy.typing import NDArray
import torch

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.progress import format_duration
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.regressor.image_codec import ImageCodec
from nerf_reversal_ros.regressor.image_codec_training import fit_codec
from nerf_reversal_ros.study.data import identity_codec, MAX_CODEC_VIEWS, StudyData
from nerf_reversal_ros.study.plan import Experiment
from nerf_reversal_ros.study.training import StudyNetwork
from nerf_reversal_ros.synthesis.view_synthesis import Views

EVALUATION_FACTOR = 1.3
"""Duration of training with evaluation, relative to that of the training steps alone."""
PREVIEW_FACTOR = 1.3
"""Duration of rendering with the previews of rejected views, relative to the views alone."""
CODEC_SAMPLE_VIEWS = 32
"""Images of the timed codec training."""
RENDER_SAMPLE_VIEWS = 4
"""Views of the timed rendering."""
TIMED_RUNS = 3
"""Runs of each sample. The fastest counts: the first is slow, and others may be disturbed."""


def training_estimate(data: StudyData, experiments: Sequence[Experiment]) -> str:
    """Estimate how long networks and autoencoders will train at most; needs no field."""
    networks_s = codecs_s = 0.0
    timed_codecs = set()
    for experiment in experiments:
        camera, count = data.camera(experiment), data.image_count(experiment)
        codec: ImageCodec = identity_codec(
            camera,
            data.config.regressor.components if experiment.compression != 'none' else 0,
            data.device,
        )
        if experiment.compression == 'vae':
            fit_sample = partial(_fit_small_codec, data, experiment, camera)
            codec = fit_sample()
            if (experiment.views, experiment.filtered) not in timed_codecs:
                timed_codecs.add((experiment.views, experiment.filtered))
                epochs = data.codec_config(experiment).vae_epochs
                passes = epochs * min(count, MAX_CODEC_VIEWS)
                codecs_s += passes / CODEC_SAMPLE_VIEWS * _measure_seconds(fit_sample)
        network = StudyNetwork(
            experiment, codec, camera, np.eye(4)[None], data.device, bfloat16=data.plan.bfloat16
        )
        noise = _noise_views(camera, network.batch_size)
        optimizer = torch.optim.Adam(network.layers.parameters())
        step = partial(network.step, optimizer, noise, np.arange(network.batch_size))
        steps = data.plan.epochs * count / network.batch_size
        networks_s += EVALUATION_FACTOR * steps * _measure_seconds(step)
    autoencoder = f', plus {format_duration(codecs_s)} for the autoencoder' if codecs_s else ''
    return (
        f'{len(experiments)} to train, at most {format_duration(networks_s)} on this machine'
        f'{autoencoder}; the field and the views come first, with an estimate for the views once'
        f' the field is trained; {remedies.SHORTER_STUDY}'
    )


def views_estimate(data: StudyData, experiments: Sequence[Experiment]) -> str:
    """Estimate how long the synthetic views will render if none exists yet."""
    poses = data.capture.map_from_camera[data.split.synthesis_frames]
    poses = poses[evenly_spaced_indices(len(poses), RENDER_SAMPLE_VIEWS)]
    kinds = {(each.filtered, each.full_size): each for each in experiments}
    counts, duration_s = [], 0.0
    for experiment in kinds.values():
        render = partial(data.field.render, poses, data.camera(experiment))
        counts.append(data.plan.max_views(experiment))
        duration_s += PREVIEW_FACTOR * counts[-1] / RENDER_SAMPLE_VIEWS * _measure_seconds(render)
    return (
        f'{" + ".join(map(str, counts))} to render, about {format_duration(duration_s)} minus'
        ' existing ones'
    )


def _fit_small_codec(data: StudyData, experiment: Experiment, camera: Camera) -> ImageCodec:
    """Fit a VAE of few components to few noise images, for one epoch."""
    config = replace(data.codec_config(experiment), components=8, vae_epochs=1)
    return fit_codec([_noise_views(camera, CODEC_SAMPLE_VIEWS)], config, device=data.device)


def _noise_views(camera: Camera, count: int) -> Views:
    """Return images of uniform noise."""
    shape = (count, camera.height, camera.width)
    noise: NDArray[np.uint8] = np.random.default_rng(0).integers(
        256, size=(*shape, 3), dtype=np.uint8
    )
    poses = np.tile(np.eye(4), (count, 1, 1))
    return Views(noise, np.ones(shape, np.bool_), np.zeros((count, 0, 0), np.float16), poses, {})


def _measure_seconds(work: Callable[[], object]) -> float:
    """Return the least duration of `TIMED_RUNS` calls [s]."""
    durations_s = []
    for _ in range(TIMED_RUNS):
        start_s = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        durations_s.append(time.perf_counter() - start_s)
    return min(durations_s)
