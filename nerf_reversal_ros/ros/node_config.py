"""The settings of the nodes, each defined once; they become ROS parameters."""

from dataclasses import dataclass

from nerf_reversal_ros.core.config import DEVICES, setting, ValidatedConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf
from nerf_reversal_ros.ros.conversions import parse_extrinsics


@dataclass(frozen=True)
class LocalizerNodeConfig(ValidatedConfig):
    """What the localizer node needs beside the settings of the localizer itself."""

    map_dir: str = setting('', 'map folder written by the builder')
    autostart: bool = setting(False, 'configure and activate at once, without lifecycle manager')
    image_transport: str = setting(
        'compressed',
        'compressed: subscribe to image/compressed (CompressedImage); raw: to image (Image)',
        choices=('compressed', 'raw'),
    )
    reliability: str = setting(
        'best_effort',
        'QoS of the subscriptions to pictures, camera_info and odometry',
        choices=('best_effort', 'reliable'),
    )
    map_frame: str = setting('map', 'frame of the poses')
    map_from_nerf: str = setting(
        '',
        'where the frame of the map folder lies in map_frame, "x y z yaw" [m], [deg]; empty: they'
        ' are the same',
    )
    base_frame: str = setting(
        '', 'publish the pose of this frame, such as base_link; empty: of the camera'
    )
    camera_frame: str = setting(
        '', 'optical frame of the camera, in TF and of ~/sensor_pose; empty: that of the pictures'
    )
    mounting: str = setting(
        '', 'pose of the camera optical frame in base_frame, "x y z qx qy qz qw"; empty: from TF'
    )
    publish_tf: bool = setting(
        False, 'broadcast map_frame -> odom_frame, smoothed (needs base_frame and tf2_ros)'
    )
    odom_frame: str = setting('odom', 'frame of the odometry, for publish_tf')
    use_odometry: bool = setting(
        False, 'compare poses with the Odometry of base_frame that comes on the topic odom'
    )
    max_rate_hz: float = setting(
        0.0,
        'work on no more pictures than this, the newest each time, and on those that ~/localize'
        ' asks for, and leave the processor to others; 0: on as many as there is time for [1/s]',
        low=0.0,
        high=1000.0,
        read_only=False,
    )
    path_poses: int = setting(1000, 'so many of the latest poses make ~/path', low=1, high=100_000)
    rectified: bool = setting(
        False, 'the pictures are rectified (image_rect): take P of camera_info and no distortion'
    )
    camera_info_timeout_s: float = setting(
        1.0, 'a picture waits this long for the first camera_info [s]', low=0.0, high=60.0
    )

    def __post_init__(self) -> None:
        """Refuse settings that contradict each other."""
        super().__post_init__()
        if self.mounting:
            parse_extrinsics(self.mounting)
            if not self.base_frame:
                raise ConfigError('mounting is set but base_frame is not: name it, base_link say')
        if self.publish_tf and not self.base_frame:
            raise ConfigError('publish_tf needs base_frame: name it, base_link say')
        if self.use_odometry and not self.base_frame:
            raise ConfigError(
                'use_odometry needs base_frame: name the frame that the odometry is of,'
                ' base_link say'
            )
        if not self.map_frame:
            raise ConfigError('map_frame is empty: name the frame of the poses, map say')
        if self.map_from_nerf:
            parse_map_from_nerf(self.map_from_nerf)


@dataclass(frozen=True)
class LoopCloserNodeConfig(ValidatedConfig):
    """What the loop closer needs beside the settings of the graph."""

    map_frame: str = setting('map', 'frame of the poses of the localizer')
    odom_frame: str = setting('odom', 'frame of the odometry')
    base_frame: str = setting(
        'base_link', 'frame that odometry and poses are of; set it in the localizer too'
    )
    odometry_source: str = setting(
        'topic',
        'topic: Odometry on odom; tf: odom_frame -> base_frame (needs tf2_ros)',
        choices=('topic', 'tf'),
    )
    tf_lookup_hz: float = setting(
        50.0, 'how often TF is asked, with odometry_source tf [1/s]', low=1.0, high=1000.0
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
        1.0, 'the corrected path is published no more often than this [s]', low=0.0, high=3600.0
    )

    def __post_init__(self) -> None:
        """Refuse frames without a name."""
        super().__post_init__()
        for name in ('map_frame', 'odom_frame', 'base_frame'):
            if not getattr(self, name):
                usual = type(self).__dataclass_fields__[name].default
                raise ConfigError(f'{name} is empty: name the frame, {usual} say')


@dataclass(frozen=True)
class BuilderNodeConfig(ValidatedConfig):
    """What the builder node builds at once; without a bag it waits for goals of its action."""

    bag: str = setting('', 'rosbag2 folder to build from at once; empty: wait for goals')
    map: str = setting('', 'map folder to write, with bag')
    field: str = setting('voxel', 'kind of radiance field, with bag')
    device: str = setting('auto', 'where to compute, with bag', choices=DEVICES)
    config: str = setting('', 'YAML file of build settings, with bag; empty: the defaults')
    overwrite: bool = setting(False, 'replace a map that is there already, with bag')

    def __post_init__(self) -> None:
        """Refuse a bag without a map and the other way round."""
        super().__post_init__()
        if bool(self.bag) != bool(self.map):
            missing, there = ('map', 'bag') if self.bag else ('bag', 'map')
            raise ConfigError(f'{there} is set but {missing} is not: give both to build at once')


@dataclass(frozen=True)
class PlayerConfig(ValidatedConfig):
    """How a bag is played."""

    bag: str = setting('', 'rosbag2 folder (mcap or sqlite3) to play')
    topics: str = setting('', 'play only these topics, separated by blanks; empty: all')
    rate: float = setting(1.0, 'speed, 1 is as recorded', low=0.001, high=1000.0)
    loop: bool = setting(False, 'start again at the end, until interrupted')
    clock: bool = setting(False, 'publish /clock with the time of the bag (for use_sim_time)')
    wait_for: int = setting(
        1, 'wait until the pictures have this many subscribers', low=0, high=1000
    )
    wait_timeout_s: float = setting(
        60.0, 'give up when they are not there after this long [s]', low=0.0
    )
    lockstep_topic: str = setting(
        '',
        'topic of LocalizerStatus, of the localizer or of a judge who repeats what it has heard:'
        ' send the next picture when one was answered; ignores rate',
    )
    lockstep_timeout_s: float = setting(
        20.0, 'warn and go on when a picture is not answered for this long [s]', low=0.01
    )

    def __post_init__(self) -> None:
        """Refuse to play nothing."""
        super().__post_init__()
        if not self.bag:
            raise ConfigError('bag is not set: give the rosbag2 folder to play, -p bag:=FOLDER')
