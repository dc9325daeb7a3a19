"""Promises of the variational autoencoder, alone and as what a regressor compresses with."""

import dataclasses

from box_room import CAMERA, pictures, walk
import numpy as np
import pytest
import safetensors.torch
import torch

from nerf_reversal_ros.core.config import RegressorConfig, SynthesisConfig
from nerf_reversal_ros.core.errors import ConfigError, MapError
from nerf_reversal_ros.core.geometry import pose_errors
from nerf_reversal_ros.fields.pose_sampling import sample_poses
from nerf_reversal_ros.regressor.image_codec import to_tensors
from nerf_reversal_ros.regressor.image_codec_training import fit_codec
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.training import train_regressor
from nerf_reversal_ros.regressor.vae import Vae
from nerf_reversal_ros.study.training import codec_quality

CONFIG = RegressorConfig(
    compression='vae',
    network_sees='components',
    components=16,
    vae_epochs=6,
    epochs=8,
    batch_size=32,
)
TRAIN, QUERIES = walk(40), walk(37, radius_m=0.8, height_m=1.25)


@pytest.fixture(scope='module')
def views():
    rng = np.random.default_rng(0)
    return pictures(sample_poses(TRAIN, 400, SynthesisConfig(), rng).map_from_camera)


@pytest.fixture(scope='module')
def vae(views):
    return fit_codec([views], CONFIG, seed=3)


@pytest.fixture(scope='module')
def regressor(views):
    return train_regressor(views, pictures(TRAIN), pictures(QUERIES), CAMERA, CONFIG, seed=1)


def query_pictures(compression):
    shown = pictures(QUERIES)
    return compression.preprocess(*to_tensors(shown.rgb, shown.valid, 'cpu'))


@torch.no_grad()
def test_what_it_rebuilds_is_much_nearer_to_new_pictures_than_the_mean_picture_is(vae):
    shown = query_pictures(vae)
    codes = vae.encode(shown)
    assert codes.shape == (37, 16)
    error = (vae.decode(codes) - shown).square().mean()
    assert error < 0.2 * (vae.mean - shown).square().mean()
    assert 0.8 < float(vae.retained[-1]) < 1.0


def test_it_retains_more_of_new_pictures_than_the_pca_that_it_begins_as(vae, views):
    pca = fit_codec([views], dataclasses.replace(CONFIG, compression='pca'), seed=3)
    left = [codec_quality(code, pictures(QUERIES))['retained'] for code in (pca, vae)]
    assert left[0] < left[1] < 1.0


@torch.no_grad()
def test_its_codes_are_about_zero_and_of_the_variance_that_it_tells(vae, views):
    codes = vae.encode(vae.preprocess(*to_tensors(views.rgb, views.valid, 'cpu')))
    assert float((codes.mean(0) / vae.variance.sqrt()).abs().max()) < 0.5
    torch.testing.assert_close(codes.var(0), vae.variance, rtol=0.1, atol=0.0)


def test_the_same_seed_gives_the_same_autoencoder_and_another_one_another(views):
    config = dataclasses.replace(CONFIG, vae_epochs=1)
    one, same, other = (
        fit_codec([views.subset(slice(64))], config, seed=seed) for seed in (5, 5, 6)
    )
    shown = query_pictures(one)
    with torch.no_grad():
        codes = [vae.encode(shown) for vae in (one, same, other)]
    torch.testing.assert_close(codes[0], codes[1], rtol=0, atol=0)
    assert not torch.allclose(codes[0], codes[2])


def test_pictures_of_any_size_come_back_in_their_size():
    size = dataclasses.replace(CAMERA, width=21, height=18)
    config = dataclasses.replace(CONFIG, vae_epochs=1)
    vae = fit_codec([pictures(TRAIN, size)], config)
    shown = torch.zeros(2, 3 * 18 * 21)
    assert vae.decode(vae.encode(shown)).shape == shown.shape


def found_poses(regressor):
    return [regressor.regress(rgb, CAMERA) for rgb in pictures(QUERIES).rgb]


@pytest.mark.parametrize('network_sees', ['components', 'reconstruction'])
def test_a_regressor_learns_from_what_it_leaves(regressor, views, network_sees):
    if network_sees == 'reconstruction':
        config = dataclasses.replace(CONFIG, network_sees=network_sees, epochs=3, vae_epochs=2)
        regressor = train_regressor(
            views, pictures(TRAIN), pictures(QUERIES), CAMERA, config, seed=1
        )
    answers = found_poses(regressor)
    errors = pose_errors(np.stack([answer.map_from_camera for answer in answers]), QUERIES)
    assert np.median(errors.translation) < 0.6  # always the middle of the walk: 0.8
    retrieved = np.concatenate([regressor.retrieve(answer, 1) for answer in answers])
    assert np.median(pose_errors(retrieved, QUERIES).translation) < 0.4
    noise = np.random.default_rng(0).integers(256, size=(36, 48, 3)).astype(np.uint8)
    usual = np.median([answer.novelty for answer in answers])
    assert usual == pytest.approx(1, abs=0.5)
    assert regressor.regress(noise, CAMERA).novelty > 1.5


def test_saved_and_loaded_it_answers_the_same(regressor, tmp_path):
    regressor.save(tmp_path / 'regressor.safetensors')
    again = PoseRegressor.load(tmp_path / 'regressor.safetensors')
    for one, other in zip(found_poses(regressor), found_poses(again), strict=True):
        np.testing.assert_allclose(one.map_from_camera, other.map_from_camera, atol=1e-6)
        np.testing.assert_array_equal(regressor.retrieve(one, 4), again.retrieve(other, 4))
        assert one.novelty == pytest.approx(other.novelty, rel=1e-4)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'vae.mean': torch.zeros(99)}, 'do not fit together'),
        ({'vae.network.code.bias': torch.zeros(3)}, 'do not fit together'),
        ({'vae.network.code.bias': None}, 'do not fit together'),
        ({'vae.variance': torch.full((16,), torch.inf)}, 'not finite'),
    ],
)
def test_damaged_weights_are_refused(regressor, tmp_path, change, message):
    path = tmp_path / 'regressor.safetensors'
    regressor.save(path)
    with safetensors.safe_open(path, framework='pt') as file:
        metadata = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()} | change
    kept = {name: value for name, value in tensors.items() if value is not None}
    safetensors.torch.save_file(kept, path, metadata=metadata)
    with pytest.raises(MapError, match=message):
        PoseRegressor.load(path)


def test_components_of_nothing_are_refused():
    with pytest.raises(ConfigError, match='compression is none: set compression to pca or vae'):
        RegressorConfig(compression='none', network_sees='components')


def test_it_is_what_the_builder_makes_of_the_choice(vae):
    assert isinstance(vae, Vae)
