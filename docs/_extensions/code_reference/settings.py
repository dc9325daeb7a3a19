"""Settings: the fields of configuration classes, as tables."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from code_reference.markdown import code, prose, table
from code_reference.python_source import python_source, PythonSource, REPOSITORY

NODES = REPOSITORY / 'nerf_reversal_ros/ros'


class Setting(NamedTuple):
    """One setting, as its dataclass field defines it."""

    name: str
    kind: str
    """Type, as it is annotated."""
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = True

    @property
    def limits(self) -> str:
        """Allowed values, in words; empty where the type alone limits them."""
        if self.choices:
            return f'one of {", ".join(map(code, self.choices))}'
        if self.low is not None and self.high is not None:
            return f'{self.low:g} to {self.high:g}'
        if self.low is not None:
            return f'at least {self.low:g}'
        return '' if self.high is None else f'at most {self.high:g}'


class Section(NamedTuple):
    """A part of a configuration: another configuration class."""

    name: str
    class_name: str


def settings_of(source: PythonSource, class_name: str) -> list[Setting]:
    """Return the settings of a class and of the classes that it extends, theirs first."""
    return [item for item in _members(source, class_name) if isinstance(item, Setting)]


def sections_of(source: PythonSource, class_name: str) -> list[Section]:
    """Return the configuration classes that a class consists of."""
    return [item for item in _members(source, class_name) if isinstance(item, Section)]


def summary_of(source: PythonSource, class_name: str) -> str:
    """Return the first line of the docstring of a class."""
    found = source.find_class(class_name)
    return ((found and ast.get_docstring(found[1])) or '').partition('\n')[0]


def settings_table(
    settings: list[Setting], changeable: dict[bool, str] | None = None
) -> list[str]:
    """
    Return a table of settings.

    Parameters
    ----------
    settings : list of Setting
    changeable : dict, optional
        When a setting may change, by whether it is read-only; without it nothing is said.
    """
    rows = []
    for s in settings:
        notes = [s.kind, s.limits, changeable[s.read_only] if changeable else '']
        meaning = f'{prose(s.description)}<br>*{"; ".join(filter(None, notes))}*'
        rows.append([code(s.name), code(_shown(s.default)), meaning])
    return table(['Name', 'Default', 'Meaning'], rows)


def config_markdown(source: PythonSource, class_name: str, level: int = 2) -> list[str]:
    """Return tables of the settings of a class, and of its sections under headings."""
    lines = settings_table(settings_of(source, class_name))
    for section in sections_of(source, class_name):
        lines += [f'{"#" * level} `{section.name}:`', '']
        lines += [summary_of(source, section.class_name), '']
        lines += config_markdown(source, section.class_name, level + 1)
    return lines


def parameters_markdown(node: str, level: int = 3) -> list[str]:
    """Return tables of the parameters of a node."""
    source = node_source(node)
    classes = node_config_classes(source)
    if not classes:
        raise ValueError(f'{source.path} declares no parameters from configuration classes')
    changeable = {True: 'set at start', False: 'changeable any time'}
    if is_lifecycle_node(source):
        changeable[True] = 'changeable while unconfigured'
    lines = []
    for name in classes:
        if len(classes) > 1:
            lines += [f'{"#" * level} {summary_of(source, name).rstrip(".")}', '']
        lines += settings_table(settings_of(source, name), changeable)
    return lines


def node_source(node: str) -> PythonSource:
    """Return the file of a node, by the name of its executable."""
    return python_source(NODES / f'{node}_node.py')


def node_config_classes(source: PythonSource) -> list[str]:
    """Return the configuration classes whose settings are parameters of a node."""
    for call in (node for node in ast.walk(source.tree) if isinstance(node, ast.Call)):
        match call.args:
            case [ast.Name(id='self'), *rest] if rest:
                names = [arg.id for arg in rest if isinstance(arg, ast.Name)]
                if len(names) == len(rest) and all(settings_of(source, n) for n in names):
                    return names
    return []


def is_lifecycle_node(source: PythonSource) -> bool:
    """Tell whether a file defines a lifecycle node."""
    bases = (base for item in source.classes.values() for base in item.bases)
    return any(isinstance(base, ast.Name) and base.id == 'LifecycleNode' for base in bases)


def class_source(path: str) -> tuple[PythonSource, str]:
    """Split ``folder/file.py:Class`` into the file and the name of the class."""
    file, _, name = path.partition(':')
    source = python_source(REPOSITORY / Path(file))
    if source.find_class(name) is None:
        raise ValueError(f'{file} has no class {name}')
    return source, name


def _members(source: PythonSource, class_name: str) -> Iterator[Setting | Section]:
    found = source.find_class(class_name)
    if found is None:
        return
    source, node = found
    for base in node.bases:
        if isinstance(base, ast.Name):
            yield from _members(source, base.id)
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        if isinstance(item.value, ast.Call):
            yield from _member(source, item.target.id, item.annotation, item.value)


def _member(
    source: PythonSource, name: str, annotation: ast.expr, call: ast.Call
) -> Iterator[Setting | Section]:
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    factory = given.get('default_factory')
    if isinstance(factory, ast.Name):
        yield Section(name, factory.id)
    elif len(call.args) == 2:
        default, description = map(source.evaluate, call.args)
        limits = {str(key): source.evaluate(value) for key, value in given.items()}
        if isinstance(call.func, ast.Name) and call.func.id == 'live_setting':
            limits['read_only'] = False
        yield Setting(name, ast.unparse(annotation), default, description, **limits)


def _shown(default: Any) -> str:
    if default == '':
        return "''"
    return str(default).lower() if isinstance(default, bool) else str(default)
