"""The newest item is worked on, and no more of them in a second than is allowed."""

import time

from nerf_reversal_ros.ros.latest_item_worker import LatestItemWorker


def wait_for(condition):
    end_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_of_many_items_the_newest_is_worked_on_and_rarely_enough():
    worked = []
    started_s = time.monotonic()
    box = LatestItemWorker(worked.append, lambda: 0.2)
    for number in range(100):
        box.submit(number)
        time.sleep(0.01)
    assert box.close()
    assert 2 <= len(worked) <= (time.monotonic() - started_s) / 0.2 + 1
    assert worked == sorted(set(worked)) and worked[0] < 20  # the first one at once
    assert box.received == 100
    assert box.dropped >= 100 - len(worked) - 1  # one may have waited at the end


def test_while_it_rests_a_forgotten_item_is_not_worked_on_and_a_hurried_one_is():
    worked = []
    box = LatestItemWorker(worked.append, lambda: 1e11)
    box.submit('first')
    wait_for(lambda: worked)
    box.submit('second')
    box.reset()
    box.bypass_rate_limit()
    box.submit('third')
    wait_for(lambda: len(worked) == 2)
    assert box.close()
    assert worked == ['first', 'third']


def test_a_period_that_changes_is_noticed_while_an_item_waits():
    period_s, worked = [3600.0], []
    box = LatestItemWorker(worked.append, lambda: period_s[0])
    box.submit(1)
    wait_for(lambda: worked)
    box.submit(2)
    period_s[0] = 0.0
    wait_for(lambda: len(worked) == 2)
    assert box.close()
    assert worked == [1, 2]
