"""
The config.yml of a nerfstudio run, read as data.

Nerfstudio loads this file with a loader that runs whatever it names: to its own tools it is code.
Here nothing of it is run. It is parsed into names and values, and of these only configurations of
models and dataparsers are made, whose classes nerfstudio or a method installed beside it define.
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
"""What Python 3.11 and later call to get a member of an enumeration; here only that is got."""


class PythonTag(NamedTuple):
    """Something of Python that the file names: a class, with what it holds or is called with."""

    name: str
    values: Any


class _Loader(yaml.SafeLoader):
    """Turns Python's tags into `PythonTag`; any other tag is an error of yaml."""


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
    Return what the outermost object of a config.yml holds.

    Raises
    ------
    BuildError
        If there is no such file, or it is not of a run of nerfstudio.
    """
    try:
        found = yaml.load(path.read_text(encoding='utf-8'), Loader=_Loader)  # of safe parts
    except OSError as error:
        raise BuildError(
            f'cannot read the run {path}: {error.strerror}; give the config.yml of ns-train'
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, AssertionError, RecursionError) as error:
        reason = ' '.join(str(error).split())[:200]
        raise BuildError(f'{path} is not the config.yml of a nerfstudio run: {reason}') from error
    held = found.values if isinstance(found, PythonTag) else None
    if not isinstance(held, dict) or not isinstance(held.get('pipeline'), PythonTag):
        raise BuildError(
            f'{path} is not the config.yml of a nerfstudio run: it holds no pipeline; give the'
            ' one that ns-train wrote'
        )
    return held


def instantiate_config(description: Any, path: Path, **overrides: Any) -> Any:
    """
    Make the configuration that a part of a config.yml describes.

    Parameters
    ----------
    description : Named, or plain values
        Part of what `parse_run_config` returned.
    path : Path
        Of the file, for messages.
    replaced
        Fields to be given other values, where the class has them.

    Raises
    ------
    BuildError
        If it names a method that is not installed, or something else than a configuration, or
        was written by another version of nerfstudio.
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
    by_name = (
        name == _GETATTR
        and isinstance(values, tuple)
        and len(values) == 2
        and isinstance(values[0], PythonTag)
    )
    made: Any = _import_class(values[0].name if by_name else name, path)
    if isinstance(made, type) and issubclass(made, Enum) and isinstance(values, tuple):
        try:
            return made[values[1]] if by_name else made(*values)
        except (TypeError, ValueError, LookupError) as error:
            raise BuildError(
                f'{path} was written by another version of nerfstudio than {VERSION}: {error};'
                f' train the run anew with {VERSION}'
            ) from error
    if not (isinstance(made, type) and is_dataclass(made) and isinstance(values, dict)):
        raise BuildError(f'{path} names {name}, which is no configuration of nerfstudio: refused')
    known, given = {field.name for field in fields(made)}, set(values)
    if known != given:
        strange = ', '.join(sorted(known ^ given))
        raise BuildError(
            f'{path} was written by another version of nerfstudio than {VERSION}: its {name} has'
            f' not the same settings ({strange}); train the run anew with {VERSION}'
        )
    target = values.get('_target')
    arguments = {
        key: instantiate_config(item, path) for key, item in values.items() if key != '_target'
    }
    result: Any = made(**{**arguments, **{k: v for k, v in overrides.items() if k in known}})
    if isinstance(target, PythonTag):
        expected = f'{result._target.__module__}.{result._target.__qualname__}'
        if target.name != expected:
            raise BuildError(f'{path} has {target.name} where {name} sets up {expected}: refused')
    return result


def _import_class(name: str, path: Path) -> Any:
    """Import a class of nerfstudio, or of a method that is installed for it."""
    package, (module, _, attribute) = name.split('.')[0], name.rpartition('.')
    installed = {entry.module.split('.')[0] for entry in entry_points(group=_METHOD_ENTRY_POINTS)}
    if package != 'nerfstudio' and package not in installed:
        raise BuildError(
            f'{path} is of a method that is not installed: it names {name}, and {package} is no'
            ' package with methods of nerfstudio here; install the method, if you trust it'
        )
    if not module:
        raise BuildError(f'{path} names {name!r} where a class was expected: it is damaged')
    try:
        return getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if missing.split('.')[0] != package:
            raise BuildError(
                f'{path} names {name}, which needs the module {missing}: install it'
            ) from error
        raise BuildError(
            _MISSING_NAME_MESSAGE.format(path=path, name=name, version=VERSION)
        ) from error
    except AttributeError as error:
        raise BuildError(
            _MISSING_NAME_MESSAGE.format(path=path, name=name, version=VERSION)
        ) from error
    except Exception as error:  # of an installed method, which may be of another nerfstudio
        raise BuildError(f'{path} names {name}, which cannot be loaded: {error!r}') from error


_METHOD_ENTRY_POINTS = 'nerfstudio.method_configs'
_MISSING_NAME_MESSAGE = (
    '{path} names {name}, which nerfstudio {version} does not have: it was written by another'
    ' version; train the run anew with {version}'
)
