"""Small settings that pass their checks finish a build, each section alone and mixed."""

from dataclasses import fields, is_dataclass, replace

import numpy as np
import pytest
from tiny_build import SETTINGS, write_tiny_bag

from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.mapping.pipeline import build_map

KEPT = (
    'field.voxel_m',
    'capture.max_depth_m',
    'capture.depth_unit_m',
    'capture.pose_unit_m',
    'capture.camera_time_offset_s',
)
"""Settings whose limits are no small values: 1 cm for the whole room, no depth, another unit or
clock."""
SECTIONS = [
    item.name for item in fields(BuildConfig) if is_dataclass(getattr(SETTINGS, item.name))
]


@pytest.fixture(scope='module')
def bag(tmp_path_factory):
    return write_tiny_bag(tmp_path_factory.mktemp('bags') / 'walk')


def limits(section, which):
    """Return the ``low`` or ``high`` limits of the numbers of a section by name."""
    return {
        item.name: type(item.default)(item.metadata[which])
        for item in fields(getattr(SETTINGS, section))
        if f'{section}.{item.name}' not in KEPT and item.metadata[which] is not None
    }


def with_values(section, values):
    return replace(SETTINGS, **{section: replace(getattr(SETTINGS, section), **values)})


def build(bag, folder, config):
    built = build_map(bag, folder / 'room.map', config, device='cpu')
    assert len(built.mapping_poses) and not (folder / 'room.map.partial').exists()


@pytest.mark.parametrize('section', [name for name in SECTIONS if name != 'nerfstudio'])
def test_a_section_at_its_lowest_limits_finishes(bag, tmp_path, section):
    """Among them a batch of two for 17 views, of which one batch would have a single view."""
    build(bag, tmp_path, with_values(section, limits(section, 'low')))


def test_the_smallest_autoencoder_finishes(bag, tmp_path):
    values = {**limits('regressor', 'low'), 'compression': 'vae', 'network_sees': 'components'}
    build(bag, tmp_path, with_values('regressor', values))


@pytest.mark.parametrize('seed', [1, 3])
def test_mixed_lowest_and_highest_limits_finish(bag, tmp_path, seed):
    """Fractions and angles have both limits within reach; other highest values take hours."""
    rng = np.random.default_rng(seed)
    config = replace(SETTINGS, seed=2**32 - 1)
    for section in ('capture', 'field', 'synthesis', 'regressor'):
        low, high = limits(section, 'low'), limits(section, 'high')
        reachable = {name: value for name, value in high.items() if value <= 1 or value == 180}
        for name in ('min_opacity', 'blur_ratio'):  # 1 leaves out nearly all views or frames
            reachable.pop(name, None)
        candidates = [*low.items(), *reachable.items()]
        chosen = dict(candidates[i] for i in rng.permutation(len(candidates))[:4])
        config = replace(config, **{section: replace(getattr(config, section), **chosen)})
    build(bag, tmp_path, config)


@pytest.mark.parametrize('values', [{'seed': 2**32}, {'seed': -1}])
def test_a_seed_beyond_32_bits_is_rejected_at_once(values):
    with pytest.raises(ConfigError, match=r'seed must be [<>]= '):
        replace(SETTINGS, **values)
