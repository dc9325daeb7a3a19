"""Bond of the localizer with a lifecycle manager, as the manager of nav2 sees it."""

import contextlib
import os
import time

from lifecycle_msgs.msg import Transition
from localizer_rig import LocalizerRig
import pytest
from ros_rig import PYTHONPATH, wait_until

MANAGER_TIMEOUT_S = 4.0
"""Default of nav2's ``bond_timeout``; it waits half of it for the first heartbeat."""


@pytest.fixture
def status_type():
    reason = '`make setup` builds it for the tests'
    return pytest.importorskip('bond.msg', reason=reason).Status


def test_an_active_node_sends_heartbeats_until_it_is_deactivated(rig, start, status_type):
    start(autostart=False)
    beats = rig.collect(status_type, 'bond', 100)
    assert rig.change_state(Transition.TRANSITION_CONFIGURE)
    assert rig.change_state(Transition.TRANSITION_ACTIVATE)
    assert wait_until(lambda: len(beats) >= 4, MANAGER_TIMEOUT_S / 2)
    assert {beat.id for beat in beats} == {'localizer'}
    assert len({beat.instance_id for beat in beats}) == 1
    assert all(beat.active and beat.header.stamp.sec for beat in beats)
    period_s, timeout_s = beats[0].heartbeat_period, beats[0].heartbeat_timeout
    assert (timeout_s, period_s < timeout_s / 4) == (MANAGER_TIMEOUT_S, True)
    assert rig.change_state(Transition.TRANSITION_DEACTIVATE)
    assert wait_until(lambda: not beats[-1].active, 5)
    count = len(beats)
    time.sleep(3 * period_s)
    assert len(beats) == count
    assert rig.change_state(Transition.TRANSITION_ACTIVATE)
    assert wait_until(lambda: beats[-1].active, MANAGER_TIMEOUT_S / 2)
    assert beats[-1].instance_id != beats[0].instance_id  # another bond


def test_the_bond_is_in_the_namespace_and_breaks_when_the_node_is_interrupted(start, status_type):
    with contextlib.closing(LocalizerRig('/robot1')) as rig:
        beats = rig.collect(status_type, '/robot1/bond', 100)
        process = start('-r', '__ns:=/robot1', '-r', '__node:=front')
        assert wait_until(lambda: beats, MANAGER_TIMEOUT_S)
        process.interrupt()
        assert wait_until(lambda: not beats[-1].active, 5)
        assert {beat.id for beat in beats} == {'front'}


def test_without_the_package_bond_there_is_none(start, tmp_path, monkeypatch):
    (tmp_path / 'bond.py').write_text('raise ImportError')
    monkeypatch.setattr('ros_rig.PYTHONPATH', f'{tmp_path}{os.pathsep}{PYTHONPATH}')
    process = start('--log-level', 'localizer:=debug')
    assert process.output.count('no bond: the package bond is not installed') == 1
