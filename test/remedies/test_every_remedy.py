"""Messages take what they advise from `core.remedies`, and a test follows each of its texts."""

import ast
import dataclasses
import importlib
from pathlib import Path
import pkgutil
import re

import pytest

import nerf_reversal_ros
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.outcome import ClosureRejectionReason, RejectionReason
from nerf_reversal_ros.core.validated_config import ValidatedConfig

PACKAGE = Path(nerf_reversal_ros.__file__).parent
REMEDIES = [name for name in vars(remedies) if name.isupper()]
HELP = ('setting', 'live_setting', 'add_argument', 'ArgumentParser')
"""Calls whose texts describe a setting or an option and advise nothing."""


def setting_names():
    """Return the names of all settings, with and without their section."""
    for module in pkgutil.walk_packages([str(PACKAGE)], 'nerf_reversal_ros.'):
        if module.name.endswith(('config', 'evaluator_node')):
            importlib.import_module(module.name)
    names = set()
    pending = [ValidatedConfig]
    while pending:
        cls = pending.pop()
        pending += cls.__subclasses__()
        if dataclasses.is_dataclass(cls):
            names |= {item.name for item in dataclasses.fields(cls)}
    return names


def texts(path):
    """Yield the texts of a module with their line, except docstrings and descriptions."""
    tree = ast.parse(path.read_text())
    skipped = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split('.')[-1] in HELP:
            skipped |= {id(inner) for inner in ast.walk(node)}
        elif isinstance(node, ast.JoinedStr):
            skipped |= {id(inner) for inner in ast.walk(node) if inner is not node}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = [getattr(part, 'value', '{}') for part in node.values]
            yield node.lineno, ''.join(part if isinstance(part, str) else '{}' for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if '\n' not in node.value:
                yield node.lineno, node.value


def advises(text, names):
    """Whether a text tells to change a setting, to give an option or to run a command."""
    advised = re.findall(
        r'\b(?:set|raise|lower|give|take|use|try|or|by|parameter) (?=((?:\w+\.)?\w+))', text
    )
    settings = {
        name for name in advised if name.split('.')[-1] in names and re.search('[._]', name)
    }
    return bool(settings) or bool(re.search(r' --[a-z]|`\w+ [-\w]|pip install|\w:=|ros2 \w', text))


@pytest.mark.parametrize('name', REMEDIES)
def test_a_test_follows_each_remedy(name):
    tests = [path.read_text() for path in Path(__file__).parents[1].glob('*/**/test_*.py')]
    assert any(re.search(rf'\bremedies\.{name}\b', text) for text in tests)


@pytest.mark.parametrize('name', REMEDIES)
def test_a_message_ends_in_each_remedy(name):
    sources = [path.read_text() for path in PACKAGE.rglob('*.py')]
    assert any(re.search(rf'\bremedies\.{name}\b', source) for source in sources)


def test_no_message_advises_by_itself():
    names, found = setting_names(), []
    for path in sorted(PACKAGE.rglob('*.py')):
        relative = path.relative_to(PACKAGE)
        if relative.name in ('remedies.py', 'outcome.py'):
            continue
        found += [
            f'{relative}:{line}: {text}' for line, text in texts(path) if advises(text, names)
        ]
    assert not found, '\n'.join(found)


@pytest.mark.parametrize('reason', [*RejectionReason, *ClosureRejectionReason])
def test_the_remedy_of_a_reason_names_settings_that_exist(reason):
    named = re.findall(r'`([^`]+)`', f'{reason.cause} {reason.remedy}')
    assert {name for name in named if not name.startswith('_')} <= {*setting_names(), 'odom'}


def limited_settings():
    """Yield class, name and one limit of each number among the settings of builds and queries."""
    for cls in ValidatedConfig.__subclasses__():
        if cls.__module__ == 'nerf_reversal_ros.core.config':
            for item in dataclasses.fields(cls):
                for limit in ('low', 'high'):
                    if item.metadata.get(limit) is not None:
                        yield pytest.param(cls, item, limit, id=f'{item.name} {limit}')


@pytest.mark.parametrize(('cls', 'item', 'limit'), limited_settings())
def test_a_value_that_a_limit_rejects_is_accepted_at_the_limit_that_the_message_names(
    cls, item, limit
):
    beyond = item.metadata[limit] + {'low': -1, 'high': 1}[limit]
    with pytest.raises(ConfigError) as error:
        cls(**{item.name: type(item.default)(beyond)})
    proposed = re.search('must be [<>]= (.*), got', str(error.value)).group(1)
    cls(**{item.name: type(item.default)(float(proposed))})
