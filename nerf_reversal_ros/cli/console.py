"""Progress on stderr: a bar where somebody watches, else a line now and then."""

import sys
import time
from typing import Any

from nerf_reversal_ros.core.progress import eta_s, format_duration, Progress

LINE_PERIOD_S = 10.0
"""Without a terminal, a stage is told of so often."""


class ProgressConsole:
    """A `ProgressCallback`; use it in a ``with`` statement, so that its bar is closed."""

    def __init__(self) -> None:
        self._watched = sys.stderr.isatty()
        self._bar: Any = None
        self._stage = ''
        self._began_s = self._told_s = 0.0
        self._first = 0

    def __call__(self, progress: Progress) -> None:
        """Show where a stage is and how long it will still take."""
        if progress.stage != self._stage:
            self._leave_stage()
            self._stage, self._first = progress.stage, progress.done
            self._began_s = self._told_s = time.monotonic()
            if progress.note and progress.done < progress.total:
                self.say(f'{progress.stage}: {progress.note}')
        if self._watched:
            self._draw(progress)
        elif progress.done >= progress.total or time.monotonic() - self._told_s > LINE_PERIOD_S:
            self._told_s = time.monotonic()
            self.say(self._line(progress))

    def say(self, sentence: str) -> None:
        """Print a sentence on stderr without tearing the bar."""
        if self._bar is not None:
            self._bar.write(sentence, file=sys.stderr)
        else:
            print(sentence, file=sys.stderr, flush=True)

    def __enter__(self) -> 'ProgressConsole':
        """Give the console itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the bar."""
        self._leave_stage()

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

    def _line(self, progress: Progress) -> str:
        spent = time.monotonic() - self._began_s
        told = f'{progress.stage}: {progress.done}/{progress.total}'
        if progress.done >= progress.total:
            told += f', took {format_duration(spent)}'
        elif (left_s := eta_s(progress, self._first, spent)) is not None:
            told += f', {format_duration(left_s)} left'
        return f'{told}, {progress.note}' if progress.note else told

    def _leave_stage(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
        self._stage = ''
