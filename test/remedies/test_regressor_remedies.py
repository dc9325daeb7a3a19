"""Remedies of the regressor, the study and optional packages, each followed to a result."""

from dataclasses import replace
from pathlib import Path
import re

from box_room import CAMERA, pictures, walk as box_walk
from command_line import run_command
import numpy as np
from packaging.requirements import Requirement
import pytest

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import RegressorConfig, SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError, ConfigError
from nerf_reversal_ros.fields.nerfstudio.dependency import VERSION
from nerf_reversal_ros.fields.pose_sampling import sample_poses
from nerf_reversal_ros.mapping.build_warnings import regressor_warnings
from nerf_reversal_ros.regressor.image_codec_training import fit_codec
from nerf_reversal_ros.regressor.training import train_regressor

ROOT = Path(__file__).resolve().parents[2]
CONFIG = RegressorConfig(network_sees='components', components=12, epochs=1, batch_size=32)
POSES, QUERIES = box_walk(40), box_walk(19, radius_m=0.8, height_m=1.25)


@pytest.mark.parametrize(
    ('count', 'size', 'remedy'),
    [
        (10, (48, 36), remedies.FEWER_COMPONENTS_OR_MORE_VIEWS),
        (30, (2, 1), remedies.FEWER_COMPONENTS_OR_LARGER_VIEWS),
    ],
    ids=['views', 'values'],
)
def test_a_codec_has_the_proposed_number_of_components(count, size, remedy):
    camera = Camera(*size, 40.0, 40.0, size[0] / 2 - 0.5, size[1] / 2 - 0.5)
    with pytest.raises(BuildError) as error:
        fit_codec([pictures(POSES[:count], camera)], CONFIG)
    most = int(re.search('at most ([0-9]+)', str(error.value)).group(1))
    assert str(error.value).endswith(remedy.format(most=most))
    fit_codec([pictures(POSES[:count], camera)], replace(CONFIG, components=most))
    fit_codec([pictures(POSES[:30], CAMERA)], CONFIG)  # more and larger views


@pytest.mark.parametrize(
    'changes', [{'compression': 'pca'}, {'compression': 'vae'}, {'network_sees': 'image'}]
)
def test_a_network_sees_components_of_a_compression_or_the_image(changes):
    given = {'network_sees': 'components', 'compression': 'none'}
    with pytest.raises(ConfigError) as error:
        RegressorConfig(**given)
    assert str(error.value).endswith(remedies.COMPRESS)
    RegressorConfig(**given | changes)


@pytest.fixture(scope='module')
def views():
    rng = np.random.default_rng(0)
    return pictures(sample_poses(POSES, 300, SynthesisConfig(), rng).map_from_camera)


def train(views, **changes):
    config = replace(CONFIG, **changes)
    return train_regressor(views, pictures(POSES), pictures(QUERIES), CAMERA, config)


def test_a_lower_learning_rate_does_not_diverge(views):
    with pytest.raises(BuildError) as error:
        train(views, learning_rate=1e20)
    assert str(error.value).endswith(remedies.LOWER_LEARNING_RATE)
    train(views, learning_rate=1e-3)


def test_more_epochs_generalize(views):
    (warning,) = regressor_warnings(train(views, batch_size=400))
    assert warning.endswith(remedies.LONGER_REGRESSION)
    assert regressor_warnings(train(views, batch_size=400, epochs=12, patience=12)) == []


def test_a_study_runs_with_the_options_that_its_errors_name(tiny_bag, tmp_path):
    settings = tmp_path / 'settings.yaml'
    settings.write_text(
        'capture: {up_axis: z}\nfield: {voxel_m: 0.1, steps: 1, rays_per_step: 64}\n'
        'synthesis: {min_opacity: 0.2}\nregressor: {components: 2}\n'
    )

    def study(*options):
        command = ['study', tiny_bag, tmp_path / 'out', '--config', settings, '--device', 'cpu']
        return run_command(*command, *options)

    narrow = study('--width', '16').stderr
    pixels = re.search(r'--width and --full-width to at least (\d+)', narrow).group(1)
    assert remedies.WIDER_STUDY.format(px=pixels) in narrow
    wide = ['--width', pixels, '--full-width', pixels]
    unknown = study(*wide, '--only', 'transformer').stderr
    names = re.search('a word of one of these names: (.*)', unknown).group(1)
    assert remedies.EXPERIMENTS.format(names=names) in unknown and 'latents' in names
    short = ['--views', '4,6', '--epochs', '1', '--full-views', '4', '--only', 'latents']
    done = study(*wide, *short)
    assert done.returncode == 0, done.stderr
    assert remedies.SHORTER_STUDY in done.stderr and '1 to train' in done.stderr


@pytest.mark.parametrize(
    ('remedy', 'file'),
    [
        (remedies.INSTALL_PYCOLMAP, 'peers'),
        (remedies.INSTALL_GTSAM, 'loop_closer'),
        (remedies.INSTALL_RERUN, 'rerun'),
        (remedies.INSTALL_MESH, 'mesh'),
        (remedies.INSTALL_RAY, 'ray'),
    ],
)
def test_an_installation_command_names_a_tested_requirement(remedy, file):
    advised = Requirement(re.search(r"^pip install .*'(.*)'$", remedy).group(1))
    lines = (ROOT / f'requirements/{file}.txt').read_text().splitlines()
    required = [Requirement(line) for line in lines if line and line[0] != '#']
    lowest = min((spec.version for one in required for spec in one.specifier), key=len)
    assert advised.name in {one.name for one in required}
    assert advised.specifier.contains(lowest, prereleases=True)


def test_the_installation_command_of_nerfstudio_reads_files_of_the_source_folder():
    files = re.findall(r'-r (\S+)', remedies.INSTALL_NERFSTUDIO)
    assert len(files) == 2 and all((ROOT / file).is_file() for file in files)
    assert f'nerfstudio=={VERSION}' in (ROOT / files[1]).read_text()
