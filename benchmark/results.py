"""
Result tables of the benchmarks: printed row by row, and written with their provenance as JSON.

Each script in this folder prints its tables by `ResultTable` and has the option ``--out``. The
documentation renders the files of ``benchmark/results/`` by the directive ``benchmark``.
"""

import argparse
from collections.abc import Sequence
from datetime import datetime, timezone
import importlib.metadata
import json
import math
import os
from pathlib import Path
import platform
import re
import shlex
import subprocess
import sys
from typing import Any, NamedTuple

from nerf_reversal_ros import __version__
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.files import check_writable, write_output

Cell = str | float | Sequence[float] | None
"""Text, a number, (middle, lowest, highest) of several runs, or None for what is unknown."""


class Column(NamedTuple):
    """Name, unit and precision of a column."""

    name: str
    unit: str = ''
    decimals: int = 0

    @property
    def heading(self) -> str:
        """Name with its unit in brackets."""
        return f'{self.name} [{self.unit}]' if self.unit else self.name


class ResultTable:
    """
    Rows of results, printed as Markdown as they come.

    Parameters
    ----------
    title : str
        What the rows compare, for the documentation.
    columns : sequence of Column or str
        A string is the name of a column of text.
    """

    def __init__(self, title: str, columns: Sequence[Column | str]) -> None:
        self.title = title
        self.columns = [Column(c) if isinstance(c, str) else c for c in columns]
        self.rows: list[list[Cell]] = []

    def add_row(self, *cells: Cell) -> None:
        """
        Round numbers to the precision of their columns, print the row and keep it.

        Raises
        ------
        ValueError
            If the row has more or fewer cells than the table has columns.
        """
        if len(cells) != len(self.columns):
            raise ValueError(
                f'{self.title}: {len(cells)} cells for {len(self.columns)} columns: {cells}'
            )
        if not self.rows:
            print(f'\n{self.title}\n')
            print_line([column.heading for column in self.columns])
            print_line(['---'] * len(self.columns))
        row = [round_cell(cell, c.decimals) for cell, c in zip(cells, self.columns, strict=True)]
        self.rows.append(row)
        print_line([format_cell(x, c.decimals) for x, c in zip(row, self.columns, strict=True)])

    def to_dict(self) -> dict[str, Any]:
        """Return the table as it is written to JSON."""
        columns = [column._asdict() for column in self.columns]
        return {'title': self.title, 'columns': columns, 'rows': self.rows}


def add_out_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--out``, the JSON file that the results are written to."""
    parser.add_argument(
        '--out', type=writable_file, metavar='FILE.json', help='write the results as JSON'
    )


def writable_file(text: str) -> Path:
    """Return a path; refuse one that cannot be written, before hours are spent on it."""
    path = Path(text)
    try:
        check_writable(path)
    except NerfReversalError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return path


def write_results(
    file: Path | None, title: str, *tables: ResultTable, notes: Sequence[str] = ()
) -> None:
    """
    Write tables with command line, date, machine and versions; without a file, do nothing.

    Parameters
    ----------
    file : Path or None
        The value of ``--out``.
    title : str
        What was measured.
    tables : ResultTable
        In the order of the page.
    notes : sequence of str
        Sentences that belong to the figures.
    """
    if file is None:
        return
    content = {
        'title': title,
        'command': [shlex.join(['python', *sys.argv])],
        **provenance(),
        'tables': [table.to_dict() for table in tables],
        'notes': list(notes),
    }
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    # Each row and each column becomes one line.
    text = re.sub(r'\[\n[^][{}]*\]|\{\n\s+"name"[^][{}]*\}', _join_lines, text)
    write_output(file, text + '\n')
    print(f'wrote {file}')


def _join_lines(match: re.Match[str]) -> str:
    first, *middle, last = (line.strip() for line in match[0].splitlines())
    return f'{first}{" ".join(middle)}{last}'


def provenance() -> dict[str, Any]:
    """Return date, machine, package version and, in a git checkout, the commit."""
    import torch

    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else 'none'
    return {
        'date': datetime.now(timezone.utc).date().isoformat(),
        'machine': {
            'cpu': cpu_model(),
            'cores': len(os.sched_getaffinity(0)),
            'gpu': gpu,
            'load_average': round(os.getloadavg()[0], 1),
            'python': platform.python_version(),
            'torch': importlib.metadata.version('torch'),
        },
        'package_version': __version__,
        'git_commit': GIT_COMMIT,
    }


def cpu_model() -> str:
    """Return the name of the processor that Linux reports."""
    match = re.search(r'^model name\s*:\s*(.+)$', Path('/proc/cpuinfo').read_text(), re.MULTILINE)
    return match[1].strip() if match else platform.machine()


def git_commit() -> str | None:
    """Return the commit of this checkout, marked if tracked files differ; None without git."""
    command = ['git', 'describe', '--always', '--dirty', '--exclude=*']
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, check=True, capture_output=True, text=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return found.stdout.strip()


GIT_COMMIT = git_commit()
"""That of the start: a checkout may change while a benchmark runs."""


def round_cell(cell: Cell, decimals: int) -> Cell:
    """Round a number to the precision of its column; None for what is not finite."""
    if cell is None or isinstance(cell, str):
        return cell
    if isinstance(cell, Sequence):
        rounded = [round_cell(value, decimals) for value in cell]
        return None if None in rounded else rounded  # type: ignore[return-value]
    if not math.isfinite(cell):
        return None
    return round(float(cell), decimals or None)


def format_cell(cell: Cell, decimals: int) -> str:
    """Format a cell for a table; the documentation does the same."""
    if cell is None:
        return '-'
    if isinstance(cell, str):
        return cell
    if isinstance(cell, Sequence):
        middle, lowest, highest = (f'{value:,.{decimals}f}' for value in cell)
        return f'{middle} ({lowest} to {highest})'
    return f'{cell:,.{decimals}f}'


def print_line(texts: Sequence[str]) -> None:
    """Print a line of a Markdown table at once."""
    print(f'| {" | ".join(texts)} |', flush=True)
