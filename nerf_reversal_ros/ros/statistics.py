"""What the localizer node tells about its pictures: ~/status for each, /diagnostics for all."""

from collections import Counter, deque

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue
import numpy as np
from std_msgs.msg import Header

from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.outcome import Outcome, PoseEstimate, Rejected


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
    if isinstance(outcome, Rejected):
        status.reason, status.detail = outcome.reason, outcome.detail
    return status


class Statistics:
    """Counts outcomes since the start or the last `reset`."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Count from zero."""
        self._published = 0
        self._rejected: Counter[str] = Counter()
        self._latencies_ms: deque[float] = deque(maxlen=300)
        self._received_before = 0

    def add(self, status: LocalizerStatus) -> None:
        """Count one picture that was worked on."""
        if status.accepted:
            self._published += 1
        else:
            self._rejected[status.reason] += 1
        latency = dict(zip(status.latency_stages, status.latency_ms, strict=True))
        if 'total' in latency:
            self._latencies_ms.append(latency['total'])

    def diagnostic(
        self, name: str, state: str, map_dir: str, received: int, dropped: int
    ) -> DiagnosticStatus:
        """Return the counts for /diagnostics: a warning while active without any pose."""
        rejected = dict(self._rejected)
        status = DiagnosticStatus(name=name, hardware_id=map_dir, level=DiagnosticStatus.OK)
        if state != 'active':
            status.message = state
        elif received == self._received_before:
            status.level, status.message = DiagnosticStatus.WARN, 'no pictures come in'
        elif self._published == 0:
            reasons = ', '.join(f'{reason} ({n})' for reason, n in rejected.items())
            status.level, status.message = DiagnosticStatus.WARN, f'never localized: {reasons}'
        else:
            status.message = 'localizing'
        self._received_before = received
        values = {'map': map_dir, 'state': state, 'received': received, 'dropped': dropped}
        values |= {'published': self._published}
        values |= {f'rejected: {reason}': n for reason, n in sorted(rejected.items())}
        if latencies := list(self._latencies_ms):
            for share in (50, 95, 99):
                values[f'latency p{share} [ms]'] = f'{np.percentile(latencies, share):.1f}'
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return status
