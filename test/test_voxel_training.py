"""Training of a voxel field on a real bag of the box room."""

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

CAMERA = Camera(64, 48, 55.0, 55.0, 31.5, 23.5)
WALK = walk(20)
CONFIG = VoxelFieldConfig(voxel_m=0.05, steps=25, rays_per_step=1024, validation_share=0.1)
FUSED = VoxelFieldConfig(voxel_m=0.05, steps=0, rays_per_step=1024, validation_share=0.1)


@pytest.fixture(scope='module')
def capture(tmp_path_factory):
    bag = write_room_bag(tmp_path_factory.mktemp('bags') / 'walk', WALK, CAMERA, up_axis='z')
    return open_capture(bag, CaptureConfig())


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


@pytest.fixture(scope='module')
def trained(capture, tmp_path_factory):
    return train(capture, tmp_path_factory.mktemp('training') / 'work')


def mean_colour(field):
    views = field.render(WALK[::4], CAMERA)
    return np.mean([view.rgb[view.opacity > 0.5].mean(0) for view in views], axis=0)


def test_training_lowers_the_loss_and_betters_what_fusion_began(capture, trained, tmp_path):
    _, fused = train(capture, tmp_path / 'work', FUSED)
    _, report = trained
    assert fused['step'] == [] and report['step'] == [10, 20]
    assert report['loss'][-1] < report['loss'][0]
    assert report['psnr_db'] > fused['psnr_db'] + 0.5 > 15
    assert report['coverage'] > 0.8
    assert report['depth_error_m'] < CONFIG.voxel_m / 2
    assert report['held_out_frames'] == 2


def test_training_tells_its_steps_and_its_loss(capture, tmp_path):
    told = []
    train(capture, tmp_path / 'work', progress=told.append)
    steps = [p for p in told if p.note.startswith('loss')]
    assert [(p.stage, p.done, p.total) for p in steps] == [('field', 10, 25), ('field', 20, 25)]


class Killed(BaseException):
    pass


def killed_at(step):
    def progress(told):
        if told.note.startswith('loss') and told.done >= step:
            raise Killed

    return progress


def same(one, other):
    return torch.equal(one.values, other.values) and torch.equal(one.background, other.background)


def test_an_interrupted_training_goes_on_and_ends_the_same(
    capture, trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(voxel_training, 'CHECKPOINT_STEPS', 8)
    with pytest.raises(Killed):
        train(capture, tmp_path / 'work', progress=killed_at(20))
    steps = []
    field, report = train(capture, tmp_path / 'work', progress=steps.append)
    assert [p.done for p in steps if p.note.startswith('loss')] == [20]  # goes on from step 16
    assert same(field, trained[0])
    assert report == trained[1]


def test_a_damaged_checkpoint_only_costs_time(capture, trained, tmp_path, monkeypatch):
    monkeypatch.setattr(voxel_training, 'CHECKPOINT_STEPS', 8)
    with pytest.raises(Killed):
        train(capture, tmp_path / 'work', progress=killed_at(10))
    checkpoint = tmp_path / 'work/checkpoint.safetensors'
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    field, _ = train(capture, tmp_path / 'work')
    assert same(field, trained[0])


def test_a_picture_of_half_the_brightness_does_not_darken_the_field(trained, tmp_path):
    with BagWriter(tmp_path / 'bag', up_axis='z') as bag:
        for number, pose in enumerate(WALK):
            rgb, depth = render_box_room(pose, CAMERA)
            if number == 4:
                rgb = rgb // 2
            bag.write(EPOCH_NS + number * 100_000_000, rgb, depth, CAMERA, pose)
    capture = open_capture(tmp_path / 'bag', CaptureConfig())
    field, _ = train(capture, tmp_path / 'work')
    # The field takes the mean exposure: 2 ** (1 / 18) = 4 % for one of 18 pictures.
    assert mean_colour(field) == pytest.approx(mean_colour(trained[0]), rel=0.06)
    before, after = trained[0].render(WALK[4:5], CAMERA)[0], field.render(WALK[4:5], CAMERA)[0]
    both = (before.opacity > 0.5) & (after.opacity > 0.5)
    assert np.median(np.abs(before.rgb.astype(float) - after.rgb)[both]) < 12


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
