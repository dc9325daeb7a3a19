"""The loop closer as a node: odometry and the localizer's poses in, the corrected path out."""

from collections.abc import Callable, Sequence
from functools import partial
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
from rclpy.time import Time as AnyTime
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from nerf_reversal_ros.core.config import LoopClosureConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.msg import LoopClosure
from nerf_reversal_ros.odometry.loop_closure import ClosureResult, LoopCloser
from nerf_reversal_ros.odometry.map_from_odom import TfSmoothingConfig
from nerf_reversal_ros.ros.connectivity import (
    CHECK_PERIOD_S,
    RepeatedWarningLog,
    subscription_problem,
)
from nerf_reversal_ros.ros.conversions import (
    matrix_from_pose,
    path_message,
    pose_message,
    transform_from_matrix,
)
from nerf_reversal_ros.ros.loop_closer_diagnostics import LoopCloserDiagnostics
from nerf_reversal_ros.ros.node_config import LoopCloserNodeConfig
from nerf_reversal_ros.ros.node_runner import (
    DONE,
    LATCHED_QOS,
    NO_EVENT_CALLBACKS,
    run_node,
    STEADY_CLOCK,
)
from nerf_reversal_ros.ros.odometry_monitor import odom_from_base, stamp_to_ns
from nerf_reversal_ros.ros.parameters import NodeParameters
from nerf_reversal_ros.ros.tf_io import MapFromOdomBroadcaster, TfOdometry

WARN_REASONS = (LoopClosure.UNUSABLE_POSE, LoopClosure.NO_ODOMETRY, LoopClosure.OUTLIER)
"""Why poses are left aside that somebody should look after."""
MAX_TILT_DEG = 45.0
"""No odometry of a robot is tilted by more against the map."""


class LoopCloserNode(Node):
    """
    Corrects the odometry's drift by the poses of the localizer; see `LoopCloser`.

    Until the first pose of the localizer was accepted, only closures are published. What goes out
    on TF follows the correction smoothly; ``~/map_from_odom`` is the correction itself.
    """

    interrupted_status = DONE

    def __init__(self) -> None:
        super().__init__('loop_closer', automatically_declare_parameters_from_overrides=True)
        self._options = NodeParameters(
            self, LoopCloserNodeConfig, LoopClosureConfig, TfSmoothingConfig
        )
        self._settings = settings = self._options.get(LoopCloserNodeConfig)
        self._closer = LoopCloser(self._options.get(LoopClosureConfig))
        self._path_is_new = False
        self._path = self.create_publisher(Path, '~/path', LATCHED_QOS)
        self._odometry = self.create_publisher(Odometry, '~/odometry', 10)
        self._map_from_odom = self._create_map_from_odom_publisher()
        self._closures = self.create_publisher(LoopClosure, '~/closures', 100)
        self._odom_from_base = np.eye(4)
        self._broadcaster: MapFromOdomBroadcaster | None = None
        if settings.publish_tf:
            smoothing = partial(self._options.get, TfSmoothingConfig)
            frames = settings.map_frame, settings.odom_frame
            self._broadcaster = MapFromOdomBroadcaster(self, *frames, smoothing)
        self._tf_odometry: TfOdometry | None = None
        self._subscription_info: list[tuple[str, type, QoSProfile]] = []
        if settings.odometry_source == 'tf':
            self._tf_odometry = TfOdometry(self, settings, self._add_odometry)
        else:
            qos = QoSProfile(depth=100, reliability=ReliabilityPolicy.BEST_EFFORT)
            if settings.reliability == 'reliable':
                qos.reliability = ReliabilityPolicy.RELIABLE
            self._subscribe(Odometry, 'odom', self._on_odometry, qos)
        kind = PoseWithCovarianceStamped
        self._subscribe(kind, 'nerf_pose_with_covariance', self._on_pose, QoSProfile(depth=100))
        self._warnings, self._statistics = (
            RepeatedWarningLog(self.get_logger()),
            LoopCloserDiagnostics(),
        )
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self.create_timer(1.0, self._publish_diagnostics, clock=STEADY_CLOCK)
        self.create_timer(CHECK_PERIOD_S, self._check_inputs, clock=STEADY_CLOCK)
        self.create_service(Trigger, '~/reset', self._on_reset)
        self.create_timer(
            max(settings.path_period_s, 0.01), self._publish_path, clock=STEADY_CLOCK
        )

    def close(self) -> bool:
        """Leave TF; nothing runs in a thread of its own."""
        for of_tf in (self._tf_odometry, self._broadcaster):
            if of_tf is not None:
                of_tf.close()
        return True

    def _create_map_from_odom_publisher(self) -> Publisher:
        topic, events = '~/map_from_odom', NO_EVENT_CALLBACKS
        return self.create_publisher(TransformStamped, topic, LATCHED_QOS, event_callbacks=events)

    def _subscribe(
        self, kind: type, name: str, callback: Callable[[Any], None], qos: QoSProfile
    ) -> None:
        topic = self.create_subscription(kind, name, callback, qos).topic_name
        self._subscription_info.append((topic, kind, qos))

    def _check_inputs(self) -> None:
        """Tell what keeps odometry and poses away."""
        found = (subscription_problem(self, *one) for one in self._subscription_info)
        self._warnings.update(sentence for sentence in found if sentence)
        if lacking := self._closer.waiting_reason:
            self.get_logger().warning(f'{lacking}: see to its topic and to the clocks')

    def _on_odometry(self, message: Odometry) -> None:
        frame, wanted = message.header.frame_id, self._settings.odom_frame
        if frame and frame != wanted:
            self.get_logger().warning(
                f'the odometry is in the frame {frame}, and odom_frame is {wanted}: it is left out'
                ' until both are the same',
                throttle_duration_sec=10.0,
            )
            return
        pose = odom_from_base(message, self._settings.base_frame, self.get_logger())
        if pose is not None:
            self._add_odometry(message.header.stamp, pose, message)

    def _add_odometry(
        self, stamp: Time, pose: FloatArray, message: Odometry | None = None
    ) -> None:
        jumps, stamp_ns = self._closer.time_jump_count, stamp_to_ns(stamp)
        self._odom_from_base = pose
        self._statistics.odometry_received()
        self._closer.configure(self._options.get(LoopClosureConfig))
        closures = self._closer.add_odometry(stamp_ns, pose)
        if self._closer.time_jump_count > jumps:
            self.get_logger().warning('the time of the odometry jumped back: all begins anew')
            self._reset_outputs()
        self._publish(closures)
        now = self._closer.current_pose()
        if now is None or now.stamp_ns != stamp_ns:
            return
        corrected = Odometry(child_frame_id=self._settings.base_frame)
        corrected.header = self._header(stamp_ns)
        corrected.pose.pose = pose_message(now.map_from_base)
        corrected.pose.covariance = now.covariance.ravel()
        if message is not None:
            corrected.twist = message.twist
        self._odometry.publish(corrected)

    def _reset_outputs(self) -> None:
        self._path_is_new = True  # an empty one
        self._statistics.reset()
        # Who comes late is not to get what was corrected before.
        self.destroy_publisher(self._map_from_odom)
        self._map_from_odom = self._create_map_from_odom_publisher()
        if self._broadcaster is not None:
            self._broadcaster.reset()

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        frame, wanted = message.header.frame_id, self._settings.map_frame
        if frame != wanted:
            self._statistics.count_rejected(f'in the frame {frame} instead of {wanted}')
            self.get_logger().warning(
                f'a pose is in the frame {frame}, and map_frame is {wanted}: it is left out until'
                ' both are the same',
                throttle_duration_sec=10.0,
            )
            return
        stamp_ns, covariance = stamp_to_ns(message.header.stamp), message.pose.covariance
        pose = matrix_from_pose(message.pose.pose)
        self._closer.configure(self._options.get(LoopClosureConfig))
        self._publish(self._closer.add_pose(stamp_ns, pose, np.reshape(covariance, (6, 6))))

    def _publish(self, closures: list[ClosureResult]) -> None:
        log = self.get_logger()
        for closure in closures:
            self._statistics.add(closure)
            self._closures.publish(self._closure_message(closure))
            if closure.reason in WARN_REASONS:
                sentence = f'a pose is left aside: {closure.reason} ({closure.detail})'
                log.warning(sentence, throttle_duration_sec=10.0)
            if closure.reanchored:
                log.warning(
                    'poses that agree with each other replace those before: the robot is'
                    f' {closure.residual_m:.2f} m and {closure.residual_deg:.1f} deg from where'
                    ' it was taken to be'
                )
            if closure.accepted:
                self._map_from_odom.publish(self._transform_message(closure.stamp_ns))
                self._path_is_new = True
            known = self._closer.graph.map_from_odom
            if closure.accepted and known is not None:
                self._warn_if_tilted(known)
            if closure.is_consistent and known is not None and self._broadcaster is not None:
                base = self._odom_from_base
                self._broadcaster.update(closure.stamp_ns, known @ base, base)

    def _warn_if_tilted(self, map_from_odom: FloatArray) -> None:
        tilt_deg = math.degrees(math.acos(np.clip(map_from_odom[2, 2], -1.0, 1.0)))
        if tilt_deg > MAX_TILT_DEG:
            self.get_logger().warning(
                f'map -> {self._settings.odom_frame} is tilted by {tilt_deg:.0f} deg: the poses'
                f' are not of {self._settings.base_frame}, whose odometry comes; set base_frame'
                ' and mounting in the localizer',
                throttle_duration_sec=10.0,
            )

    def _closure_message(self, closure: ClosureResult) -> LoopClosure:
        told = closure._asdict()
        message = LoopClosure(header=self._header(told.pop('stamp_ns')))
        message.keyframe_stamp = AnyTime(nanoseconds=told.pop('keyframe_ns')).to_msg()
        for name, value in told.items():
            setattr(message, name, value)
        message.map_from_odom = self._transform_message(closure.stamp_ns).transform
        return message

    def _transform_message(self, stamp_ns: int) -> TransformStamped:
        known = self._closer.graph.map_from_odom
        message = TransformStamped(header=self._header(stamp_ns))
        message.child_frame_id = self._settings.odom_frame
        message.transform = transform_from_matrix(np.eye(4) if known is None else known)
        return message

    def _publish_path(self) -> None:
        if not self._path_is_new:
            return
        self._path_is_new = False
        self._path.publish(path_message(self._settings.map_frame, self._closer.graph.path))

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        name = f'{self.get_fully_qualified_name().lstrip("/")}: loop closure'
        keyframes = len(self._closer.graph.keyframes)
        told = self._statistics.diagnostic(name, self._closer.waiting_reason, keyframes)
        message.status = [told]
        self._diagnostics.publish(message)

    def _header(self, stamp_ns: int) -> Header:
        stamp = AnyTime(nanoseconds=stamp_ns).to_msg()
        return Header(stamp=stamp, frame_id=self._settings.map_frame)

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._closer.reset()
        self._reset_outputs()
        response.success, response.message = True, 'all poses are forgotten'
        return response


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(LoopCloserNode, args)
