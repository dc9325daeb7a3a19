"""Print progress on stderr: a bar on a terminal, otherwise a line at intervals."""

import sys
import time
from typing import Any

from nerf_reversal_ros.core.progress import eta_s, format_duration, Progress
from nerf_reversal_ros.mapping.stages import FIRST_MAP

LINE_PERIOD_S = 10.0
"""Time between two lines of a stage without a terminal [s]: log files stay short."""


class ProgressConsole:
    """A `ProgressCallback` for the command line; leaving its ``with`` block closes the bar."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._bar: Any = None
        self._stage = ''
        self._start_s = self._last_line_s = 0.0
        self._initial_done = 0

    def __call__(self, progress: Progress) -> None:
        """Print the state of a stage and its remaining time."""
        if progress.stage != self._stage:
            self._end_stage()
            self._stage, self._initial_done = progress.stage, progress.done
            self._start_s = self._last_line_s = time.monotonic()
            if progress.note and progress.done < progress.total:
                self.print_line(f'{progress.stage}: {progress.note}')
        if self._is_terminal:
            self._draw(progress)
            if progress.stage == FIRST_MAP and progress.note:  # too long for a bar
                self.print_line(f'{progress.stage}: {progress.note}')
        elif (
            progress.done >= progress.total or time.monotonic() - self._last_line_s > LINE_PERIOD_S
        ):
            self._last_line_s = time.monotonic()
            self.print_line(self._format_line(progress))

    def print_line(self, text: str) -> None:
        """Print a line on stderr, above the bar."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stderr)
        else:
            print(text, file=sys.stderr, flush=True)

    def __enter__(self) -> 'ProgressConsole':
        """Return the console."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar."""
        self._end_stage()

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(
                total=progress.total,
                initial=progress.done,
                desc=progress.stage,
                file=sys.stderr,
                dynamic_ncols=True,
                bar_format='{desc:>12} {percentage:3.0f}% |{bar}| {n_fmt}/{total_fmt}'
                ' {remaining} left{postfix}',
            )
        self._bar.total = progress.total
        self._bar.set_postfix_str(progress.note, refresh=False)
        self._bar.update(progress.done - self._bar.n)

    def _format_line(self, progress: Progress) -> str:
        elapsed_s = time.monotonic() - self._start_s
        line = f'{progress.stage}: {progress.done}/{progress.total}'
        if progress.done >= progress.total:
            line += f', took {format_duration(elapsed_s)}'
        elif (left_s := eta_s(progress, self._initial_done, elapsed_s)) is not None:
            line += f', {format_duration(left_s)} left'
        return f'{line}, {progress.note}' if progress.note else line

    def _end_stage(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._stage = ''
