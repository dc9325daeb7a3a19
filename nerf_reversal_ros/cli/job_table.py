"""Print the jobs of a command on stderr: a table on a terminal, otherwise a line at intervals."""

import shutil
import sys
import time
from typing import TYPE_CHECKING

from nerf_reversal_ros.cli.console import LINE_PERIOD_S
from nerf_reversal_ros.core.progress import format_duration

if TYPE_CHECKING:
    from nerf_reversal_ros.jobs.job_states import JobState, JobStates

DRAW_PERIOD_S = 0.2
"""Smallest time between two drawings of the table [s]."""
MAX_ROWS = 20
"""Rows of the table; with more jobs those that wait or have ended are counted alone."""
_UP, _CLEAR = '\x1b[{}A', '\x1b[K'


class JobTable:
    """Receives each change of the jobs; leaving its ``with`` block draws the last state."""

    def __init__(self, kind: str = 'rooms') -> None:
        """Start without rows; ``kind`` names what the jobs are of."""
        self._kind = kind
        self._is_terminal = sys.stderr.isatty()
        self._states: JobStates | None = None
        self._drawn_rows = 0
        self._drawn_s = 0.0
        self._told: dict[str, tuple[str, str]] = {}

    def __call__(self, states: 'JobStates') -> None:
        """Draw the table, or print the jobs that have changed."""
        self._states = states
        if self._is_terminal:
            ended = states.ended == len(states.rows)
            if ended or time.monotonic() - self._drawn_s > DRAW_PERIOD_S:
                self._draw(states)
        else:
            self._print_changes(states)

    def __enter__(self) -> 'JobTable':
        """Return the table."""
        return self

    def __exit__(self, *_: object) -> None:
        """Draw the last state."""
        if self._is_terminal and self._states is not None:
            self._draw(self._states)

    def lines(self) -> list[str]:
        """Return the last state of all jobs, a line each."""
        return [] if self._states is None else table_lines(self._states, time.monotonic())

    def _draw(self, states: 'JobStates') -> None:
        self._drawn_s = time.monotonic()
        width = shutil.get_terminal_size().columns
        rows = table_lines(states, self._drawn_s, MAX_ROWS)
        rows.append(total_line(states, self._kind))
        up = _UP.format(self._drawn_rows) if self._drawn_rows else ''
        text = ''.join(f'{row[: width - 1]}{_CLEAR}\n' for row in rows)
        rest = self._drawn_rows - len(rows)
        if rest > 0:  # fewer rows than before
            text += f'{_CLEAR}\n' * rest + _UP.format(rest)
        sys.stderr.write(up + text)
        sys.stderr.flush()
        self._drawn_rows = len(rows)

    def _print_changes(self, states: 'JobStates') -> None:
        """Print each new stage and end, and how far jobs are at intervals."""
        now_s = time.monotonic()
        is_due = now_s - self._drawn_s > LINE_PERIOD_S
        for row in states.rows.values():
            told = row.state, row.stage if row.state == 'building' else ''
            if row.state == 'waiting' or (
                told == self._told.get(row.name) and not (is_due and row.state == 'building')
            ):
                continue
            self._told[row.name] = told
            print(row_line(row, len(row.name), now_s), file=sys.stderr, flush=True)
        if is_due:
            self._drawn_s = now_s
            print(total_line(states, self._kind), file=sys.stderr, flush=True)


def table_lines(states: 'JobStates', now_s: float, most: int | None = None) -> list[str]:
    """Return a line for each job, at most so many: those that run come first."""
    rows = list(states.rows.values())
    width = max(len(row.name) for row in rows)
    if most is not None and len(rows) > most:
        order = {'building': 0, 'failed': 1, 'waiting': 2}
        rows = sorted(rows, key=lambda row: order.get(row.state, 3))[:most]
    return [row_line(row, width, now_s) for row in rows]


def row_line(row: 'JobState', width: int, now_s: float) -> str:
    """Return name, state, progress, time left and note of a job."""
    parts = [f'{row.name:<{width}}  {row.state}']
    if row.state == 'building':
        parts[0] += f' {100 * row.fraction:3.0f} %'
        parts.append(row.stage)
        left_s = row.left_s(now_s)
        if left_s is not None:
            parts.append(f'{format_duration(left_s)} left')
        if row.worker:
            parts.append(f'on {row.worker}')
    elif row.seconds:
        parts.append(f'took {format_duration(row.seconds)}')
    if row.note:
        parts.append(row.note)
    return ', '.join(parts)


def total_line(states: 'JobStates', kind: str = 'rooms') -> str:
    """Return how many jobs have ended, and the time left of all."""
    line = f'{states.ended} of {len(states.rows)} {kind}'
    left_s = states.left_s()
    return line if left_s is None else f'{line}, {format_duration(left_s)} left'
