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

from nerf_reversal_ros.core.geometry import inverse
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf, transform_outcome
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.connectivity import DiscoveryProbe
from nerf_reversal_ros.ros.conversions import matrix_from_pose, stamp_to_ns
from nerf_reversal_ros.ros.node_runner import STEADY_CLOCK
from nerf_reversal_ros.view.shown_poses import rejection_of

OnOutcome = Callable[[int, Outcome], None]


class PoseListener(Node):
    """
    Calls back with each outcome of ``localizer``, in the frame of the map folder.

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
        self.create_timer(0.5, self._ask_placement, clock=STEADY_CLOCK)

    def _ask_placement(self) -> None:
        self._is_placed = self._is_placed or self._probe.poll()

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        if not self._is_placed:  # map_from_nerf is not known yet
            return
        pose = message.pose
        covariance = np.array(pose.covariance, dtype=np.float64).reshape(6, 6)
        outcome: Outcome = PoseEstimate(matrix_from_pose(pose.pose), covariance)
        if placement := self._probe.parameter_text('map_from_nerf'):
            outcome = transform_outcome(outcome, inverse(parse_map_from_nerf(placement)))
        self._on_outcome(stamp_to_ns(message.header.stamp), outcome)

    def _on_status(self, status: LocalizerStatus) -> None:
        if not status.accepted:
            rejection = rejection_of(status.reason, status.detail)
            self._on_outcome(stamp_to_ns(status.header.stamp), rejection)


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
