"""Loop closer as a node: odometry and poses of the localizer in; the corrected path out."""

from collections.abc import Callable, Sequence
import math
from typing import Any

from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry, Path
import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, ReliabilityPolicy
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import ClosureRejectionReason
from nerf_reversal_ros.msg import LoopClosure
from nerf_reversal_ros.odometry.config import LoopClosureConfig
from nerf_reversal_ros.odometry.loop_closure import ClosureResult, CorrectedPose, LoopCloser
from nerf_reversal_ros.odometry.map_from_odom import TfSmoothingConfig
from nerf_reversal_ros.ros.connectivity import (
    CHECK_PERIOD_S,
    RepeatedWarningLog,
    subscription_problem,
)
from nerf_reversal_ros.ros.conversions import (
    loop_closure_message,
    matrix_from_pose,
    path_message,
    pose_message,
    stamp_from_ns,
    stamp_to_ns,
    transform_from_matrix,
)
from nerf_reversal_ros.ros.localizer_diagnostics import diagnostic_array, diagnostic_name
from nerf_reversal_ros.ros.loop_closer_diagnostics import LoopCloserDiagnostics
from nerf_reversal_ros.ros.node_config import LoopCloserNodeConfig
from nerf_reversal_ros.ros.node_runner import (
    DONE,
    LATCHED_QOS,
    NO_EVENT_CALLBACKS,
    run_node,
    STEADY_CLOCK,
)
from nerf_reversal_ros.ros.odometry_monitor import odom_from_base
from nerf_reversal_ros.ros.parameters import NodeParameters
from nerf_reversal_ros.ros.tf_io import MapFromOdomBroadcaster, TfOdometry

WARN_REASONS = (
    ClosureRejectionReason.UNUSABLE_POSE,
    ClosureRejectionReason.NO_ODOMETRY,
    ClosureRejectionReason.OUTLIER,
)
"""Reasons that are logged as warnings, because the user should act on them."""
MAX_TILT_DEG = 45.0
"""Largest tilt of odom against map [deg]; beyond it the poses are those of a camera."""
MIN_PATH_PERIOD_S = 0.01
"""Least period of the timer that publishes the path [s], with path_period_s at 0."""


class LoopCloserNode(Node):
    """
    Corrects the drift of the odometry by the poses of the localizer; see `LoopCloser`.

    Before the first accepted pose, only closures are published. TF follows the correction
    smoothly; ``~/map_from_odom`` is the correction itself.
    """

    interrupted_status = DONE

    def __init__(self) -> None:
        super().__init__('loop_closer', automatically_declare_parameters_from_overrides=True)
        parameters = NodeParameters(
            self, LoopCloserNodeConfig, LoopClosureConfig, TfSmoothingConfig
        )
        self._settings = settings = parameters.get(LoopCloserNodeConfig)
        self._closure_config = parameters.live(LoopClosureConfig)
        self._closer = LoopCloser(self._closure_config.current)
        self._odom_from_base = np.eye(4)
        self._path_is_new = False
        self._path = self.create_publisher(Path, '~/path', LATCHED_QOS)
        self._odometry = self.create_publisher(Odometry, '~/odometry', 10)
        self._map_from_odom = self._create_map_from_odom_publisher()
        self._closures = self.create_publisher(LoopClosure, '~/closures', 100)
        self._broadcaster: MapFromOdomBroadcaster | None = None
        if settings.publish_tf:
            self._broadcaster = MapFromOdomBroadcaster(
                self,
                settings.map_frame,
                settings.odom_frame,
                parameters.live(TfSmoothingConfig),
            )
        self._subscription_info: list[tuple[str, type, QoSProfile]] = []
        self._tf_odometry = self._subscribe_to_odometry()
        self._subscribe(
            PoseWithCovarianceStamped,
            'nerf_pose_with_covariance',
            self._on_pose,
            QoSProfile(depth=100),
        )
        self._input_warnings = RepeatedWarningLog(self.get_logger())
        self._statistics = LoopCloserDiagnostics()
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_service(Trigger, '~/reset', self._on_reset)
        path_period_s = max(settings.path_period_s, MIN_PATH_PERIOD_S)
        self.create_timer(1.0, self._publish_diagnostics, clock=STEADY_CLOCK)
        self.create_timer(CHECK_PERIOD_S, self._check_inputs, clock=STEADY_CLOCK)
        self.create_timer(path_period_s, self._publish_path, clock=STEADY_CLOCK)

    def close(self) -> bool:
        """Leave TF; the node has no threads of its own."""
        for tf_user in (self._tf_odometry, self._broadcaster):
            if tf_user is not None:
                tf_user.close()
        return True

    def _create_map_from_odom_publisher(self) -> Publisher:
        topic, events = '~/map_from_odom', NO_EVENT_CALLBACKS
        return self.create_publisher(TransformStamped, topic, LATCHED_QOS, event_callbacks=events)

    def _subscribe_to_odometry(self) -> TfOdometry | None:
        """Subscribe to the topic odom, or return the reader of odometry from TF."""
        if self._settings.odometry_source == 'tf':
            return TfOdometry(self, self._settings, self._add_odometry)
        qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
        if self._settings.reliability == 'reliable':
            qos.reliability = ReliabilityPolicy.RELIABLE
        self._subscribe(Odometry, 'odom', self._on_odometry, qos)
        return None

    def _subscribe(
        self, kind: type, name: str, callback: Callable[[Any], None], qos: QoSProfile
    ) -> None:
        topic = self.create_subscription(kind, name, callback, qos).topic_name
        self._subscription_info.append((topic, kind, qos))

    def _check_inputs(self) -> None:
        """Warn of what keeps odometry and poses from arriving."""
        problems = (subscription_problem(self, *info) for info in self._subscription_info)
        self._input_warnings.update(problem for problem in problems if problem)
        if reason := self._closer.waiting_reason:
            self.get_logger().warning(f'{reason}: check its topic and the clocks')

    def _on_odometry(self, message: Odometry) -> None:
        frame, expected = message.header.frame_id, self._settings.odom_frame
        if frame and frame != expected:
            self.get_logger().warning(
                f'the odometry is in the frame {frame}, but odom_frame is {expected}: its messages'
                f' are ignored; {remedies.ODOM_FRAME}',
                throttle_duration_sec=10.0,
            )
            return
        pose = odom_from_base(message, self._settings.base_frame, self.get_logger())
        if pose is not None:
            self._add_odometry(message.header.stamp, pose, message)

    def _add_odometry(
        self, stamp: Time, pose: FloatArray, message: Odometry | None = None
    ) -> None:
        jump_count, stamp_ns = self._closer.time_jump_count, stamp_to_ns(stamp)
        self._odom_from_base = pose
        self._statistics.odometry_received()
        self._closer.configure(self._closure_config.current)
        closures = self._closer.add_odometry(stamp_ns, pose)
        if self._closer.time_jump_count > jump_count:
            self.get_logger().warning(
                'the stamps of the odometry went back, as when a bag is played again: the graph'
                ' is reset'
            )
            self._reset_outputs()
        self._publish_closures(closures)
        corrected = self._closer.current_pose()
        if corrected is not None and corrected.stamp_ns == stamp_ns:
            self._odometry.publish(self._odometry_message(corrected, message))

    def _reset_outputs(self) -> None:
        self._path_is_new = True  # an empty one
        self._statistics.reset()
        # A late subscriber must not get the correction from before the reset.
        self.destroy_publisher(self._map_from_odom)
        self._map_from_odom = self._create_map_from_odom_publisher()
        if self._broadcaster is not None:
            self._broadcaster.reset()

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        frame, expected = message.header.frame_id, self._settings.map_frame
        if frame != expected:
            self._statistics.count_rejected(f'in the frame {frame} instead of {expected}')
            of_room = frame.startswith(f'{expected}/')
            self.get_logger().warning(
                f'a pose is in the frame {frame}, but map_frame is {expected}: it is ignored;'
                f' {remedies.PLACE_ROOM if of_room else remedies.MAP_FRAME}',
                throttle_duration_sec=10.0,
            )
            return
        stamp_ns, covariance = stamp_to_ns(message.header.stamp), message.pose.covariance
        pose = matrix_from_pose(message.pose.pose)
        self._closer.configure(self._closure_config.current)
        closures = self._closer.add_pose(stamp_ns, pose, np.reshape(covariance, (6, 6)))
        self._publish_closures(closures)

    def _publish_closures(self, closures: list[ClosureResult]) -> None:
        for closure in closures:
            self._statistics.add(closure)
            map_from_odom = self._closer.graph.map_from_odom
            self._closures.publish(
                loop_closure_message(closure, self._settings.map_frame, map_from_odom)
            )
            self._log_closure(closure)
            if closure.accepted:
                self._map_from_odom.publish(self._transform_message(closure.stamp_ns))
                self._path_is_new = True
            if map_from_odom is None:
                continue
            if closure.accepted:
                self._warn_if_tilted(map_from_odom)
            if closure.is_consistent and self._broadcaster is not None:
                base = self._odom_from_base
                self._broadcaster.update(closure.stamp_ns, map_from_odom @ base, base)

    def _log_closure(self, closure: ClosureResult) -> None:
        log = self.get_logger()
        if closure.reason in WARN_REASONS:
            text = f'a pose is rejected: {closure.reason} ({closure.detail})'
            log.warning(text, throttle_duration_sec=10.0)
        if closure.reanchored:
            log.warning(
                'mutually consistent poses replace the earlier ones: the robot is'
                f' {closure.residual_m:.2f} m and {closure.residual_deg:.1f} deg from the path'
            )

    def _warn_if_tilted(self, map_from_odom: FloatArray) -> None:
        tilt_deg = math.degrees(math.acos(np.clip(map_from_odom[2, 2], -1.0, 1.0)))
        if tilt_deg > MAX_TILT_DEG:
            self.get_logger().warning(
                f'map -> {self._settings.odom_frame} is tilted by {tilt_deg:.0f} deg: the poses'
                f' are not those of {self._settings.base_frame}, the frame of the odometry;'
                f' {remedies.POSES_OF_BASE}',
                throttle_duration_sec=10.0,
            )

    def _odometry_message(self, corrected: CorrectedPose, measured: Odometry | None) -> Odometry:
        """Convert the corrected pose, with the twist of the measured odometry."""
        message = Odometry(child_frame_id=self._settings.base_frame)
        message.header = self._header(corrected.stamp_ns)
        message.pose.pose = pose_message(corrected.map_from_base)
        message.pose.covariance = corrected.covariance.ravel()
        if measured is not None:
            message.twist = measured.twist
        return message

    def _transform_message(self, stamp_ns: int) -> TransformStamped:
        map_from_odom = self._closer.graph.map_from_odom
        message = TransformStamped(header=self._header(stamp_ns))
        message.child_frame_id = self._settings.odom_frame
        message.transform = transform_from_matrix(
            np.eye(4) if map_from_odom is None else map_from_odom
        )
        return message

    def _header(self, stamp_ns: int) -> Header:
        return Header(stamp=stamp_from_ns(stamp_ns), frame_id=self._settings.map_frame)

    def _publish_path(self) -> None:
        if not self._path_is_new:
            return
        self._path_is_new = False
        self._path.publish(path_message(self._settings.map_frame, self._closer.graph.path))

    def _publish_diagnostics(self) -> None:
        name = diagnostic_name(self, 'loop closure')
        keyframes = len(self._closer.graph.keyframes)
        status = self._statistics.diagnostic(name, self._closer.waiting_reason, keyframes)
        self._diagnostics.publish(diagnostic_array(self, status))

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._closer.reset()
        self._reset_outputs()
        response.success, response.message = True, 'the graph is reset'
        return response


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(LoopCloserNode, args)
