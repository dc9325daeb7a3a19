"""Aggregate the statuses of the localizer for /diagnostics: rates, latencies and rejections."""

from collections import Counter, deque
from collections.abc import Callable, Mapping
import time
from types import MappingProxyType
from typing import NamedTuple

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
import numpy as np
from rclpy.node import Node

from nerf_reversal_ros.msg import LocalizerStatus

WINDOW_S = 10.0
"""Span of the rates and warnings on /diagnostics [s]."""
MAX_LATENCIES = 300
"""Latest images whose latencies give the percentiles; about ten seconds at 30 Hz."""
LATENCY_PERCENTILES = (50, 95, 99)
_REASON_WHEN_ACCEPTED = ''


class NodeSnapshot(NamedTuple):
    """Present state of a localizer node."""

    state: str
    """State of the life cycle."""
    map_dir: str
    device: str = ''
    """Device of the localizer; empty without a map."""
    received: int = 0
    """Images received since the activation."""
    dropped: int = 0
    """Of these, images replaced by a newer one before they were processed."""
    queue_depth: int = 0
    """Waiting images: 0 or 1."""
    input_problem: str = ''
    """What is wrong with the inputs, such as what keeps images from arriving."""
    failure: str = ''
    """Error of the last transition."""
    map_warnings: str = ''
    """Warnings of the build of the map."""
    camera_advice: str = ''
    """Which intrinsics would fit the images, if camera_info does not."""
    rooms: Mapping[str, object] = MappingProxyType({})
    """Of a building: the present room, and what is loaded."""


class _Sample(NamedTuple):
    """Totals at one time."""

    time_s: float
    received: int
    outcomes: 'Counter[str]'
    """Processed images by rejection reason; empty: accepted."""


class _Window(NamedTuple):
    """Differences of the totals over the last `WINDOW_S`."""

    span_s: float
    received: int
    processed: int
    accepted: int
    rejections: 'Counter[str]'


class LocalizerDiagnostics:
    """
    Counts outcomes since the start or the last `reset`, and those of the last `WINDOW_S`.

    Parameters
    ----------
    clock : callable
        Returns a monotonic time [s].
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Set all counts to zero."""
        self._last_accepted_s = now_s = self._clock()
        self._outcomes: Counter[str] = Counter()
        self._latencies_ms: deque[float] = deque(maxlen=MAX_LATENCIES)
        # The samples of the window, and the last one before it.
        self._samples = deque([_Sample(now_s, 0, Counter())])

    def add(self, status: LocalizerStatus) -> None:
        """Count one processed image."""
        self._outcomes[status.reason] += 1
        if status.accepted:
            self._last_accepted_s = self._clock()
        latency = dict(zip(status.latency_stages, status.latency_ms, strict=True))
        if 'total' in latency:
            self._latencies_ms.append(latency['total'])

    def diagnostic(self, name: str, snapshot: NodeSnapshot) -> DiagnosticStatus:
        """Return the status for /diagnostics: a warning if active without an accepted pose."""
        now = _Sample(self._clock(), snapshot.received, self._outcomes.copy())
        window = self._window_until(now)
        status = DiagnosticStatus(name=name, hardware_id=snapshot.map_dir)
        status.level, status.message = self._summary(snapshot, window, now.time_s)
        return add_values(status, self._values(snapshot, window, now.outcomes))

    def _window_until(self, now: _Sample) -> _Window:
        while len(self._samples) > 1 and self._samples[1].time_s <= now.time_s - WINDOW_S:
            self._samples.popleft()
        start = self._samples[0]
        self._samples.append(now)
        outcomes = now.outcomes - start.outcomes
        processed, accepted = outcomes.total(), outcomes.pop(_REASON_WHEN_ACCEPTED, 0)
        received = max(0, now.received - start.received)
        return _Window(
            max(1.0, now.time_s - start.time_s), received, processed, accepted, outcomes
        )

    def _summary(self, snapshot: NodeSnapshot, window: _Window, now_s: float) -> tuple[bytes, str]:
        if snapshot.failure:
            return DiagnosticStatus.ERROR, snapshot.failure
        if snapshot.state != 'active':
            return DiagnosticStatus.OK, snapshot.state
        if not window.received:
            problem = f': {snapshot.input_problem}' if snapshot.input_problem else ''
            return DiagnosticStatus.WARN, f'no images arrive{problem}'
        if window.processed and not window.accepted:
            counts = window.rejections.most_common()
            reasons = ', '.join(f'{reason} ({count})' for reason, count in counts)
            lost_s = now_s - self._last_accepted_s
            return DiagnosticStatus.WARN, f'not localized for {lost_s:.0f} s: {reasons}'
        return DiagnosticStatus.OK, 'localizing'

    def _values(
        self, snapshot: NodeSnapshot, window: _Window, outcomes: 'Counter[str]'
    ) -> dict[str, object]:
        values: dict[str, object] = {'map': snapshot.map_dir, 'state': snapshot.state}
        if snapshot.map_warnings:
            values['map warnings'] = snapshot.map_warnings
        if snapshot.input_problem:
            values['input problem'] = snapshot.input_problem
        if snapshot.camera_advice:
            values['camera advice'] = snapshot.camera_advice
        values.update(snapshot.rooms)
        values['device'] = snapshot.device
        values['queue depth'] = snapshot.queue_depth
        values['received'] = snapshot.received
        values['dropped'] = snapshot.dropped
        values['accepted'] = outcomes[_REASON_WHEN_ACCEPTED]
        for reason, count in sorted(outcomes.items()):
            if reason != _REASON_WHEN_ACCEPTED:
                values[f'rejected: {reason}'] = count
        span = f'last {WINDOW_S:g} s'
        values[f'received, {span} [Hz]'] = f'{window.received / window.span_s:.1f}'
        values[f'processed, {span} [Hz]'] = f'{window.processed / window.span_s:.1f}'
        if window.processed:
            values[f'accepted, {span} [%]'] = f'{100 * window.accepted / window.processed:.0f}'
        if latencies := list(self._latencies_ms):
            for percentile in LATENCY_PERCENTILES:
                value_ms = np.percentile(latencies, percentile)
                values[f'latency p{percentile} [ms]'] = f'{value_ms:.1f}'
        return values


def add_values(status: DiagnosticStatus, values: Mapping[str, object]) -> DiagnosticStatus:
    """Set the values of a status, as text, and return it."""
    status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
    return status


def diagnostic_name(node: Node, task: str) -> str:
    """Return the name of a status as diagnostic_updater writes it: node, colon, task."""
    return f'{node.get_fully_qualified_name().lstrip("/")}: {task}'


def diagnostic_array(node: Node, status: DiagnosticStatus) -> DiagnosticArray:
    """Return a message of one status, stamped with the present time of a node."""
    message = DiagnosticArray(status=[status])
    message.header.stamp = node.get_clock().now().to_msg()
    return message
