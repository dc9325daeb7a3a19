"""
Parser of the config.yml of a nerfstudio run that runs none of its code.

Nerfstudio loads this file with a YAML loader that calls whatever the file names. Here the file is
parsed into names and values. Only configurations of models and dataparsers are instantiated, of
classes that nerfstudio or an installed method defines.
"""

from dataclasses import fields, is_dataclass
from enum import Enum
import importlib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.fields.nerfstudio.dependency import VERSION

_PYTHON = 'tag:yaml.org,2002:python/'
_GETATTR = 'builtins.getattr'
"""Call that Python 3.11 and later write for an enumeration member; allowed for nothing else."""
_METHOD_ENTRY_POINTS = 'nerfstudio.method_configs'
"""Entry point group of the packages that add methods to nerfstudio."""
_MISSING_NAME_MESSAGE = (
    '{path} names {name}, which nerfstudio {version} does not have: it was written by another'
    ' version; train the run again with {version}'
)


class PythonTag(NamedTuple):
    """A Python object that the file names: a class with its attributes or arguments."""

    name: str
    values: Any
    """Attributes (dict), arguments of a call (tuple), or None for a name alone."""


class _Loader(yaml.SafeLoader):
    """Safe YAML loader that turns Python tags into `PythonTag`; other tags are errors."""


def _construct_object(loader: _Loader, name: str, node: yaml.Node) -> PythonTag:
    assert isinstance(node, yaml.MappingNode)
    return PythonTag(name, loader.construct_mapping(node, deep=True))


def _construct_apply(loader: _Loader, name: str, node: yaml.Node) -> PythonTag:
    assert isinstance(node, yaml.SequenceNode)
    return PythonTag(name, tuple(loader.construct_sequence(node, deep=True)))


def _construct_tuple(loader: _Loader, node: yaml.Node) -> tuple[Any, ...]:
    assert isinstance(node, yaml.SequenceNode)
    return tuple(loader.construct_sequence(node, deep=True))


_Loader.add_constructor(f'{_PYTHON}tuple', _construct_tuple)
_Loader.add_multi_constructor(f'{_PYTHON}object:', _construct_object)
_Loader.add_multi_constructor(f'{_PYTHON}object/apply:', _construct_apply)
_Loader.add_multi_constructor(f'{_PYTHON}name:', lambda _, name, node: PythonTag(name, None))


def parse_run_config(path: Path) -> dict[str, Any]:
    """
    Parse a config.yml into the attributes of its outermost object.

    Raises
    ------
    BuildError
        If the file cannot be read, or is not the config.yml of a nerfstudio run.
    """
    try:
        root = yaml.load(path.read_text(encoding='utf-8'), Loader=_Loader)  # a safe loader
    except OSError as error:
        raise BuildError(
            f'cannot read the run {path}: {error.strerror}; give the config.yml of ns-train'
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, AssertionError, RecursionError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise BuildError(f'{path} is not the config.yml of a nerfstudio run: {reason}') from error
    attributes = root.values if isinstance(root, PythonTag) else None
    if not isinstance(attributes, dict) or not isinstance(attributes.get('pipeline'), PythonTag):
        raise BuildError(
            f'{path} is not the config.yml of a nerfstudio run: it has no pipeline; give the one'
            ' that ns-train wrote'
        )
    return attributes


def instantiate_config(description: Any, path: Path, **overrides: Any) -> Any:
    """
    Instantiate the configuration that a part of a config.yml describes.

    Parameters
    ----------
    description : PythonTag, or plain values
        Part of the result of `parse_run_config`.
    path : Path
        Path of the file, for messages.
    overrides
        Values of fields to replace, where the class has them.

    Raises
    ------
    BuildError
        If it names a method that is not installed, or a class that is no configuration, or was
        written by another version of nerfstudio.
    """
    if isinstance(description, (list, tuple)) and not isinstance(description, PythonTag):
        return type(description)(instantiate_config(item, path) for item in description)
    if isinstance(description, dict):
        return {key: instantiate_config(item, path) for key, item in description.items()}
    if not isinstance(description, PythonTag):
        return description
    name, values = description
    if name.startswith('pathlib.') and isinstance(values, tuple):
        return Path(*values)
    if _is_getattr(description):
        enumeration, member = values[0].name, values[1]
    else:
        enumeration, member = name, None
    named = _import_class(enumeration, path)
    if isinstance(named, type) and issubclass(named, Enum) and isinstance(values, tuple):
        return _enum_member(named, member, values, path)
    if not (isinstance(named, type) and is_dataclass(named) and isinstance(values, dict)):
        raise BuildError(
            f'{path} names {name}, which is no configuration of nerfstudio: give the config.yml'
            ' that ns-train wrote'
        )
    return _instantiate_dataclass(named, name, values, path, overrides)


def _is_getattr(tag: PythonTag) -> bool:
    """Return whether a tag is a call of getattr on a named object."""
    values = tag.values
    return (
        tag.name == _GETATTR
        and isinstance(values, tuple)
        and len(values) == 2
        and isinstance(values[0], PythonTag)
    )


def _enum_member(
    enumeration: type[Enum], name: str | None, arguments: tuple[Any, ...], path: Path
) -> Enum:
    """Return the member of a name, or of the value in ``arguments`` if there is no name."""
    try:
        return enumeration(*arguments) if name is None else enumeration[name]
    except (TypeError, ValueError, LookupError) as error:
        raise BuildError(
            f'{path} was written by another version of nerfstudio than {VERSION}: {error};'
            f' train the run again with {VERSION}'
        ) from error


def _instantiate_dataclass(
    config_class: Any, name: str, values: dict[str, Any], path: Path, overrides: dict[str, Any]
) -> Any:
    """Instantiate a configuration class that has exactly the fields of the file."""
    known, given = {field.name for field in fields(config_class)}, set(values)
    if known != given:
        different = ', '.join(sorted(known ^ given))
        raise BuildError(
            f'{path} was written by another version of nerfstudio than {VERSION}: the settings of'
            f' {name} differ ({different}); train the run again with {VERSION}'
        )
    arguments = {
        key: instantiate_config(item, path) for key, item in values.items() if key != '_target'
    }
    arguments |= {key: value for key, value in overrides.items() if key in known}
    config: Any = config_class(**arguments)
    target = values.get('_target')
    if isinstance(target, PythonTag):
        # The private field of nerfstudio 1.1.5 names the class that setup() instantiates.
        expected = f'{config._target.__module__}.{config._target.__qualname__}'
        if target.name != expected:
            raise BuildError(
                f'{path} has {target.name} where {name} sets up {expected}: give the config.yml'
                ' that ns-train wrote'
            )
    return config


def _import_class(name: str, path: Path) -> Any:
    """Import a class of nerfstudio, or of an installed method."""
    package, (module, _, attribute) = name.split('.')[0], name.rpartition('.')
    installed = {entry.module.split('.')[0] for entry in entry_points(group=_METHOD_ENTRY_POINTS)}
    if package != 'nerfstudio' and package not in installed:
        raise BuildError(
            f'{path} is of a method that is not installed: it names {name}, and {package} is no'
            ' package with methods of nerfstudio here; install the method, if you trust it'
        )
    if not module:
        raise BuildError(f'{path} names {name!r} where a class was expected: copy the file again')
    missing_name = _MISSING_NAME_MESSAGE.format(path=path, name=name, version=VERSION)
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.split('.')[0] != package:
            raise BuildError(
                f'{path} names {name}, which needs the module {missing}: install it'
            ) from error
        raise BuildError(missing_name) from error
    except AttributeError as error:
        raise BuildError(missing_name) from error
    except Exception as error:  # an installed method may be of another version of nerfstudio
        raise BuildError(f'{path} names {name}, which cannot be loaded: {error!r}') from error
