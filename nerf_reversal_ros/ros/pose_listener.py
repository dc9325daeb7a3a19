"""Follow the outcomes of a running localizer, from a program that is no node itself."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread

from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.geometry import inverse
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf, transform_outcome
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.connectivity import DiscoveryProbe
from nerf_reversal_ros.ros.conversions import matrix_from_pose, stamp_to_ns
from nerf_reversal_ros.ros.node_runner import STEADY_CLOCK
from nerf_reversal_ros.view.shown_poses import rejection_of

MAX_WAITING = 30
"""Poses and statuses that wait for each other; beyond this number the oldest is dropped."""

OnOutcome = Callable[[int, Outcome], None]


class PoseListener(Node):
    """
    Calls back with each outcome of ``localizer``, in the frame of the map folder.

    Poses in the rooms of a building are left out: they are in no frame of a map folder.

    Parameters
    ----------
    on_outcome : callable
        Takes the stamp of an image [ns] and its outcome.
    context : Context
        Of rclpy.
    """

    def __init__(self, on_outcome: OnOutcome, context: Context) -> None:
        super().__init__('view', context=context)
        self._on_outcome = on_outcome
        self.create_subscription(
            PoseWithCovarianceStamped, 'localizer/sensor_pose', self._on_pose, 10
        )
        self.create_subscription(LocalizerStatus, 'localizer/status', self._on_status, 10)
        self._probe = DiscoveryProbe(self, 'localizer', 'map_from_nerf')
        self._is_placed = False
        self._poses: dict[int, PoseWithCovarianceStamped] = {}
        self._accepted: dict[int, LocalizerStatus] = {}
        self.create_timer(0.5, self._ask_placement, clock=STEADY_CLOCK)

    def _ask_placement(self) -> None:
        self._is_placed = self._is_placed or self._probe.poll()

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        self._poses[stamp_ns] = message
        self._show(stamp_ns)

    def _on_status(self, status: LocalizerStatus) -> None:
        stamp_ns = stamp_to_ns(status.header.stamp)
        if status.accepted:
            self._accepted[stamp_ns] = status
            self._show(stamp_ns)
        else:
            self._on_outcome(stamp_ns, rejection_of(status.reason, status.detail))

    def _show(self, stamp_ns: int) -> None:
        """Call back with an accepted pose, once its status has arrived too."""
        for messages in (self._poses, self._accepted):
            while len(messages) > MAX_WAITING:
                del messages[next(iter(messages))]
        if stamp_ns not in self._poses or stamp_ns not in self._accepted:
            return
        pose, status = self._poses.pop(stamp_ns).pose, self._accepted.pop(stamp_ns)
        if status.room:
            self.get_logger().warning(
                f'the localizer answers in the room {status.room} of a building, whose poses are'
                f' not shown: {remedies.LOCALIZE_IN_SHOWN_MAP}',
                throttle_duration_sec=10.0,
            )
            return
        if not self._is_placed:  # map_from_nerf is not known yet
            return
        covariance = np.array(pose.covariance, dtype=np.float64).reshape(6, 6)
        outcome: Outcome = PoseEstimate(matrix_from_pose(pose.pose), covariance)
        if placement := self._probe.parameter_text('map_from_nerf'):
            outcome = transform_outcome(outcome, inverse(parse_map_from_nerf(placement)))
        self._on_outcome(stamp_ns, outcome)


@contextmanager
def follow_localizer(on_outcome: OnOutcome) -> Iterator[None]:
    """Call back in a thread with the outcomes of a running localizer, until the end."""
    context = Context()
    rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
    node = PoseListener(on_outcome, context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = Thread(target=executor.spin, name='poses of the localizer', daemon=True)
    thread.start()
    try:
        yield
    finally:
        executor.shutdown()
        thread.join(1.0)
        node.destroy_node()
        context.try_shutdown()
