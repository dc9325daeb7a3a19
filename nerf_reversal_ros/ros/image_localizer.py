"""Localize image messages: decode, undistort, localize, transform, convert to pose messages."""

from collections.abc import Callable
from concurrent.futures import Future, wait
from dataclasses import dataclass
from typing import Protocol

from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
import numpy as np
from numpy.typing import NDArray
from rclpy.impl.rcutils_logger import RcutilsLogger
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from nerf_reversal_ros.bags.camera_info_file import read_camera_info_file
from nerf_reversal_ros.bags.camera_model import camera_model_from_info
from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import ImageError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, RejectionReason
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf, transform_outcome
from nerf_reversal_ros.localization.tracking import PoseTracker
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.camera_info_buffer import CameraInfoMatch, MAX_FRAMES
from nerf_reversal_ros.ros.conversions import (
    camera_to_base_pose,
    pose_frame,
    pose_messages,
    stamp_to_ns,
    status_message,
)
from nerf_reversal_ros.ros.exclusive_jobs import ExclusiveJobs
from nerf_reversal_ros.ros.live_config import Live
from nerf_reversal_ros.ros.node_config import LocalizerNodeConfig, ProcessingLimits
from nerf_reversal_ros.ros.node_runner import printable_traceback
from nerf_reversal_ros.ros.odometry_monitor import OdometryMonitor
from nerf_reversal_ros.ros.robot_frames import RobotFrames
from nerf_reversal_ros.ros.rooms_localizer import RoomsLocalizer
from nerf_reversal_ros.ros.tf_io import TransformUnavailableError

DEVICE_CHANGE_WAIT_S = 1.0
"""Wait for a change of the device [s]; a longer image keeps a lifecycle transition waiting."""

NO_CAMERA_INFO_DETAIL = (
    f'publish the CameraInfo of the images on the topic camera_info, or {remedies.CALIBRATION}'
)
"""What to do if an image has no CameraInfo."""


class LocalizerProtocol(Protocol):
    """The part of `nerf_reversal_ros.localization.localizer.Localizer` that the node uses."""

    @property
    def device(self) -> str:
        """Device of the network, ``cpu`` or ``cuda``."""

    def to(self, device: str) -> None:
        """Move the network to a device and free the memory of the other one."""

    def localize(
        self,
        rgb: NDArray[np.uint8],
        camera: Camera,
        config: LocalizerConfig,
        expected_pose: FloatArray | None,
        time_limit_s: float,
    ) -> Outcome:
        """Localize one undistorted image, uint8 RGB (H, W, 3); try the expected pose first."""


@dataclass(frozen=True)
class ImageInput:
    """An image message and the inputs that belong to it."""

    message: Image | CompressedImage
    camera_info: CameraInfoMatch
    """Without a message, the calibration of ``camera_info_file`` counts."""
    odometry_monitor: OdometryMonitor | None = None
    """Compares the pose with odometry; None for an image that is not part of a sequence."""
    tracker: PoseTracker | None = None
    """Predicts the pose; None without tracking, and for an image outside of the sequence."""
    topic: str = ''
    """Full name of the topic of the image; empty: it came with a request."""


@dataclass(frozen=True)
class PoseMessages:
    """Pose of the camera in the map, or of the base if ``base_frame`` is set."""

    pose: PoseStamped
    pose_with_covariance: PoseWithCovarianceStamped
    sensor_pose: PoseWithCovarianceStamped
    """Pose of the camera in the map. Its header holds the camera frame, as rtabmap expects."""
    map_from_frame: FloatArray
    """(4, 4), the pose in ``pose``."""


@dataclass(frozen=True)
class ProcessedImage:
    """An image that reached the localizer, and its outcome."""

    rgb: NDArray[np.uint8]
    """(H, W, 3), undistorted."""
    camera: Camera
    outcome: Outcome


@dataclass(frozen=True)
class LocalizationResult:
    """All that is published for one image: a status, and poses if it was localized."""

    status: LocalizerStatus
    poses: PoseMessages | None = None
    image: ProcessedImage | None = None


class ImageLocalizer:
    """
    Localizes images of several threads one at a time.

    Maps are swapped and devices changed between two images.

    Parameters
    ----------
    localizer : LocalizerProtocol
        Used until `swap_localizer`.
    config, limits : Live[LocalizerConfig], Live[ProcessingLimits]
        Read for each image.
    frames : RobotFrames
        Gives the extrinsics of the camera.
    settings : LocalizerNodeConfig
        Names of frames, placement of the map, and how camera_info is read.
    log : RcutilsLogger
        Logger of the node.

    Raises
    ------
    ConfigError
        If ``camera_info_file`` is set and is no calibration.
    """

    def __init__(
        self,
        localizer: LocalizerProtocol,
        config: Live[LocalizerConfig],
        limits: Live[ProcessingLimits],
        frames: RobotFrames,
        settings: LocalizerNodeConfig,
        log: RcutilsLogger,
    ) -> None:
        self._localizer = localizer
        self._config = config
        self._limits = limits
        self._frames = frames
        self._settings = settings
        self._log = log
        self._calibration = None
        if settings.camera_info_file:
            self._calibration = read_camera_info_file(settings.camera_info_file)
        self._warned_about: set[str] = set()
        self._jobs = ExclusiveJobs()
        self._device = config.current.device
        placement = settings.map_from_nerf
        self._map_from_nerf = parse_map_from_nerf(placement) if placement else None

    @property
    def device(self) -> str:
        """Device of the localizer in use, ``cpu`` or ``cuda``."""
        return self._localizer.device

    @property
    def rooms(self) -> RoomsLocalizer | None:
        """The localizer in use if it is that of a building."""
        return self._localizer if isinstance(self._localizer, RoomsLocalizer) else None

    def process_and_publish(
        self,
        image: ImageInput,
        publish: Callable[[LocalizationResult], None],
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> LocalizationResult | None:
        """
        Localize an image and publish its result, without a swap of the map in between.

        Errors of the image are part of the result. Errors of ``publish`` are raised.

        Parameters
        ----------
        image : ImageInput
            The image and the inputs that belong to it.
        publish : callable
            Called with the result, in the calling thread.
        is_cancelled : callable
            Read before the image is processed and again before the result is published.

        Returns
        -------
        LocalizationResult or None
            None if the image was cancelled before it was processed.
        """

        def job() -> LocalizationResult | None:
            if is_cancelled():
                return None
            result = self._process(image)
            if not is_cancelled():
                publish(result)
            return result

        return self._jobs.run(job)

    def swap_localizer(
        self, localizer: LocalizerProtocol, reset_tracking: Callable[[], None]
    ) -> None:
        """
        Use another localizer from the next image on; return after the current one is published.

        ``reset_tracking`` is called with the swap: no image is compared with poses of the map
        before. The localizer before is closed, beside the next images.
        """
        replaced: list[LocalizerProtocol] = []

        def swap() -> None:
            localizer.to(self._device)
            replaced.append(self._localizer)
            self._localizer = localizer
            reset_tracking()

        self._jobs.submit_change(swap).result()
        close_rooms(*replaced)

    def close(self) -> None:
        """Let the rooms of a building go; to be called at the end."""
        close_rooms(self._localizer)

    def to(self, device: str) -> None:
        """
        Move the localizer to a device, after the current image.

        An image that takes longer than `DEVICE_CHANGE_WAIT_S` is not waited for: the move follows
        it, and an error is logged.

        Raises
        ------
        ConfigError, RuntimeError
            If the device does not exist or is out of memory.
        """
        self._device = device
        moved = self._jobs.submit_change(lambda: self._localizer.to(device))
        wait([moved], DEVICE_CHANGE_WAIT_S)
        if moved.done():
            moved.result()
        else:
            moved.add_done_callback(self._log_failed_move)

    def _log_failed_move(self, moved: 'Future[None]') -> None:
        if (error := moved.exception()) is not None:
            self._log.error(f'the localizer could not change its device: {error!r}')

    def _process(self, image: ImageInput) -> LocalizationResult:
        header = image.message.header
        try:
            return self._localize(image)
        except ImageError as error:
            return rejected_result(header, RejectionReason.INVALID_IMAGE, str(error))
        except TransformUnavailableError as error:
            self._warn_once(f'mounting of {header.frame_id}', (f'images are rejected: {error}',))
            return rejected_result(header, RejectionReason.NO_MOUNTING, str(error))
        except Exception as error:  # a defect must not end the node, nor be hidden
            self._log.error(printable_traceback(), throttle_duration_sec=10.0)
            return rejected_result(header, RejectionReason.INTERNAL_ERROR, repr(error))

    def _localize(self, image: ImageInput) -> LocalizationResult:
        header = image.message.header
        if (info := image.camera_info.info or self._calibration) is None:
            detail = image.camera_info.note or NO_CAMERA_INFO_DETAIL
            return rejected_result(header, RejectionReason.NO_CAMERA_INFO, detail)
        rgb = rgb_from_message(image.message)
        height, width = rgb.shape[:2]
        model = camera_model_from_info(info, width, height, self._settings, image.topic)
        warnings = (image.camera_info.note, *model.warnings)
        self._warn_once(f'camera {header.frame_id}', warnings)
        rgb = model.undistort_rgb(rgb)
        outcome = self._estimate(image, rgb, model.camera)
        base_from_camera = self._frames.base_from_camera(header)
        if image.odometry_monitor is not None and base_from_camera is not None:
            outcome = image.odometry_monitor.check(outcome, header.stamp, base_from_camera)
        if image.tracker is not None:
            image.tracker.add(outcome, stamp_to_ns(header.stamp))
        if self._map_from_nerf is not None and outcome.diagnostics.frame == 'map':
            outcome = transform_outcome(outcome, self._map_from_nerf)
        poses = None
        if isinstance(outcome, PoseEstimate):
            poses = self._pose_messages(header, outcome, base_from_camera)
        processed = ProcessedImage(rgb, model.camera, outcome)
        return LocalizationResult(status_message(header, outcome), poses, processed)

    def _warn_once(self, subject: str, warnings: tuple[str, ...]) -> None:
        """Log what is strange about a camera, at the first of its images with a warning."""
        if not any(warnings) or subject in self._warned_about:
            return
        if len(self._warned_about) >= 2 * MAX_FRAMES:
            self._warned_about.clear()
        self._warned_about.add(subject)
        self._log.warning('; '.join(filter(None, warnings)))

    def _estimate(self, image: ImageInput, rgb: NDArray[np.uint8], camera: Camera) -> Outcome:
        """Localize in the frame of the map folder, where tracking expects the image at first."""
        config, limit_s = self._config.current, self._limits.current.time_limit_s
        expected_pose, expected_room = None, None
        if (tracker := image.tracker) is not None:
            monitor, stamp_ns = image.odometry_monitor, stamp_to_ns(image.message.header.stamp)
            motion = None if monitor is None else monitor.camera_motion
            expected_pose = tracker.predict(stamp_ns, config.tracking_timeout_s, motion)
            expected_room = tracker.room
        if (rooms := self.rooms) is not None:
            return rooms.localize(rgb, camera, config, expected_pose, limit_s, expected_room)
        return self._localizer.localize(rgb, camera, config, expected_pose, limit_s)

    def _pose_messages(
        self, image_header: Header, estimate: PoseEstimate, base_from_camera: FloatArray | None
    ) -> PoseMessages:
        map_from_frame, covariance = estimate.map_from_camera, estimate.covariance
        sensor_header = Header(stamp=image_header.stamp)
        sensor_header.frame_id = self._settings.camera_frame or image_header.frame_id
        _, sensor_pose = pose_messages(sensor_header, map_from_frame, covariance)
        if base_from_camera is not None:
            map_from_frame, covariance = camera_to_base_pose(
                map_from_frame, covariance, base_from_camera
            )
        frame = pose_frame(self._settings.map_frame, estimate.diagnostics.frame)
        header = Header(stamp=image_header.stamp, frame_id=frame)
        pose, pose_with_covariance = pose_messages(header, map_from_frame, covariance)
        return PoseMessages(pose, pose_with_covariance, sensor_pose, map_from_frame)


def close_rooms(*localizers: LocalizerProtocol) -> None:
    """Let the rooms go of localizers that are no longer used, where they are of buildings."""
    for localizer in localizers:
        if isinstance(localizer, RoomsLocalizer):
            localizer.close()


def rejected_result(header: Header, reason: RejectionReason, detail: str) -> LocalizationResult:
    """Return the result of an image that did not reach the localizer."""
    return LocalizationResult(LocalizerStatus(header=header, reason=str(reason), detail=detail))
