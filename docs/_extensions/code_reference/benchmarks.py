"""Results of the benchmarks, from the JSON files that their commands write."""

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from code_reference.markdown import prose, table
from code_reference.python_source import REPOSITORY

RESULTS = REPOSITORY / 'benchmark/results'
MEASURED_KEYS = ('date', 'machine', 'package_version', 'git_commit')
"""Provenance that ``benchmark/results.py`` writes."""
COMMON_KEYS = ('title', 'command', 'tables', 'notes')


def read_results(name: str, folder: Path = RESULTS) -> dict[str, Any]:
    """
    Read a file of results.

    Raises
    ------
    OSError
        If there is no such file.
    ValueError
        If it lacks a key, says nothing or two things about its provenance, or has a ragged table.
    """
    path = folder / f'{name}.json'
    content: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
    measured = set(MEASURED_KEYS) <= content.keys()
    if measured == ('recorded' in content):
        raise ValueError(f'{path.name} needs either "recorded" or all of {list(MEASURED_KEYS)}')
    provenance = set(MEASURED_KEYS) if measured else {'recorded'}
    if content.keys() != provenance | set(COMMON_KEYS):
        wrong = sorted(content.keys() ^ (provenance | set(COMMON_KEYS)))
        raise ValueError(f'{path.name} has missing or unknown keys: {wrong}')
    for one in content['tables']:
        for row in one['rows']:
            if len(row) != len(one['columns']):
                raise ValueError(f'{path.name}: a row of {one["title"]!r} does not fit: {row}')
    return content


def benchmark_markdown(name: str, folder: Path = RESULTS) -> list[str]:
    """Return the tables of a file of results, its notes, its commands and its provenance."""
    content = read_results(name, folder)
    lines = []
    for one in content['tables']:
        lines += [f'*{prose(one["title"])}*', '', *result_table(one)]
    lines += [*(f'- {prose(note)}' for note in content['notes']), '']
    return [*lines, '```text', *content['command'], '```', '', provenance(content), '']


def result_table(content: Mapping[str, Any]) -> list[str]:
    """Return the lines of a table of results."""
    columns = content['columns']
    header = [prose(f'{c["name"]} [{c["unit"]}]' if c['unit'] else c['name']) for c in columns]
    rows = [
        [
            prose(format_cell(cell, column['decimals']))
            for cell, column in zip(row, columns, strict=True)
        ]
        for row in content['rows']
    ]
    return table(header, rows)


def format_cell(cell: Any, decimals: int | None) -> str:
    """
    Format a cell as ``benchmark/results.py`` prints it.

    Without ``decimals`` a number keeps the digits that were recorded by hand.
    """
    if cell is None:
        return '-'
    if isinstance(cell, str):
        return cell
    if isinstance(cell, list):
        middle, lowest, highest = (f'{value:,.{decimals}f}' for value in cell)
        return f'{middle} ({lowest} to {highest})'
    return f'{cell:,}' if decimals is None else f'{cell:,.{decimals}f}'


def provenance(content: Mapping[str, Any]) -> str:
    """Say in a sentence or two where the figures come from."""
    if 'recorded' in content:
        return f'Recorded {prose(content["recorded"])}; this file was not written by the command.'
    machine = content['machine']
    commit = f', commit `{content["git_commit"]}`' if content['git_commit'] else ''
    gpu = 'no GPU' if machine['gpu'] == 'none' else machine['gpu']
    return (
        f'Written by the command on {content["date"]}, version {content["package_version"]}'
        f'{commit}. Machine: {prose(machine["cpu"])}, {machine["cores"]} cores, {gpu}, load'
        f' average {machine["load_average"]}; Python {machine["python"]}, torch {machine["torch"]}.'
    )
