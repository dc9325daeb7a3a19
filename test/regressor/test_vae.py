"""Behavior of the variational autoencoder, alone and as the codec of a regressor."""

import dataclasses

from box_room import CAMERA, pictures, walk
import numpy as np
import pytest
from regressor_files import rewrite_regressor
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


def preprocess_queries(codec):
    """Return the query images in the form that a codec encodes, (37, D)."""
    queries = pictures(QUERIES)
    return codec.preprocess(*to_tensors(queries.rgb, queries.valid, 'cpu'))


def regress_queries(regressor):
    return [regressor.regress(rgb, CAMERA) for rgb in pictures(QUERIES).rgb]


@torch.no_grad()
def test_new_images_are_reconstructed_with_a_fifth_of_the_error_of_the_mean_image(vae):
    images = preprocess_queries(vae)
    codes = vae.encode(images)
    assert codes.shape == (37, 16)
    error = (vae.decode(codes) - images).square().mean()
    assert error < 0.2 * (vae.mean - images).square().mean()
    assert 0.8 < float(vae.retained[-1]) < 1.0


def test_it_retains_more_of_new_images_than_its_initial_pca(vae, views):
    pca = fit_codec([views], dataclasses.replace(CONFIG, compression='pca'), seed=3)
    of_pca, of_vae = (codec_quality(codec, pictures(QUERIES))['retained'] for codec in (pca, vae))
    assert of_pca < of_vae < 1.0


@torch.no_grad()
def test_codes_have_zero_mean_and_the_stored_variance(vae, views):
    codes = vae.encode(vae.preprocess(*to_tensors(views.rgb, views.valid, 'cpu')))
    assert float((codes.mean(0) / vae.variance.sqrt()).abs().max()) < 0.5
    torch.testing.assert_close(codes.var(0), vae.variance, rtol=0.1, atol=0.0)


def test_only_the_same_seed_gives_the_same_autoencoder(views):
    config = dataclasses.replace(CONFIG, vae_epochs=1)
    first, same, other = (
        fit_codec([views.subset(slice(64))], config, seed=seed) for seed in (5, 5, 6)
    )
    images = preprocess_queries(first)
    with torch.no_grad():
        codes = [vae.encode(images) for vae in (first, same, other)]
    torch.testing.assert_close(codes[0], codes[1], rtol=0, atol=0)
    assert not torch.allclose(codes[0], codes[2])


def test_images_of_any_size_are_decoded_at_their_size():
    size = dataclasses.replace(CAMERA, width=21, height=18)
    config = dataclasses.replace(CONFIG, vae_epochs=1)
    vae = fit_codec([pictures(TRAIN, size)], config)
    images = torch.zeros(2, 3 * 18 * 21)
    assert vae.decode(vae.encode(images)).shape == images.shape


@pytest.mark.parametrize('network_sees', ['components', 'reconstruction'])
def test_a_regressor_can_be_trained_on_its_codes_and_reconstructions(
    regressor, views, network_sees
):
    if network_sees == 'reconstruction':
        config = dataclasses.replace(CONFIG, network_sees=network_sees, epochs=3, vae_epochs=2)
        regressor = train_regressor(
            views, pictures(TRAIN), pictures(QUERIES), CAMERA, config, seed=1
        )
    results = regress_queries(regressor)
    errors = pose_errors(np.stack([result.map_from_camera for result in results]), QUERIES)
    assert np.median(errors.translation) < 0.6  # the mean pose: 0.8
    retrieved = np.concatenate([regressor.retrieve(result, 1) for result in results])
    assert np.median(pose_errors(retrieved, QUERIES).translation) < 0.4
    noise = np.random.default_rng(0).integers(256, size=(36, 48, 3)).astype(np.uint8)
    typical = np.median([result.novelty for result in results])
    assert typical == pytest.approx(1, abs=0.5)
    assert regressor.regress(noise, CAMERA).novelty > 1.5


def test_a_saved_regressor_gives_the_same_results(regressor, tmp_path):
    regressor.save(tmp_path / 'regressor.safetensors')
    loaded = PoseRegressor.load(tmp_path / 'regressor.safetensors')
    results = zip(regress_queries(regressor), regress_queries(loaded), strict=True)
    for first, second in results:
        np.testing.assert_allclose(first.map_from_camera, second.map_from_camera, atol=1e-6)
        np.testing.assert_allclose(
            regressor.retrieve(first, 4), loaded.retrieve(second, 4), atol=1e-6
        )
        assert first.novelty == pytest.approx(second.novelty, rel=1e-4)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        ({'vae.mean': torch.zeros(99)}, 'do not fit together'),
        ({'vae.network.code.bias': torch.zeros(3)}, 'do not fit together'),
        ({'vae.network.code.bias': None}, 'do not fit together'),
        ({'vae.variance': torch.full((16,), torch.inf)}, 'non-finite'),
    ],
)
def test_inconsistent_tensors_are_rejected(regressor, tmp_path, change, message):
    path = tmp_path / 'regressor.safetensors'
    regressor.save(path)
    rewrite_regressor(path, path, change)
    with pytest.raises(MapError, match=message):
        PoseRegressor.load(path)


def test_codes_as_input_without_a_codec_are_rejected():
    with pytest.raises(ConfigError, match='compression is none: set compression to pca or vae'):
        RegressorConfig(compression='none', network_sees='components')


def test_the_setting_chooses_the_kind_of_codec(vae):
    assert isinstance(vae, Vae)
