"""From a picture message to everything that is published about it."""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
import threading
from typing import Any, Protocol

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
import numpy as np
from numpy.typing import NDArray
from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header

from nerf_reversal_ros.bags.camera_model import camera_model_from_info
from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf, transform_outcome
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.conversions import camera_to_base_pose, pose_messages
from nerf_reversal_ros.ros.localizer_diagnostics import status_message
from nerf_reversal_ros.ros.node_config import LocalizerNodeConfig
from nerf_reversal_ros.ros.node_runner import printable_traceback
from nerf_reversal_ros.ros.odometry_monitor import OdometryMonitor
from nerf_reversal_ros.ros.robot_frames import RobotFrames
from nerf_reversal_ros.ros.tf_io import TransformUnavailableError


class LocalizerProtocol(Protocol):
    """What the node asks of a localizer."""

    config: LocalizerConfig
    """Set before each picture."""

    @property
    def device(self) -> str:
        """Where it computes, ``cpu`` or ``cuda``."""

    def to(self, device: str) -> None:
        """Compute there from now on, and take no memory elsewhere."""

    def localize(self, rgb: NDArray[np.uint8], camera: Camera) -> Outcome:
        """Localize one picture, uint8 RGB (H, W, 3)."""


@dataclass(frozen=True)
class PoseMessages:
    """Where the camera is, or the base where its mounting is known."""

    pose: PoseStamped
    pose_with_covariance: PoseWithCovarianceStamped
    sensor_pose: PoseWithCovarianceStamped
    """Of the camera, in the map, with the frame of the camera in its header: rtabmap's way."""
    map_from_frame: NDArray[np.float64]
    """The same, (4, 4)."""


@dataclass(frozen=True)
class ProcessedImage:
    """A picture that reached the localizer, and what came of it."""

    rgb: NDArray[np.uint8]
    """(H, W, 3), without distortion."""
    camera: Camera
    outcome: Outcome


@dataclass(frozen=True)
class LocalizationResult:
    """What is published about one picture: poses only if it was localized."""

    status: LocalizerStatus
    poses: PoseMessages | None = None
    image: ProcessedImage | None = None


class ImageLocalizer:
    """
    Localizes pictures, one at a time, whichever threads they come from.

    Parameters
    ----------
    localizer : PictureLocalizer
        Used until it is exchanged.
    config : callable
        Returns the present settings of the localizer.
    frames : Frames
        Knows where the camera is mounted.
    settings : LocalizerNodeConfig
        What frames are called, where the map lies, and whether pictures are rectified.
    log : RcutilsLogger
        Of the node.
    """

    def __init__(
        self,
        localizer: LocalizerProtocol,
        config: Callable[[], LocalizerConfig],
        frames: RobotFrames,
        settings: LocalizerNodeConfig,
        log: RcutilsLogger,
    ) -> None:
        self._localizer = localizer
        self._config = config
        self._frames = frames
        self._settings = settings
        self._log = log
        self.lock = threading.RLock()
        """Held while a picture is in work; who publishes its answer holds it until then."""
        self._device = config().device
        placement = settings.map_from_nerf
        self._map_from_nerf = parse_map_from_nerf(placement) if placement else None
        self._deferred: list[tuple[Callable[[], None], Future[None]]] = []

    def swap_localizer(
        self, localizer: LocalizerProtocol, reset_tracking: Callable[[], None]
    ) -> None:
        """
        Use another localizer from the next picture on; return when that in work is answered.

        ``reset_tracking`` is called in between, so that no picture is judged by what was before.
        """

        def change() -> None:
            localizer.to(self._device)
            self._localizer = localizer
            reset_tracking()

        changed = self._defer(change)
        while not changed.done():  # pictures that follow each other may keep the turn
            self._try_run_deferred(0.1)
        changed.result()

    @property
    def device(self) -> str:
        """Where pictures are localized at present."""
        return self._localizer.device

    def to(self, device: str) -> None:
        """
        Localize there from now on; if a picture has been in work for a second, after it.

        Raises
        ------
        ConfigError, RuntimeError
            If the device is not there, or has no memory left.
        """
        self._device = device
        moved = self._defer(lambda: self._localizer.to(device))
        self._try_run_deferred(1.0)
        if moved.done():
            moved.result()
        else:
            moved.add_done_callback(self._log_failure)

    def run_deferred(self) -> None:
        """Make the changes that waited for the end of a picture; who calls it has the turn."""
        while self._deferred:
            change, made = self._deferred.pop(0)
            try:
                change()
            except Exception as error:  # of the one who asked for it
                made.set_exception(error)
            else:
                made.set_result(None)

    def _log_failure(self, made: 'Future[None]') -> None:
        """Log what nobody waits for any more."""
        if (error := made.exception()) is not None:
            self._log.error(f'the localizer could not change its device: {error!r}')

    def _defer(self, change: Callable[[], None]) -> 'Future[None]':
        made: Future[None] = Future()
        self._deferred.append((change, made))
        return made

    def _try_run_deferred(self, timeout_s: float) -> None:
        if self.lock.acquire(timeout=timeout_s):
            try:
                self.run_deferred()
            finally:
                self.lock.release()

    def process(
        self, image: Any, info: CameraInfo | None, odometry_monitor: OdometryMonitor | None = None
    ) -> LocalizationResult:
        """
        Localize an Image or CompressedImage; what is wrong with it is in the status.

        An odometer is asked about pictures that the robot took one after the other.
        """
        if info is None:
            detail = 'publish the CameraInfo of the pictures on the camera_info topic'
            return rejected_result(image.header, LocalizerStatus.NO_CAMERA_INFO, detail)
        try:
            return self._localize_message(image, info, odometry_monitor)
        except ImageError as error:
            return rejected_result(image.header, LocalizerStatus.INVALID_IMAGE, str(error))
        except TransformUnavailableError as error:
            return rejected_result(image.header, LocalizerStatus.NO_MOUNTING, str(error))
        except Exception as error:  # a defect must not end the node, nor be hidden
            self._log.error(printable_traceback(), throttle_duration_sec=10.0)
            return rejected_result(image.header, LocalizerStatus.INTERNAL_ERROR, repr(error))

    def _localize_message(
        self, picture: Any, info: CameraInfo, odometer: OdometryMonitor | None
    ) -> LocalizationResult:
        rgb = rgb_from_message(picture)
        lens = camera_model_from_info(
            info, rgb.shape[1], rgb.shape[0], rectified=self._settings.rectified
        )
        with self.lock:
            self.run_deferred()
            localizer = self._localizer
            localizer.config = self._config()
            rgb = lens.undistort_rgb(rgb)
            outcome = localizer.localize(rgb, lens.camera)
        if self._map_from_nerf is not None:
            outcome = transform_outcome(outcome, self._map_from_nerf)
        base_from_camera = self._frames.base_from_camera(picture.header)
        if odometer is not None and base_from_camera is not None:
            outcome = odometer.check(outcome, picture.header.stamp, base_from_camera)
        status, seen = (
            status_message(picture.header, outcome),
            ProcessedImage(rgb, lens.camera, outcome),
        )
        if not isinstance(outcome, PoseEstimate):
            return LocalizationResult(status, None, seen)
        map_from_frame, covariance = outcome.map_from_camera, outcome.covariance
        sensor = Header(stamp=picture.header.stamp)
        sensor.frame_id = self._settings.camera_frame or picture.header.frame_id
        _, of_sensor = pose_messages(sensor, map_from_frame, covariance)
        if base_from_camera is not None:
            map_from_frame, covariance = camera_to_base_pose(
                map_from_frame, covariance, base_from_camera
            )
        header = Header(stamp=picture.header.stamp, frame_id=self._settings.map_frame)
        messages = pose_messages(header, map_from_frame, covariance)
        return LocalizationResult(status, PoseMessages(*messages, of_sensor, map_from_frame), seen)


def rejected_result(header: Header, reason: str, detail: str) -> LocalizationResult:
    """Return the answer to a picture that did not reach the localizer."""
    return LocalizationResult(LocalizerStatus(header=header, reason=reason, detail=detail))
