"""Diagnostics of the loop closer warn of missing inputs and rejections, and count all results."""

from diagnostic_msgs.msg import DiagnosticStatus
import pytest

from nerf_reversal_ros.core.outcome import ClosureRejectionReason
from nerf_reversal_ros.odometry.loop_closure import ClosureResult
from nerf_reversal_ros.ros.loop_closer_diagnostics import LoopCloserDiagnostics

ACCEPTED = ClosureResult(0, True)
REDUNDANT = ClosureResult(0, False, ClosureRejectionReason.REDUNDANT)
OUTLIER = ClosureResult(0, False, ClosureRejectionReason.OUTLIER)


class Simulation:
    """Adds odometry and a closure second by second, and reads the diagnostics."""

    def __init__(self):
        self.now_s = 100.0
        self.statistics = LoopCloserDiagnostics(lambda: self.now_s)

    def run(self, seconds, closure=None, *, odometry=True):
        for _ in range(seconds):
            self.now_s += 1.0
            if odometry:
                self.statistics.odometry_received()
            if closure is not None:
                self.statistics.add(closure)

    def summary(self, waiting_reason=''):
        self.status = self.statistics.diagnostic('loop_closer', waiting_reason, 7)
        return self.status.level, self.status.message

    @property
    def values(self):
        return {item.key: item.value for item in self.status.values}


@pytest.fixture
def simulation():
    return Simulation()


def test_missing_odometry_and_a_missing_first_pose_are_warnings(simulation):
    assert simulation.summary() == (DiagnosticStatus.WARN, 'no odometry arrives')
    simulation.run(1)
    assert simulation.summary() == (
        DiagnosticStatus.WARN,
        'no pose of the localizer has arrived yet',
    )
    simulation.run(1, ACCEPTED)
    assert simulation.summary() == (DiagnosticStatus.OK, 'the last pose agreed 0 s ago')


def test_a_long_time_without_poses_is_no_warning(simulation):
    simulation.run(1, ACCEPTED)
    simulation.run(300)
    assert simulation.summary() == (DiagnosticStatus.OK, 'the last pose agreed 300 s ago')


@pytest.mark.parametrize('reason', ['no odometry', 'unusable pose', 'in the frame x'])
def test_rejected_poses_are_a_warning_before_and_after_the_first_accepted_one(simulation, reason):
    simulation.run(1)
    simulation.statistics.count_rejected(reason)
    assert simulation.summary() == (DiagnosticStatus.WARN, f'all poses are rejected: {reason}')
    simulation.run(1, ACCEPTED)
    simulation.run(11, ClosureResult(0, False, reason))
    assert simulation.summary() == (DiagnosticStatus.WARN, f'all poses are rejected: {reason}')


def test_ten_seconds_of_outliers_are_a_warning(simulation):
    simulation.run(1, REDUNDANT)
    simulation.run(10, OUTLIER)
    assert simulation.summary() == (DiagnosticStatus.OK, 'the last pose agreed 10 s ago')
    simulation.run(1, OUTLIER)
    assert simulation.summary() == (DiagnosticStatus.WARN, 'all poses are rejected: outlier')
    simulation.run(1, ACCEPTED)
    assert simulation.summary()[0] == DiagnosticStatus.OK
    assert simulation.values == {
        'keyframes': '7',
        'accepted': '1',
        'rejected: outlier': '11',
        'rejected: redundant': '1',
    }


def test_poses_that_wait_for_odometry_are_a_warning(simulation):
    simulation.run(5, ACCEPTED)
    assert simulation.summary('poses wait') == (DiagnosticStatus.WARN, 'poses wait')
    simulation.run(11, odometry=False)
    assert simulation.summary('poses wait') == (DiagnosticStatus.WARN, 'no odometry arrives')


def test_a_reset_waits_for_the_first_pose_again(simulation):
    simulation.run(5, ACCEPTED)
    simulation.statistics.reset()
    assert simulation.summary() == (
        DiagnosticStatus.WARN,
        'no pose of the localizer has arrived yet',
    )
