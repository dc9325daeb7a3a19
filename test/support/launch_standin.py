"""
Enough of launch and launch_ros to load a launch file and say what it would start.

PyPI has neither of them, so that the real ones cannot be asked. What is started is real. Where
they are installed, the stand-in takes their place for a test, and test_ros_real_launch.py asks
them as well.
"""

import importlib.util
from pathlib import Path
import sys
import types

import yaml


class Substitution:
    """Something that becomes a text when the launch file is run."""

    def perform(self, arguments):
        raise NotImplementedError


def text(value, arguments):
    """Resolve a text, a substitution, or a list of them."""
    if isinstance(value, (list, tuple)):
        return ''.join(text(part, arguments) for part in value)
    return value.perform(arguments) if isinstance(value, Substitution) else str(value)


class LaunchConfiguration(Substitution):
    def __init__(self, name):
        self.name = name

    def perform(self, arguments):
        return arguments[self.name]


class FindPackageShare(Substitution):
    def __init__(self, package):
        self.package = package

    def perform(self, arguments):
        return str(Path(__file__).resolve().parents[2])


class ParameterValue:
    def __init__(self, value, *, value_type):
        self.value, self.value_type = value, value_type

    def resolved(self, arguments):
        resolved = text(self.value, arguments)
        if self.value_type is bool:
            assert resolved.lower() in ('true', 'false'), resolved
            return resolved.lower() == 'true'
        return self.value_type(resolved)


class IfCondition:
    def __init__(self, predicate):
        self.predicate = predicate

    def holds(self, arguments):
        return text(self.predicate, arguments).lower() in ('true', '1')


class Entity:
    def __init__(self, *positional, condition=None, **named):
        self.positional, self.named, self.condition = positional, named, condition


class DeclareLaunchArgument(Entity):
    pass


class SetEnvironmentVariable(Entity):
    pass


class Node(Entity):
    pass


class Shutdown(Entity):
    pass


class ExecuteProcess(Entity):
    pass


class OpaqueFunction(Entity):
    pass


class LaunchDescription:
    def __init__(self, entities):
        self.entities = list(entities)


def install(monkeypatch):
    """Put the stand-ins, for one test, where launch files import them from."""
    modules = {
        'launch': (LaunchDescription,),
        'launch.actions': (
            DeclareLaunchArgument,
            ExecuteProcess,
            OpaqueFunction,
            SetEnvironmentVariable,
            Shutdown,
        ),
        'launch.conditions': (IfCondition,),
        'launch.substitutions': (LaunchConfiguration,),
        'launch_ros': (),
        'launch_ros.actions': (Node,),
        'launch_ros.parameter_descriptions': (ParameterValue,),
        'launch_ros.substitutions': (FindPackageShare,),
    }
    for name, classes in modules.items():
        module = types.ModuleType(name)
        for cls in classes:
            setattr(module, cls.__name__, cls)
        monkeypatch.setitem(sys.modules, name, module)


def load(path):
    """Return the launch description of a file."""
    spec = importlib.util.spec_from_file_location('launch_file', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def described(description):
    """Return the arguments of a launch description: name to (default or None, sentence)."""
    return {
        entity.positional[0]: (entity.named.get('default_value'), entity.named['description'])
        for entity in description.entities
        if isinstance(entity, DeclareLaunchArgument)
    }


def started(description, folder, **arguments):
    """
    Return what would be started: (executable, arguments after it, further environment).

    Parameters are written to YAML files in ``folder``, as launch_ros does.
    """
    arguments = _completed(description, arguments)
    environment = {}
    for entity in _entities(description, arguments):
        if entity.condition is not None and not entity.condition.holds(arguments):
            continue
        if isinstance(entity, SetEnvironmentVariable):
            name, value = entity.positional
            environment[name] = text(value, arguments)
        elif isinstance(entity, Node):
            yield entity.named['executable'], _words(entity.named, folder, arguments), environment


def commands(description, **arguments):
    """Return the other processes that would be started: their words."""
    arguments = _completed(description, arguments)
    return [
        [text(word, arguments) for word in entity.named['cmd']]
        for entity in description.entities
        if isinstance(entity, ExecuteProcess)
    ]


def _entities(description, arguments):
    for entity in description.entities:
        if isinstance(entity, OpaqueFunction):
            yield from entity.named['function'](arguments)
        else:
            yield entity


def _completed(description, arguments):
    declared = described(description)
    for name, (default, _) in declared.items():
        if name not in arguments:
            assert default is not None, f'{name} is required'
            arguments[name] = text(default, arguments)
    assert set(arguments) <= set(declared), set(arguments) - set(declared)
    return arguments


def _words(node, folder, arguments):
    words = [text(word, arguments) for word in node.get('arguments', ())]
    name = node.get('name', node['executable'])
    words += ['--ros-args', '-r', f'__node:={name}']
    if namespace := text(node.get('namespace', ''), arguments):
        words += ['-r', f'__ns:=/{namespace.lstrip("/")}']
    for number, given in enumerate(node['parameters']):
        file = Path(folder, f'{name}{number}.yaml')
        if isinstance(given, dict):
            values = {
                key: value.resolved(arguments) if isinstance(value, ParameterValue) else value
                for key, value in given.items()
            }
            file.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
        else:
            file = Path(text(given, arguments))
            assert file.is_file(), file
        words += ['--params-file', str(file)]
    for old, new in node.get('remappings', ()):
        words += ['-r', f'{text(old, arguments)}:={text(new, arguments)}']
    return words
