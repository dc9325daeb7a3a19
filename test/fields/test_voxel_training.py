"""Training of a voxel field on a recorded bag of the box room."""

from dataclasses import replace

import numpy as np
import pytest
from room_bags import EPOCH_NS, write_room_bag
from rooms import render_box_room, walk
import torch

from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import VoxelFieldConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.fields import voxel_training
from nerf_reversal_ros.fields.voxel_training import train_voxel_field

CAMERA = Camera(64, 48, 55.0, 55.0, 31.5, 23.5)
WALK = walk(18)
QUICK = VoxelFieldConfig(voxel_m=0.06, steps=24, rays_per_step=512, validation_share=0.1)
NOISE_M = 0.01


def record(path, poses=WALK, camera=CAMERA, brightness=lambda number: 1.0):
    """Record a capture with the depth noise of a phone."""
    rng = np.random.default_rng(0)
    with BagWriter(path, up_axis='z') as bag:
        for number, pose in enumerate(poses):
            rgb, depth = render_box_room(pose, camera)
            rgb = (rgb * brightness(number)).astype(np.uint8)
            depth += rng.normal(0, NOISE_M, depth.shape).astype(np.float32)
            bag.write(EPOCH_NS + number * 100_000_000, rgb, depth, camera, pose)
    return open_capture(path, CaptureConfig())


@pytest.fixture(scope='module')
def capture(tmp_path_factory):
    return record(tmp_path_factory.mktemp('bags') / 'walk')


def train(capture, work_dir, config=QUICK, progress=lambda _: None):
    work_dir.mkdir(exist_ok=True)
    return train_voxel_field(
        capture,
        held_out_mask(len(capture), config.validation_share),
        config,
        device=torch.device('cpu'),
        seed=3,
        work_dir=work_dir,
        progress=progress,
    )


@pytest.fixture(scope='module', autouse=True)
def checkpoints():
    """Save every eighth step."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(voxel_training, 'CHECKPOINT_STEPS', 8)
        yield


@pytest.fixture(scope='module')
def trained(capture, checkpoints, tmp_path_factory):
    return train(capture, tmp_path_factory.mktemp('training') / 'work')


def mean_color(field):
    views = field.render(WALK[::4], CAMERA)
    return np.mean([view.rgb[view.opacity > 0.5].mean(0) for view in views], axis=0)


def test_training_compensates_the_exposures_that_fusion_averages(tmp_path):
    exposure = np.random.default_rng(5).uniform(0.5, 1.0, 20)
    camera = Camera(96, 72, 80.0, 80.0, 47.5, 35.5)
    capture = record(tmp_path / 'bag', walk(20), camera, lambda number: exposure[number])
    config = replace(QUICK, voxel_m=0.03, steps=40, rays_per_step=4096, learning_rate=0.02)
    _, fused = train(capture, tmp_path / 'fused', replace(config, steps=0))
    _, trained = train(capture, tmp_path / 'trained', config)
    assert fused['step'] == [] and trained['step'] == [10, 20, 30, 40]
    assert trained['loss'][-1] < 0.9 * trained['loss'][0]
    assert trained['psnr_db'] > fused['psnr_db'] + 0.7
    assert trained['coverage'] > 0.8
    assert trained['depth_error_m'] < config.voxel_m / 2
    assert trained['held_out_frames'] == 2


class Interrupted(BaseException):
    pass


def interrupt_at(step):
    def on_progress(progress):
        if progress.note.startswith('loss') and progress.done >= step:
            raise Interrupted

    return on_progress


def fields_equal(one, other):
    return torch.equal(one.values, other.values) and torch.equal(one.background, other.background)


def test_an_interrupted_training_resumes_and_ends_the_same(capture, trained, tmp_path):
    with pytest.raises(Interrupted):
        train(capture, tmp_path / 'work', progress=interrupt_at(20))
    reports = []
    field, report = train(capture, tmp_path / 'work', progress=reports.append)
    steps = [(p.stage, p.done, p.total) for p in reports if p.note.startswith('loss')]
    assert steps == [('field', 20, 24)]  # resumed at step 16
    assert fields_equal(field, trained[0])
    assert report == trained[1]


def test_a_corrupt_checkpoint_restarts_the_training(capture, trained, tmp_path):
    with pytest.raises(Interrupted):
        train(capture, tmp_path / 'work', progress=interrupt_at(10))
    checkpoint = tmp_path / 'work/checkpoint.safetensors'
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    field, _ = train(capture, tmp_path / 'work')
    assert fields_equal(field, trained[0])


def test_an_image_of_half_the_brightness_does_not_darken_the_field(trained, tmp_path):
    capture = record(tmp_path / 'bag', brightness=lambda number: 0.5 if number == 4 else 1.0)
    field, _ = train(capture, tmp_path / 'work')
    # The field has the mean exposure: 2 ** (1 / 16) = 4 % for one of 16 images.
    assert mean_color(field) == pytest.approx(mean_color(trained[0]), rel=0.06)


def test_held_out_frames_are_one_block_of_at_least_one():
    for count in (2, 3, 7, 20, 1000):
        for fraction in (0.01, 0.05, 0.1, 0.5):
            held_out = held_out_mask(count, fraction)
            assert held_out.shape == (count,)
            assert held_out.sum() == max(1, round(count * fraction))
            assert np.abs(np.diff(held_out.astype(int))).sum() <= 2
    assert not held_out_mask(20, 0.0).any()


def test_a_capture_without_depth_raises_a_remedy(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', WALK[:4], CAMERA, depth=False, up_axis='z')
    capture = open_capture(bag, CaptureConfig(pose_convention='optical'))
    with pytest.raises(BuildError, match='the capture has no depth'):
        train(capture, tmp_path / 'work')
