"""The time of an image: the stages that ran, and what the tracked localizer was given."""

from benchmark_scripts import imported_script
import pytest

from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection


@pytest.fixture(scope='module')
def query_speed():
    """Return the script ``benchmark/query_speed.py``."""
    with imported_script('query_speed') as script:
        yield script


def outcomes(*latencies_ms):
    """Return rejections with these times by stage."""
    return [Rejection('', '', Diagnostics(latency_ms=latency_ms)) for latency_ms in latencies_ms]


def test_a_stage_counts_the_images_in_which_it_ran(query_speed):
    untracked = outcomes({'regress': 4.0, 'refine': 8.0}, {'regress': 6.0, 'refine': 10.0})
    table = query_speed.stage_table(untracked, outcomes({'refine': 7.0}, {'refine': 9.0}))
    assert table.rows == [['regress', 100, 5, 5, 0, None, 0], ['refine', 100, 9, 9, 100, 8, 8]]


def test_methods_take_turns_by_blocks_of_frames(query_speed, monkeypatch):
    monkeypatch.setattr(query_speed, 'BLOCK', 2)
    order = []
    methods = {
        name: lambda number, frame, name=name: order.append((name, frame)) for name in ('a', 'b')
    }
    results, times_ms = query_speed.run(methods, ['1', '2', '3'])
    assert [name + frame for name, frame in order] == ['a1', 'a2', 'b1', 'b2', 'a3', 'b3']
    assert results == {'a': [None] * 3, 'b': [None] * 3} and len(times_ms['a']) == 3


def test_rejections_and_missing_poses_are_no_answers(query_speed):
    answers = [PoseEstimate(None, None), Rejection(''), None]
    assert [query_speed.is_answer(answer) for answer in answers] == [True, False, False]
