"""Settings of how the images, poses and calibration of a bag are read."""

from collections.abc import Callable
import dataclasses
from dataclasses import dataclass
import re

from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.mounting import mounting_numbers
from nerf_reversal_ros.core.validated_config import setting, ValidatedConfig

RECORD3D_TOPICS = {
    '/record3d/device_0/rgb/img': '/record3d/device_0/rgb/image_raw/compressed',
    '/record3d/device_0/depth/img': '/record3d/device_0/depth/image_raw',
}
"""Topics of the Record3D driver at its commit e8b58dd, and their names since 676aeb6."""


@dataclass(frozen=True)
class CameraInfoConfig(ValidatedConfig):
    """How the CameraInfo of images is read; of captures and of the localizer node."""

    rectified: bool = setting(
        False, 'the images are rectified (image_rect): use P of camera_info and no distortion'
    )
    camera_info_file: str = setting(
        '',
        'calibration in the YAML format of camera_calibration, used instead of camera_info;'
        ' empty: none',
    )
    camera_info_size: str = setting(
        '',
        'size of the images that K and P of camera_info belong to, such as 640x480; that of the'
        ' images themselves, if these are a crop; empty: width and height of camera_info',
    )

    def __post_init__(self) -> None:
        """Reject a size that is none."""
        super().__post_init__()
        if self.camera_info_size and not re.fullmatch(
            r'[1-9]\d{0,4}x[1-9]\d{0,4}', self.camera_info_size
        ):
            raise ConfigError(
                f'camera_info_size must be a width and a height in pixels such as 640x480, got'
                f' {self.camera_info_size!r}'
            )

    @property
    def calibrated_size(self) -> tuple[int, int] | None:
        """Width and height that ``camera_info_size`` states [px]; None if it is empty."""
        if not self.camera_info_size:
            return None
        width, height = map(int, self.camera_info_size.split('x'))
        return width, height


@dataclass(frozen=True)
class CaptureConfig(CameraInfoConfig):
    """Topics of a bag, its pose convention, and the selection of frames."""

    image_topic: str = setting('/record3d/device_0/rgb/img', 'color: Image or CompressedImage')
    depth_topic: str = setting(
        '/record3d/device_0/depth/img',
        'depth: Image 32FC1 [m] or 16UC1 [mm], or CompressedImage: compressedDepth, PNG, TIFF',
    )
    depth_unit_m: float = setting(
        0.0, 'unit of depth [m]; 0: 1 for floats, 0.001 for integers', low=0.0
    )
    camera_info_topic: str = setting(
        '/record3d/device_0/rgb/camera_info', 'CameraInfo of the color images'
    )
    mask_topic: str = setting(
        '/record3d/device_0/rgb/mask',
        'masks with the stamps of images: 0 leaves a pixel out; used where a bag has them',
    )
    pose_topic: str = setting(
        '/record3d/device_0/camera_pose',
        'PoseStamped, PoseWithCovarianceStamped, TransformStamped, Odometry or Path; empty: use'
        ' TF instead',
    )
    pose_frame: str = setting(
        '',
        'frame whose poses pose_topic holds, such as base_link; empty: its child_frame_id, or the'
        ' camera',
    )
    mounting: str = setting(
        '',
        'pose of the camera optical frame in the frame of the poses, "x y z qx qy qz qw" [m];'
        ' empty: from TF of the bag where the frames differ',
    )
    pose_unit_m: float = setting(
        1.0, 'length unit of the recorded poses, such as 0.001 for mm [m]', low=1e-6, high=1e6
    )
    tf_topic: str = setting(
        '', 'topic of TF, with its static transforms on NAME_static; empty: all of type TFMessage'
    )
    tf_parent: str = setting('', 'with pose_topic empty: the fixed frame in TF, such as world')
    tf_child: str = setting('', 'with pose_topic empty: the camera frame in TF')
    camera_time_offset_s: float = setting(
        0.0,
        'add this to the stamps of the images to get the clock of the poses [s]',
        low=-4e9,
        high=4e9,
    )
    sync_tolerance_s: float = setting(
        0.02,
        'largest difference of the stamps of color, depth and pose of one frame [s]',
        low=0.0,
        high=10.0,
    )
    pose_convention: str = setting(
        'auto',
        'axes and direction of the poses in the bag; auto: estimate by depth reprojection',
        choices=('auto', 'optical', 'opengl', 'optical_inverted', 'opengl_inverted'),
    )
    up_axis: str = setting(
        'auto',
        'axis of the world frame that points up; auto: estimate from the capture',
        choices=('auto', 'x', 'y', 'z', '-x', '-y', '-z'),
    )
    min_move_m: float = setting(
        0.005,
        'drop a frame that moved less than this and rotated less than min_turn_deg [m]',
        low=0.0,
    )
    min_turn_deg: float = setting(
        0.25,
        'drop a frame that rotated less than this and moved less than min_move_m [deg]',
        low=0.0,
    )
    blur_ratio: float = setting(
        0.25,
        'drop frames whose sharpness is below this fraction of the median of their neighbors',
        low=0.0,
        high=1.0,
    )
    max_depth_m: float = setting(8.0, 'treat larger depth as unknown [m]', low=0.1)
    adjust_poses: str = setting(
        'auto',
        'adjust the poses of a mapping capture to its images, and check its focal length; auto:'
        ' keep the adjusted poses where held-out feature tracks fit them clearly better',
        choices=('auto', 'off'),
    )

    def __post_init__(self) -> None:
        """Reject a mounting that is none."""
        super().__post_init__()
        if self.mounting:
            mounting_numbers(self.mounting)

    def with_topics_of(self, count: Callable[[str], int]) -> 'CaptureConfig':
        """
        Select the topic names of the Record3D driver version that recorded a bag.

        Parameters
        ----------
        count : callable
            Number of messages by topic, 0 if the bag has no such topic.
        """
        changes = {}
        for name in ('image_topic', 'depth_topic'):
            topic = getattr(self, name)
            other = RECORD3D_TOPICS.get(topic, topic)
            if not count(topic) and count(other):
                changes[name] = other
        return dataclasses.replace(self, **changes)
