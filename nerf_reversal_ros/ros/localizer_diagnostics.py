"""What the localizer node tells about its pictures: ~/status for each, /diagnostics for all."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
import time
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
import numpy as np
from std_msgs.msg import Header

from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection
from nerf_reversal_ros.msg import LocalizerStatus

WINDOW_S = 10.0
"""What /diagnostics says about the present is about the last so many seconds."""
_ACCEPTED = ''  # the reason in the status of an accepted picture


def status_message(header: Header, outcome: Outcome) -> LocalizerStatus:
    """Return how an outcome came about, as a message; its counters are left at zero."""
    found = outcome.diagnostics
    stages = [stage for stage in found.latency_ms if stage != 'total']
    status = LocalizerStatus(
        header=header,
        accepted=isinstance(outcome, PoseEstimate),
        stage=stages[-1] if stages else '',
        inliers=max(0, int(found.scores.get('inliers', 0))),
        inlier_ratio=float(found.scores.get('inlier_ratio', 0.0)),
        score_names=list(found.scores),
        score_values=[float(value) for value in found.scores.values()],
        latency_stages=list(found.latency_ms),
        latency_ms=[float(value) for value in found.latency_ms.values()],
    )
    if isinstance(outcome, Rejection):
        status.reason, status.detail = outcome.reason, outcome.detail
    return status


class NodeSnapshot(NamedTuple):
    """How a localizer node is at the moment."""

    state: str
    """Of its life cycle."""
    map_dir: str
    device: str = ''
    """Where it computes; empty without a map."""
    received: int = 0
    """Pictures, since the start."""
    dropped: int = 0
    """Of these, replaced by a newer one before they were worked on."""
    queue_depth: int = 0
    """Pictures in the queue, which holds one."""
    input_problem: str = ''
    """What keeps pictures from coming in, as far as is known."""
    failure: str = ''
    """Why it could not be configured."""
    map_warnings: str = ''
    """What the build of the map warned of."""


class LocalizerDiagnostics:
    """
    Counts outcomes since the start or the last `reset`, and those of the last seconds.

    Parameters
    ----------
    clock : callable
        Returns a time [s] that never jumps.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self._last_accepted_s = now_s = self._clock()
        self._outcomes: Counter[str] = Counter()  # by reason
        self._latencies_ms: deque[float] = deque(maxlen=300)
        # Time, pictures received and outcomes of each diagnostic in the window, and one before.
        self._window = deque([(now_s, 0, Counter[str]())])

    def add(self, status: LocalizerStatus) -> None:
        """Count one picture that was worked on."""
        self._outcomes[status.reason] += 1
        if status.accepted:
            self._last_accepted_s = self._clock()
        latency = dict(zip(status.latency_stages, status.latency_ms, strict=True))
        if 'total' in latency:
            self._latencies_ms.append(latency['total'])

    def diagnostic(self, name: str, snapshot: NodeSnapshot) -> DiagnosticStatus:
        """Return the counts for /diagnostics: a warning while active without any pose."""
        state, received = snapshot.state, snapshot.received
        now_s, outcomes = self._clock(), self._outcomes.copy()
        while len(self._window) > 1 and self._window[1][0] <= now_s - WINDOW_S:
            self._window.popleft()
        then_s, received_then, outcomes_then = self._window[0]
        self._window.append((now_s, received, outcomes))
        span_s = max(1.0, now_s - then_s)
        lately_received = max(0, received - received_then)
        lately = outcomes - outcomes_then
        answered, accepted = lately.total(), lately.pop(_ACCEPTED, 0)
        rejected = {reason: n for reason, n in sorted(outcomes.items()) if reason != _ACCEPTED}

        status = DiagnosticStatus(name=name, level=DiagnosticStatus.OK)
        status.hardware_id = snapshot.map_dir
        if snapshot.failure:
            status.level, status.message = DiagnosticStatus.ERROR, snapshot.failure
        elif state != 'active':
            status.message = state
        elif not lately_received:
            status.level, status.message = DiagnosticStatus.WARN, 'no pictures come in'
            if snapshot.input_problem:
                status.message += f': {snapshot.input_problem}'
        elif answered and not accepted:
            reasons = ', '.join(f'{reason} ({n})' for reason, n in lately.most_common())
            status.level = DiagnosticStatus.WARN
            status.message = f'not localized for {now_s - self._last_accepted_s:.0f} s: {reasons}'
        else:
            status.message = 'localizing'
        values: dict[str, object] = {'map': snapshot.map_dir, 'state': state}
        if snapshot.map_warnings:
            values['map warnings'] = snapshot.map_warnings
        values |= {'device': snapshot.device, 'queue depth': snapshot.queue_depth}
        values |= {'received': received, 'dropped': snapshot.dropped}
        values |= {'published': outcomes[_ACCEPTED]}
        values |= {f'rejected: {reason}': n for reason, n in rejected.items()}
        lately_s = f'last {WINDOW_S:g} s'
        values[f'received, {lately_s} [Hz]'] = f'{lately_received / span_s:.1f}'
        values[f'answered, {lately_s} [Hz]'] = f'{answered / span_s:.1f}'
        if answered:
            values[f'accepted, {lately_s} [%]'] = f'{100 * accepted / answered:.0f}'
        if latencies := list(self._latencies_ms):
            for share in (50, 95, 99):
                values[f'latency p{share} [ms]'] = f'{np.percentile(latencies, share):.1f}'
        return add_values(status, values)


def add_values(status: DiagnosticStatus, values: Mapping[str, object]) -> DiagnosticStatus:
    """Return a status with these values, as text."""
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return status
