"""
Names in a map folder: files, tensors and keys, which readers of maps depend on.

Expected values are literals, so that a rename in the code cannot change them.
"""

import json

import numpy as np
from outlines import outline, tensors, without
import pytest
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.maps.map_folder import COVERAGE_FILE, FORMAT_VERSION, MANIFEST
from nerf_reversal_ros.regressor.coordinate_network import CoordinateNetwork
from nerf_reversal_ros.regressor.image_codec import Pca
from nerf_reversal_ros.regressor.pose_network import NetworkInput, PoseNetwork
from nerf_reversal_ros.regressor.regressor import PoseRegressor
from nerf_reversal_ros.regressor.regressor_file import FORMAT
from nerf_reversal_ros.regressor.vae import Vae, VaeNetwork

CAMERA_KEYS = ['width', 'height', 'fx', 'fy', 'cx', 'cy']


# ---- tensors

CAMERA = Camera(48, 36, 40.0, 40.0, 23.5, 17.5)
LAYER = ('weight', 'bias')
BOTTLENECK = {'inner.0': LAYER, 'inner.3': LAYER, 'inner.6': LAYER}
DENSE = {'inner.0': LAYER, 'inner.1': LAYER}
OF_PICTURES = {
    '': ('center', 'scale', 'typical_depth'),
    'cells.0': LAYER,
    'cells.3': LAYER,
    'cells.6': BOTTLENECK,
    'cells.7': BOTTLENECK,
    'coarse.0': LAYER,
    'coarse.3': BOTTLENECK,
    'coarse.4': BOTTLENECK,
    'whole.1': LAYER,
    'context': LAYER,
    'lateral': LAYER,
    'fine.0': BOTTLENECK,
    'head': LAYER,
    'factor': LAYER,
}
OF_COMPONENTS = {
    'features.0': LAYER,
    'features.2': DENSE,
    'features.3': DENSE,
    'features.4': DENSE,
    'head': LAYER,
}
PCA = ('mean', 'variance', 'retained', 'components', 'components_scales')
VAE = {
    '': ('mean', 'variance', 'retained'),
    'network': ('components', 'deviation'),
    'network.encoder.0': LAYER,
    'network.encoder.2': LAYER,
    'network.encoder.4': LAYER,
    'network.code': LAYER,
    'network.log_variance': LAYER,
    'network.decoder.0': LAYER,
    'network.decoder.3': LAYER,
    'network.decoder.6': LAYER,
    'network.decoder.8': LAYER,
}
BESIDE = {
    'index': ('codes', 'codes_scales', 'positions', 'rotations_xyzw'),
    'numbers': (
        'position_mean',
        'position_scale',
        'covariance_scale',
        'typical_distance',
    ),
}
SHAPES = {'position_mean': 3, 'position_scale': 3}


def names(tree, at=''):
    """Return the names of tensors from a tree of layers."""
    if isinstance(tree, dict):
        return {name for layer, inner in tree.items() for name in names(inner, f'{at}.{layer}')}
    return {f'{at}.{name}'.replace('..', '.').lstrip('.') for name in tree}


def test_the_tensors_of_the_field(small_map):
    assert tensors(small_map.file('field.safetensors')) == {
        'origin_m': ('F64', 1),
        'voxel_m': ('F64', 0),
        'grid': ('I64', 1),
        'bricks': ('I64', 1),
        'corners.zlib': ('U8', 1),
        'codes.zlib': ('U8', 1),
        'seen_free': ('U8', 1),
        'background': ('F16', 3),
    }


def test_the_tensors_of_the_atlas(small_map):
    assert tensors(small_map.file('atlas.safetensors')) == {
        'origin_m': ('F64', 2),
        'points': ('F32', 2),
        'directions': ('F32', 2),
        'distances': ('F32', 1),
        'sizes': ('F32', 1),
        'views': ('U8', 1),
        'descriptors': ('U8', 2),
    }


def test_the_tensors_of_the_surface(small_map):
    assert tensors(small_map.file('surface.safetensors')) == {
        'origin_m': ('F64', 2),
        'points': ('F32', 2),
        'colours': ('U8', 2),
        'spacing_m': ('F64', 1),
    }


def test_the_tensors_of_the_coverage(tmp_path):
    coverage = Coverage(np.zeros((2, 3)), np.ones(2), np.ones(2))
    (tmp_path / COVERAGE_FILE).write_bytes(coverage.encode())
    assert COVERAGE_FILE == 'coverage.safetensors'
    assert tensors(tmp_path / COVERAGE_FILE) == {
        'origin_m': ('F64', 2),
        'points': ('F32', 2),
        'localized': ('F32', 1),
        'std_m': ('F32', 1),
    }


def test_the_tensors_of_the_regressor(small_map):
    found = tensors(small_map.file('regressor.safetensors'))
    assert set(found) == names({'network': OF_PICTURES, 'pca': PCA, **BESIDE})
    weights = {kind for name, (kind, _) in found.items() if name.startswith('network.')}
    assert weights == {'F16'}
    kinds = {name: kind for name, kind in found.items() if not name.startswith('network.')}
    assert kinds == {
        'pca.mean': ('F32', 1),
        'pca.variance': ('F32', 1),
        'pca.retained': ('F32', 1),
        'pca.components': ('I8', 2),
        'pca.components_scales': ('F32', 2),
        'index.codes': ('I8', 2),
        'index.codes_scales': ('F32', 2),
        'index.positions': ('F64', 2),
        'index.rotations_xyzw': ('F32', 2),
        'numbers.position_mean': ('F32', 1),
        'numbers.position_scale': ('F32', 1),
        'numbers.covariance_scale': ('F32', 0),
        'numbers.typical_distance': ('F32', 0),
    }


@pytest.mark.parametrize('kind', ['pca', 'vae'])
@pytest.mark.parametrize('sees', ['none', 'reconstruction', 'components'])
def test_the_tensors_of_each_regressor_that_can_be_built(tmp_path, kind, sees):
    shared = torch.zeros(3 * 36 * 48), torch.ones(8), torch.ones(8)
    made = {
        'pca': lambda: Pca(*shared, torch.zeros(8, 3 * 36 * 48)),
        'vae': lambda: Vae(*shared, VaeNetwork(36, 48, 8)),
    }
    of_codes, of_images = (
        PoseNetwork(NetworkInput.CODE, 36, 48, 8),
        CoordinateNetwork(CAMERA, batch_norms=False),
    )
    network = of_codes if sees == 'components' else of_images
    numbers = {name: torch.ones(SHAPES.get(name, ())) for name in BESIDE['numbers']}
    index = torch.zeros(2, 8), np.stack([np.eye(4)] * 2)
    regressor = PoseRegressor(CAMERA, sees, made[kind](), network, *index, numbers, {})
    regressor.save(tmp_path / 'regressor.safetensors')
    layers = OF_COMPONENTS if sees == 'components' else OF_PICTURES
    codes = {'pca': PCA} if kind == 'pca' else {'vae': VAE}
    found = tensors(tmp_path / 'regressor.safetensors')
    assert set(found) == names({'network': layers, **codes, **BESIDE})


def test_the_header_of_the_regressor(small_map):
    import safetensors

    with safetensors.safe_open(small_map.file('regressor.safetensors'), framework='pt') as file:
        metadata = file.metadata()
    assert list(metadata) == ['regressor']
    assert outline(json.loads(metadata['regressor'])) == {
        '': ['format', 'camera', 'compression', 'network', 'regresses', 'report'],
        'camera': CAMERA_KEYS,
        'network': ['patch', 'cell', 'coarse', 'blocks', 'dense'],
        'report': [
            'retained_variance',
            'history',
            'best_epoch',
            'validation',
            'mean_pose',
            'views',
            'parameters',
        ],
        'report.history[]': ['loss', 'validation_translation_m', 'validation_rotation_deg'],
        'report.validation': ['translation_m', 'rotation_deg', 'covariance_scale'],
        'report.mean_pose': ['translation_m', 'rotation_deg'],
    }
    assert (FORMAT, FORMAT_VERSION) == (3, 3)


def test_the_walked_poses(small_map):
    with np.load(small_map.file('walked_poses.npz')) as stored:
        assert {name: stored[name].dtype for name in stored} == {
            'map_from_camera': np.float64,
            'stamps_ns': np.int64,
        }


# ---- JSON


def test_the_keys_of_the_manifest(small_map):
    manifest = json.loads((small_map.path / 'manifest.json').read_text())
    assert MANIFEST == 'manifest.json'
    files = {f'files.{name}': ['bytes', 'sha256'] for name in manifest['files']}
    assert without(outline(manifest), 'built.config') == {
        '': [
            'format_version',
            'stage',
            'built',
            'camera',
            'capture_camera',
            'convention',
            'depth_correction',
            'capture',
            'calibration',
            'warnings',
            'metrics',
            'files',
        ],
        'built': ['date', 'seed', 'package_version', 'device', 'field', 'seconds', 'config'],
        'built.seconds': [
            'capture',
            'adjustment',
            'field',
            'atlas',
            'first_map',
            'synthesis',
            'regressor',
            'calibration',
        ],
        'camera': CAMERA_KEYS,
        'capture_camera': CAMERA_KEYS,
        'convention': ['axes', 'map_from_world', 'up_source', 'depth_error_m', 'of_bag'],
        'convention.depth_error_m': [
            'optical',
            'opengl',
            'optical_inverted',
            'opengl_inverted',
        ],
        'depth_correction': ['scale', 'offset_m', 'points', 'error_m', 'corrected_error_m'],
        'capture': ['source', 'counts', 'pose_adjustment'],
        'capture.pose_adjustment': [
            'kept',
            'reason',
            'frames',
            'tracks',
            'held_out_tracks',
            'error_px',
            'adjusted_error_px',
            'median_change_m',
            'max_change_m',
            'median_change_deg',
            'max_change_deg',
            'focal_scale',
            'scale',
            'time_offset_s',
            'noise_m',
            'noise_deg',
            'parts',
            'left_out',
        ],
        'capture.counts': [
            'pictures',
            'pictures damaged',
            'pictures with a repeated stamp',
            'depth pictures',
            'poses broken',
            'pictures without a pose',
            'dropped without depth',
            'dropped as blurred',
            'dropped as duplicate',
            'kept',
        ],
        'calibration': [
            'covariance_scale',
            'floor_m',
            'floor_deg',
            'floor_growth',
            'noise_m',
            'noise_deg',
            'counts_weakness',
            'gate_bias',
            'gate_weights',
        ],
        'metrics': [
            'scene_depth_m',
            'psnr_db',
            'psnr_plain_db',
            'psnr_covered_db',
            'coverage',
            'depth_error_m',
            'held_out_frames',
            'measured_frames',
            'synthetic_views',
            'landmarks',
            'surface_points',
            'calibration_poses',
            'calibration_right',
        ],
        'files': [
            'atlas.safetensors',
            'field.safetensors',
            'regressor.safetensors',
            'surface.safetensors',
            'training.json',
            'walked_poses.npz',
        ],
        **files,
    }
    assert len(manifest['calibration']['gate_weights']) == 10
    assert len(Calibration().gate_weights) == 10


def test_the_keys_of_the_training_curves(small_map):
    training = json.loads(small_map.file('training.json').read_text())
    assert without(outline(training), 'synthesis.rejected') == {
        '': ['field', 'synthesis', 'regressor', 'pca'],
        'field': ['step', 'loss'],
        'synthesis': ['kept', 'rejected'],
        'regressor': [
            'epoch',
            'train_loss',
            'val_translation_m',
            'val_rotation_deg',
            'mean_pose',
        ],
        'regressor.mean_pose': ['translation_m', 'rotation_deg'],
        'pca': ['retained_variance'],
    }


# ---- progress


def test_the_stages_that_a_build_reports(small_build):
    assert list(dict.fromkeys(told.stage for told in small_build.reports)) == [
        'capture',
        'adjustment',
        'depth',
        'pictures',
        'field',
        'atlas',
        'landmarks',
        'first_map',
        'synthesis',
        'regressor',
        'calibration',
    ]
