"""What a file or a command looks like from outside, as plain values that tests write out."""

import argparse
import re

import safetensors


def outline(value, at=''):
    """Return the names in nested JSON by the place where they are: ``{'a.b': ['c', 'd']}``."""
    found = {}
    if isinstance(value, dict):
        found[at] = list(value)
        for name, inner in value.items():
            found |= outline(inner, f'{at}.{name}'.lstrip('.'))
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        found |= outline(value[0], f'{at}[]')
    return found


def without(found, *places):
    """Leave out what stands at or below some places of an `outline`."""
    return {
        at: names
        for at, names in found.items()
        if not any(at == place or at.startswith(f'{place}.') for place in places)
    }


def tensors(path):
    """Return the names of the tensors of a safetensors file, each with type and dimensions."""
    with safetensors.safe_open(path, framework='pt') as file:
        slices = {name: file.get_slice(name) for name in file.keys()}
        return {name: (s.get_dtype(), len(s.get_shape())) for name, s in slices.items()}


def fields(path):
    """Return the fields of a message, service or action, in its parts, without constants."""
    lines = [line.partition('#')[0].split() for line in path.read_text().splitlines()]
    parts = [[]]
    for line in filter(None, lines):
        if line == ['---']:
            parts.append([])
        elif len(line) == 2:
            parts[-1].append(' '.join(line))
    return parts


def constants(path):
    """Return the text constants of a message."""
    return dict(re.findall(r'^string ([A-Z_]+) = "(.*?)"', path.read_text(), re.MULTILINE))


def options(parser):
    """Return positional arguments and option strings of a command, ``-h`` left out."""
    return [
        ' '.join(action.option_strings) or str(action.metavar)
        for action in parser._actions
        if not isinstance(action, argparse._HelpAction)
    ]


def commands(parser):
    """Return the parsers of the commands of a command line."""
    (found,) = (a for a in parser._actions if isinstance(a, argparse._SubParsersAction))
    return found.choices
