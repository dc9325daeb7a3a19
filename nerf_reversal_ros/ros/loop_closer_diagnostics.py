"""Aggregate the results of the loop closer for /diagnostics."""

from collections import Counter
from collections.abc import Callable
import math
import time

from diagnostic_msgs.msg import DiagnosticStatus

from nerf_reversal_ros.odometry.loop_closure import ClosureResult
from nerf_reversal_ros.ros.localizer_diagnostics import add_values, WINDOW_S


class LoopCloserDiagnostics:
    """
    Counts poses by their results since the start, and the times of the latest ones.

    Parameters
    ----------
    clock : callable
        Returns a monotonic time [s].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: Counter[str] = Counter()  # by rejection reason; empty: accepted
        self._last_agreement_s = self._last_odometry_s = self._last_rejection_s = -math.inf
        self._last_rejection_reason = ''

    def reset(self) -> None:
        """Wait for the first pose again; the counts stay."""
        self._last_agreement_s = self._last_rejection_s = -math.inf

    def odometry_received(self) -> None:
        """Record the time of an odometry message."""
        self._last_odometry_s = self._clock()

    def add(self, closure: ClosureResult) -> None:
        """Count the result of a pose."""
        if closure.is_consistent:
            self._counts[closure.reason] += 1
            self._last_agreement_s = self._clock()
        else:
            self.count_rejected(closure.reason)

    def count_rejected(self, reason: str) -> None:
        """Count a rejected pose."""
        self._counts[reason] += 1
        self._last_rejection_s, self._last_rejection_reason = self._clock(), reason

    def diagnostic(self, name: str, waiting_reason: str, keyframes: int) -> DiagnosticStatus:
        """
        Return the status for /diagnostics.

        It is a warning while no odometry arrives, while poses wait for ``waiting_reason``, before
        the first pose, and while all poses are rejected. Missing poses are no warning: the
        localizer reports by itself why it publishes none.
        """
        now_s = self._clock()
        status = DiagnosticStatus(name=name, level=DiagnosticStatus.WARN)
        if now_s - self._last_odometry_s > WINDOW_S:
            status.message = 'no odometry arrives'
        elif waiting_reason:
            status.message = waiting_reason
        elif now_s - self._last_rejection_s <= WINDOW_S < now_s - self._last_agreement_s:
            status.message = f'all poses are rejected: {self._last_rejection_reason}'
        elif self._last_agreement_s == -math.inf:
            status.message = 'no pose of the localizer has arrived yet'
        else:
            status.level = DiagnosticStatus.OK
            status.message = f'the last pose agreed {now_s - self._last_agreement_s:.0f} s ago'
        values: dict[str, object] = {'keyframes': keyframes, 'accepted': self._counts['']}
        rejections = {reason: n for reason, n in sorted(self._counts.items()) if reason}
        values |= {f'rejected: {reason}': count for reason, count in rejections.items()}
        return add_values(status, values)
