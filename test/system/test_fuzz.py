"""Whatever comes from elsewhere is read, or refused in one sentence; more cases: `fuzzing`."""

import json

from building import run
from fuzz_readers import readers
from fuzzing import tried_in_a_process
import pytest

CASES = {'map': 25, 'seven_scenes': 15, 'pose_file': 15}


@pytest.mark.parametrize('name', list(readers(None)))
def test_spoiled_input_is_read_or_refused_in_one_sentence_within_time_and_memory(
    small_map, tmp_path, name
):
    told = tmp_path / 'told.json'
    status = run(tried_in_a_process, small_map.path, name, CASES.get(name, 50), 0, told)
    assert told.exists(), f'the process ended with {status}'
    tally = json.loads(told.read_text())
    assert tally['failure'] == ''
    assert sum(tally['outcomes'].values()) >= CASES.get(name, 50)
