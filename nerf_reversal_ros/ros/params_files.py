"""Tell whether a params file means one node or all nodes."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml


def names_under_wildcards(words: Sequence[str]) -> set[str]:
    """
    Return the parameters that a command line gives to nodes of any name, and to none by name.

    Under ``/**`` a file may hold parameters of other nodes. Under ``/**/localizer`` it may not,
    nor may ``-p``.

    Parameters
    ----------
    words : sequence of str
        The command line of the process. Files that cannot be read are left out; ROS reports them.
    """
    any_node: set[str] = set()
    by_name: set[str] = set()
    for option, word in pairwise(words):
        if option in ('-p', '--param'):
            by_name.add(word.partition(':=')[0].rpartition(':')[2])
        elif option == '--params-file':
            for pattern, name in _parameters(_read(Path(word))):
                (any_node if '*' in pattern.rpartition('/')[2] else by_name).add(name)
    return any_node - by_name


def _read(file: Path) -> Any:
    try:
        return yaml.safe_load(file.read_text(encoding='utf-8'))
    except (OSError, ValueError, yaml.YAMLError):
        return None


def _parameters(tree: Any, pattern: str = '') -> Iterator[tuple[str, str]]:
    """Yield the pattern of the node and the name of each parameter."""
    for key, branch in tree.items() if isinstance(tree, dict) else ():
        if key == 'ros__parameters':
            yield from ((pattern, name) for name in _leaves(branch))
        else:
            yield from _parameters(branch, f'{pattern}/{key}')


def _leaves(tree: Any, prefix: str = '') -> Iterator[str]:
    for key, branch in tree.items() if isinstance(tree, dict) else ():
        if isinstance(branch, dict):
            yield from _leaves(branch, f'{prefix}{key}.')
        else:
            yield f'{prefix}{key}'
