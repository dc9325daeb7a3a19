"""The localizer as a lifecycle node: pictures in, poses or silence with a reason out."""

from collections.abc import Callable, Sequence
from functools import partial, wraps
import gc
from pathlib import Path
import threading

from diagnostic_msgs.msg import DiagnosticArray
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from nerf_reversal_ros.core.config import LocalizerConfig, OdometryConfig
from nerf_reversal_ros.core.errors import ConfigError, NerfReversalError
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.odometry.map_from_odom import TfSmoothingConfig
from nerf_reversal_ros.ros.connectivity import RepeatedWarningLog
from nerf_reversal_ros.ros.image_localizer import (
    ImageLocalizer,
    LocalizationResult,
    LocalizerProtocol,
)
from nerf_reversal_ros.ros.input_subscriptions import InputSubscriptions
from nerf_reversal_ros.ros.lifecycle import reject_invalid_transitions, set_transition_group
from nerf_reversal_ros.ros.localizer_diagnostics import LocalizerDiagnostics, NodeSnapshot
from nerf_reversal_ros.ros.node_config import LocalizerNodeConfig
from nerf_reversal_ros.ros.node_runner import (
    call_once,
    DONE,
    LAST_TEN_QOS,
    printable_traceback,
    run_node,
    STEADY_CLOCK,
)
from nerf_reversal_ros.ros.odometry_monitor import OdometryMonitor
from nerf_reversal_ros.ros.parameters import NodeParameters
from nerf_reversal_ros.ros.robot_frames import RobotFrames
from nerf_reversal_ros.ros.services import LocalizerServices
from nerf_reversal_ros.ros.visualization import MapDisplayData, Visualizer

Transition = Callable[['LocalizerNode', LifecycleState], TransitionCallbackReturn]
MakeLocalizer = Callable[[Path, LocalizerConfig], tuple[LocalizerProtocol, MapDisplayData]]


def make_localizer(
    map_dir: Path, config: LocalizerConfig
) -> tuple[LocalizerProtocol, MapDisplayData]:
    """Open a map, make its localizer and warm it up; imports the heavy libraries."""
    import numpy as np

    from nerf_reversal_ros.localization.localizer import open_localizer
    from nerf_reversal_ros.maps.map_folder import open_map

    map_ = open_map(map_dir)
    localizer = open_localizer(map_, config)
    noise = np.random.default_rng(0).integers(256, size=(map_.camera.height, map_.camera.width, 3))
    localizer.localize(noise.astype(np.uint8), map_.camera)  # the first picture takes longest
    return localizer, MapDisplayData(map_.manifest, map_.mapping_poses, localizer.surface)


def _report_failures(transition: Transition) -> Transition:
    """Let a transition that fails say why, in the log and in /diagnostics; rclpy swallows it."""

    @wraps(transition)
    def telling(node: 'LocalizerNode', state: LifecycleState) -> TransitionCallbackReturn:
        try:
            result = transition(node, state)
        except NerfReversalError as error:
            node.get_logger().error(str(error))
            node._failure = str(error)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            node.get_logger().error(printable_traceback())
            node._failure = repr(error)
            return TransitionCallbackReturn.ERROR
        node._failure = ''
        return result

    return telling


class LocalizerNode(LifecycleNode):
    """
    Localizes the newest picture and publishes the outcome.

    Configure loads the map, activate subscribes and publishes, deactivate stops, cleanup frees
    the map. The heavy part is made by ``make`` from the map folder and the settings.
    """

    interrupted_status = DONE

    def __init__(self, make: MakeLocalizer = make_localizer) -> None:
        super().__init__(
            'localizer',
            automatically_declare_parameters_from_overrides=True,
            allow_undeclared_parameters=True,  # for Parameters to refuse them with a suggestion
        )
        reject_invalid_transitions(self)
        changing = MutuallyExclusiveCallbackGroup()
        set_transition_group(changing, self)
        self._make = make
        self._state, self._failure = 'unconfigured', ''
        self._warnings = RepeatedWarningLog(self.get_logger())
        self._options = NodeParameters(
            self,
            LocalizerNodeConfig,
            LocalizerConfig,
            OdometryConfig,
            TfSmoothingConfig,
            allow_read_only=lambda: self._state == 'unconfigured',
        )
        self._map_display: MapDisplayData | None = None
        self._display_lock = threading.Lock()
        self._frames: RobotFrames | None = None
        self.image_localizer: ImageLocalizer | None = None
        self.inputs: InputSubscriptions | None = None
        self._closing_inputs: InputSubscriptions | None = (
            None  # the last one, whose thread may still be busy
        )
        self._statistics = LocalizerDiagnostics()

        publisher = self.create_lifecycle_publisher
        self._pose = publisher(PoseStamped, 'nerf_pose', 10)
        self._pose_with_covariance = publisher(
            PoseWithCovarianceStamped, 'nerf_pose_with_covariance', 10
        )
        self._sensor_pose = publisher(PoseWithCovarianceStamped, '~/sensor_pose', 10)
        self._status = publisher(LocalizerStatus, '~/status', LAST_TEN_QOS)
        self._visualizer = Visualizer(self, publisher)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)

        # Transitions, services and pictures do not wait for each other.
        self._fast_group = MutuallyExclusiveCallbackGroup()
        self._localizer_services = LocalizerServices(self, self)
        self.create_timer(1.0, self._publish_diagnostics, self._fast_group, STEADY_CLOCK)
        if self._settings.autostart:
            call_once(self, self._start, changing)
        else:
            self.get_logger().info('waits to be configured (or start it with autostart:=true)')

    @_report_failures
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the map; a user's error leaves the node unconfigured."""
        with self._options.lock:  # what is read-only stays so from here on
            self._state = 'configuring'
        try:
            if not self._settings.map_dir:
                raise ConfigError('map_dir is not set: give the folder written by the builder')
            smoothing = partial(self._options.get, TfSmoothingConfig)
            self._frames = frames = RobotFrames(self, self._settings, smoothing)
            localizer, self._map_display = self._load_map(Path(self._settings.map_dir))
        except Exception:
            self._release_map('unconfigured')
            raise
        log = self.get_logger()
        self.image_localizer = ImageLocalizer(localizer, self._config, frames, self._settings, log)
        self._state = 'inactive'
        return super().on_configure(state)

    @_report_failures
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and publish."""
        assert self.image_localizer is not None
        assert self._frames is not None
        self.image_localizer.to(self._config().device)
        self._statistics.reset()
        odometer = None
        if self._settings.use_odometry:
            odometry = partial(self._options.get, OdometryConfig)
            odometer = OdometryMonitor(self._settings.base_frame, odometry, self.get_logger())
        activated = super().on_activate(state)  # the publishers, before there is what to publish
        self._frames.start()
        self._state = 'active'
        self.inputs = self._closing_inputs = InputSubscriptions(
            self,
            self._settings,
            self.image_localizer,
            self._publish,
            self._fast_group,
            odometer,
            self._reset_tracking,
            lambda: self._settings.max_rate_hz,
        )
        self.get_logger().info(f'localizes the pictures of {self.inputs.topic}')
        self._publish_map()
        return activated

    @_report_failures
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop subscribing and publishing; the map stays loaded, but leaves the GPU."""
        self.close()
        self._state = 'inactive'
        if self.image_localizer is not None:
            self.image_localizer.to('cpu')
        return super().on_deactivate(state)

    @_report_failures
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the map."""
        self._release_map('unconfigured')
        return super().on_cleanup(state)

    @_report_failures
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good, from whatever state."""
        self._release_map('finalized')
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured after a transition went wrong."""
        self._release_map('unconfigured')
        return super().on_error(state)

    def close(self) -> bool:
        """End the work on pictures; tell whether no thread is busy any more."""
        self.inputs = None
        ended = self._closing_inputs is None or self._closing_inputs.close()
        if (frames := self._frames) is not None:
            frames.stop()
        return ended

    def load(self, map_dir: Path) -> None:
        """Use another map from now on; an error leaves the present one."""
        answering, settings = self.image_localizer, self._settings
        if settings.map_from_nerf and map_dir.resolve() != Path(settings.map_dir).resolve():
            raise ConfigError(
                f'map_from_nerf is set for the map {settings.map_dir}, and each map lies'
                ' elsewhere: clean up, set it and map_dir, and configure'
            )
        localizer, shown = self._load_map(map_dir)
        if answering is not None and self.image_localizer is answering:
            answering.swap_localizer(localizer, self.reset)
        if answering is None or self.image_localizer is not answering:
            raise ConfigError('the localizer was cleaned up meanwhile: configure it, then load')
        self._options.set_internal(
            'map_dir', str(map_dir)
        )  # for the next time that it is configured
        self._map_display = shown
        self._publish_map()

    def reset(self) -> None:
        """Forget the waiting picture, all counts, and what the odometry is compared with."""
        if (watching := self.inputs) is not None:
            watching.reset()
        self._statistics.reset()
        self._reset_tracking()

    def _reset_tracking(self) -> None:
        """Take the next pose as the first one."""
        self._visualizer.reset()
        if (frames := self._frames) is not None:
            frames.reset()

    def _publish_map(self) -> None:
        told = self._settings
        with self._display_lock:
            if (shown := self._map_display) is not None and self.inputs is not None:
                self._visualizer.publish_map(shown, told.map_dir, told.map_frame, told.path_poses)

    @property
    def _settings(self) -> LocalizerNodeConfig:
        return self._options.get(LocalizerNodeConfig)

    def _config(self) -> LocalizerConfig:
        return self._options.get(LocalizerConfig)

    def _load_map(self, map_dir: Path) -> tuple[LocalizerProtocol, MapDisplayData]:
        localizer, shown = self._make(map_dir, self._config())
        self.get_logger().info(f'loaded the map {map_dir}')
        for told in shown.manifest.get('warnings', ()):
            self.get_logger().warning(f'map {map_dir}: {told}')
        if placement := self._settings.map_from_nerf:
            shown = shown.transform(parse_map_from_nerf(placement))
        return localizer, shown

    def _release_map(self, state: str) -> None:
        self.close()
        self._state = state
        answering, self.image_localizer, self._map_display = self.image_localizer, None, None
        with self._display_lock:  # `~/load_map` may be about to
            self._visualizer.clear_map()
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.close()
        if answering is not None:
            try:
                answering.to('cpu')
            except Exception:  # a GPU that fails must not keep the node from its end
                self.get_logger().error(printable_traceback())
        del answering
        gc.collect()  # a map is much, and some of it is in cycles

    def _start(self) -> None:
        done = TransitionCallbackReturn.SUCCESS
        if self.trigger_configure() != done or self.trigger_activate() != done:
            raise ConfigError('cannot start by itself, for the reason above')

    def _publish(self, answer: LocalizationResult) -> None:
        status, log = answer.status, self.get_logger()
        self._statistics.add(status)
        if answer.poses is not None:
            self._pose.publish(answer.poses.pose)
            self._pose_with_covariance.publish(answer.poses.pose_with_covariance)
            self._sensor_pose.publish(answer.poses.sensor_pose)
            if (frames := self._frames) is not None:
                frames.broadcast(answer.poses.pose.header, answer.poses.map_from_frame)
        elif status.reason == LocalizerStatus.INVALID_IMAGE:
            log.error(status.detail, throttle_duration_sec=10.0)
        else:
            text = f'not localized: {status.reason} ({status.detail})'
            log.info(text, throttle_duration_sec=1.0)
        self._status.publish(status)
        self._visualizer.publish_result(answer)

    def _publish_diagnostics(self) -> None:
        message = DiagnosticArray()
        message.header.stamp = self.get_clock().now().to_msg()
        present = NodeSnapshot(self._state, self._settings.map_dir, failure=self._failure)
        if (answering := self.image_localizer) is not None:
            present = present._replace(device=answering.device)
        if (shown := self._map_display) is not None:
            warnings = '; '.join(shown.manifest.get('warnings', ()))
            present = present._replace(map_warnings=warnings)
        if (watching := self.inputs) is not None:
            pictures, obstacles = watching.image_worker, watching.input_problems()
            self._warnings.update(obstacles)
            present = present._replace(
                received=pictures.received,
                dropped=pictures.dropped,
                queue_depth=pictures.queue_depth,
                input_problem='; '.join(obstacles),
            )
        name = f'{self.get_fully_qualified_name().lstrip("/")}: localization'
        message.status = [self._statistics.diagnostic(name, present)]
        self._diagnostics.publish(message)


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(LocalizerNode, args)
