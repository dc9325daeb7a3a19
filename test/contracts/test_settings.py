"""
Names, defaults and choices of settings, which users give in files and as ROS parameters.

Expected values are literals, so that a rename in the code cannot change them.
"""

from dataclasses import asdict, fields

import pytest

from nerf_reversal_ros.core.capture_config import CaptureConfig, RECORD3D_TOPICS
from nerf_reversal_ros.core.config import (
    AtlasConfig,
    BuildConfig,
    DEVICES,
    LocalizerConfig,
    NerfstudioConfig,
    QueryConfig,
    RegressorConfig,
    SynthesisConfig,
    VoxelFieldConfig,
)
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.odometry.config import LoopClosureConfig, OdometryConfig
from nerf_reversal_ros.odometry.map_from_odom import TfSmoothingConfig

CAPTURE = {
    'image_topic': '/record3d/device_0/rgb/img',
    'depth_topic': '/record3d/device_0/depth/img',
    'mask_topic': '/record3d/device_0/rgb/mask',
    'camera_info_topic': '/record3d/device_0/rgb/camera_info',
    'rectified': False,
    'camera_info_file': '',
    'camera_info_size': '',
    'pose_topic': '/record3d/device_0/camera_pose',
    'pose_frame': '',
    'mounting': '',
    'pose_unit_m': 1.0,
    'tf_topic': '',
    'tf_parent': '',
    'tf_child': '',
    'camera_time_offset_s': 0.0,
    'sync_tolerance_s': 0.02,
    'pose_convention': 'auto',
    'up_axis': 'auto',
    'min_move_m': 0.005,
    'min_turn_deg': 0.25,
    'blur_ratio': 0.25,
    'max_depth_m': 8.0,
    'depth_unit_m': 0.0,
    'adjust_poses': 'auto',
}
BUILD = {
    'seed': 0,
    'capture': CAPTURE,
    'field': {
        'voxel_m': 0.0,
        'steps': 200,
        'max_frames': 800,
        'rays_per_step': 24576,
        'learning_rate': 0.03,
        'depth_weight': 0.2,
        'validation_share': 0.05,
        'min_psnr_db': 15.0,
    },
    'nerfstudio': {
        'size': 'auto',
        'steps': 0,
        'rays_per_step': 0,
        'learning_rate': 0.01,
        'bake_views': 0,
        'bake_size': 0,
        'max_std_m': 0.0,
    },
    'synthesis': {
        'views': 8000,
        'width': 64,
        'translation_m': 0.0,
        'rotation_deg': 15.0,
        'between_share': 0.5,
        'clearance_m': 0.0,
        'min_opacity': 0.75,
        'near_m': 0.0,
        'max_near_share': 0.1,
    },
    'atlas': {'views': 160, 'size': 320, 'images': 160, 'image_size': 640},
    'regressor': {
        'compression': 'pca',
        'network_sees': 'image',
        'components': 150,
        'vae_epochs': 20,
        'epochs': 5,
        'batch_size': 32,
        'learning_rate': 0.003,
        'patience': 6,
    },
}
LOCALIZER = {
    'device': 'auto',
    'hypotheses': 4,
    'query_size': 320,
    'retry_size': 640,
    'whole_map': True,
    'tracking_timeout_s': 1.0,
    'min_probability': 0.95,
    'min_inliers': 15,
    'min_inlier_ratio': 0.15,
    'min_spread': 0.25,
    'max_disagreement_m': 0.1,
    'max_disagreement_deg': 3.0,
    'max_camera_deviation': 0.02,
    'min_similarity': 0.3,
    'max_std_m': 0.03,
    'max_distance_m': 1.5,
    'max_novelty': 8.0,
    'memory_limit_mb': 1000,
}
DRIFT = {
    'odometry_drift': 0.05,
    'odometry_drift_m': 0.05,
    'odometry_drift_deg': 2.0,
    'odometry_witnesses': 3,
    'odometry_tolerance_s': 0.1,
}
LOOP_CLOSURE = {
    **DRIFT,
    'keyframe_m': 0.2,
    'keyframe_deg': 10.0,
    'window': 100,
    'path_poses': 2000,
    'gate': 0.999,
    'min_std_m': 0.01,
    'min_std_deg': 0.2,
}
SMOOTHING = {
    'tf_smoothing': 0.3,
    'tf_max_jump_m': 0.3,
    'tf_max_jump_deg': 10.0,
    'tf_rate_hz': 20.0,
    'tf_tolerance_s': 0.1,
    'tf_jump_poses': 3,
    'tf_planar': False,
    'tf_max_age_s': 0.0,
}
ALL = [
    (BuildConfig, BUILD),
    (QueryConfig, {'capture': CAPTURE, 'localizer': LOCALIZER}),
    (LocalizerConfig, LOCALIZER),
    (OdometryConfig, {**DRIFT, 'min_confirmed_probability': 0.9}),
    (LoopClosureConfig, LOOP_CLOSURE),
    (TfSmoothingConfig, SMOOTHING),
]


@pytest.mark.parametrize(('cls', 'expected'), ALL, ids=[cls.__name__ for cls, _ in ALL])
def test_names_and_defaults(cls, expected):
    assert asdict(cls()) == expected
    assert config_from_dict(cls, expected) == cls()


@pytest.mark.parametrize(
    ('cls', 'expected'),
    [
        (
            CaptureConfig,
            {
                'adjust_poses': ('auto', 'off'),
                'pose_convention': (
                    'auto',
                    'optical',
                    'opengl',
                    'optical_inverted',
                    'opengl_inverted',
                ),
                'up_axis': ('auto', 'x', 'y', 'z', '-x', '-y', '-z'),
            },
        ),
        (VoxelFieldConfig, {}),
        (NerfstudioConfig, {'size': ('auto', 'full', 'reduced')}),
        (SynthesisConfig, {}),
        (AtlasConfig, {}),
        (
            RegressorConfig,
            {
                'compression': ('pca', 'vae', 'none'),
                'network_sees': ('image', 'reconstruction', 'components'),
            },
        ),
        (LocalizerConfig, {'device': ('auto', 'cpu', 'cuda')}),
    ],
)
def test_choices(cls, expected):
    found = {item.name: item.metadata['choices'] for item in fields(cls)}
    assert {name: choices for name, choices in found.items() if choices} == expected


@pytest.mark.parametrize(
    ('cls', 'expected'),
    [
        (LocalizerConfig, {'device', 'memory_limit_mb'}),
        (OdometryConfig, set()),
        (
            LoopClosureConfig,
            {'keyframe_m', 'keyframe_deg', 'window', 'path_poses', 'min_std_m', 'min_std_deg'},
        ),
        (TfSmoothingConfig, {'tf_rate_hz'}),
    ],
)
def test_what_a_running_node_does_not_change(cls, expected):
    assert {item.name for item in fields(cls) if item.metadata['read_only']} == expected


def test_the_devices_and_the_topics_of_the_other_record3d_driver():
    assert DEVICES == ('auto', 'cpu', 'cuda')
    assert RECORD3D_TOPICS == {
        '/record3d/device_0/rgb/img': '/record3d/device_0/rgb/image_raw/compressed',
        '/record3d/device_0/depth/img': '/record3d/device_0/depth/image_raw',
    }
