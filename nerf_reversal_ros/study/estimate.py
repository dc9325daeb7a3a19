"""How long a study will take, told before it: each kind of work is tried and timed."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
import time

import numpy as np
from numpy.typing import NDArray
import torch

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
"""Training a row and judging it takes so many times what its steps alone take."""
PREVIEW_FACTOR = 1.3
"""Views and the previews of those that are rejected take so many times what the views take."""
CODEC_SAMPLE_VIEWS = 32
RENDER_SAMPLE_VIEWS = 4


def training_estimate(material: StudyData, rows: Sequence[Experiment]) -> str:
    """Tell how long networks and autoencoders will learn; needs no field."""
    networks_s = codes_s = 0.0
    coded = set()
    for row in rows:
        camera, count = material.camera(row), material.image_count(row)
        code: ImageCodec = identity_codec(
            camera,
            material.config.regressor.components if row.compression != 'none' else 0,
            material.device,
        )
        if row.compression == 'vae':
            few = partial(_fit_small_codec, material, row, camera)
            code = few()
            if (row.views, row.filtered) not in coded:
                coded.add((row.views, row.filtered))
                passes = material.codec_config(row).vae_epochs * min(count, MAX_CODEC_VIEWS)
                codes_s += passes / CODEC_SAMPLE_VIEWS * _measure_seconds(few)
        network = StudyNetwork(row, code, camera, np.eye(4)[None], material.device)
        noise = _noise_views(camera, network.batch_size)
        optimizer = torch.optim.Adam(network.layers.parameters())
        step = partial(network.step, optimizer, noise, np.arange(network.batch_size))
        steps = material.plan.epochs * count / network.batch_size
        networks_s += EVALUATION_FACTOR * steps * _measure_seconds(step)
    learned = f', and {format_duration(codes_s)} for the autoencoder' if codes_s else ''
    return (
        f'{len(rows)} to train, about {format_duration(networks_s)} on this machine{learned}; before them'
        ' come the field, and views whose time is told when there is a field; less with --views,'
        ' --epochs or --only'
    )


def views_estimate(material: StudyData, rows: Sequence[Experiment]) -> str:
    """Tell how long the views will take to render, if none is there already."""
    walked = material.capture.map_from_camera[material.split.walked]
    poses = walked[evenly_spaced_indices(len(walked), RENDER_SAMPLE_VIEWS)]
    kinds = {(row.filtered, row.full_size): row for row in rows}
    counts, took_s = [], 0.0
    for row in kinds.values():
        render = partial(material.field.render, poses, material.camera(row))
        counts.append(material.plan.max_views(row))
        took_s += PREVIEW_FACTOR * counts[-1] / RENDER_SAMPLE_VIEWS * _measure_seconds(render)
    return f'{" + ".join(map(str, counts))} to render, about {format_duration(took_s)} less what is there'


def _fit_small_codec(material: StudyData, row: Experiment, camera: Camera) -> ImageCodec:
    settings = replace(material.codec_config(row), components=8, vae_epochs=1)
    return fit_codec([_noise_views(camera, CODEC_SAMPLE_VIEWS)], settings, device=material.device)


def _noise_views(camera: Camera, count: int) -> Views:
    """Return made-up pictures."""
    shape = (count, camera.height, camera.width)
    noise: NDArray[np.uint8] = np.random.default_rng(0).integers(
        256, size=(*shape, 3), dtype=np.uint8
    )
    poses = np.tile(np.eye(4), (count, 1, 1))
    return Views(noise, np.ones(shape, np.bool_), np.zeros((count, 0, 0), np.float16), poses, {})


def _measure_seconds(work: Callable[[], object]) -> float:
    """Time a piece of work: the quickest of three, for the first is slow, and others may be."""
    took_s = []
    for _ in range(3):
        began_s = time.perf_counter()
        work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        took_s.append(time.perf_counter() - began_s)
    return min(took_s)
