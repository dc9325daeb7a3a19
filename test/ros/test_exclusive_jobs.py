"""Jobs run one at a time, and a change between two jobs waits for at most one of them."""

import threading

import pytest

from nerf_reversal_ros.ros.exclusive_jobs import ExclusiveJobs

SOON_S = 30.0


def test_a_change_without_a_running_job_is_made_at_once():
    made = []
    ExclusiveJobs().submit_change(lambda: made.append(1)).result(0)
    assert made == [1]


def test_a_change_is_made_between_jobs_that_leave_no_pause():
    jobs, order, is_running, may_end = ExclusiveJobs(), [], threading.Event(), threading.Event()

    def first_job():
        is_running.set()
        assert may_end.wait(SOON_S)
        order.append('first job')

    def run_both():
        jobs.run(first_job)
        jobs.run(lambda: order.append('second job'))

    thread = threading.Thread(target=run_both)
    thread.start()
    assert is_running.wait(SOON_S)
    change = jobs.submit_change(lambda: order.append('change'))
    assert not change.done()
    may_end.set()
    change.result(SOON_S)
    thread.join()
    assert order == ['first job', 'change', 'second job']


def test_no_change_is_left_behind_by_many_threads():
    jobs, counts = ExclusiveJobs(), {'jobs': 0, 'changes': 0}

    def increment(name):
        counts[name] += 1

    def work():
        for _ in range(1000):
            jobs.run(lambda: increment('jobs'))
            jobs.submit_change(lambda: increment('changes')).result(SOON_S)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert counts == {'jobs': 4000, 'changes': 4000}


def test_an_error_of_a_change_is_raised_for_its_submitter_and_one_of_a_job_for_its_caller():
    jobs = ExclusiveJobs()
    with pytest.raises(ZeroDivisionError):
        jobs.submit_change(lambda: 1 / 0).result(0)
    with pytest.raises(ZeroDivisionError):
        jobs.run(lambda: 1 / 0)
    assert jobs.run(lambda: 3) == 3
