"""
Every setting, defined once.

A setting is a field of a frozen dataclass, made by `setting`: its default, its sentence and its
limits. The command line's ``--config`` file, ROS parameters and the documentation all come from
these fields. Unknown names and impossible values are refused with a remedy.
"""

from collections.abc import Callable, Mapping
import dataclasses
from dataclasses import dataclass, fields
import difflib
import math
from pathlib import Path
from typing import Any, get_type_hints, TypeVar

import yaml

from nerf_reversal_ros.core.errors import ConfigError

T = TypeVar('T')

DEVICES = ('auto', 'cpu', 'cuda')
"""Where to compute; auto takes a GPU where there is one."""


def setting(
    default: Any,
    description: str,
    *,
    low: float | None = None,
    high: float | None = None,
    choices: tuple[str, ...] = (),
    read_only: bool = True,
) -> Any:
    """
    Define one setting as a dataclass field.

    ``low`` and ``high`` are inclusive limits of a number, ``choices`` the allowed texts, and
    ``read_only`` says that a running node does not take a new value.
    """
    metadata = {
        'description': description,
        'low': low,
        'high': high,
        'choices': choices,
        'read_only': read_only,
    }
    return dataclasses.field(default=default, metadata=metadata)


def parse_floats(text: str, count: int) -> list[float] | None:
    """Return the numbers in a text, apart by blanks or commas; None unless ``count`` finite."""
    try:
        numbers = [float(word) for word in text.replace(',', ' ').split()]
    except ValueError:
        return None
    return numbers if len(numbers) == count and all(map(math.isfinite, numbers)) else None


class ValidatedConfig:
    """Checks every option of a dataclass against its limits when it is made."""

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value: Any = getattr(self, item.name)
            meta = item.metadata
            if 'description' not in meta:
                continue
            wanted: Any = type(item.default)
            if wanted is float and type(value) is int:
                object.__setattr__(self, item.name, value := float(value))
            if type(value) is not wanted:
                raise ConfigError(
                    f'{item.name} must be of type {wanted.__name__}, got {value!r}'
                    f' ({item.metadata["sentence"]})'
                )
            if meta['choices'] and value not in meta['choices']:
                raise ConfigError(
                    f'{item.name} must be one of {", ".join(meta["choices"])}, got {value!r}'
                )
            if wanted in (int, float):
                if not value == value or abs(value) == float('inf'):
                    raise ConfigError(f'{item.name} must be a finite number, got {value}')
                if meta['low'] is not None and value < meta['low']:
                    raise ConfigError(f'{item.name} must be >= {meta["low"]}, got {value}')
                if meta['high'] is not None and value > meta['high']:
                    raise ConfigError(f'{item.name} must be <= {meta["high"]}, got {value}')


RECORD3D_TOPICS = {
    '/record3d/device_0/rgb/img': '/record3d/device_0/rgb/image_raw/compressed',
    '/record3d/device_0/depth/img': '/record3d/device_0/depth/image_raw',
}
"""Topics of the Record3D driver at its commit e8b58dd, and what 676aeb6 calls them."""


@dataclass(frozen=True)
class CaptureConfig(ValidatedConfig):
    """How a bag is read as a capture."""

    image_topic: str = setting('/record3d/device_0/rgb/img', 'colour: Image or CompressedImage')
    depth_topic: str = setting(
        '/record3d/device_0/depth/img',
        'depth: Image 32FC1 [m] or 16UC1 [mm], or CompressedImage in compressedDepth format',
    )
    camera_info_topic: str = setting(
        '/record3d/device_0/rgb/camera_info', 'CameraInfo of the colour pictures'
    )
    rectified: bool = setting(
        False, 'the pictures are rectified (image_rect): take P of camera_info and no distortion'
    )
    pose_topic: str = setting(
        '/record3d/device_0/camera_pose', 'PoseStamped or Odometry; empty: take TF instead'
    )
    tf_parent: str = setting('', 'with pose_topic empty: the fixed frame of TF, such as world')
    tf_child: str = setting('', 'with pose_topic empty: the camera frame of TF')
    sync_tolerance_s: float = setting(
        0.02, 'colour, depth and pose belong together within this [s]', low=0.0, high=10.0
    )
    pose_convention: str = setting(
        'auto',
        'what the poses of the bag mean; auto finds it by depth re-projection',
        choices=(
            'auto',
            'optical',
            'opengl',
            'optical_inverted',
            'opengl_inverted',
        ),
    )
    up_axis: str = setting(
        'auto',
        'which axis of the world of the poses points up; auto solves it from the capture',
        choices=('auto', 'x', 'y', 'z', '-x', '-y', '-z'),
    )
    min_move_m: float = setting(
        0.005, 'a frame that moved less than this and turned less is a duplicate [m]', low=0.0
    )
    min_turn_deg: float = setting(
        0.25, 'a frame that turned less than this and moved less is a duplicate [deg]', low=0.0
    )
    blur_ratio: float = setting(
        0.25,
        'drop frames whose sharpness is below this share of the median of their neighbours',
        low=0.0,
        high=1.0,
    )
    max_depth_m: float = setting(8.0, 'depth beyond this is taken as unknown [m]', low=0.1)

    def with_topics_of(self, count: Callable[[str], int]) -> 'CaptureConfig':
        """
        Return the settings with the other names of the Record3D driver where a bag has those.

        Parameters
        ----------
        count : callable
            Returns how many messages a topic of the bag has, 0 if it has no such topic.
        """
        changes = {}
        for name in ('image_topic', 'depth_topic'):
            topic = getattr(self, name)
            other = RECORD3D_TOPICS.get(topic, topic)
            if not count(topic) and count(other):
                changes[name] = other
        return dataclasses.replace(self, **changes)


@dataclass(frozen=True)
class VoxelFieldConfig(ValidatedConfig):
    """The voxel radiance field and its training."""

    voxel_m: float = setting(0.01, 'edge of a voxel [m]', low=0.002, high=0.2)
    steps: int = setting(500, 'training steps; 0 keeps the field as depth initialised it', low=0)
    rays_per_step: int = setting(24576, 'rays of one training step', low=64)
    learning_rate: float = setting(0.01, 'of Adam, for colours and log densities', low=0.0)
    depth_weight: float = setting(0.2, 'weight of the depth loss beside the colour loss', low=0.0)
    validation_share: float = setting(
        0.05,
        'share of the frames, one stretch of the walk, held out: to measure PSNR, to choose the'
        " regressor's weights, and to calibrate the covariance",
        low=0.01,
        high=0.5,
    )
    min_psnr_db: float = setting(15.0, 'warn when held-out PSNR stays below this [dB]', low=0.0)


@dataclass(frozen=True)
class NerfstudioConfig(ValidatedConfig):
    """A field that nerfstudio trains, and how it is baked into the voxel field."""

    size: str = setting(
        'auto',
        'the full Nerfacto, or a reduced one that a CPU can train; auto: full on CUDA only',
        choices=('auto', 'full', 'reduced'),
    )
    steps: int = setting(
        0, 'training steps; 0: 10,000 of the full Nerfacto, 2,000 of the reduced one', low=0
    )
    rays_per_step: int = setting(
        0, 'rays of one training step; 0: 4,096 of the full Nerfacto, 1,024 of the reduced', low=0
    )
    learning_rate: float = setting(0.01, 'of Adam, at the first step', low=0.0)
    bake_views: int = setting(
        0, 'views rendered to bake the field; 0: 400 on CUDA, 150 on a CPU', low=0
    )
    bake_size: int = setting(
        0, 'longer side of these views [px]; 0: 480 on CUDA, 160 on a CPU', low=0, high=960
    )
    max_std_m: float = setting(
        0.0,
        'leave depth out of these views that the field is less sure of than this; 0: keep all [m]',
        low=0.0,
    )


@dataclass(frozen=True)
class SynthesisConfig(ValidatedConfig):
    """Which synthetic views are rendered, and which are thrown away."""

    views: int = setting(10000, 'synthetic views to keep', low=0, high=1_000_000)
    width: int = setting(
        96, "longer side of the regressor's pictures, at most the capture's [px]", low=16, high=960
    )
    translation_m: float = setting(
        0.5, 'radius of the ball around a walked pose that positions are drawn from [m]', low=0.0
    )
    rotation_deg: float = setting(
        15.0, 'standard deviation of the rotation jitter, each axis [deg]', low=0.0, high=180.0
    )
    between_share: float = setting(
        0.3, 'share of the views drawn between and beyond walked poses', low=0.0, high=1.0
    )
    clearance_m: float = setting(0.15, 'least distance of a camera to matter [m]', low=0.0)
    min_opacity: float = setting(
        0.75, 'least mean opacity of a view: the rest would be unseen', low=0.0, high=1.0
    )
    near_m: float = setting(0.25, 'a pixel nearer than this is too near [m]', low=0.0)
    max_near_share: float = setting(
        0.1, 'largest share of too near pixels of a view', low=0.0, high=1.0
    )


@dataclass(frozen=True)
class AtlasConfig(ValidatedConfig):
    """The landmarks that pictures are matched with, and the surface that confirms them."""

    views: int = setting(
        160, 'rendered views, at most, that landmarks are found in', low=2, high=1000
    )
    size: int = setting(320, 'longer side of these views [px]', low=64, high=640)


@dataclass(frozen=True)
class RegressorConfig(ValidatedConfig):
    """The compression of pictures, and the network that regresses the pose from what it leaves."""

    compression: str = setting(
        'pca',
        'what compresses the pictures: PCA, a variational autoencoder, or nothing',
        choices=('pca', 'vae', 'none'),
    )
    network_sees: str = setting(
        'reconstruction',
        'what the network sees of compressed pictures: rebuilt from their components, or these',
        choices=('reconstruction', 'components'),
    )
    components: int = setting(
        150, 'numbers that a picture is compressed to, also to find similar ones', low=2, high=4096
    )
    vae_epochs: int = setting(
        20, 'passes over the views, 6000 at most, to learn the autoencoder', low=1
    )
    epochs: int = setting(11, 'largest number of passes over the views', low=1)
    batch_size: int = setting(64, 'views a training step', low=2)
    learning_rate: float = setting(2e-3, 'peak of the one-cycle schedule of AdamW', low=0.0)
    patience: int = setting(6, 'stop after this many epochs without improvement', low=1)

    def __post_init__(self) -> None:
        """Refuse components of nothing."""
        super().__post_init__()
        if self.compression == 'none' and self.network_sees == 'components':
            raise ConfigError(
                'network_sees is components, but compression is none: set compression to pca or'
                ' vae, or network_sees to reconstruction'
            )


@dataclass(frozen=True)
class BuildConfig(ValidatedConfig):
    """Everything that a build can be told."""

    seed: int = setting(0, 'of every random choice of the build', low=0)
    capture: CaptureConfig = dataclasses.field(default_factory=CaptureConfig)
    field: VoxelFieldConfig = dataclasses.field(default_factory=VoxelFieldConfig)
    nerfstudio: NerfstudioConfig = dataclasses.field(default_factory=NerfstudioConfig)
    synthesis: SynthesisConfig = dataclasses.field(default_factory=SynthesisConfig)
    atlas: AtlasConfig = dataclasses.field(default_factory=AtlasConfig)
    regressor: RegressorConfig = dataclasses.field(default_factory=RegressorConfig)


@dataclass(frozen=True)
class LocalizerConfig(ValidatedConfig):
    """How a picture is localized and when the answer is believed."""

    device: str = setting('auto', 'where to compute', choices=DEVICES)
    hypotheses: int = setting(
        4, 'retrieved poses tried beside the regressed one', low=0, high=64, read_only=False
    )
    min_probability: float = setting(
        0.995,
        'reject a pose that is less probably within 10 cm and 5 degrees of the truth',
        low=0.0,
        high=1.0,
        read_only=False,
    )
    min_inliers: int = setting(
        15, 'reject with fewer matches that agree with the pose', low=12, read_only=False
    )
    min_inlier_ratio: float = setting(
        0.15, 'reject with a smaller share of agreeing matches', low=0.0, high=1.0, read_only=False
    )
    min_spread: float = setting(
        0.25,
        'reject when the inliers lie in a smaller share of the picture',
        low=0.0,
        high=1.0,
        read_only=False,
    )
    max_disagreement_m: float = setting(
        0.1,
        'reject when tightening moves the pose by more than this [m]',
        low=0.0,
        read_only=False,
    )
    max_disagreement_deg: float = setting(
        3.0,
        'reject when tightening moves the pose by more than this [deg]',
        low=0.0,
        read_only=False,
    )
    min_similarity: float = setting(
        0.3,
        'reject when the picture and what the map shows at the pose correlate less',
        low=-1.0,
        high=1.0,
        read_only=False,
    )
    max_std_m: float = setting(
        0.02,
        'reject a pose whose position has a larger standard deviation than this [m]',
        low=1e-4,
        read_only=False,
    )
    max_distance_m: float = setting(
        1.5, 'reject a pose this far from every walked position [m]', low=0.0, read_only=False
    )
    max_novelty: float = setting(
        8.0,
        'reject a picture whose PCA code is this much further from all known views than typical',
        low=1.0,
        read_only=False,
    )


@dataclass(frozen=True)
class OdometryDriftConfig(ValidatedConfig):
    """How far odometry may be trusted."""

    odometry_drift: float = setting(
        0.05,
        'the odometry may be off by this share of the path, and of the angle turned',
        low=0.0,
        high=1.0,
        read_only=False,
    )
    odometry_drift_m: float = setting(
        0.05, 'beside that, by this after the shortest path [m]', low=0.001, read_only=False
    )
    odometry_drift_deg: float = setting(
        2.0, 'beside that, by this after the least turn [deg]', low=0.01, read_only=False
    )
    odometry_witnesses: int = setting(
        3,
        'so many earlier poses that agree with a doubtful one confirm it; so many new ones that'
        ' agree with each other replace those that they contradict',
        low=2,
        high=100,
        read_only=False,
    )
    odometry_tolerance_s: float = setting(
        0.1,
        'a picture is compared if there is odometry within this of its stamp [s]',
        low=0.0,
        high=10.0,
        read_only=False,
    )


@dataclass(frozen=True)
class OdometryConfig(OdometryDriftConfig):
    """What odometry, when a localizer is given it, may confirm and contradict."""

    min_confirmed_probability: float = setting(
        0.9,
        'publish a pose that is less probable than min_probability, but at least this, if earlier'
        ' poses and the odometry confirm it',
        low=0.0,
        high=1.0,
        read_only=False,
    )


@dataclass(frozen=True)
class LoopClosureConfig(OdometryDriftConfig):
    """How odometry and poses of the localizer become one path."""

    keyframe_m: float = setting(
        0.2, 'a keyframe of the graph for each such piece of the path [m]', low=0.01, high=10.0
    )
    keyframe_deg: float = setting(10.0, 'and for each such turn [deg]', low=0.5, high=180.0)
    window: int = setting(
        100,
        'keyframes that later poses still correct; older ones are summed up and stay as they are',
        low=20,
        high=5000,
    )
    path_poses: int = setting(
        2000, 'the path keeps about so many poses: of older ones, every second', low=100
    )
    gate: float = setting(
        0.999,
        'a pose contradicts if it is farther off than this share of all right ones would be',
        low=0.5,
        high=0.999999,
        read_only=False,
    )
    min_std_m: float = setting(
        0.01, 'no pose is taken as more certain than this, each axis [m]', low=0.001, high=1.0
    )
    min_std_deg: float = setting(0.2, 'nor than this, about each axis [deg]', low=0.01, high=45.0)


@dataclass(frozen=True)
class QueryConfig(ValidatedConfig):
    """What localizing or judging the pictures of a bag can be told."""

    capture: CaptureConfig = dataclasses.field(default_factory=CaptureConfig)
    localizer: LocalizerConfig = dataclasses.field(default_factory=LocalizerConfig)


def config_from_dict(cls: type[T], values: Mapping[str, Any], prefix: str = '') -> T:
    """
    Make a config of class ``cls`` from nested plain values.

    Raises
    ------
    ConfigError
        On an unknown name (with the nearest known one) or an impossible value.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(f'{prefix or cls.__name__} must hold names and values, got {values!r}')
    hints = get_type_hints(cls)
    known = [item.name for item in fields(cls)]  # type: ignore[arg-type]
    arguments: dict[str, Any] = {}
    for name, value in values.items():
        full = f'{prefix}.{name}' if prefix else str(name)
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            remedy = f'did you mean {near[0]}?' if near else f'known are {", ".join(known)}'
            raise ConfigError(f'unknown setting {full}: {remedy}')
        if dataclasses.is_dataclass(hints[name]):
            value = config_from_dict(hints[name], {} if value is None else value, full)
        arguments[name] = value
    return cls(**arguments)


def load_build_config(path: Path | None) -> BuildConfig:
    """Read a build's settings from a YAML file; without one, the defaults."""
    return config_from_dict(BuildConfig, {} if path is None else read_yaml(path))


def read_yaml(path: Path) -> dict[str, Any]:
    """
    Read names and values, not yet checked, from a YAML file.

    Raises
    ------
    ConfigError
        If the file cannot be read or does not hold names and values.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise ConfigError(f'cannot read the settings {path}: {error.strerror}') from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        reason = ' '.join(str(error).split())
        raise ConfigError(f'the settings {path} are not YAML: {reason}') from error
    if not isinstance(values or {}, dict):
        raise ConfigError(f'the settings {path} must hold names and values, got {values!r}')
    return dict(values or {})
