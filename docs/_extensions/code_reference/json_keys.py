"""Keys of the JSON files that the package writes, held against the code that writes them."""

import ast
from collections.abc import Iterator, Mapping
from contextlib import suppress
import re
from typing import Any

from code_reference.markdown import code, table
from code_reference.python_source import (
    package_sources,
    python_source,
    PythonSource,
    REPOSITORY,
    UnreadableError,
)


def dictionary_keys(source: PythonSource, known: str) -> set[str]:
    """
    Return the keys of the dictionary of a file that has a key ``known``, nested ones with dots.

    Keys that the code computes are not among them.
    """
    found = [keys for keys in _dictionaries(source) if known in keys]
    if not found:
        raise ValueError(f'{source.path} writes no dictionary with the key {known}')
    return max(found, key=len)


def keys_markdown(path: str, known: str, described: Mapping[str, Any]) -> list[str]:
    """
    Return a table of the keys of a dictionary, in the order of their descriptions.

    A key that ends in ``*`` is computed: each name in its description's ``names`` must be in the
    code of the package.

    Raises
    ------
    ValueError
        If the code has other keys than those that are described.
    """
    keys = dictionary_keys(python_source(REPOSITORY / path), known)
    plain = {key for key in described if not key.endswith('*')}
    if keys != plain:
        raise ValueError(
            f'the keys of {path} and their description differ: not described'
            f' {sorted(keys - plain)}, not there {sorted(plain - keys)}'
        )
    rows = []
    for key, meaning in described.items():
        if key in plain:
            rows.append([code(key), str(meaning)])
            continue
        for name, text in meaning.items():
            if not is_in_package(name):
                raise ValueError(f'{name}, described under {key}, is nowhere in the package')
            rows.append([code(key[:-1] + name), str(text)])
    return table(['Key', 'Meaning'], rows)


def map_files() -> set[str]:
    """Return the names of the files of a map folder that a build writes, or that are added."""
    found = {'manifest.json'}
    for source in package_sources('nerf_reversal_ros'):
        is_build = source.path.is_relative_to(REPOSITORY / 'nerf_reversal_ros/mapping')
        for node in ast.walk(source.tree):
            match node:
                case ast.Call(func=ast.Attribute(attr='path'), args=[name]) if is_build:
                    with suppress(UnreadableError):
                        found.add(str(source.evaluate(name)))
                case ast.Call(func=ast.Name(id='add_file'), args=[_, name, _]):
                    found.add(str(source.evaluate(name)))
    return found


def map_files_markdown(described: Mapping[str, Any]) -> list[str]:
    """Return a table of the files of a map folder; ValueError if it is not complete."""
    names = map_files()
    if names != described.keys():
        raise ValueError(
            f'the files of a map and their description differ: {sorted(names ^ described.keys())}'
        )
    return table(['File', 'Content'], ([code(name), str(described[name])] for name in described))


def is_in_package(name: str) -> bool:
    """Tell whether a name is a word in the code of the package."""
    word = re.compile(rf'\b{re.escape(name)}\b')
    return any(word.search(source.path.read_text('utf-8')) for source in package_sources())


def _dictionaries(source: PythonSource) -> Iterator[set[str]]:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Dict):
            yield set(_keys(source, node))


def _keys(source: PythonSource, node: ast.Dict) -> Iterator[str]:
    for key, value in zip(node.keys, node.values, strict=True):
        try:
            name = '' if key is None else str(source.evaluate(key))
        except UnreadableError:
            continue
        if name:
            yield name
        if name and isinstance(value, ast.Dict):
            yield from (f'{name}.{inner}' for inner in _keys(source, value))
