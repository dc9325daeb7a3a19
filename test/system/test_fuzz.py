"""Fuzzed input is read, or rejected with one sentence; `fuzzing` runs more cases."""

import json

from building import run
from fuzz_readers import readers
from fuzzing import try_in_process
import pytest

CASES = {'map': 25, 'seven_scenes': 15, 'pose_file': 15, 'rtabmap': 25}
CASES |= {'bag_packed': 20, 'bag_ros1': 20, 'bag_ros1_killed': 20}


@pytest.mark.parametrize('name', list(readers(None)))
def test_fuzzed_input_is_read_or_rejected_with_one_sentence_within_time_and_memory(
    small_map, tmp_path, name
):
    report = tmp_path / 'report.json'
    status = run(try_in_process, small_map.path, name, CASES.get(name, 50), 0, report)
    assert report.exists(), f'the process ended with {status}'
    tally = json.loads(report.read_text())
    assert tally['failure'] == ''
    assert sum(tally['outcomes'].values()) >= CASES.get(name, 50)
