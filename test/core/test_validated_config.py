"""Settings are validated, and errors name the setting, the value and the remedy."""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import pytest

from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.validated_config import (
    config_from_dict,
    live_setting,
    parse_floats,
    read_yaml,
    setting,
    ValidatedConfig,
)


@dataclass(frozen=True)
class Wheel(ValidatedConfig):
    radius_m: float = setting(0.1, 'radius [m]', low=0.01, high=1.0)
    spokes: int = live_setting(8, 'number of spokes', low=3)
    tire: str = setting('slick', 'type of the tire', choices=('slick', 'rain'))


@dataclass(frozen=True)
class Car(ValidatedConfig):
    wheel: Wheel = field(default_factory=Wheel)


@pytest.mark.parametrize(
    ('values', 'error'),
    [
        ({'radius_m': 'large'}, r"radius_m must be of type float, got 'large' \(radius \[m\]\)"),
        ({'spokes': 8.0}, 'spokes must be of type int, got 8.0'),
        ({'spokes': True}, 'spokes must be of type int, got True'),
        ({'radius_m': 0.001}, 'radius_m must be >= 0.01, got 0.001'),
        ({'radius_m': 2.0}, 'radius_m must be <= 1.0, got 2.0'),
        ({'radius_m': float('nan')}, 'radius_m must be a finite number, got nan'),
        ({'spokes': 10**400}, 'spokes must be within 9223372036854775807 and .*, got a larger'),
        ({'radius_m': 10**400}, 'radius_m must be within'),
        ({'tire': 'snow'}, "tire must be one of slick, rain, got 'snow'"),
        ({'radius': 0.2}, 'unknown setting wheel.radius: did you mean radius_m?'),
        ({'color': 'red'}, 'unknown setting wheel.color: known are radius_m, spokes, tire'),
        (5, 'wheel must hold names and values, got 5'),
    ],
)
def test_an_invalid_value_is_rejected_with_its_setting(values, error):
    with pytest.raises(ConfigError, match=error):
        config_from_dict(Car, {'wheel': values})


def test_values_within_the_limits_are_accepted_and_the_rest_are_defaults():
    assert config_from_dict(Car, {'wheel': {'spokes': 3}}) == Car(Wheel(spokes=3))
    assert config_from_dict(Car, {'wheel': None}) == Car()


def test_an_integer_becomes_a_float_where_the_setting_is_one():
    radius_m = replace(Wheel(), radius_m=1).radius_m
    assert (type(radius_m), radius_m) == (float, 1.0)


def test_only_live_settings_can_change_at_run_time():
    read_only = {item.name: item.metadata['read_only'] for item in fields(Wheel)}
    assert read_only == {'radius_m': True, 'spokes': False, 'tire': True}


@pytest.mark.parametrize(
    ('text', 'count', 'numbers'),
    [
        ('1, 2 3', 3, [1.0, 2.0, 3.0]),
        ('1 2', 3, None),
        ('1 2 x', 3, None),
        ('1 2 inf', 3, None),
        ('', 0, []),
    ],
)
def test_numbers_are_parsed_if_their_count_is_right_and_all_are_finite(text, count, numbers):
    assert parse_floats(text, count) == numbers


def test_a_settings_file_must_be_readable_yaml_of_names_and_values(tmp_path: Path):
    file = tmp_path / 'settings.yaml'
    with pytest.raises(ConfigError, match=r'cannot read the settings .*: No such file'):
        read_yaml(file)
    file.write_text('a: [')
    with pytest.raises(ConfigError, match='are not YAML'):
        read_yaml(file)
    file.write_text('[1, 2]')
    with pytest.raises(ConfigError, match='must hold names and values'):
        read_yaml(file)
    file.write_text('')
    assert read_yaml(file) == {}
    file.write_text('wheel: {spokes: 5}')
    assert read_yaml(file) == {'wheel': {'spokes': 5}}
