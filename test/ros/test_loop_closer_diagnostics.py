"""The loop closer's /diagnostics warn while something is amiss, and count all from the start."""

from diagnostic_msgs.msg import DiagnosticStatus
import pytest

from nerf_reversal_ros.odometry.loop_closure import ClosureResult
from nerf_reversal_ros.ros.loop_closer_diagnostics import LoopCloserDiagnostics

RIGHT, KNOWN = ClosureResult(0, True), ClosureResult(0, False, 'redundant')
WRONG = ClosureResult(0, False, 'outlier')


class Robot:
    """Lets seconds pass, with odometry and a pose in each, and reads the diagnostics."""

    def __init__(self):
        self.now_s = 100.0
        self.statistics = LoopCloserDiagnostics(lambda: self.now_s)

    def drives(self, seconds, closure=None, *, odometry=True):
        for _ in range(seconds):
            self.now_s += 1.0
            if odometry:
                self.statistics.odometry_received()
            if closure is not None:
                self.statistics.add(closure)

    def verdict(self, lacking=''):
        self.told = self.statistics.diagnostic('loop_closer', lacking, 7)
        return self.told.level, self.told.message

    @property
    def values(self):
        return {item.key: item.value for item in self.told.values}


@pytest.fixture
def robot():
    return Robot()


def test_before_odometry_and_before_the_first_pose_there_is_a_warning(robot):
    assert robot.verdict() == (DiagnosticStatus.WARN, 'no odometry comes in')
    robot.drives(1)
    assert robot.verdict() == (DiagnosticStatus.WARN, 'no pose of the localizer came yet')
    robot.drives(1, RIGHT)
    assert robot.verdict() == (DiagnosticStatus.OK, 'the last pose agreed 0 s ago')


def test_that_no_pose_comes_for_long_is_told_and_no_warning(robot):
    robot.drives(1, RIGHT)
    robot.drives(300)
    assert robot.verdict() == (DiagnosticStatus.OK, 'the last pose agreed 300 s ago')


@pytest.mark.parametrize('reason', ['no odometry', 'unusable pose', 'in the frame x'])
def test_poses_that_are_left_aside_are_a_warning_also_before_the_first_one(robot, reason):
    robot.drives(1)
    robot.statistics.count_rejected(reason)
    assert robot.verdict() == (DiagnosticStatus.WARN, f'poses are left aside: {reason}')
    robot.drives(1, RIGHT)
    robot.drives(11, ClosureResult(0, False, reason))
    assert robot.verdict() == (DiagnosticStatus.WARN, f'poses are left aside: {reason}')


def test_poses_that_contradict_for_ten_seconds_are_a_warning(robot):
    robot.drives(1, KNOWN)
    robot.drives(10, WRONG)
    assert robot.verdict() == (DiagnosticStatus.OK, 'the last pose agreed 10 s ago')
    robot.drives(1, WRONG)
    assert robot.verdict() == (DiagnosticStatus.WARN, 'poses are left aside: contradicts')
    robot.drives(1, RIGHT)
    assert robot.verdict()[0] == DiagnosticStatus.OK
    assert robot.values == {
        'keyframes': '7',
        'accepted': '1',
        'left aside: contradicts': '11',
        'left aside: nothing new': '1',
    }


def test_odometry_that_ends_and_poses_that_wait_for_it_are_a_warning(robot):
    robot.drives(5, RIGHT)
    assert robot.verdict('poses wait') == (DiagnosticStatus.WARN, 'poses wait')
    robot.drives(11, odometry=False)
    assert robot.verdict('poses wait') == (DiagnosticStatus.WARN, 'no odometry comes in')


def test_after_a_reset_the_first_pose_is_waited_for_again(robot):
    robot.drives(5, RIGHT)
    robot.statistics.reset()
    assert robot.verdict() == (DiagnosticStatus.WARN, 'no pose of the localizer came yet')
