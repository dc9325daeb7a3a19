"""Training of a voxel field on a real bag of the box room."""

from dataclasses import replace

import numpy as np
import pytest
from room_bags import EPOCH_NS, write_room_bag
from rooms import render_box_room, walk
import torch

from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.capture import open_capture
from nerf_reversal_ros.config import CaptureConfig, VoxelFieldConfig
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.errors import BuildError
from nerf_reversal_ros.fields import voxel_training
from nerf_reversal_ros.fields.voxel_training import held_out_frames, train_voxel_field

CAMERA = Camera(80, 60, 68.0, 68.0, 39.5, 29.5)
WALK = walk(20)
CONFIG = VoxelFieldConfig(
    voxel_m=0.04, steps=30, rays_per_step=2048, learning_rate=0.02, validation_share=0.1
)
NOISE_M = 0.04


def record(path, brightness=lambda number: 1.0):
    """Record the walk with a depth that is as noisy as that of a cheap sensor."""
    rng = np.random.default_rng(0)
    with BagWriter(path, up_axis='z') as bag:
        for number, pose in enumerate(WALK):
            rgb, depth = render_box_room(pose, CAMERA)
            rgb = (rgb * brightness(number)).astype(np.uint8)
            depth += rng.normal(0, NOISE_M, depth.shape).astype(np.float32)
            bag.write(EPOCH_NS + number * 100_000_000, rgb, depth, CAMERA, pose)
    return open_capture(path, CaptureConfig())


@pytest.fixture(scope='module')
def capture(tmp_path_factory):
    return record(tmp_path_factory.mktemp('bags') / 'walk')


def train(capture, work_dir, config=CONFIG, progress=lambda _: None):
    work_dir.mkdir(exist_ok=True)
    return train_voxel_field(
        capture,
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


def mean_colour(field):
    views = field.render(WALK[::4], CAMERA)
    return np.mean([view.rgb[view.opacity > 0.5].mean(0) for view in views], axis=0)


def test_training_lowers_the_loss_and_betters_what_fusion_began(capture, trained, tmp_path):
    _, fused = train(capture, tmp_path / 'work', replace(CONFIG, steps=0))
    _, report = trained
    assert fused['step'] == [] and report['step'] == [10, 20, 30]
    assert report['loss'][-1] < report['loss'][0]
    assert report['psnr_db'] > fused['psnr_db'] + 0.5
    assert report['coverage'] > 0.8
    assert report['depth_error_m'] < CONFIG.voxel_m / 2
    assert report['held_out_frames'] == 2


class Killed(BaseException):
    pass


def killed_at(step):
    def progress(told):
        if told.note.startswith('loss') and told.done >= step:
            raise Killed

    return progress


def same(one, other):
    return torch.equal(one.values, other.values) and torch.equal(one.background, other.background)


def test_an_interrupted_training_goes_on_and_ends_the_same(capture, trained, tmp_path):
    with pytest.raises(Killed):
        train(capture, tmp_path / 'work', progress=killed_at(20))
    told = []
    field, report = train(capture, tmp_path / 'work', progress=told.append)
    steps = [(p.stage, p.done, p.total) for p in told if p.note.startswith('loss')]
    assert steps == [('field', 20, 30), ('field', 30, 30)]  # goes on from step 16
    assert same(field, trained[0])
    assert report == trained[1]


def test_a_damaged_checkpoint_only_costs_time(capture, trained, tmp_path):
    with pytest.raises(Killed):
        train(capture, tmp_path / 'work', progress=killed_at(10))
    checkpoint = tmp_path / 'work/checkpoint.safetensors'
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    field, _ = train(capture, tmp_path / 'work')
    assert same(field, trained[0])


def test_a_picture_of_half_the_brightness_does_not_darken_the_field(trained, tmp_path):
    capture = record(tmp_path / 'bag', lambda number: 0.5 if number == 4 else 1.0)
    field, _ = train(capture, tmp_path / 'work')
    # The field takes the mean exposure: 2 ** (1 / 18) = 4 % for one of 18 pictures.
    assert mean_colour(field) == pytest.approx(mean_colour(trained[0]), rel=0.06)


def test_frames_are_held_out_in_one_block_and_never_none():
    for count in (2, 3, 7, 20, 1000):
        for share in (0.01, 0.05, 0.1, 0.5):
            held_out = held_out_frames(count, share)
            assert held_out.shape == (count,)
            assert held_out.sum() == max(1, round(count * share))
            assert np.abs(np.diff(held_out.astype(int))).sum() <= 2
    assert not held_out_frames(20, 0.0).any()


def test_a_capture_without_depth_is_refused_with_another_way(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', WALK[:4], CAMERA, depth=False, up_axis='z')
    capture = open_capture(bag, CaptureConfig(pose_convention='optical'))
    with pytest.raises(BuildError, match='the capture has no depth'):
        train(capture, tmp_path / 'work')
