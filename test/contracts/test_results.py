"""
Names in results: keys of metrics.json and poses.json, scores, baselines, fields, stages.

Expected values are literals, so that a rename in the code cannot change them. The texts of
rejection reasons are in `test_reasons`.
"""

import ast
from dataclasses import fields
import json
from pathlib import Path

import numpy as np
from outlines import outline
import pytest
from room_bags import write_room_bag
from rooms import walk
from small_map import CAMERA

from nerf_reversal_ros.baselines.baselines import BASELINES
from nerf_reversal_ros.capture.open_capture import iter_images
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.converters import FORMATS, NERFSTUDIO_PREFIX
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection
from nerf_reversal_ros.evaluation.rigid_alignment import aligned_block, RigidAlignment
from nerf_reversal_ros.fields import FIELD_KINDS, NERFSTUDIO_RUN_PREFIX
from nerf_reversal_ros.fields.field_metrics import PsnrScores
from nerf_reversal_ros.localization.camera_check import CameraEvidence
from nerf_reversal_ros.localization.gate import GateEvidence
from nerf_reversal_ros.localization.pose_files import LocalizedImage, pose_entry
from nerf_reversal_ros.mapping.stages import PROGRESS_STAGES
from nerf_reversal_ros.study.data import Split
from nerf_reversal_ros.study.plan import Experiment, StudyPlan

PACKAGE = Path(__file__).resolve().parents[2] / 'nerf_reversal_ros'
EVIDENCE = [
    'matched',
    'inlier_ratio',
    'inliers',
    'spread',
    'disagreement_m',
    'disagreement_deg',
    'explained',
    'halves_m',
    'halves_deg',
    'std_m',
    'distance_m',
]
CAMERA_EVIDENCE = [
    'focal_scale',
    'focal_std',
    'center_shift',
    'center_std',
    'aspect_scale',
    'aspect_std',
    'camera_views',
    'camera_std_m',
]
BLOCK = [
    'images',
    'published',
    'rejected',
    'median_translation_m',
    'median_rotation_deg',
    'recall',
    'accuracy_0.1m',
    'worst_published_translation_m',
    'worst_published_rotation_deg',
    'wrong_published',
    'anees',
    'sigma_coverage',
    'latency_ms',
]
COSTS = ['mapping_s', 'map_mb']


def block(at='', *, more=(), covariance=True):
    """Return the keys of the metrics of one method, with nested ones."""
    at, inner = at, f'{at}.' if at else ''
    found = {
        at: [*BLOCK, *more],
        f'{inner}rejected': [],
        f'{inner}recall': ['2cm_2deg', '5cm_5deg', '10cm_10deg', '25cm_2deg', '50cm_5deg'],
        f'{inner}latency_ms': ['p50', 'p95', 'p99'],
    }
    if covariance:
        found |= {
            f'{inner}sigma_coverage': ['translation', 'rotation'],
            f'{inner}sigma_coverage.translation': ['1', '2', '3'],
            f'{inner}sigma_coverage.rotation': ['1', '2', '3'],
        }
    return found


@pytest.fixture(scope='module')
def query(tmp_path_factory):
    """Write a bag of five images that the map of the box room was built from."""
    return write_room_bag(tmp_path_factory.mktemp('query') / 'bag', walk(48)[3:12:2], CAMERA)


@pytest.fixture(scope='module')
def evaluated(small_map, query, tmp_path_factory):
    """Return metrics.json and poses.json of an evaluation on the query bag."""
    folder = tmp_path_factory.mktemp('evaluated')
    files = folder / 'metrics.json', folder / 'poses.json'
    command = ['evaluate', str(small_map.path), str(query), '--device', 'cpu']
    command += ['--baselines', 'mean_pose', '--json', str(files[0]), '--poses', str(files[1])]
    assert main(command) == 0
    return [json.loads(file.read_text()) for file in files]


# ---- files


def test_the_keys_of_the_metrics(evaluated):
    found = outline(evaluated[0])
    of_all = ['stages', 'baselines', 'psnr_db', 'psnr_plain_db']
    of_all += ['oracle_nearest_reference', 'capture', 'aligned']
    assert found == {
        **block(more=[*COSTS, *of_all]),
        'stages': ['regressor', 'refined'],
        **block('stages.regressor'),
        **block('stages.refined'),
        'baselines': ['mean_pose'],
        **block('baselines.mean_pose', more=[*COSTS, 'position_only'], covariance=False),
        **block('oracle_nearest_reference', covariance=False),
        'capture': [
            'pictures',
            'pictures damaged',
            'pictures with a repeated stamp',
            'depth pictures',
            'poses broken',
            'pictures without a pose',
            'kept',
        ],
    }


def test_the_keys_of_the_metrics_of_ground_truth_in_another_frame(evaluated):
    """They are a motion, and the block that is given to be computed again."""
    assert evaluated[0]['aligned'] is None
    alignment = RigidAlignment(np.diag([-1.0, -1.0, 1.0, 1.0]), 0.95)
    found = aligned_block(alignment, lambda poses_gt: {'images': len(poses_gt)}, np.eye(4)[None])
    assert found == {
        'map_from_ground_truth': [[-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]],
        'translation_m': 0.0,
        'rotation_deg': pytest.approx(180.0),
        'explained': 0.95,
        'images': 1,
    }


def test_the_keys_of_the_file_of_poses(evaluated):
    document = evaluated[1]
    assert outline(document) == {
        '': ['map', 'frame_id', 'map_from_world', 'poses'],
        'poses[]': ['stamp_ns', 'stamp', 'map_from_camera', 'covariance'],
        'poses[].stamp': ['sec', 'nanosec'],
        'poses[].map_from_camera': ['position', 'orientation_xyzw'],
    }
    assert document['frame_id'] == 'map'
    assert np.shape(document['poses'][0]['covariance']) == (6, 6)
    rejected = pose_entry(LocalizedImage(Rejection('a reason', 'its figures'), 1_500_000_000))
    assert rejected == {
        'stamp_ns': 1_500_000_000,
        'stamp': {'sec': 1, 'nanosec': 500_000_000},
        'rejected': 'a reason',
        'detail': 'its figures',
    }
    camera = Camera(40, 30, 35.0, 36.0, 19.5, 14.5)
    found = pose_entry(LocalizedImage(Rejection('', ''), None, 'a.jpg', camera, 0.01))
    assert list(found) == ['image', 'camera', 'rejected', 'detail']
    assert list(found['camera']) == ['width', 'height', 'fx', 'fy', 'cx', 'cy', 'focal_std']


# ---- diagnostics of an image


def test_the_names_of_scores():
    assert list(GateEvidence(*range(11)).as_scores()) == EVIDENCE
    assert list(GateEvidence(*range(11), 0.5).as_scores()) == [*EVIDENCE, 'similarity']
    assert [field.name for field in fields(GateEvidence)] == [*EVIDENCE, 'similarity', 'camera']
    assert [field.name for field in fields(CameraEvidence)] == [*CAMERA_EVIDENCE, 'min_std']
    with_camera = GateEvidence(*range(11), 0.5, CameraEvidence(*range(8)))
    assert list(with_camera.as_scores()) == [*EVIDENCE, 'similarity', *CAMERA_EVIDENCE]


def test_the_scores_and_laps_of_a_localized_picture(small_localizer, query):
    picture = next(iter(iter_images(query, CaptureConfig())))
    outcome = small_localizer.localize(picture.rgb, picture.camera)
    assert isinstance(outcome, PoseEstimate)
    found = outcome.diagnostics
    evidence = [*EVIDENCE, 'similarity', *CAMERA_EVIDENCE]
    expected = ['contrast', 'novelty', *evidence, 'probability']
    assert list(found.scores) == expected
    assert list(found.latency_ms) == ['regress', 'keypoints', 'refine', 'total']
    flat = small_localizer.localize(np.zeros_like(picture.rgb), picture.camera).diagnostics
    assert (list(flat.scores), list(flat.latency_ms)) == (['contrast'], ['total'])


def test_the_names_of_psnr_in_manifest_and_metrics():
    assert PsnrScores._fields == ('psnr_db', 'psnr_plain_db', 'psnr_covered_db')


# ---- names that users give


def test_the_names_of_baselines():
    assert list(BASELINES) == [
        'mean_pose',
        'nearest_reference',
        'pca_retrieval',
        'vlad_retrieval',
        'sift_pnp',
        'seed_cnn',
        'seed_mlp',
        'inerf_prior',
        'inerf_random',
        'hloc_sift',
    ]


def test_the_names_of_fields_and_formats():
    assert (FIELD_KINDS, NERFSTUDIO_RUN_PREFIX) == (
        ('voxel', 'nerfacto', 'depth-nerfacto'),
        'nerfstudio:',
    )
    assert FORMATS == (
        *('record3d', 'nerfstudio', 'polycam', '7scenes'),
        *('rtabmap', 'colmap', 'tum', 'stray-scanner'),
    )
    assert NERFSTUDIO_PREFIX == 'nerfstudio-parser:'


def test_the_names_of_the_study():
    """`test_study` writes a `study.json` and checks all of its keys."""
    assert Split._fields == ('validation', 'stretch', 'leaking', 'learned')
    assert Experiment._fields == ('network', 'sees', 'views', 'filtered', 'full_size')
    sizes = ['width', 'full_width', 'full_views']
    plan = ['views', 'epochs', 'patience', *sizes, 'bfloat16', 'only']
    assert [field.name for field in fields(StudyPlan)] == plan
    assert [row.name for row in StudyPlan((2, 3, 4), full_views=5).experiments()] == [
        'CNN, PCA reconstruction, 2 views',
        'CNN, PCA reconstruction, 3 views',
        'CNN, PCA reconstruction, 4 views',
        'MLP, PCA reconstruction, 3 views',
        'CNN, raw, 3 views',
        'CNN, raw, 4 views',
        'MLP, raw, 3 views',
        'MLP, PCA components, 3 views',
        'CNN, VAE reconstruction, 3 views',
        'MLP, VAE latents, 3 views',
        'CNN, PCA reconstruction, 3 views, unfiltered',
        'CNN, raw, 5 views',
        'CNN full size, raw, 5 views',
    ]


def test_the_stages_that_anything_reports():
    """
    Read the stages from the source text: nerfstudio builds, studies and conversions too.

    Those of a build are `PROGRESS_STAGES`; all others are literals in calls of `Progress`.
    """
    calls = [
        node
        for file in PACKAGE.rglob('*.py')
        for node in ast.walk(ast.parse(file.read_text(encoding='utf-8')))
        if isinstance(node, ast.Call) and getattr(node.func, 'id', '') == 'Progress'
    ]
    literals = {call.args[0].value for call in calls if isinstance(call.args[0], ast.Constant)}
    assert literals | set(PROGRESS_STAGES) == {
        'adjustment',
        'alignment',
        'atlas',
        'baking',
        'calibration',
        'capture',
        'compression',
        'convert',
        'depth',
        'evaluate',
        'field',
        'first_map',
        'hloc_sift pairs',
        'landmarks',
        'look_alikes',
        'measuring',
        'networks',
        'pictures',
        'regressor',
        'rendering',
        'run',
        'synthesis',
        'training',
        'uncertainty',
        'views',
    }
