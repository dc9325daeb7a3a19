"""The short form of `soak` and `interruptions`, which go on for as long as wanted by command."""

import importlib.util
import random
import shutil

from exports import write_nerfstudio
from interruptions import try_signals
import pytest
from soak import soak

needs_ros = pytest.mark.skipif(
    importlib.util.find_spec('rclpy') is None, reason='needs a ROS 2: make test brings one'
)


@needs_ros
def test_the_localizer_outlives_spoiled_pictures_and_what_happens_around_it(small_map):
    found = soak(small_map.path, seconds=6.0)
    assert [rate['hertz'] for rate in found['rates']] == [30, 120]
    for rate in found['rates']:
        # Six seconds are hardly a warm-up: --minutes 10 holds memory to 2 % and ages to 2 s.
        assert rate['growth_mib'] < 100.0
        assert rate['age_max_s'] < 10.0
        assert rate['poses'] <= rate['answered'] <= rate['received']
    assert sum(rate['poses'] for rate in found['rates']) > 0
    survived = {what: well for what, well in found['survived'].items() if 'Ctrl-C' not in what}
    assert len(survived) == 7
    assert all(survived.values()), survived


@pytest.mark.parametrize('program', ['convert', 'localize'])
def test_programs_end_cleanly_when_they_are_interrupted_at_random(small_map, tmp_path, program):
    walk = shutil.copytree(small_map.path.parent / 'walk', tmp_path / 'walk')
    write_nerfstudio(tmp_path / 'scene')
    found = try_signals(walk, small_map.path, program, 2, random.Random(1))
    assert found['odd'] == []
    assert found['clean'] == found['tries'] == 2
