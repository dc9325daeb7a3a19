"""What the loop closer node tells on /diagnostics about the poses that it was given."""

from collections import Counter
from collections.abc import Callable
import math
import time

from diagnostic_msgs.msg import DiagnosticStatus

from nerf_reversal_ros.odometry.loop_closure import ClosureResult
from nerf_reversal_ros.ros.localizer_diagnostics import add_values, WINDOW_S


class LoopCloserDiagnostics:
    """
    Counts what the loop closer made of poses since the start, and knows what happened lately.

    Parameters
    ----------
    clock : callable
        Returns a time [s] that never jumps.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()  # by reason
        self._last_agreement_s = self._last_odometry_s = self._last_rejection_s = -math.inf
        self._last_rejection_reason = ''

    def reset(self) -> None:
        """Wait for the first pose again; the counts go on."""
        self._last_agreement_s = self._last_rejection_s = -math.inf

    def odometry_received(self) -> None:
        """Note that odometry came in."""
        self._last_odometry_s = self._clock()

    def add(self, closure: ClosureResult) -> None:
        """Count what was made of a pose."""
        if closure.is_consistent:
            self._counts[closure.reason] += 1
            self._last_agreement_s = self._clock()
        else:
            self.count_rejected(closure.reason)

    def count_rejected(self, reason: str) -> None:
        """Count a pose that was left aside."""
        self._counts[reason] += 1
        self._last_rejection_s, self._last_rejection_reason = self._clock(), reason

    def diagnostic(self, name: str, waiting_reason: str, keyframes: int) -> DiagnosticStatus:
        """
        Return the counts for /diagnostics.

        A warning while no odometry comes in, while ``waiting_reason`` tells what poses wait for, before
        the first pose, and while all poses are left aside. That none comes is none: the localizer
        may have nothing to tell, and tells that itself.
        """
        now_s = self._clock()
        status = DiagnosticStatus(name=name, level=DiagnosticStatus.WARN)
        if now_s - self._last_odometry_s > WINDOW_S:
            status.message = 'no odometry comes in'
        elif waiting_reason:
            status.message = waiting_reason
        elif now_s - self._last_rejection_s <= WINDOW_S < now_s - self._last_agreement_s:
            status.message = f'poses are left aside: {self._last_rejection_reason}'
        elif self._last_agreement_s == -math.inf:
            status.message = 'no pose of the localizer came yet'
        else:
            status.level = DiagnosticStatus.OK
            status.message = f'the last pose agreed {now_s - self._last_agreement_s:.0f} s ago'
        values: dict[str, object] = {'keyframes': keyframes, 'accepted': self._counts['']}
        left_aside = {reason: n for reason, n in sorted(self._counts.items()) if reason}
        values |= {f'left aside: {reason}': n for reason, n in left_aside.items()}
        return add_values(status, values)
