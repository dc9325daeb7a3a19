"""Outlines of files and commands as plain values, which contract tests compare."""

import argparse
import re

import safetensors


def outline(value, at=''):
    """Return the keys of nested JSON by their path: ``{'a.b': ['c', 'd']}``."""
    keys = {}
    if isinstance(value, dict):
        keys[at] = list(value)
        for name, inner in value.items():
            keys |= outline(inner, f'{at}.{name}'.lstrip('.'))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        keys |= outline(value[0], f'{at}[]')
    return keys


def without(keys, *paths):
    """Remove the keys at or below some paths from an `outline`."""
    return {
        at: names
        for at, names in keys.items()
        if not any(at == path or at.startswith(f'{path}.') for path in paths)
    }


def tensors(path):
    """Return the tensors of a safetensors file by name, as data type and number of dimensions."""
    with safetensors.safe_open(path, framework='pt') as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return {name: (s.get_dtype(), len(s.get_shape())) for name, s in slices.items()}


def fields(path):
    """Return the fields of each part of a message, service or action, without constants."""
    lines = [line.partition('#')[0].split() for line in path.read_text().splitlines()]
    parts = [[]]
    for line in filter(None, lines):
        if line == ['---']:
            parts.append([])
        elif len(line) == 2:
            parts[-1].append(' '.join(line))
    return parts


def constants(path):
    """Return the string constants of a message by name."""
    return dict(re.findall(r'^string ([A-Z_]+) = "(.*?)"', path.read_text(), re.MULTILINE))


def options(parser):
    """Return positional arguments and option strings of a command, without ``-h``."""
    return [
        ' '.join(action.option_strings) or str(action.metavar)
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    ]


def commands(parser):
    """Return the parsers of the commands of a command line by name."""
    (subparsers,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return subparsers.choices
