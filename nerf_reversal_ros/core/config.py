"""
Settings of every stage: capture, fields, synthesis, regressor, landmarks, localizer.

Each class is a section of the ``--config`` file or a group of ROS parameters. Settings of single
nodes are in `ros.node_config` and `ros.evaluator_node`, those of odometry in `odometry.config`
and `odometry.map_from_odom`.
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.validated_config import (
    config_from_dict,
    live_setting,
    read_yaml,
    setting,
    ValidatedConfig,
)

DEVICES = ('auto', 'cpu', 'cuda')
"""Devices to compute on; ``auto`` selects a GPU where PyTorch finds one."""

MAX_VOXEL_M = 0.2  # furniture must not vanish in a voxel


@dataclass(frozen=True)
class VoxelFieldConfig(ValidatedConfig):
    """The voxel radiance field and its training."""

    voxel_m: float = setting(
        0.0, 'edge of a voxel [m]; 0: 1/200 of the depth of the scene', low=0.0, high=MAX_VOXEL_M
    )
    steps: int = setting(200, 'training steps; 0: keep the field as initialized from depth', low=0)
    max_frames: int = setting(
        800,
        'largest number of frames to train on, those of the most spread views; bounds memory',
        low=10,
    )
    rays_per_step: int = setting(24576, 'rays per training step', low=64, high=1_000_000)
    learning_rate: float = setting(0.03, 'of Adam, for colors and log densities', low=0.0)
    depth_weight: float = setting(
        0.2, 'weight of the depth loss relative to the color loss', low=0.0
    )
    validation_share: float = setting(
        0.05,
        'fraction of the frames, one held-out segment: to measure PSNR, select the weights of the'
        ' regressor, and calibrate the covariance',
        low=0.01,
        high=0.5,
    )
    min_psnr_db: float = setting(15.0, 'warn if held-out PSNR is below this [dB]', low=0.0)


@dataclass(frozen=True)
class NerfstudioConfig(ValidatedConfig):
    """Training of a nerfstudio field, and its baking into the voxel field."""

    size: str = setting(
        'auto',
        'the full Nerfacto, or a reduced one for CPUs; auto: full on CUDA only',
        choices=('auto', 'full', 'reduced'),
    )
    steps: int = setting(
        0, 'training steps; 0: 10,000 for the full Nerfacto, 2,000 for the reduced one', low=0
    )
    rays_per_step: int = setting(
        0, 'rays per step; 0: 4,096, or 1,024 for the reduced Nerfacto', low=0, high=1_000_000
    )
    learning_rate: float = setting(0.01, 'of Adam, at the first step', low=0.0)
    bake_views: int = setting(
        0, 'views rendered to bake the field; 0: 400 on CUDA, 150 on a CPU', low=0
    )
    bake_size: int = setting(
        0, 'longer side of the baking views [px]; 0: 480 on CUDA, 160 on a CPU', low=0, high=960
    )
    max_std_m: float = setting(
        0.0,
        'ignore baking depth with a larger standard deviation than this; 0: keep all [m]',
        low=0.0,
    )


@dataclass(frozen=True)
class SynthesisConfig(ValidatedConfig):
    """Sampling of synthetic views, and limits for rejecting them."""

    views: int = setting(8000, 'synthetic views to keep', low=0, high=1_000_000)
    width: int = setting(
        64,
        'longer side of the images of the regressor, at most that of the capture [px]',
        low=16,
        high=960,
    )
    translation_m: float = setting(
        0.0,
        'horizontal distance from a mapping pose up to which positions are sampled [m], half of it'
        ' vertically, less where the scene is near; 0: 1/4 of the depth of the scene',
        low=0.0,
        high=20.0,
    )
    rotation_deg: float = setting(
        15.0, 'standard deviation of the rotation about each axis [deg]', low=0.0, high=180.0
    )
    between_share: float = setting(
        0.5, 'fraction of the views sampled between and beyond mapping poses', low=0.0, high=1.0
    )
    clearance_m: float = setting(
        0.0,
        'smallest distance of a camera to occupied space [m], less where the scene is near;'
        ' 0: 3/40 of the depth of the scene',
        low=0.0,
        high=2.0,
    )
    min_opacity: float = setting(
        0.75,
        'smallest mean opacity of a view, as a check that the field covers it',
        low=0.0,
        high=1.0,
    )
    near_m: float = setting(
        0.0,
        'depth below which a pixel is too near [m], less where the scene is near; 0: 1/8 of the'
        ' depth of the scene',
        low=0.0,
        high=20.0,
    )
    max_near_share: float = setting(
        0.1, 'largest fraction of too near pixels in a view', low=0.0, high=1.0
    )


@dataclass(frozen=True)
class AtlasConfig(ValidatedConfig):
    """Views for the landmark map and the surface cloud."""

    views: int = setting(
        160, 'largest number of views rendered for landmark detection', low=2, high=1000
    )
    size: int = setting(320, 'longer side of the landmark views [px]', low=64, high=640)
    images: int = setting(
        160, 'largest number of capture images searched for landmarks', low=0, high=1000
    )
    image_size: int = setting(
        640, 'longer side to which these images are reduced [px]', low=64, high=1920
    )


@dataclass(frozen=True)
class RegressorConfig(ValidatedConfig):
    """Image codec and pose regression network."""

    compression: str = setting(
        'pca',
        'image codec: PCA, a variational autoencoder, or none',
        choices=('pca', 'vae', 'none'),
    )
    network_sees: str = setting(
        'image',
        'input of the network: images, images decoded from their codes, or the codes',
        choices=('image', 'reconstruction', 'components'),
    )
    components: int = setting(
        150, 'dimension of the image code, also used for retrieval', low=2, high=4096
    )
    vae_epochs: int = setting(20, 'epochs of autoencoder training, over at most 6000 views', low=1)
    epochs: int = setting(5, 'largest number of epochs', low=1)
    batch_size: int = setting(32, 'views per training step', low=2)
    learning_rate: float = setting(3e-3, 'peak of the one-cycle schedule of AdamW', low=0.0)
    patience: int = setting(6, 'stop after this many epochs of a clearly higher error', low=1)

    def __post_init__(self) -> None:
        """Reject components as the network input without a codec."""
        super().__post_init__()
        if self.compression == 'none' and self.network_sees == 'components':
            raise ConfigError(f'compression is none: {remedies.COMPRESS}')


@dataclass(frozen=True)
class BuildConfig(ValidatedConfig):
    """All settings of a build."""

    seed: int = setting(0, 'seed of all random numbers of the build', low=0, high=4_294_967_295)
    capture: CaptureConfig = dataclasses.field(default_factory=CaptureConfig)
    field: VoxelFieldConfig = dataclasses.field(default_factory=VoxelFieldConfig)
    nerfstudio: NerfstudioConfig = dataclasses.field(default_factory=NerfstudioConfig)
    synthesis: SynthesisConfig = dataclasses.field(default_factory=SynthesisConfig)
    atlas: AtlasConfig = dataclasses.field(default_factory=AtlasConfig)
    regressor: RegressorConfig = dataclasses.field(default_factory=RegressorConfig)


@dataclass(frozen=True)
class LocalizerConfig(ValidatedConfig):
    """Pose hypotheses, and limits of the gate."""

    device: str = setting('auto', 'where to compute', choices=DEVICES)
    hypotheses: int = live_setting(
        4, 'number of retrieved poses tried besides the regressed one', low=0, high=64
    )
    query_size: int = live_setting(
        320,
        'longer side to which an image is reduced at first [px]; 0: only retries',
        low=0,
        high=1920,
    )
    retry_size: int = live_setting(
        640,
        'longer side for the retries of an image that is not accepted, or uncertain [px];'
        ' 0: no retries',
        low=0,
        high=1920,
    )
    whole_map: bool = live_setting(
        True, 'retry with all landmarks of the map, without any pose hypothesis'
    )
    tracking_timeout_s: float = live_setting(
        1.0,
        'longest time for which tracking predicts the pose from the last accepted one; 0: no'
        ' tracking [s]',
        low=0.0,
        high=3600.0,
    )
    min_probability: float = live_setting(
        0.95,
        'reject a pose with a lower probability of being within 10 cm and 5 deg of the true one',
        low=0.0,
        high=1.0,
    )
    min_inliers: int = live_setting(15, 'reject a pose with fewer inliers', low=12)
    min_inlier_ratio: float = live_setting(
        0.15,
        'reject a pose with a smaller fraction of inliers among the matches',
        low=0.0,
        high=1.0,
    )
    min_spread: float = live_setting(
        0.25,
        'reject a pose whose inliers cover a smaller fraction of the image',
        low=0.0,
        high=1.0,
    )
    max_disagreement_m: float = live_setting(
        0.1, 'reject a pose that guided matching moves by more than this [m]', low=0.0
    )
    max_disagreement_deg: float = live_setting(
        3.0, 'reject a pose that guided matching rotates by more than this [deg]', low=0.0
    )
    min_similarity: float = live_setting(
        0.3,
        'reject a pose if the image and the surface rendered at the pose correlate less',
        low=-1.0,
        high=1.0,
    )
    max_camera_deviation: float = live_setting(
        0.02,
        'reject an image whose matches fit a focal length or principal point that deviates from'
        ' camera_info by more than this fraction, and by more than its uncertainty',
        low=0.0,
    )
    max_std_m: float = live_setting(
        0.03, 'reject a pose whose position has a larger standard deviation [m]', low=1e-4
    )
    max_distance_m: float = live_setting(
        1.5, 'reject a pose farther than this from all mapping positions [m]', low=0.0
    )
    max_novelty: float = live_setting(
        8.0,
        'reject an image whose code is farther from all views than this multiple of usual; not'
        ' tested where tracking has predicted the pose well',
        low=1.0,
    )
    memory_limit_mb: int = setting(
        1000,
        'of a building: memory of the rooms that are loaded, but for one room at least [MB]',
        low=1,
    )


@dataclass(frozen=True)
class QueryConfig(ValidatedConfig):
    """All settings of localizing or evaluating the images of a bag."""

    capture: CaptureConfig = dataclasses.field(default_factory=CaptureConfig)
    localizer: LocalizerConfig = dataclasses.field(default_factory=LocalizerConfig)


def load_build_config(path: Path | None) -> BuildConfig:
    """Read the settings of a build from a YAML file; the defaults if ``path`` is None."""
    return config_from_dict(BuildConfig, {} if path is None else read_yaml(path))
