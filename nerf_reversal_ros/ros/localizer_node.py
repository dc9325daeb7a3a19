"""Localizer as a lifecycle node: images in; poses with covariance or rejections out."""

from collections.abc import Sequence
import gc
from pathlib import Path
import threading

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.callback_groups import MutuallyExclusiveCallbackGroup
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.localization.camera_advice import CameraAdvice
from nerf_reversal_ros.odometry.config import OdometryConfig
from nerf_reversal_ros.odometry.map_from_odom import TfSmoothingConfig
from nerf_reversal_ros.ros.connectivity import RepeatedWarningLog
from nerf_reversal_ros.ros.image_localizer import (
    close_rooms,
    ImageLocalizer,
    LocalizationResult,
    LocalizerProtocol,
)
from nerf_reversal_ros.ros.input_subscriptions import InputSubscriptions
from nerf_reversal_ros.ros.lifecycle import (
    reject_invalid_transitions,
    release_state_machine,
    report_failures,
    set_transition_group,
)
from nerf_reversal_ros.ros.lifecycle_bond import LifecycleBond
from nerf_reversal_ros.ros.localizer_diagnostics import (
    diagnostic_array,
    diagnostic_name,
    LocalizerDiagnostics,
    NodeSnapshot,
)
from nerf_reversal_ros.ros.map_display import MapDisplayData
from nerf_reversal_ros.ros.map_loading import load_map, make_localizer, MakeLocalizer
from nerf_reversal_ros.ros.node_config import LocalizerNodeConfig, ProcessingLimits
from nerf_reversal_ros.ros.node_runner import (
    call_once,
    DONE,
    printable_traceback,
    run_node,
    STEADY_CLOCK,
)
from nerf_reversal_ros.ros.odometry_monitor import OdometryMonitor
from nerf_reversal_ros.ros.parameters import NodeParameters
from nerf_reversal_ros.ros.result_publisher import ResultPublisher
from nerf_reversal_ros.ros.robot_frames import RobotFrames
from nerf_reversal_ros.ros.services import LocalizerServices
from nerf_reversal_ros.ros.visualization import Visualizer


class LocalizerNode(LifecycleNode):
    """
    Localizes the newest image and publishes the outcome.

    Configure loads the map, activate subscribes and publishes, deactivate stops both, cleanup
    releases the map.

    Parameters
    ----------
    make : callable
        Makes a localizer, and the data to display, from the folder of a map or a building.
    """

    interrupted_status = DONE

    def __init__(self, make: MakeLocalizer = make_localizer) -> None:
        super().__init__(
            'localizer',
            automatically_declare_parameters_from_overrides=True,
            allow_undeclared_parameters=True,  # NodeParameters rejects them with a suggestion
        )
        reject_invalid_transitions(self)
        transition_group = MutuallyExclusiveCallbackGroup()
        set_transition_group(transition_group, self)
        self.transition_failure = ''
        """Error of the last transition, set by `report_failures`."""
        self._make = make
        self._state = 'unconfigured'
        self._node_parameters = NodeParameters(
            self,
            LocalizerNodeConfig,
            ProcessingLimits,
            LocalizerConfig,
            OdometryConfig,
            TfSmoothingConfig,
            allow_read_only=lambda: self._state == 'unconfigured',
        )
        self._localizer_config = self._node_parameters.live(LocalizerConfig)
        self._limits = self._node_parameters.live(ProcessingLimits)
        self._map_display: MapDisplayData | None = None
        self._display_lock = threading.Lock()
        self._frames: RobotFrames | None = None
        self.image_localizer: ImageLocalizer | None = None
        self.inputs: InputSubscriptions | None = None
        self._last_inputs: InputSubscriptions | None = None
        self._input_warnings = RepeatedWarningLog(self.get_logger())
        self._statistics = LocalizerDiagnostics()
        self._camera_advice = CameraAdvice()
        self._results = ResultPublisher(self.create_lifecycle_publisher, self.get_logger())
        self._visualizer = Visualizer(self, self.create_lifecycle_publisher)
        self._diagnostics = self.create_publisher(DiagnosticArray, '/diagnostics', 10)
        self._localizer_services = LocalizerServices(self, self)
        self._bond = LifecycleBond(self)
        timer_group = MutuallyExclusiveCallbackGroup()
        self.create_timer(1.0, self._publish_diagnostics, timer_group, STEADY_CLOCK)
        if self._settings.autostart:
            call_once(self, self._start, transition_group)
        else:
            self.get_logger().info(f'waiting to be configured (or {remedies.AUTOSTART})')

    @report_failures
    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the map; an error of the user leaves the node unconfigured."""
        with self._node_parameters.lock:  # read-only parameters are fixed from now on
            self._state = 'configuring'
        settings = self._settings
        try:
            if not settings.map_dir:
                raise ConfigError(
                    'map_dir is not set: set it to a folder written by the builder or a survey'
                )
            self._frames = RobotFrames(
                self, settings, self._node_parameters.live(TfSmoothingConfig)
            )
            self.image_localizer = self._make_image_localizer(settings, self._frames)
        except Exception:
            self._release_map('unconfigured')
            raise
        self._state = 'inactive'
        return super().on_configure(state)

    @report_failures
    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Subscribe and publish."""
        assert self.image_localizer is not None
        assert self._frames is not None
        self.image_localizer.to(self._localizer_config.current.device)
        self._statistics.reset()
        activated = super().on_activate(state)  # the publishers, before the first result
        self._frames.start()
        self._state = 'active'
        self.inputs = self._last_inputs = InputSubscriptions(
            self,
            self._settings,
            self._limits,
            self.image_localizer,
            self,
            self._make_odometry_monitor(),
        )
        self.get_logger().info(f'localizing the images of {self.inputs.topic}')
        self._publish_map()
        self._bond.start()
        return activated

    @report_failures
    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Unsubscribe and stop publishing; the map stays loaded, but leaves the GPU."""
        self.close()
        self._state = 'inactive'
        if self.image_localizer is not None:
            self.image_localizer.to('cpu')
        return super().on_deactivate(state)

    @report_failures
    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Release the map."""
        self._release_map('unconfigured')
        return super().on_cleanup(state)

    @report_failures
    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Stop for good, from any state."""
        self._release_map('finalized')
        return super().on_shutdown(state)

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Return to unconfigured after an error in a transition."""
        self._release_map('unconfigured')
        return super().on_error(state)

    def close(self) -> bool:
        """Break the bond, unsubscribe and stop TF; return whether no thread is busy any more."""
        self._bond.stop()
        self.inputs = None
        ended = self._last_inputs is None or self._last_inputs.close()
        if (frames := self._frames) is not None:
            frames.stop()
        return ended

    def destroy_node(self) -> None:
        """Leave the graph."""
        super().destroy_node()
        release_state_machine(self)

    def load(self, map_dir: Path) -> None:
        """Load another map and use it from the next image on; an error keeps the current one."""
        image_localizer, settings = self.image_localizer, self._settings
        if settings.map_from_nerf and map_dir.resolve() != Path(settings.map_dir).resolve():
            raise ConfigError(
                f'map_from_nerf is set for the map {settings.map_dir} and does not hold for'
                f' another one: {remedies.PLACE_ANOTHER_MAP}'
            )
        localizer, map_display = self._load_map(map_dir)
        try:
            if image_localizer is not None and self.image_localizer is image_localizer:
                image_localizer.swap_localizer(localizer, self.reset)
            if image_localizer is None or self.image_localizer is not image_localizer:
                raise ConfigError(
                    'the localizer was cleaned up while the map was loaded: configure it, then'
                    ' load the map again'
                )
        except Exception:
            close_rooms(localizer)
            raise
        self._node_parameters.set_internal('map_dir', str(map_dir))  # for the next configuration
        self._map_display = map_display
        self._publish_map()

    def reset(self) -> None:
        """Drop the waiting image, all counts, and the poses that odometry is compared with."""
        if (inputs := self.inputs) is not None:
            inputs.reset()
        self._statistics.reset()
        self._camera_advice = CameraAdvice()
        self.reset_tracking()

    def reset_tracking(self) -> None:
        """Treat the next pose as the first one, in the path and in map -> odom."""
        self._visualizer.reset()
        if (frames := self._frames) is not None:
            frames.reset()

    def publish(self, result: LocalizationResult) -> None:
        """Publish the result of one image: poses and TF, then the status, then the displays."""
        self._statistics.add(result.status)
        if (image := result.image) is not None:
            self._camera_advice.add(image.outcome, image.camera)
            if advice := self._camera_advice.announce():
                self.get_logger().warning(advice)
        if result.poses is not None:
            self._results.publish_poses(result.poses)
            if (frames := self._frames) is not None:
                frames.broadcast(result.poses.pose.header, result.poses.map_from_frame)
        self._results.publish_status(result.status)
        self._visualizer.publish_result(result)

    @property
    def _settings(self) -> LocalizerNodeConfig:
        return self._node_parameters.get(LocalizerNodeConfig)

    def _start(self) -> None:
        success = TransitionCallbackReturn.SUCCESS
        if self.trigger_configure() != success or self.trigger_activate() != success:
            raise ConfigError('autostart failed: see the error above')

    def _make_odometry_monitor(self) -> OdometryMonitor | None:
        if not self._settings.use_odometry:
            return None
        config = self._node_parameters.live(OdometryConfig)
        return OdometryMonitor(self._settings.base_frame, config, self.get_logger())

    def _make_image_localizer(
        self, settings: LocalizerNodeConfig, frames: RobotFrames
    ) -> ImageLocalizer:
        localizer, self._map_display = self._load_map(Path(settings.map_dir))
        config, limits, log = self._localizer_config, self._limits, self.get_logger()
        try:
            return ImageLocalizer(localizer, config, limits, frames, settings, log)
        except Exception:
            close_rooms(localizer)
            raise

    def _load_map(self, map_dir: Path) -> tuple[LocalizerProtocol, MapDisplayData]:
        placement, log = self._settings.map_from_nerf, self.get_logger()
        return load_map(self._make, map_dir, self._localizer_config.current, placement, log)

    def _release_map(self, state: str) -> None:
        self.close()
        self._state = state
        image_localizer, self.image_localizer = self.image_localizer, None
        self._map_display = None
        with self._display_lock:  # ~/load_map may be about to publish a map
            self._visualizer.clear_map()
        frames, self._frames = self._frames, None
        if frames is not None:
            frames.close()
        if image_localizer is not None:
            try:
                image_localizer.to('cpu')
            except Exception:  # a GPU that fails must not keep the node from its end
                self.get_logger().error(printable_traceback())
            image_localizer.close()
        del image_localizer
        gc.collect()  # a map is large, and parts of it are in reference cycles

    def _publish_map(self) -> None:
        settings = self._settings
        with self._display_lock:
            if (map_display := self._map_display) is not None and self.inputs is not None:
                self._visualizer.publish_map(
                    map_display, settings.map_dir, settings.map_frame, settings.path_poses
                )

    def _publish_diagnostics(self) -> None:
        name = diagnostic_name(self, 'localization')
        status = self._statistics.diagnostic(name, self._snapshot())
        self._diagnostics.publish(diagnostic_array(self, status))

    def _snapshot(self) -> NodeSnapshot:
        snapshot = NodeSnapshot(
            self._state,
            self._settings.map_dir,
            failure=self.transition_failure,
            camera_advice=self._camera_advice.sentence,
        )
        if (image_localizer := self.image_localizer) is not None:
            rooms = image_localizer.rooms
            snapshot = snapshot._replace(
                device=image_localizer.device, rooms=rooms.describe() if rooms else {}
            )
        if (map_display := self._map_display) is not None:
            warnings = '; '.join(map_display.manifest.get('warnings', ()))
            snapshot = snapshot._replace(map_warnings=warnings)
        if (inputs := self.inputs) is not None:
            worker, problems = inputs.image_worker, inputs.input_problems()
            self._input_warnings.update(problems)
            snapshot = snapshot._replace(
                received=worker.received,
                dropped=worker.dropped,
                queue_depth=worker.queue_depth,
                input_problem='; '.join(problems),
            )
        return snapshot


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(LocalizerNode, args)
