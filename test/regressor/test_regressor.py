"""Behavior of the PCA codec, the pose regressor, its training and its augmentation."""

import dataclasses
import json

from box_room import BoxRoom, CAMERA, pictures, walk
import numpy as np
import pytest
from regressor_files import rewrite_regressor
import safetensors.torch
from scipy.spatial.transform import Rotation
import torch

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import RegressorConfig, SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.core.geometry import make_pose, pose_errors
from nerf_reversal_ros.fields.pose_sampling import sample_poses
from nerf_reversal_ros.mapping.build_warnings import regressor_warnings
from nerf_reversal_ros.regressor import training as regressor_training
from nerf_reversal_ros.regressor.image_codec import standardize, to_tensors
from nerf_reversal_ros.regressor.image_codec_training import fit_codec
from nerf_reversal_ros.regressor.pose_network import (
    camera_frame_error,
    NetworkInput,
    NetworkLayout,
    NetworkOutput,
    PoseNetwork,
)
from nerf_reversal_ros.regressor.regressed_pose import covariance_in_map
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.rounding import round_to_8_bit
from nerf_reversal_ros.regressor.training import train_regressor, views_from_frames

CONFIG = RegressorConfig(network_sees='components', components=24, epochs=10, batch_size=32)
TRAIN, QUERIES = walk(40), walk(37, radius_m=0.8, height_m=1.25)


@pytest.fixture(scope='module')
def views():
    rng = np.random.default_rng(0)
    return pictures(sample_poses(TRAIN, 500, SynthesisConfig(), rng).map_from_camera)


@pytest.fixture(scope='module')
def regressor(views):
    return train_regressor(views, pictures(TRAIN), pictures(QUERIES), CAMERA, CONFIG, seed=1)


def regress_queries(regressor, camera=CAMERA):
    """Regress all query images, taken with the given camera."""
    return [regressor.regress(rgb, camera) for rgb in pictures(QUERIES, camera).rgb]


def median_translation_m(outcomes):
    estimated = np.stack([outcome.map_from_camera for outcome in outcomes])
    return np.median(pose_errors(estimated, QUERIES).translation)


def test_poses_of_new_images_are_regressed_within_35_cm_and_15_deg(regressor):
    estimated = np.stack([outcome.map_from_camera for outcome in regress_queries(regressor)])
    errors = pose_errors(estimated, QUERIES)
    assert np.median(errors.translation) < 0.35  # the mean pose: 0.8
    assert np.degrees(np.median(errors.rotation)) < 15
    np.testing.assert_allclose(np.linalg.det(estimated[:, :3, :3]), 1.0)


@pytest.mark.parametrize('network_sees', ['image', 'reconstruction'])
def test_a_regressor_can_be_trained_on_images_instead_of_codes(views, network_sees):
    config = dataclasses.replace(CONFIG, network_sees=network_sees, epochs=4)
    mapping_images, validation = pictures(TRAIN), pictures(QUERIES)
    regressor = train_regressor(views, mapping_images, validation, CAMERA, config, seed=1)
    assert median_translation_m(regress_queries(regressor)) < 0.6


@pytest.mark.parametrize(
    ('compression', 'network_sees', 'expected'),
    [
        ('none', 'reconstruction', NetworkInput.IMAGE),
        ('pca', 'image', NetworkInput.IMAGE),
        ('pca', 'reconstruction', NetworkInput.RECONSTRUCTION),
        ('vae', 'components', NetworkInput.CODE),
    ],
)
def test_the_network_input_follows_from_two_settings(compression, network_sees, expected):
    config = RegressorConfig(compression=compression, network_sees=network_sees)
    assert NetworkInput.from_config(config) is expected


def test_images_of_a_camera_with_other_intrinsics_are_regressed(regressor):
    other = Camera(200, 140, 150.0, 160.0, 97.0, 71.0)
    assert median_translation_m(regress_queries(regressor, other)) < 0.4


def test_retrieved_poses_are_near_the_query_and_not_near_each_other(regressor):
    nearest = []
    for outcome, pose in zip(regress_queries(regressor), QUERIES, strict=True):
        retrieved = regressor.retrieve(outcome, 8)
        assert len(retrieved) == 8
        errors = pose_errors(retrieved, np.broadcast_to(pose, retrieved.shape))
        nearest.append(errors.translation[:3].min())
        for i, first in enumerate(retrieved):
            others = np.delete(retrieved, i, axis=0)
            distances = pose_errors(others, np.broadcast_to(first, others.shape))
            assert np.all((distances.translation >= 0.15) | (distances.rotation >= np.radians(8)))
    assert np.median(nearest) < 0.25


def test_novelty_separates_noise_from_images_of_the_room(regressor):
    noise = np.random.default_rng(0).integers(256, size=(36, 48, 3)).astype(np.uint8)
    assert regressor.regress(noise, CAMERA).novelty > 1.5
    novelties = [outcome.novelty for outcome in regress_queries(regressor)]
    assert np.median(novelties) == pytest.approx(1, abs=0.5)


def test_exposure_and_white_balance_change_the_pose_by_less_than_3_cm(regressor):
    rgb = pictures(QUERIES[:1]).rgb[0]
    dim = (rgb * [0.5, 0.6, 0.4]).astype(np.uint8)
    bright, dark = regressor.regress(rgb, CAMERA), regressor.regress(dim, CAMERA)
    errors = pose_errors(bright.map_from_camera[None], dark.map_from_camera[None])
    assert errors.translation[0] < 0.03


def test_the_covariance_is_consistent_with_the_errors(regressor):
    nees = []
    for outcome, pose in zip(regress_queries(regressor), QUERIES, strict=True):
        difference = pose[:3, :3] @ outcome.map_from_camera[:3, :3].T
        error = np.concatenate(
            [
                pose[:3, 3] - outcome.map_from_camera[:3, 3],
                Rotation.from_matrix(difference).as_rotvec(),
            ]
        )
        nees.append(error @ np.linalg.solve(outcome.covariance, error))
    assert 0.1 < np.mean(nees) / 6 < 1.5


def test_the_covariance_is_rotated_from_camera_to_map_axes():
    factor = np.diag([1.0, 1.0, 0.1, 1.0, 0.2, 1.0])  # uncertain along z and about y
    looking_along_y = Rotation.from_matrix([[1, 0, 0], [0, 0, 1], [0, -1, 0]]).as_matrix()
    std = np.sqrt(np.diag(covariance_in_map(factor, looking_along_y, 1.0)))
    np.testing.assert_allclose(std, [0.1, 1.0, 0.1, 0.1, 0.1, 0.5], rtol=0.01)
    double = np.sqrt(np.diag(covariance_in_map(factor, looking_along_y, 2.0)))
    np.testing.assert_allclose(double, 2 * std, rtol=0.01)


def test_the_training_error_is_in_axes_of_the_predicted_camera():
    predicted = make_pose(Rotation.from_euler('z', 90, degrees=True), (1.0, 2.0, 3.0))
    motion = make_pose(Rotation.from_rotvec([0.0, 0.3, 0.0]), (0.0, 0.0, 0.5))
    raw = torch.zeros((1, 30), dtype=torch.float64)
    raw[0, :3] = torch.from_numpy(predicted[:3, 3])
    raw[0, 3:9] = torch.from_numpy(predicted[:3, :2].T.reshape(-1))
    outputs = NetworkOutput(raw, torch.zeros(3), torch.ones(3))
    target = torch.from_numpy((predicted @ motion)[None])
    error = camera_frame_error(outputs, target[:, :3, 3], target[:, :3, :3])
    np.testing.assert_allclose(error[0], [0, 0, 0.5, 0, 0.3, 0], atol=1e-7)


def test_a_saved_regressor_gives_the_same_results(regressor, tmp_path):
    regressor.save(tmp_path / 'regressor.safetensors')
    loaded = PoseRegressor.load(tmp_path / 'regressor.safetensors')
    results = zip(regress_queries(regressor), regress_queries(loaded), strict=True)
    for first, second in results:
        np.testing.assert_allclose(first.map_from_camera, second.map_from_camera, atol=1e-6)
        np.testing.assert_allclose(first.covariance, second.covariance, rtol=1e-4, atol=1e-7)
        np.testing.assert_allclose(
            regressor.retrieve(first, 8), loaded.retrieve(second, 8), atol=1e-6
        )
        assert first.novelty == pytest.approx(second.novelty, rel=1e-4)
    assert loaded.report == json.loads(json.dumps(regressor.report))


def test_all_tensors_move_to_another_device(regressor, tmp_path):
    regressor.save(tmp_path / 'regressor.safetensors')
    moved = PoseRegressor.load(tmp_path / 'regressor.safetensors')
    moved.to('meta')  # exists on every machine, without storage
    assert moved.device.type == 'meta'
    tensors = [value for value in vars(moved).values() if isinstance(value, torch.Tensor)]
    tensors += [*moved._network.state_dict().values(), *moved._scalars.values()]
    tensors += moved._codec.tensors().values()
    assert {tensor.device.type for tensor in tensors} == {'meta'}


def test_a_truncated_or_missing_file_is_rejected_by_name(regressor, tmp_path):
    path = tmp_path / 'regressor.safetensors'
    regressor.save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MapError, match=r'regressor\.safetensors is not a readable regressor'):
        PoseRegressor.load(path)
    with pytest.raises(MapError, match=r'missing\.safetensors'):
        PoseRegressor.load(tmp_path / 'missing.safetensors')


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'pca.components': torch.zeros(24, 99)}, 'do not fit together'),
        ({'index.positions': torch.zeros(3, 3)}, 'do not fit together'),
        ({'pca.components_scales': torch.ones(7)}, 'do not fit together'),
        ({'vae.mean': torch.zeros(3)}, r'tensors of 2 image codecs \(pca, vae\)'),
        ({'pca.mean': torch.full((36 * 48 * 3,), torch.nan)}, 'non-finite'),
    ],
)
def test_inconsistent_tensors_are_rejected(regressor, tmp_path, change, message):
    path = tmp_path / 'regressor.safetensors'
    regressor.save(path)
    rewrite_regressor(path, path, change)
    with pytest.raises(MapError, match=message):
        PoseRegressor.load(path)


def test_the_same_seed_gives_the_same_regressor(views):
    config = dataclasses.replace(CONFIG, epochs=2)
    first, second = (
        train_regressor(views, pictures(TRAIN), pictures(QUERIES), CAMERA, config, seed=5)
        for _ in range(2)
    )
    np.testing.assert_array_equal(
        regress_queries(first)[0].map_from_camera, regress_queries(second)[0].map_from_camera
    )


def test_training_on_wrong_poses_is_told(views):
    order = np.random.default_rng(0).permutation(len(views))
    wrong = dataclasses.replace(views, map_from_camera=views.map_from_camera[order])
    config = dataclasses.replace(CONFIG, epochs=2)
    regressor = train_regressor(wrong, pictures(TRAIN[:0]), pictures(QUERIES), CAMERA, config)
    (warning,) = regressor_warnings(regressor)
    assert 'does not generalize' in warning and 'the mean pose gives 0.80 m' in warning


def test_diverged_training_is_an_error(views):
    config = dataclasses.replace(CONFIG, epochs=1, learning_rate=1e20)
    with pytest.raises(BuildError, match=r'diverged: .* lower regressor\.learning_rate'):
        train_regressor(views, pictures(TRAIN[:0]), pictures(QUERIES), CAMERA, config)


def test_mapping_images_of_one_place_suffice_with_synthetic_views_of_the_room(views):
    mapping_poses = np.repeat(QUERIES[:1], 7, axis=0)
    mapping_poses[:, 0, 3] += np.linspace(-0.03, 0.03, 7)
    config = dataclasses.replace(CONFIG, epochs=3)
    real = pictures(mapping_poses[[0, 1, 2, 4, 5, 6]])
    validation = pictures(mapping_poses[3:4])
    train_regressor(views, real, validation, CAMERA, config)  # no BuildError at errors over 2 cm


def test_images_without_contrast_are_rejected(views):
    flat = dataclasses.replace(views, rgb=np.full_like(views.rgb, 90))
    with pytest.raises(BuildError, match='all 500 views look the same'):
        train_regressor(flat, pictures(TRAIN[:0]), pictures(QUERIES), CAMERA, CONFIG)


def test_training_without_validation_images_is_an_error(views):
    with pytest.raises(BuildError, match='and 0 validation images'):
        train_regressor(views, pictures(TRAIN), pictures(QUERIES[:0]), CAMERA, CONFIG)


def test_more_components_than_views_are_rejected():
    with pytest.raises(BuildError, match='components is 24 but there are only 20 views'):
        fit_codec([pictures(TRAIN[:20])], CONFIG)


def test_progress_reports_epoch_and_validation_error(views):
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


def test_invalid_pixels_do_not_affect_the_standardized_image():
    rgb = torch.rand(2, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    rgb[1] = rgb[0]
    rgb[1, :, :2] = 0.0
    valid = torch.ones(2, 1, 6, 8)
    valid[:, :, :2] = 0.0
    out = standardize(rgb, valid)
    torch.testing.assert_close(out[0], out[1])
    assert out[:, :, 2:].mean().abs() < 1e-5


def test_views_from_frames_have_the_depth_rendered_from_the_field():
    large = CAMERA.scaled_to(96, 72)
    rgb = pictures(TRAIN[:2], large).rgb
    frames = [Frame(i, i, rgb[i], large, None, None, TRAIN[i]) for i in range(2)]
    views = views_from_frames(frames, CAMERA, BoxRoom())
    np.testing.assert_array_equal(views.depth, pictures(TRAIN[:2]).depth)
    assert np.abs(views.rgb.astype(float) - pictures(TRAIN[:2]).rgb).mean() < 3
    assert views.valid.all()


def test_training_images_match_renderings_at_their_poses(views, monkeypatch):
    monkeypatch.setattr(regressor_training, 'augment_appearance', lambda rgb, _: rgb)
    trainer = regressor_training._RegressorTrainer(
        views, pictures(TRAIN), CAMERA, CONFIG, torch.device('cpu'), seed=0
    )
    samples = trainer._augmented_batch(np.array([0, 3, 499, 500, 520]))
    rgb, valid, poses = samples.rgb, samples.valid, samples.map_from_camera
    target = pictures(poses.double().numpy())
    error = (rgb - to_tensors(target.rgb, target.valid, 'cpu')[0]).abs().mean(1)[valid[:, 0] > 0]
    assert float(error.mean()) < 0.02


def test_a_file_of_the_older_format_gives_the_same_poses(tmp_path):
    """It has batch normalizations, 32-bit weights and components, and no retrieval error."""
    layout = NetworkLayout(4, (48, 96, 128), (0, 2, 2), 0, 384)
    network = PoseNetwork(NetworkInput.RECONSTRUCTION, CAMERA.height, CAMERA.width, 24, layout)
    codec = fit_codec([pictures(TRAIN)], CONFIG)
    with torch.no_grad():  # other statistics than those of new layers
        network.train()(torch.randn(64, 3, CAMERA.height, CAMERA.width))
    tensors = {f'network.{name}': value for name, value in network.state_dict().items()}
    tensors |= {f'pca.{name}': value for name, value in codec.tensors().items()}
    tensors |= {
        'numbers.position_mean': torch.zeros(3),
        'numbers.position_scale': torch.ones(3),
        'numbers.covariance_scale': torch.tensor(1.0),
        'numbers.typical_distance': torch.tensor(1e6),
        'index.codes': torch.zeros(2, 24).half(),
        'index.poses': torch.from_numpy(TRAIN[:2]),
    }
    header = {'format': 1, 'camera': CAMERA.as_dict(), 'compression': 'reconstruction'}
    metadata = {'regressor': json.dumps({**header, 'report': {}})}
    old, new = tmp_path / 'old.safetensors', tmp_path / 'new.safetensors'
    safetensors.torch.save_file(tensors, old, metadata=metadata)
    opened = PoseRegressor.load(old)
    rgb = pictures(QUERIES[:1]).rgb[0]
    result = opened.regress(rgb, CAMERA)
    source = pictures(QUERIES[:1])
    images = codec.preprocess(*opened._copies.make(*to_tensors(source.rgb, source.valid, 'cpu')))
    inputs = codec.decode(codec.encode(images)).view(-1, 3, CAMERA.height, CAMERA.width)
    with torch.no_grad():
        raw = network.eval()(inputs)
    expected = NetworkOutput(raw, torch.zeros(3), torch.ones(3)).position.mean(0)
    np.testing.assert_allclose(result.map_from_camera[:3, 3], expected, atol=1e-4)
    opened.save(new)
    again = PoseRegressor.load(new).regress(rgb, CAMERA)
    np.testing.assert_allclose(again.map_from_camera, result.map_from_camera, atol=5e-3)
    np.testing.assert_allclose(opened.index_poses, TRAIN[:2])


def test_a_file_of_format_2_gives_the_same_poses(regressor, tmp_path):
    """It does not say what its network regresses: all regressed poses."""
    path = tmp_path / 'regressor.safetensors'
    regressor.save(path)
    rewrite_regressor(path, path, header={'regresses': None, 'format': 2})
    rgb = pictures(QUERIES[:1]).rgb[0]
    expected, found = (r.regress(rgb, CAMERA) for r in (regressor, PoseRegressor.load(path)))
    np.testing.assert_allclose(found.map_from_camera, expected.map_from_camera, atol=1e-6)


@pytest.mark.parametrize('roll_deg', [-90, 60, 180])
def test_images_of_a_camera_held_askew_are_regressed_and_retrieved(regressor, roll_deg):
    roll = make_pose(Rotation.from_euler('z', roll_deg, degrees=True))
    truth = QUERIES @ roll
    outcomes = [
        regressor.search_roll(rgb, CAMERA, regressor.regress(rgb, CAMERA))
        for rgb in pictures(truth).rgb
    ]
    errors = pose_errors(np.stack([outcome.map_from_camera for outcome in outcomes]), truth)
    assert np.degrees(np.median(errors.rotation)) < 30
    retrieved = np.concatenate([regressor.retrieve(outcome, 1) for outcome in outcomes])
    assert np.degrees(np.median(pose_errors(retrieved, truth).rotation)) < 30


def test_the_roll_is_searched_only_on_demand_and_for_novel_images(regressor):
    rgb = np.ascontiguousarray(pictures(QUERIES[:1]).rgb[0][::-1, ::-1])
    upright = regressor.regress(rgb, CAMERA)
    np.testing.assert_array_equal(upright.camera_from_copy, np.eye(3))
    assert regressor.search_roll(rgb, CAMERA, upright).camera_from_copy[0, 0] < 0
    familiar = dataclasses.replace(upright, novelty=1.0)
    assert regressor.search_roll(rgb, CAMERA, familiar) is familiar


def test_a_matrix_rounded_to_8_bit_is_rounded_once():
    values = torch.randn(5, 400, generator=torch.Generator().manual_seed(0))
    rounded = round_to_8_bit(values, 1)
    assert float((rounded - values).abs().max()) < float(values.abs().max()) / 200
    torch.testing.assert_close(round_to_8_bit(rounded, 1), rounded)
    torch.testing.assert_close(round_to_8_bit(torch.zeros(2, 3), 0), torch.zeros(2, 3))
