"""Promises of the PCA, the regressor and its training."""

import dataclasses
import json

from box_room import BoxRoom, CAMERA, pictures, walk
import numpy as np
import pytest
import safetensors.torch
from scipy.spatial.transform import Rotation
import torch

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import RegressorConfig, SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.core.geometry import make_pose, pose_errors
from nerf_reversal_ros.fields.pose_sampling import sample_poses
from nerf_reversal_ros.regressor import training as regressor_training
from nerf_reversal_ros.regressor.image_codec import standardize, to_tensors
from nerf_reversal_ros.regressor.image_codec_training import fit_codec
from nerf_reversal_ros.regressor.pose_network import camera_frame_error, NetworkOutput
from nerf_reversal_ros.regressor.regressor import covariance_in_map, PoseRegressor
from nerf_reversal_ros.regressor.training import train_regressor, views_from_frames
from nerf_reversal_ros.synthesis.augmentation import (
    augment_appearance,
    sample_motions,
    warp_by_depth,
)

CONFIG = RegressorConfig(network_sees='components', components=24, epochs=10, batch_size=32)
TRAIN, QUERIES = walk(40), walk(37, radius_m=0.8, height_m=1.25)


@pytest.fixture(scope='module')
def views():
    rng = np.random.default_rng(0)
    return pictures(sample_poses(TRAIN, 500, SynthesisConfig(), rng).map_from_camera)


@pytest.fixture(scope='module')
def regressor(views):
    return train_regressor(views, pictures(TRAIN), pictures(QUERIES), CAMERA, CONFIG, seed=1)


def answers(regressor, camera=CAMERA):
    return [regressor.regress(rgb, camera) for rgb in pictures(QUERIES, camera).rgb]


def median_translation_m(outcomes):
    found = np.stack([outcome.map_from_camera for outcome in outcomes])
    return np.median(pose_errors(found, QUERIES).translation)


def test_it_tells_poses_of_a_walk_it_has_not_seen(regressor):
    found = np.stack([outcome.map_from_camera for outcome in answers(regressor)])
    errors = pose_errors(found, QUERIES)
    assert np.median(errors.translation) < 0.35  # always the middle of the walk: 0.8
    assert np.degrees(np.median(errors.rotation)) < 15
    np.testing.assert_allclose(np.linalg.det(found[:, :3, :3]), 1.0)


@pytest.mark.parametrize('compression', ['none', 'pca'])
def test_the_network_may_see_pictures_instead_of_components(views, compression):
    config = dataclasses.replace(
        CONFIG, compression=compression, network_sees='reconstruction', epochs=4
    )
    real, validation = pictures(TRAIN), pictures(QUERIES)
    regressor = train_regressor(views, real, validation, CAMERA, config, seed=1)
    assert median_translation_m(answers(regressor)) < 0.6


def test_a_camera_of_another_focal_length_is_understood(regressor):
    other = Camera(200, 140, 150.0, 160.0, 97.0, 71.0)
    assert median_translation_m(answers(regressor, other)) < 0.4


def test_retrieved_poses_are_close_to_the_query_and_differ_from_each_other(regressor):
    nearest = []
    for outcome, truth in zip(answers(regressor), QUERIES, strict=True):
        retrieved = regressor.retrieve(outcome, 8)
        assert len(retrieved) == 8
        errors = pose_errors(retrieved, np.broadcast_to(truth, retrieved.shape))
        nearest.append(errors.translation[:3].min())
        for i, one in enumerate(retrieved):
            others = np.delete(retrieved, i, axis=0)
            apart = pose_errors(others, np.broadcast_to(one, others.shape))
            assert np.all((apart.translation >= 0.15) | (apart.rotation >= np.radians(8)))
    assert np.median(nearest) < 0.25


def test_a_strange_picture_is_novel_and_one_of_the_room_is_not(regressor):
    noise = np.random.default_rng(0).integers(256, size=(36, 48, 3)).astype(np.uint8)
    assert regressor.regress(noise, CAMERA).novelty > 1.5
    novelties = [outcome.novelty for outcome in answers(regressor)]
    assert np.median(novelties) == pytest.approx(1, abs=0.5)


def test_exposure_and_white_balance_do_not_change_the_answer_much(regressor):
    rgb = pictures(QUERIES[:1]).rgb[0]
    dim = (rgb * [0.5, 0.6, 0.4]).astype(np.uint8)
    one, other = regressor.regress(rgb, CAMERA), regressor.regress(dim, CAMERA)
    errors = pose_errors(one.map_from_camera[None], other.map_from_camera[None])
    assert errors.translation[0] < 0.03


def test_the_covariance_covers_the_errors(regressor):
    surprises = []
    for outcome, truth in zip(answers(regressor), QUERIES, strict=True):
        difference = truth[:3, :3] @ outcome.map_from_camera[:3, :3].T
        error = np.concatenate(
            [
                truth[:3, 3] - outcome.map_from_camera[:3, 3],
                Rotation.from_matrix(difference).as_rotvec(),
            ]
        )
        surprises.append(error @ np.linalg.solve(outcome.covariance, error))
    assert 0.1 < np.mean(surprises) / 6 < 1.5


def test_the_covariance_turns_with_the_camera_into_map_axes():
    factor = np.diag([1.0, 1.0, 0.1, 1.0, 0.2, 1.0])  # unsure along z and about y
    looking_along_y = Rotation.from_matrix([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).as_matrix()
    std = np.sqrt(np.diag(covariance_in_map(factor, looking_along_y, 1.0)))
    np.testing.assert_allclose(std, [0.1, 1.0, 0.1, 0.1, 0.1, 0.5], rtol=0.01)
    double = np.sqrt(np.diag(covariance_in_map(factor, looking_along_y, 2.0)))
    np.testing.assert_allclose(double, 2 * std, rtol=0.01)


def test_errors_are_told_in_axes_of_the_camera():
    truth = make_pose(Rotation.from_euler('z', 90, degrees=True), (1.0, 2.0, 3.0))
    there = truth @ make_pose(Rotation.from_rotvec([0.0, 0.3, 0.0]), (0.0, 0.0, 0.5))
    raw = torch.zeros((1, 30), dtype=torch.float64)
    raw[0, :3] = torch.from_numpy(truth[:3, 3])
    raw[0, 3:9] = torch.from_numpy(truth[:3, :2].T.reshape(-1))
    said = NetworkOutput(raw, torch.zeros(3), torch.ones(3))
    goal = torch.from_numpy(there[None])
    error = camera_frame_error(said, goal[:, :3, 3], goal[:, :3, :3])
    np.testing.assert_allclose(error[0], [0, 0, 0.5, 0, 0.3, 0], atol=1e-7)


def test_a_saved_regressor_gives_the_same_answers(regressor, tmp_path):
    regressor.save(tmp_path / 'regressor.safetensors')
    again = PoseRegressor.load(tmp_path / 'regressor.safetensors')
    for one, other in zip(answers(regressor), answers(again), strict=True):
        np.testing.assert_allclose(one.map_from_camera, other.map_from_camera, atol=1e-6)
        np.testing.assert_allclose(one.covariance, other.covariance, rtol=1e-4, atol=1e-7)
        np.testing.assert_array_equal(regressor.retrieve(one, 8), again.retrieve(other, 8))
        assert one.novelty == pytest.approx(other.novelty, rel=1e-4)
    assert again.report == json.loads(json.dumps(regressor.report))


def test_all_of_a_regressor_moves_to_another_device(regressor, tmp_path):
    regressor.save(tmp_path / 'regressor.safetensors')
    moved = PoseRegressor.load(tmp_path / 'regressor.safetensors')
    moved.to('meta')  # is on every machine, and holds nothing
    assert moved.device.type == 'meta'
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    tensors += [*moved._network.state_dict().values(), *moved._scalars.values()]
    tensors += moved._codec.tensors().values()
    assert {tensor.device.type for tensor in tensors} == {'meta'}


def test_a_damaged_regressor_is_refused_by_name(regressor, tmp_path):
    path = tmp_path / 'regressor.safetensors'
    regressor.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MapError, match=r'regressor\.safetensors is not a regressor'):
        PoseRegressor.load(path)
    with pytest.raises(MapError, match=r'missing\.safetensors'):
        PoseRegressor.load(tmp_path / 'missing.safetensors')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'pca.components': torch.zeros(24, 99)}, 'do not fit together'),
        ({'index.poses': torch.zeros(3, 4, 4)}, 'do not fit together'),
        ({'pca.mean': torch.full((36 * 48 * 3,), torch.nan)}, 'not finite'),
    ],
)
def test_parts_that_do_not_fit_are_refused(regressor, tmp_path, change, message):
    path = tmp_path / 'regressor.safetensors'
    regressor.save(path)
    with safetensors.safe_open(path, framework='pt') as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    safetensors.torch.save_file(tensors | change, path, metadata=metadata)
    with pytest.raises(MapError, match=message):
        PoseRegressor.load(path)


def test_the_same_seed_gives_the_same_regressor(views):
    config = dataclasses.replace(CONFIG, epochs=2)
    first, second = (
        train_regressor(views, pictures(TRAIN), pictures(QUERIES), CAMERA, config, seed=5)
        for _ in range(2)
    )
    np.testing.assert_array_equal(
        answers(first)[0].map_from_camera, answers(second)[0].map_from_camera
    )


def test_a_regressor_that_cannot_learn_fails_loudly(views):
    order = np.random.default_rng(0).permutation(len(views))
    wrong = dataclasses.replace(views, map_from_camera=views.map_from_camera[order])
    config = dataclasses.replace(CONFIG, epochs=2)
    with pytest.raises(BuildError, match=r'learned nothing .* the mean pose gives 0\.80 m'):
        train_regressor(wrong, pictures(TRAIN[:0]), pictures(QUERIES), CAMERA, config)


def test_a_walk_of_one_place_teaches_beside_views_of_the_whole_room(views):
    walked = np.repeat(QUERIES[:1], 7, axis=0)
    walked[:, 0, 3] += np.linspace(-0.03, 0.03, 7)
    config = dataclasses.replace(CONFIG, epochs=3)
    real, validation = pictures(walked[[0, 1, 2, 4, 5, 6]]), pictures(walked[3:4])
    train_regressor(views, real, validation, CAMERA, config)  # off by more than 2 cm, and no worse


def test_pictures_without_contrast_are_refused(views):
    flat = dataclasses.replace(views, rgb=np.full_like(views.rgb, 90))
    with pytest.raises(BuildError, match='all 500 views look the same'):
        train_regressor(flat, pictures(TRAIN[:0]), pictures(QUERIES), CAMERA, CONFIG)


def test_without_validation_pictures_nothing_is_trained(views):
    with pytest.raises(BuildError, match='0 to be validated on'):
        train_regressor(views, pictures(TRAIN), pictures(QUERIES[:0]), CAMERA, CONFIG)


def test_more_components_than_views_are_refused():
    with pytest.raises(BuildError, match='components is 24 but there are only 20 views'):
        fit_codec([pictures(TRAIN[:20])], CONFIG)


def test_progress_tells_epoch_and_validation_error(views):
    reports = []
    config = dataclasses.replace(CONFIG, epochs=2)
    train_regressor(
        views, pictures(TRAIN), pictures(QUERIES), CAMERA, config, progress=reports.append
    )
    assert [(report.stage, report.done, report.total) for report in reports] == [
        ('regressor', 1, 2),
        ('regressor', 2, 2),
    ]
    assert 'validation' in reports[0].note and 'cm' in reports[0].note


def test_the_retained_variance_curve_rises_towards_one(regressor):
    curve = regressor.report['retained_variance']
    assert len(curve) == 24
    assert np.all(np.diff(curve) >= 0) and 0.5 < curve[-1] <= 1.0


def test_what_is_not_shown_does_not_sway_the_standardized_picture():
    rgb = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    rgb[1] = rgb[0]
    rgb[1, :, :2] = 0.0
    seen = torch.ones(2, 1, 6, 8)
    seen[:, :, :2] = 0.0
    out = standardize(rgb, seen)
    torch.testing.assert_close(out[0], out[1])
    assert out[:, :, 2:].mean().abs() < 1e-5


OBLONG = Camera(48, 36, 40.0, 36.0, 22.5, 18.5)


@pytest.mark.parametrize('move_m', [0.0, 0.1])
def test_a_moved_picture_is_like_one_rendered_there(move_m):
    rng = np.random.default_rng(0)
    turns = Rotation.from_rotvec(rng.normal(0.0, np.radians(4), (4, 3)))
    motions = np.stack([make_pose(turn, rng.normal(0.0, move_m, 3)) for turn in turns])
    here, there = pictures(QUERIES[:4], OBLONG), pictures(QUERIES[:4] @ motions, OBLONG)
    rgb, mask = to_tensors(here.rgb, here.valid, 'cpu')
    rgb[:, :, :6], mask[:, :, :6] = 0.0, 0.0  # six rows that show nothing
    depth = torch.from_numpy(here.depth).float()
    depth[:, 20, 30] = 0.0  # unknown
    rgb, seen = warp_by_depth(rgb, mask, depth, OBLONG, torch.from_numpy(motions).float())
    error = (rgb - to_tensors(there.rgb, there.valid, 'cpu')[0]).abs().mean(1)[seen[:, 0] > 0]
    assert 0.5 < float(seen.mean()) < 0.85
    assert float(error.mean()) < 0.015
    assert float(error.quantile(0.99)) < 0.1


def test_motions_are_small_beside_what_is_near():
    rng = np.random.default_rng(0)
    depth = torch.zeros(200, 40, 40)
    depth[100:, :, :20] = 3.0  # the other half is unknown
    depth[100:, ::10] = torch.where(depth[100:, ::10] > 0, 1.0, 0.0)
    motions = sample_motions(depth, rng)
    moves = motions[:, :3, 3].norm(dim=1)
    assert float(moves[:100].max()) == 0.0  # no depth: turned only
    assert 0.08 < float(moves[100:].median())
    assert float(moves.max()) == pytest.approx(0.15)  # a share of 1 m, not of 3 m
    assert float((motions[:, :3, :3] - torch.eye(3)).abs().amax((1, 2)).min()) > 0.0


def test_real_pictures_come_with_the_depth_that_the_field_renders():
    big = CAMERA.scaled_to(96, 72)
    rgb = pictures(TRAIN[:2], big).rgb
    frames = [Frame(i, i, rgb[i], big, None, None, TRAIN[i]) for i in range(2)]
    views = views_from_frames(frames, CAMERA, BoxRoom())
    np.testing.assert_array_equal(views.depth, pictures(TRAIN[:2]).depth)
    assert np.abs(views.rgb.astype(float) - pictures(TRAIN[:2]).rgb).mean() < 3
    assert views.valid.all()


def test_what_is_learned_from_is_where_it_says(views, monkeypatch):
    monkeypatch.setattr(regressor_training, 'varied_appearance', lambda rgb, _: rgb)
    trainer = regressor_training._Trainer(
        views, pictures(TRAIN), CAMERA, CONFIG, torch.device('cpu'), seed=0
    )
    rgb, seen, poses = trainer._augmented_batch(np.array([0, 3, 499, 500, 520]))
    there = pictures(poses.double().numpy())
    error = (rgb - to_tensors(there.rgb, there.valid, 'cpu')[0]).abs().mean(1)[seen[:, 0] > 0]
    assert float(error.mean()) < 0.02


def test_appearance_varies_with_the_seed_alone():
    rgb = pictures(QUERIES[:1]).rgb[0]
    first, again = (augment_appearance(rgb, np.random.default_rng(1)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = augment_appearance(rgb, np.random.default_rng(2))
    assert np.abs(first.astype(float) - other).mean() > 3
