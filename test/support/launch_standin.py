"""
Stand-in of launch and launch_ros: load a launch file and return the processes it would start.

PyPI has neither of them. The tests start these processes as they are. Where launch is installed,
the stand-in replaces it for a test, and test_real_launch.py uses the installed one.
"""

import importlib.util
from pathlib import Path
import sys
import types

import yaml


class Substitution:
    """A value that is resolved to a text when the launch file runs."""

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
    """Install the stand-in modules, for one test, under the names that launch files import."""
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


def declared_arguments(description):
    """Return the arguments of a launch description: name to (default or None, description)."""
    return {
        entity.positional[0]: (entity.named.get('default_value'), entity.named['description'])
        for entity in description.entities
        if isinstance(entity, DeclareLaunchArgument)
    }


def started_nodes(description, folder, **arguments):
    """
    Yield the nodes that would be started: (executable, its arguments, further environment).

    Parameters are written to YAML files in ``folder``, as launch_ros does.
    """
    arguments = _with_defaults(description, arguments)
    environment = {}
    for entity in _entities(description, arguments):
        if entity.condition is not None and not entity.condition.holds(arguments):
            continue
        if isinstance(entity, SetEnvironmentVariable):
            name, value = entity.positional
            environment[name] = text(value, arguments)
        elif isinstance(entity, Node):
            yield entity.named['executable'], _words(entity.named, folder, arguments), environment


def started_commands(description, **arguments):
    """Return the command lines of the other processes that would be started."""
    arguments = _with_defaults(description, arguments)
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


def _with_defaults(description, arguments):
    declared = declared_arguments(description)
    for entity in description.entities:
        if isinstance(entity, DeclareLaunchArgument) and entity.named.get('choices'):
            name, choices = entity.positional[0], entity.named['choices']
            assert arguments.get(name, choices[0]) in choices, f'{name} must be one of {choices}'
    for name, (default, _) in declared.items():
        if name not in arguments:
            assert default is not None, f'{name} is required'
            arguments[name] = text(default, arguments)
    assert set(arguments) <= set(declared), set(arguments) - set(declared)
    return arguments


def _words(node, folder, arguments):
    words = [text(word, arguments) for word in node.get('arguments', ())]
    name = text(node.get('name', node['executable']), arguments)
    words += ['--ros-args', '-r', f'__node:={name}']
    if namespace := text(node.get('namespace', ''), arguments):
        words += ['-r', f'__ns:=/{namespace.lstrip("/")}']
    for number, parameters in enumerate(node['parameters']):
        file = Path(folder, f'{name}{number}.yaml')
        if isinstance(parameters, dict):
            values = {
                key: value.resolved(arguments) if isinstance(value, ParameterValue) else value
                for key, value in parameters.items()
            }
            file.write_text(yaml.safe_dump({'/**': {'ros__parameters': values}}))
        else:
            file = Path(text(parameters, arguments))
            assert file.is_file(), file
        words += ['--params-file', str(file)]
    for old, new in node.get('remappings', ()):
        words += ['-r', f'{text(old, arguments)}:={text(new, arguments)}']
    return words
