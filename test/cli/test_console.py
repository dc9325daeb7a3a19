"""Progress on stderr without a terminal."""

import pytest

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.core.progress import format_duration, Progress


def test_without_a_terminal_progress_is_printed_in_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with ProgressConsole() as console:
        console(Progress('field', 0, 10, 'resuming'))
        console(Progress('field', 5, 10, 'loss 0.2'))
        console(Progress('field', 10, 10, 'loss 0.1'))
        console(Progress('synthesis', 3, 3))
    assert capsys.readouterr().err.splitlines() == [
        'field: resuming',
        'field: 10/10, took 0 s, loss 0.1',
        'synthesis: 3/3, took 0 s',
    ]


def test_durations_are_formatted_in_their_two_largest_units() -> None:
    assert [format_duration(s) for s in (8, 59.7, 200, 7500)] == [
        '8 s',
        '1 min 0 s',
        '3 min 20 s',
        '2 h 5 min',
    ]
