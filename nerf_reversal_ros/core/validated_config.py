"""
Validated settings: dataclass fields with a default, a description and limits.

A setting is a field of a frozen dataclass that derives from `ValidatedConfig`; `setting` makes the
field. The command line's ``--config`` file, ROS parameters and the reference documentation read
the same metadata. Unknown names and values outside the limits raise a `ConfigError` with a remedy.
"""

from collections.abc import Mapping
import dataclasses
from dataclasses import fields
import difflib
import math
from pathlib import Path
from typing import Any, get_type_hints, TypeVar

import yaml

from nerf_reversal_ros.core.errors import ConfigError

T = TypeVar('T')
MAX_INT = 2**63 - 1
"""Largest whole number: that of ROS parameters."""


def setting(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = True,
) -> Any:
    """
    Define one setting as a dataclass field.

    Parameters
    ----------
    default : bool, int, float or str
        Value if none is given; it also fixes the type.
    description : str
        One line for ``--help``, ROS parameter descriptors and the documentation.
    low, high : float, optional
        Inclusive limits of a number.
    choices : tuple of str
        The allowed texts; empty: any.
    read_only : bool
        A running node rejects a new value.
    """
    metadata = {
        'description': description,
        'low': low,
        'high': high,
        'choices': choices,
        'read_only': read_only,
    }
    return dataclasses.field(default=default, metadata=metadata)


def live_setting(
    default: Any, description: str, *, low: float | None = None, high: float | None = None
) -> Any:
    """Define a setting that a running node can change; see `setting`."""
    return setting(default, description, low=low, high=high, read_only=False)


class ValidatedConfig:
    """Base of dataclasses of settings: each value is checked against its limits on creation."""

    def __post_init__(self) -> None:
        """Validate all settings; integers given for floats are converted."""
        for item in fields(self):  # type: ignore[arg-type]
            if 'description' in item.metadata:
                value = _validate(item, getattr(self, item.name))
                object.__setattr__(self, item.name, value)


def config_from_dict(cls: type[T], values: Mapping[str, Any], prefix: str = '') -> T:
    """
    Make a config of class ``cls`` from nested plain values.

    ``prefix`` names the section in messages, such as ``capture``.

    Raises
    ------
    ConfigError
        If a name is unknown (the message suggests the closest one) or a value is outside its
        limits.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f'{prefix or cls.__name__} must hold names and values, got {values!r}')
    hints = get_type_hints(cls)
    known = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        full_name = f'{prefix}.{name}' if prefix else str(name)
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=1)
            remedy = f'did you mean {close[0]}?' if close else f'known are {", ".join(known)}'
            raise ConfigError(f'unknown setting {full_name}: {remedy}')
        if dataclasses.is_dataclass(hints[name]):
            value = config_from_dict(hints[name], {} if value is None else value, full_name)
        arguments[name] = value
    return cls(**arguments)


class _UniqueKeyLoader(yaml.SafeLoader):
    """A safe loader that refuses a name that is given twice, where YAML takes the last."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """Check the names of a mapping, then construct it."""
        first: dict[str, int] = {}
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != 'tag:yaml.org,2002:merge':
                line = key.start_mark.line + 1
                if key.value in first:
                    raise yaml.YAMLError(
                        f'{key.value} is in line {first[key.value]} and again in line {line}'
                    )
                first[key.value] = line
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """
    Read names and values from a YAML file, without validating them.

    Raises
    ------
    ConfigError
        If the file cannot be read or does not hold names and values.
    """
    try:
        values = yaml.load(path.read_text(encoding='utf-8'), _UniqueKeyLoader)
    except OSError as error:
        raise ConfigError(f'cannot read the settings {path}: {error.strerror}') from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'the settings {path} are not YAML: {reason}') from error
    if not isinstance(values or {}, dict):
        raise ConfigError(f'the settings {path} must hold names and values, got {values!r}')
    return dict(values or {})


def parse_floats(text: str, count: int) -> list[float] | None:
    """Parse numbers separated by blanks or commas; None unless ``count`` finite ones."""
    try:
        numbers = [float(word) for word in text.replace(',', ' ').split()]
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


def _validate(item: 'dataclasses.Field[Any]', value: Any) -> Any:
    """Return the value of one setting in its type; ConfigError if it is outside the limits."""
    name, meta = item.name, item.metadata
    expected: Any = type(item.default)
    if type(value) is int and abs(value) > MAX_INT:
        raise ConfigError(f'{name} must be within {MAX_INT} and {-MAX_INT}, got a larger number')
    if expected is float and type(value) is int:
        value = float(value)
    if type(value) is not expected:
        raise ConfigError(
            f'{name} must be of type {expected.__name__}, got {value!r} ({meta["description"]})'
        )
    if meta['choices'] and value not in meta['choices']:
        raise ConfigError(f'{name} must be one of {", ".join(meta["choices"])}, got {value!r}')
    if expected in (int, float):
        if not math.isfinite(value):
            raise ConfigError(f'{name} must be a finite number, got {value}')
        if meta['low'] is not None and value < meta['low']:
            raise ConfigError(f'{name} must be >= {meta["low"]}, got {value}')
        if meta['high'] is not None and value > meta['high']:
            raise ConfigError(f'{name} must be <= {meta["high"]}, got {value}')
    return value
