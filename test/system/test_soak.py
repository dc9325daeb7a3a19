"""Short runs of `soak` and `interruptions`; their command lines run for longer."""

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
def test_the_localizer_survives_invalid_images_and_faults_of_its_environment(small_map):
    report = soak(small_map.path, seconds=6.0)
    assert [rate['hertz'] for rate in report['rates']] == [30, 120]
    for rate in report['rates']:
        # Six seconds are mostly warm-up: with --minutes 10, memory grows by 2 % and ages are 2 s.
        assert rate['growth_mib'] < 100.0
        assert rate['age_max_s'] < 10.0
        assert rate['poses'] <= rate['answered'] <= rate['received']
    assert sum(rate['poses'] for rate in report['rates']) > 0
    survived = {
        fault: passed for fault, passed in report['survived'].items() if 'Ctrl-C' not in fault
    }
    assert len(survived) == 7
    assert all(survived.values()), survived


@pytest.mark.parametrize('program', ['convert', 'localize'])
def test_programs_exit_cleanly_when_they_are_interrupted_at_random_times(
    small_map, tmp_path, program
):
    mapping_bag = shutil.copytree(small_map.path.parent / 'walk', tmp_path / 'walk')
    write_nerfstudio(tmp_path / 'scene')
    report = try_signals(mapping_bag, small_map.path, program, 2, random.Random(1))
    assert report['odd'] == []
    assert report['clean'] == report['tries'] == 2
