"""The study of the original project on a small room: experiments, report, and resuming."""

import contextlib
import io
import json
from pathlib import Path

from box_room import BoxRoom, CAMERA as SMALL, walk as box_walk
import cv2
import numpy as np
from outlines import outline, without
import pytest
from room_bags import write_room_bag
from rooms import walk
from small_map import CAMERA
import torch

from nerf_reversal_ros.baselines.original_networks import original_layers
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.config import load_build_config, SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError, ConfigError
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.study.data import HELD_OUT_FRACTION, identity_codec, split_frames, StudyData
from nerf_reversal_ros.study.plan import Experiment, StudyPlan
from nerf_reversal_ros.study.report import study_html
from nerf_reversal_ros.study.table import conclusions, ORIGINAL_RESULTS, results_table
from nerf_reversal_ros.study.training import StudyNetwork, train_experiment
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views, Views

SETTINGS = """
field: {voxel_m: 0.04, steps: 5, rays_per_step: 512}
regressor: {components: 12, vae_epochs: 2}
"""
DEVICE = torch.device('cpu')
BUDGET = [
    '--views',
    '40,80',
    '--epochs',
    '3',
    '--patience',
    '3',
    '--full-views',
    '12',
    '--width',
    '48',
]


@pytest.fixture(scope='module')
def study(tmp_path_factory):
    """Run a whole study once, with every experiment."""
    folder = tmp_path_factory.mktemp('study')
    bag = write_room_bag(folder / 'walk', walk(30), CAMERA, up_axis='z')
    (folder / 'settings.yaml').write_text(SETTINGS)
    command = ['study', str(bag), str(folder / 'out'), *BUDGET, '--full-width', '64']
    command += ['--config', str(folder / 'settings.yaml'), '--device', 'cpu']
    assert main(command) == 0
    return folder, command


def read_results(folder: Path):
    return json.loads((folder / 'out' / 'study.json').read_text())


def test_every_row_has_loss_accuracy_and_errors_by_epoch(study):
    rows = read_results(study[0])['rows']
    assert [row['name'] for row in rows] == [
        'CNN, PCA reconstruction, 40 views',
        'CNN, PCA reconstruction, 80 views',
        'MLP, PCA reconstruction, 80 views',
        'CNN, raw, 80 views',
        'MLP, raw, 80 views',
        'MLP, PCA components, 80 views',
        'CNN, VAE reconstruction, 80 views',
        'MLP, VAE latents, 80 views',
        'CNN, PCA reconstruction, 80 views, unfiltered',
        'CNN, raw, 12 views',
        'CNN full size, raw, 12 views',
    ]
    for row in rows:
        history = row['history']
        assert len(history['train_loss']) == len(history['stretch']) == 3
        losses = [scores['loss'] for scores in history['validation']]
        assert row['best_epoch'] == 1 + int(np.argmin(losses))
        assert history['stretch'][row['best_epoch'] - 1] == row['stretch']
        assert history['train_loss'][-1] < history['train_loss'][0]
        for split in ('train', 'stretch', 'leaking'):
            assert 0.0 <= row[split]['accuracy_0.1m'] <= 1.0
            assert row[split]['median_translation_m'] > 0.0
            assert 0.0 < row[split]['median_rotation_deg'] < 180.0
        assert row['size'] == ([64, 48] if row['full_size'] else [48, 36])
        assert (sum(row['rejected'].values()) > 0) == row['filtered']


def test_a_training_ends_when_the_validation_error_no_longer_falls(study):
    folder, _ = study
    config = load_build_config(folder / 'settings.yaml')
    capture = open_capture(folder / 'walk', config.capture)
    plan = StudyPlan((40, 80), 40, 1, 48, 64, 12, only=('MLP, raw',))
    data = StudyData(capture, folder / 'out' / 'work', config, plan, DEVICE)
    (experiment,) = plan.experiments()
    images = data.images(experiment)
    codec = data.codec(experiment, images.training)
    row = train_experiment(
        experiment, images, codec, plan, device=DEVICE, seed=0, progress=no_progress
    )
    losses = [scores['loss'] for scores in row['history']['validation']]
    assert row['best_epoch'] == len(losses) - 1 < plan.epochs - 1
    assert losses[-1] >= losses[-2] == min(losses)


def split_capture(count: int, seed: int):
    """Split a capture of so many frames as a study does."""
    return split_frames(held_out_mask(count, HELD_OUT_FRACTION), seed)


def test_the_splits_share_no_frame_and_only_the_random_one_leaks():
    split = split_capture(200, seed=3)
    frames = np.concatenate(split)
    assert len(np.unique(frames)) == len(frames)
    validation, stretch, leaking, learned = split
    assert len(stretch) == len(leaking) == 30 and len(learned) == 200 - 40 - 2 * 5 - 30
    segment = np.concatenate([validation, stretch])
    np.testing.assert_array_equal(segment, np.arange(segment[0], segment[0] + 40))
    assert (
        np.abs(segment[:, None] - split.synthesis_frames).min() == 6
    )  # frames with views around them
    nearest = np.abs(leaking[:, None] - learned).min(1)
    assert np.mean(nearest == 1) > 0.8
    same, other = split_capture(200, seed=3), split_capture(200, seed=4)
    np.testing.assert_array_equal(same.leaking, leaking)
    assert not np.array_equal(other.leaking, leaking)


@pytest.mark.parametrize('index', [0, -1], ids=['small', 'full size'])
def test_both_splits_have_as_many_real_images_and_none_is_trained_on(study, index):
    folder, _ = study
    config = load_build_config(folder / 'settings.yaml')
    capture = open_capture(folder / 'walk', config.capture)
    plan = StudyPlan((40, 80), epochs=3, patience=3, full_views=12, width=48, full_width=64)
    experiment = plan.experiments()[index]
    images = StudyData(capture, folder / 'out' / 'work', config, plan, DEVICE).images(experiment)
    assert len(images.held_out) == len(images.leaking) == 4 and len(images.validation) == 2
    assert len(images.training) == experiment.views + min(experiment.views, 18)
    frames = {pose.tobytes() for pose in capture.map_from_camera}
    training, held_out, leaking = (
        {pose.tobytes() for pose in part.map_from_camera}
        for part in (images.training, images.held_out, images.leaking)
    )
    assert held_out | leaking <= frames and not training & (held_out | leaking)
    assert len(training & frames) == min(experiment.views, 18)
    pose = images.leaking.map_from_camera[0]
    frame = next(f for f in capture if np.array_equal(f.map_from_camera, pose))
    small = cv2.resize(frame.rgb, (images.camera.width, images.camera.height))
    assert np.abs(images.leaking.rgb[0].astype(float) - small).mean() < 10


def test_cheap_networks_are_trained_first(study):
    paths = sorted((study[0] / 'out' / 'work' / 'rows').iterdir(), key=lambda p: p.stat().st_mtime)
    rows = [json.loads(path.read_text()) for path in paths]
    costs = [row['pictures'] * row['size'][0] * row['size'][1] for row in rows]
    assert costs == sorted(costs) and len(set(costs)) > 2


@pytest.mark.parametrize('network', ['cnn', 'mlp'])
def test_bfloat16_rounds_what_a_cnn_computes_and_neither_its_weights_nor_an_mlp(network):
    rgb = np.random.default_rng(0).integers(256, size=(4, CAMERA.height, CAMERA.width, 3))
    shape = rgb.shape[:3]
    views = Views(
        rgb.astype(np.uint8),
        np.ones(shape, np.bool_),
        np.zeros((4, 0, 0), np.float16),
        np.tile(np.eye(4), (4, 1, 1)),
        {},
    )
    experiment, codec = Experiment(network, 'raw', 4), identity_codec(CAMERA, 0, DEVICE)
    poses, indices = views.map_from_camera, np.arange(4)
    exact = StudyNetwork(experiment, codec, CAMERA, poses, DEVICE)
    rounded = StudyNetwork(experiment, codec, CAMERA, poses, DEVICE, bfloat16=True)
    rounded.layers.load_state_dict(exact.layers.state_dict())
    exact.layers.eval()
    rounded.layers.eval()
    error = (exact.outputs(views, indices) - rounded.outputs(views, indices)).abs().max()
    assert 0 < error < 0.05 if network == 'cnn' else error == 0
    rounded.step(torch.optim.Adam(rounded.layers.parameters()), views, indices)
    assert {weight.dtype for weight in rounded.layers.parameters()} == {torch.float32}


def test_a_capture_that_is_too_short_is_rejected():
    with pytest.raises(BuildError, match='9 frames is too short for a study: record at least 10'):
        split_capture(9, seed=0)
    assert len(split_capture(10, seed=0).learned) > 0


def test_a_codec_is_measured_on_images_that_it_was_not_fitted_to(study):
    for row in read_results(study[0])['rows']:
        assert ('compression_quality' in row) == (row['compression'] != 'none')
        if row['compression'] == 'pca':
            quality = row['compression_quality']
            stretch, leaking = (quality[split]['retained'] for split in ('stretch', 'leaking'))
            assert 0.0 < stretch < leaking < quality['retained_training'][-1] < 1.0
            assert 10.0 < quality['stretch']['psnr_db'] < 40.0


def test_the_report_marks_the_leak_wherever_it_occurs(study):
    result = read_results(study[0])
    cells = results_table(result)
    assert [name for name in cells[0] if 'random' in name] == ['random split, LEAKING, 0.1 m']
    assert 'median (LEAKING)' in cells[0]
    assert [line[0] for line in cells[-3:]] == [
        f'original project: {name}' for name, _, _ in ORIGINAL_RESULTS
    ]
    page = (study[0] / 'out' / 'study.html').read_text()
    assert page == study_html(result, command=page.split('<pre>')[1].split('</pre>')[0])
    for phrase in ('LEAKING: evaluated on real frames', 'retained of random split, LEAKING'):
        assert phrase in page
    assert page.count('<svg') == 0 and page.count('image/svg+xml') == 4
    text = ' '.join(conclusions(result))
    assert 'The autoencoder is ' in text and 'the effect of the leak, if both' in text


def test_a_network_no_better_than_the_mean_pose_is_named(study):
    result = read_results(study[0])
    row = result['rows'][0]
    mean_m = row['trivial']['stretch']['mean_pose']['median_translation_m']
    for median_m, is_named in ((0.5 * mean_m, False), (1.5 * mean_m, True)):
        row['stretch']['median_translation_m'] = median_m
        sentences = [text for text in conclusions(result) if text.startswith(row['name'])]
        assert bool(sentences) == is_named


def test_the_same_command_trains_only_the_missing_experiments(study, capsys):
    folder, command = study
    before = read_results(folder)
    (result_file,) = (folder / 'out' / 'work' / 'rows').glob('MLP_PCA-components*')
    result_file.unlink()
    assert main(command) == 0
    log = capsys.readouterr().err
    assert 'training' in log and 'field: ' not in log
    networks = log.index('networks: 1 to train, at most ')
    assert networks < log.index('views: 80 to render, about ') < log.index('training')
    assert 'compression' not in log
    after = read_results(folder)
    for old, new in zip(before['rows'], after['rows'], strict=True):
        if old['name'] != 'MLP, PCA components, 80 views':
            assert old == new
        assert old['stretch'] == new['stretch']  # seeds are fixed


def test_only_selects_experiments_and_rejects_unknown_names(capsys):
    plan = StudyPlan(only=('VAE',))
    assert [row.sees for row in plan.experiments()] == ['VAE reconstruction', 'VAE latents']
    with pytest.raises(
        ConfigError, match=r'only GAN matches no experiment: .* CNN, PCA reconstruction'
    ):
        StudyPlan(only=('GAN',))
    with pytest.raises(ConfigError, match='at least 2 views, 1 epoch and a patience of 1'):
        StudyPlan(epochs=0)
    assert main(['study', '/nowhere', '/tmp/out']) == 1
    assert '/nowhere' in capsys.readouterr().err


def test_more_components_than_images_are_rejected_before_the_field_is_trained(study, tmp_path):
    _, command = study
    without_config = [*command[:2], str(tmp_path / 'out'), *BUDGET, '--device', 'cpu']
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr):
        assert main(without_config) == 1
    assert 'regressor.components is 150 but there are only' in stderr.getvalue()
    assert not (tmp_path / 'out' / 'work' / 'field.safetensors').exists()


def test_the_default_plan_has_a_thousand_to_as_many_views_as_the_original_project():
    experiments = StudyPlan().experiments()
    assert {experiment.views for experiment in experiments} == {1000, 4000, 14000}
    assert Experiment('cnn', 'raw', 1000, full_size=True) in experiments
    assert len(experiments) == len(set(experiments)) == 13


def test_unfiltered_views_are_sampled_without_rejection(tmp_path):
    config = SynthesisConfig(views=60, translation_m=1.5)
    arguments = BoxRoom(), box_walk(10), SMALL, config
    unfiltered = synthesize_views(*arguments, seed=0, work_dir=tmp_path / 'a', reject=False)
    filtered = synthesize_views(*arguments, seed=0, work_dir=tmp_path / 'b')
    assert sum(unfiltered.rejection_counts.values()) == 0 < sum(filtered.rejection_counts.values())
    inside = [
        np.all(np.abs(views.map_from_camera[:, 1, 3]) < 1.5) for views in (unfiltered, filtered)
    ]
    assert inside == [False, True]


def test_the_layers_take_images_of_full_size_and_codes():
    large = original_layers('cnn', (3, 288, 384), 9).eval()
    small = original_layers('cnn', (3, 144, 192), 9)
    assert large(torch.zeros(2, 3, 288, 384)).shape == (2, 9)
    sizes = [sum(weight.numel() for weight in layers.parameters()) for layers in (large, small)]
    assert sizes[0] < 2 * sizes[1]
    assert original_layers('mlp', (12,), 9)(torch.zeros(4, 12)).shape == (4, 9)


def test_the_keys_of_study_json_are_a_contract(study):
    """All keys are written out, so that a renamed attribute cannot change them."""
    scores = ['accuracy_0.1m', 'median_translation_m', 'median_rotation_deg']
    keys = without(outline(read_results(study[0])), 'rows[].rejected')
    evaluated = {
        f'rows[].{place}': ['loss', *scores]
        for place in (
            *('history.validation[]', 'history.stretch[]', 'history.leaking[]'),
            *('train', 'stretch', 'leaking'),
        )
    }
    trivial = {
        f'rows[].trivial.{split}.{name}': scores
        for split in ('stretch', 'leaking')
        for name in ('mean_pose', 'nearest_pose')
    }
    assert keys == {
        '': ['bag', 'package_version', 'device', 'seed', 'plan', 'field', 'frames', 'rows'],
        'plan': [
            'views',
            'epochs',
            'patience',
            'width',
            'full_width',
            'full_views',
            'bfloat16',
            'only',
        ],
        'field': [
            'psnr_db',
            'psnr_plain_db',
            'psnr_covered_db',
            'coverage',
            'depth_error_m',
            'held_out_frames',
            'measured_frames',
        ],
        'frames': ['validation', 'stretch', 'leaking', 'learned'],
        'rows[]': [
            'name',
            'network',
            'sees',
            'views',
            'filtered',
            'full_size',
            'compression',
            'size',
            'pictures',
            'rejected',
            'parameters',
            'history',
            'best_epoch',
            'train',
            'stretch',
            'leaking',
            'seconds',
            'trivial',
            'compression_quality',
        ],
        'rows[].history': ['train_loss', 'validation', 'stretch', 'leaking'],
        **evaluated,
        'rows[].trivial': ['stretch', 'leaking'],
        'rows[].trivial.stretch': ['mean_pose', 'nearest_pose'],
        'rows[].trivial.leaking': ['mean_pose', 'nearest_pose'],
        **trivial,
        'rows[].compression_quality': ['retained_training', 'stretch', 'leaking'],
        'rows[].compression_quality.stretch': ['retained', 'psnr_db'],
        'rows[].compression_quality.leaking': ['retained', 'psnr_db'],
    }
