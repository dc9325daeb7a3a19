"""Rates and warnings on /diagnostics cover the last ten seconds; totals cover all time."""

from diagnostic_msgs.msg import DiagnosticStatus
import pytest

from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.localizer_diagnostics import LocalizerDiagnostics, NodeSnapshot

ACCEPTED = LocalizerStatus(accepted=True)
DARK = LocalizerStatus(reason='low contrast')
NOVEL = LocalizerStatus(reason='novel image')


class Simulation:
    """Adds statuses second by second and reads the diagnostics after each second."""

    def __init__(self):
        self.now_s = 100.0
        self.received = 0
        self.statistics = LocalizerDiagnostics(lambda: self.now_s)
        self.status = self.values = None

    def run(self, seconds, *statuses, received=0, state='active'):
        for _ in range(seconds):
            self.now_s += 1.0
            self.received += received
            for status in statuses:
                self.statistics.add(status)
            self.status = self.statistics.diagnostic(
                'localizer', NodeSnapshot(state, 'map', received=self.received)
            )
            self.values = {item.key: item.value for item in self.status.values}

    @property
    def summary(self):
        return self.status.level, self.status.message


@pytest.fixture
def simulation():
    return Simulation()


def test_rates_and_the_fraction_accepted_cover_the_last_ten_seconds(simulation):
    simulation.run(60, ACCEPTED, received=1)
    simulation.run(10, ACCEPTED, DARK, DARK, DARK, received=30)
    assert simulation.values['received, last 10 s [Hz]'] == '30.0'
    assert simulation.values['processed, last 10 s [Hz]'] == '4.0'
    assert simulation.values['accepted, last 10 s [%]'] == '25'
    assert (simulation.values['received'], simulation.values['accepted']) == ('360', '70')
    assert simulation.values['rejected: low contrast'] == '30'
    simulation.run(10)
    assert simulation.values['received, last 10 s [Hz]'] == '0.0'
    assert 'accepted, last 10 s [%]' not in simulation.values
    assert simulation.values['accepted'] == '70'


def test_ten_seconds_without_an_accepted_image_are_a_warning(simulation):
    simulation.run(20, ACCEPTED, received=5)
    assert simulation.summary == (DiagnosticStatus.OK, 'localizing')
    simulation.run(9, DARK, received=5)
    assert simulation.summary == (DiagnosticStatus.OK, 'localizing')
    simulation.run(6, NOVEL, received=5)
    warning = 'not localized for 15 s: novel image (6), low contrast (4)'
    assert simulation.summary == (DiagnosticStatus.WARN, warning)
    simulation.run(1, ACCEPTED, received=5)
    assert simulation.summary == (DiagnosticStatus.OK, 'localizing')


def test_ten_seconds_without_an_image_are_a_warning(simulation):
    simulation.run(1)
    assert simulation.summary == (DiagnosticStatus.WARN, 'no images arrive')
    simulation.run(1, ACCEPTED, received=1)
    simulation.run(9)
    assert simulation.summary == (DiagnosticStatus.OK, 'localizing')
    simulation.run(1)
    assert simulation.summary == (DiagnosticStatus.WARN, 'no images arrive')


def test_an_inactive_node_gives_no_warning(simulation):
    simulation.run(20, state='inactive')
    assert simulation.summary == (DiagnosticStatus.OK, 'inactive')


def test_advice_on_camera_info_is_a_value_while_there_is_some(simulation):
    simulation.run(1, ACCEPTED, received=1)
    assert 'camera advice' not in simulation.values
    snapshot = NodeSnapshot('active', 'map', camera_advice='camera_info has fx 200 px')
    status = simulation.statistics.diagnostic('localizer', snapshot)
    assert 'camera_info has fx 200 px' in {
        v.value for v in status.values if v.key == 'camera advice'
    }


def test_a_reset_clears_all_counts(simulation):
    simulation.run(5, DARK, received=5)
    simulation.received = 0
    simulation.statistics.reset()
    simulation.run(1, ACCEPTED, received=1)
    assert simulation.summary == (DiagnosticStatus.OK, 'localizing')
    assert 'rejected: low contrast' not in simulation.values
    assert simulation.values['accepted, last 10 s [%]'] == '100'
