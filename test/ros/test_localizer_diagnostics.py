"""What /diagnostics says is about the last ten seconds; its totals are about all."""

from diagnostic_msgs.msg import DiagnosticStatus
import pytest

from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.localizer_diagnostics import LocalizerDiagnostics, NodeSnapshot

ACCEPTED = LocalizerStatus(accepted=True)
DARK = LocalizerStatus(reason='low contrast')
UNLIKE = LocalizerStatus(reason='novel image')


class Robot:
    """Lets seconds pass, each with some pictures, and reads the diagnostics after each."""

    def __init__(self):
        self.now_s = 100.0
        self.received = 0
        self.statistics = LocalizerDiagnostics(lambda: self.now_s)
        self.status = self.values = None

    def drives(self, seconds, *answers, received=0, state='active'):
        for _ in range(seconds):
            self.now_s += 1.0
            self.received += received
            for answer in answers:
                self.statistics.add(answer)
            told = self.statistics.diagnostic(
                'localizer', NodeSnapshot(state, 'map', received=self.received)
            )
            self.status, self.values = told, {item.key: item.value for item in told.values}

    @property
    def verdict(self):
        return self.status.level, self.status.message


@pytest.fixture
def robot():
    return Robot()


def test_rates_and_the_share_accepted_are_those_of_the_last_ten_seconds(robot):
    robot.drives(60, ACCEPTED, received=1)
    robot.drives(10, ACCEPTED, DARK, DARK, DARK, received=30)
    assert robot.values['received, last 10 s [Hz]'] == '30.0'
    assert robot.values['answered, last 10 s [Hz]'] == '4.0'
    assert robot.values['accepted, last 10 s [%]'] == '25'
    assert (robot.values['received'], robot.values['published']) == ('360', '70')
    assert robot.values['rejected: too dark or flat'] == '30'
    robot.drives(10)
    assert robot.values['received, last 10 s [Hz]'] == '0.0'
    assert 'accepted, last 10 s [%]' not in robot.values
    assert robot.values['published'] == '70'


def test_a_robot_that_was_localized_once_and_is_lost_is_a_warning(robot):
    robot.drives(20, ACCEPTED, received=5)
    assert robot.verdict == (DiagnosticStatus.OK, 'localizing')
    robot.drives(9, DARK, received=5)
    assert robot.verdict == (DiagnosticStatus.OK, 'localizing')
    robot.drives(6, UNLIKE, received=5)
    sentence = 'not localized for 15 s: unlike the map (6), too dark or flat (4)'
    assert robot.verdict == (DiagnosticStatus.WARN, sentence)
    robot.drives(1, ACCEPTED, received=5)
    assert robot.verdict == (DiagnosticStatus.OK, 'localizing')


def test_pictures_that_stay_away_for_ten_seconds_are_a_warning(robot):
    robot.drives(1)
    assert robot.verdict == (DiagnosticStatus.WARN, 'no pictures come in')
    robot.drives(1, ACCEPTED, received=1)
    robot.drives(9)
    assert robot.verdict == (DiagnosticStatus.OK, 'localizing')
    robot.drives(1)
    assert robot.verdict == (DiagnosticStatus.WARN, 'no pictures come in')


def test_who_is_not_active_is_not_blamed(robot):
    robot.drives(20, state='inactive')
    assert robot.verdict == (DiagnosticStatus.OK, 'inactive')


def test_after_a_reset_nothing_is_remembered(robot):
    robot.drives(5, DARK, received=5)
    robot.received = 0
    robot.statistics.reset()
    robot.drives(1, ACCEPTED, received=1)
    assert robot.verdict == (DiagnosticStatus.OK, 'localizing')
    assert 'rejected: too dark or flat' not in robot.values
    assert robot.values['accepted, last 10 s [%]'] == '100'
