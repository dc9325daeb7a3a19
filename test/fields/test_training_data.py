"""Pixels for training are sampled from training frames, where they are not masked."""

import numpy as np

from nerf_reversal_ros.fields.training_data import TrainingData


def data(valid):
    frames = 3
    held_out = np.array([False, True, False])
    rgb = np.zeros((frames, 4, 6, 3), np.uint8)
    depth = np.zeros((frames, 4, 6), np.float16)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    return TrainingData(rgb, depth, np.ones((frames, 4)), poses, held_out, valid)


def test_masked_pixels_are_not_sampled():
    valid = np.ones((3, 4, 6), bool)
    valid[0, :, 2:] = False
    frame, u, v = data(valid).sample_pixels(np.random.default_rng(0), 500)
    assert len(frame) == len(u) == len(v) == 500
    assert set(frame) == {0, 2}
    assert valid[frame, v, u].all()


def test_a_mask_of_all_true_samples_evenly_from_all_pixels():
    frame, u, v = data(None).sample_pixels(np.random.default_rng(0), 2000)
    assert (u.max(), v.max()) == (5, 3)
    assert abs((frame == 0).mean() - 0.5) < 0.05
