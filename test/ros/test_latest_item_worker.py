"""The newest item is processed, and not more often than the period allows."""

import time

from nerf_reversal_ros.ros.latest_item_worker import LatestItemWorker


def wait_for(condition):
    deadline_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_the_newest_of_many_items_is_processed_once_a_period():
    processed = []
    start_s = time.monotonic()
    worker = LatestItemWorker(processed.append, lambda: 0.2)
    for number in range(100):
        worker.submit(number)
        time.sleep(0.01)
    assert worker.close()
    assert 2 <= len(processed) <= (time.monotonic() - start_s) / 0.2 + 1
    assert processed == sorted(set(processed)) and processed[0] < 20  # the first one at once
    assert worker.received == 100
    assert worker.dropped >= 100 - len(processed) - 1  # one may still wait at the end


def test_reset_drops_the_waiting_item_and_a_bypass_skips_the_period():
    processed = []
    worker = LatestItemWorker(processed.append, lambda: 1e11)
    worker.submit('first')
    wait_for(lambda: processed)
    worker.submit('second')
    worker.reset()
    worker.bypass_rate_limit()
    worker.submit('third')
    wait_for(lambda: len(processed) == 2)
    assert worker.close()
    assert processed == ['first', 'third']


def test_a_changed_period_applies_to_a_waiting_item():
    period_s, processed = [3600.0], []
    worker = LatestItemWorker(processed.append, lambda: period_s[0])
    worker.submit(1)
    wait_for(lambda: processed)
    worker.submit(2)
    period_s[0] = 0.0
    wait_for(lambda: len(processed) == 2)
    assert worker.close()
    assert processed == [1, 2]
