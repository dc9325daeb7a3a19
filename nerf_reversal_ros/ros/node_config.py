"""Settings of the nodes, each defined once; they become ROS parameters."""

from dataclasses import dataclass

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CameraInfoConfig
from nerf_reversal_ros.core.config import DEVICES
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.mounting import parse_mounting
from nerf_reversal_ros.core.validated_config import setting, ValidatedConfig
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf


@dataclass(frozen=True)
class LocalizerNodeConfig(CameraInfoConfig):
    """Settings of the localizer node: map, inputs, frames and outputs."""

    map_dir: str = setting('', 'folder of a map, or of a building, the rooms of a survey')
    autostart: bool = setting(
        False, 'configure and activate at the start, without a lifecycle manager'
    )
    image_transport: str = setting(
        'compressed',
        'compressed: subscribe to image/compressed (CompressedImage); raw: to image (Image)',
        choices=('compressed', 'raw'),
    )
    reliability: str = setting(
        'best_effort',
        'QoS of the subscriptions to images, camera_info and odometry',
        choices=('best_effort', 'reliable'),
    )
    map_frame: str = setting(
        'map', 'frame of the poses; that of a room without a place in its building is below it'
    )
    map_from_nerf: str = setting(
        '',
        'pose of the frame of the map folder in map_frame, "x y z yaw" [m], [deg]; empty: both'
        ' frames are the same',
    )
    base_frame: str = setting(
        '', 'publish the pose of this frame, such as base_link; empty: that of the camera'
    )
    camera_frame: str = setting(
        '',
        'optical frame of the camera, in TF and in ~/sensor_pose; empty: frame_id of the images',
    )
    mounting: str = setting(
        '', 'pose of the camera optical frame in base_frame, "x y z qx qy qz qw"; empty: from TF'
    )
    publish_tf: bool = setting(
        False, 'broadcast map_frame -> odom_frame, smoothed (needs base_frame and tf2_ros)'
    )
    odom_frame: str = setting('odom', 'frame of the odometry, for publish_tf')
    use_odometry: bool = setting(
        False, 'check poses against the Odometry of base_frame on the topic odom'
    )
    use_tracking: bool = setting(
        True,
        'try the last accepted pose first, moved by odometry (use_odometry) or constant velocity',
    )
    path_poses: int = setting(1000, 'number of latest poses in ~/path', low=1, high=100_000)
    camera_info_timeout_s: float = setting(
        1.0, 'time that an image waits for the first camera_info [s]', low=0.0, high=60.0
    )

    def __post_init__(self) -> None:
        """Reject settings that contradict each other."""
        super().__post_init__()
        if self.mounting:
            parse_mounting(self.mounting)
            if not self.base_frame:
                raise ConfigError(f'mounting is set but base_frame is not: {remedies.BASE_FRAME}')
        if self.publish_tf and not self.base_frame:
            raise ConfigError(f'publish_tf needs base_frame: {remedies.BASE_FRAME}')
        if self.use_odometry and not self.base_frame:
            raise ConfigError(f'use_odometry needs base_frame: {remedies.ODOMETRY_CHILD}')
        if not self.map_frame:
            raise ConfigError(
                'map_frame is empty: set it to the frame of the poses, for example map'
            )
        if self.map_from_nerf:
            parse_map_from_nerf(self.map_from_nerf)


@dataclass(frozen=True)
class ProcessingLimits(ValidatedConfig):
    """Limits of the time that the localizer node spends on images."""

    max_rate_hz: float = setting(
        0.0,
        'process at most this many images per second, the newest each time, and those requested'
        ' by ~/localize; this leaves CPU time to others; 0: as many as possible [1/s]',
        low=0.0,
        high=1000.0,
        read_only=False,
    )
    time_limit_s: float = setting(
        1.0,
        'start no further attempt on an image after this time [s]',
        low=0.0,
        read_only=False,
    )

    @property
    def min_period_s(self) -> float:
        """Least time between the starts of two images [s]; 0: no limit."""
        return 1.0 / self.max_rate_hz if self.max_rate_hz else 0.0


@dataclass(frozen=True)
class LoopCloserNodeConfig(ValidatedConfig):
    """Settings of the loop closer node: inputs, frames and outputs."""

    map_frame: str = setting('map', 'frame of the poses of the localizer')
    odom_frame: str = setting('odom', 'frame of the odometry')
    base_frame: str = setting(
        'base_link',
        'child frame of the odometry and frame of the poses; set it in the localizer too',
    )
    odometry_source: str = setting(
        'topic',
        'topic: Odometry on odom; tf: odom_frame -> base_frame (needs tf2_ros)',
        choices=('topic', 'tf'),
    )
    tf_lookup_hz: float = setting(
        50.0, 'rate of the TF lookups, with odometry_source tf [1/s]', low=1.0, high=1000.0
    )
    reliability: str = setting(
        'best_effort',
        'QoS of the subscription to the odometry',
        choices=('best_effort', 'reliable'),
    )
    publish_tf: bool = setting(
        False,
        'broadcast map_frame -> odom_frame, smoothed (needs tf2_ros); the localizer must not',
    )
    path_period_s: float = setting(
        1.0, 'least time between two messages of the corrected path [s]', low=0.0, high=3600.0
    )

    def __post_init__(self) -> None:
        """Reject frames without a name."""
        super().__post_init__()
        for name in ('map_frame', 'odom_frame', 'base_frame'):
            if not getattr(self, name):
                default = type(self).__dataclass_fields__[name].default
                raise ConfigError(
                    f'{name} is empty: set it to the name of the frame, for example {default}'
                )


@dataclass(frozen=True)
class BuilderNodeConfig(ValidatedConfig):
    """Build that the builder node runs at its start; without a bag it waits for goals."""

    bag: str = setting('', 'rosbag2 folder to build from at the start; empty: wait for goals')
    map: str = setting('', 'map folder to write, with bag')
    field: str = setting('voxel', 'kind of radiance field, with bag')
    device: str = setting('auto', 'where to compute, with bag', choices=DEVICES)
    config: str = setting('', 'YAML file of build settings, with bag; empty: the defaults')
    overwrite: bool = setting(False, 'replace an existing map, with bag')

    def __post_init__(self) -> None:
        """Reject a bag without a map and a map without a bag."""
        super().__post_init__()
        if bool(self.bag) != bool(self.map):
            missing, given = ('map', 'bag') if self.bag else ('bag', 'map')
            raise ConfigError(f'{given} is set but {missing} is not: set both to build at once')


@dataclass(frozen=True)
class PlayerConfig(ValidatedConfig):
    """Settings of the bag player."""

    bag: str = setting('', 'rosbag2 folder (mcap or sqlite3) to play')
    topics: str = setting('', 'play only these topics, separated by blanks; empty: all')
    rate: float = setting(1.0, 'speed; 1: as recorded', low=0.001, high=1000.0)
    loop: bool = setting(False, 'start again at the end, until interrupted')
    clock: bool = setting(False, 'publish /clock with the time of the bag (for use_sim_time)')
    wait_for: int = setting(
        1, 'wait until the image topics have this many subscribers', low=0, high=1000
    )
    wait_timeout_s: float = setting(
        60.0, 'end with an error if subscribers are missing after this time [s]', low=0.0
    )
    lockstep_topic: str = setting(
        '',
        'topic of LocalizerStatus, of the localizer or of an evaluator that acknowledges it: send'
        ' the next image when the status of the last one has arrived; rate is ignored',
    )
    lockstep_timeout_s: float = setting(
        20.0,
        'warn and send the next image if no status has arrived after this time [s]',
        low=0.01,
    )

    def __post_init__(self) -> None:
        """Reject a missing bag."""
        super().__post_init__()
        if not self.bag:
            raise ConfigError(f'bag is not set: {remedies.FOLDER.format(name="bag")}')
