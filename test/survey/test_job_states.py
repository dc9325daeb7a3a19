"""The table of jobs: progress never falls, and the time left follows from it."""

import pytest

from nerf_reversal_ros.cli.job_table import table_lines, total_line
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.jobs import job_states
from nerf_reversal_ros.jobs.job_states import JobStates
from nerf_reversal_ros.mapping.stages import BUILD_STAGES
from nerf_reversal_ros.survey.build_fraction import build_fraction, STAGE_SHARES


@pytest.fixture
def clock(monkeypatch):
    """Return a list whose only value is the time."""
    now = [100.0]
    monkeypatch.setattr(job_states.time, 'monotonic', lambda: now[0])
    return now


def test_the_stages_of_a_build_are_its_whole():
    assert list(STAGE_SHARES) == list(BUILD_STAGES)
    assert sum(STAGE_SHARES.values()) == pytest.approx(1.0)
    assert build_fraction(Progress('calibration', 3, 3)) == pytest.approx(1.0)
    assert build_fraction(Progress('capture', 1, 2)) == pytest.approx(STAGE_SHARES['capture'] / 2)
    assert build_fraction(Progress('landmarks', 1, 2)) is None


def build(states, clock, worker=''):
    """Report a quarter of a build, in 100 s."""
    clock[0] += 100.0
    for done in range(0, 11, 2):
        states.report('hall', Progress('adjustment', done, 10), worker)


def test_the_time_left_counts_jobs_that_run_and_that_wait(clock):
    states = JobStates(['hall', 'lab', 'attic'], fraction=build_fraction)
    assert states.left_s() is None
    states.report('hall', Progress('capture', 0, 10))
    build(states, clock)
    assert states.rows['hall'].left_s(clock[0]) == pytest.approx(300.0)
    states.report('hall', Progress('adjustment', 1, 10))
    assert states.rows['hall'].fraction == pytest.approx(0.25)
    assert states.left_s() == pytest.approx(300.0 + 2 * 400.0)
    states.end('hall', 'built', 400.0)
    assert states.left_s() == pytest.approx(2 * 400.0)


def test_a_build_that_begins_anew_elsewhere_begins_from_its_stage(clock):
    states = JobStates(['hall'], fraction=build_fraction)
    states.report('hall', Progress('synthesis', 1, 2), 'one')
    states.report('hall', Progress('field', 0, 2), 'two')
    row = states.rows['hall']
    assert row.worker == 'two' and row.fraction == row.begin_fraction == pytest.approx(0.25)
    assert row.left_s(clock[0]) is None


def test_a_stage_that_was_finished_before_says_nothing_about_time(clock):
    states = JobStates(['hall'], fraction=build_fraction)
    states.report('hall', Progress('capture', 1, 1))
    clock[0] += 100.0
    states.report('hall', Progress('regressor', 0, 10))
    assert states.rows['hall'].left_s(clock[0]) is None
    clock[0] += 50.0
    states.report('hall', Progress('regressor', 3, 10))
    assert states.rows['hall'].left_s(clock[0]) == pytest.approx(50.0 * (0.21 + 0.05) / 0.09)


def test_a_report_that_comes_after_the_end_is_left_aside():
    states = JobStates(['hall'], fraction=build_fraction)
    states.end('hall', 'failed', note='no space left')
    states.report('hall', Progress('field', 0, 2))
    assert states.rows['hall'].state == 'failed'


def test_the_lines_of_the_table(clock):
    states = JobStates(['hall', 'lab', 'x'], fraction=build_fraction)
    states.report('hall', Progress('capture', 0, 10), 'pc1')
    build(states, clock, 'pc1')
    states.end('lab', 'failed', 75.0, 'no space left')
    assert table_lines(states, clock[0]) == [
        'hall  building  25 %, adjustment, 5 min 0 s left, on pc1',
        'lab   failed, took 1 min 15 s, no space left',
        'x     waiting',
    ]
    assert total_line(states) == '1 of 3 rooms, 11 min 40 s left'
    assert [line[:4] for line in table_lines(states, clock[0], 2)] == ['hall', 'lab ']
