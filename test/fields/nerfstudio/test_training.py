"""Training of Nerfacto on a capture: result, interruption, changed settings, uncertainty."""

from dataclasses import replace
import json
import re

import cv2
from nerfacto_room import CAMERA, POSES, TINY
from nerfstudio_runs import needs_nerfstudio
import numpy as np
import pytest
from rooms import render_box_room
from scipy.spatial.transform import Rotation
from sklearn.metrics import roc_auc_score
import torch

from nerf_reversal_ros.core.geometry import make_pose, transform_points
from nerf_reversal_ros.fields import uncertainty
from nerf_reversal_ros.fields.base import Occupancy
from nerf_reversal_ros.fields.checkpoint import load_checkpoint, save_checkpoint
from nerf_reversal_ros.fields.nerfstudio import training as nerfstudio_training
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio

pytestmark = pytest.mark.usefixtures('coarse_texture')


def train(data, work_dir, kind='depth-nerfacto', config=TINY, progress=lambda _: None):
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.training import train_nerfacto

    work_dir.mkdir(exist_ok=True)
    where = torch.device('cpu')
    return train_nerfacto(
        data, kind, config, device=where, seed=3, work_dir=work_dir, progress=progress
    )


@pytest.fixture(scope='module')
def trained(data, tmp_path_factory):
    reports = []
    work_dir = tmp_path_factory.mktemp('nerfacto')
    field, curve = train(data, work_dir, progress=reports.append)
    return field, curve, reports


@needs_nerfstudio
def test_the_room_fits_into_the_unit_box_of_the_field(trained):
    field, _, _ = trained
    room = np.array([[-2.0, -2.5, 0.0], [2.0, 2.5, 2.6]])
    inside = np.abs(transform_points(field.field_from_map, room))
    assert 0.85 < inside.max() < 1.0


@needs_nerfstudio
def test_training_on_a_cpu_reports_the_expected_duration_first(trained):
    _, curve, reports = trained
    first = next(progress for progress in reports if 'will take' in progress.note)
    assert re.match(r'the reduced Nerfacto will take about \d+ min on this CPU', first.note)
    assert first is reports[0] and first.done == 8
    assert curve['step'] == [10, 20, 30, 40, 50, 60, 70, 80]


@needs_nerfstudio
def test_a_rendering_resembles_the_image_at_its_pose_most(trained):
    field, _, _ = trained
    captured, *neighbors = (
        cv2.resize(render_box_room(pose, CAMERA)[0], (20, 15), interpolation=cv2.INTER_AREA)
        for pose in POSES[[10, 11, 9, 12, 8]]
    )
    view = field.render(POSES[10:11], CAMERA)[0].rgb
    rendered = cv2.resize(view, (20, 15), interpolation=cv2.INTER_AREA).ravel()
    correlation = [np.corrcoef(rendered, rgb.ravel())[0, 1] for rgb in (captured, *neighbors)]
    assert correlation[0] > 0.5 and correlation[0] > max(correlation[1:]) + 0.2


@needs_nerfstudio
def test_depth_is_in_meters_along_the_optical_axis(trained):
    field, _, _ = trained
    camera = CAMERA.scaled_to(40, 30)
    view = field.render(POSES[10:11], camera)[0]
    known = view.depth > 0
    assert known.mean() > 0.8
    error_m = np.abs(view.depth - render_box_room(POSES[10], camera)[1])[known]
    assert np.median(error_m) < 0.06


@needs_nerfstudio
def test_walls_are_occupied_and_air_is_free(trained):
    field, _, _ = trained
    camera = CAMERA.scaled_to(40, 30)
    depth = render_box_room(POSES[10], camera)[1][..., None]
    on_walls = transform_points(POSES[10], camera.rays() * depth).reshape(-1, 3)
    in_air = transform_points(POSES[10], camera.rays() * depth * 0.4).reshape(-1, 3)
    assert np.mean(field.occupancy(on_walls) == Occupancy.OCCUPIED) > 0.5
    assert np.mean(field.occupancy(in_air) == Occupancy.FREE) > 0.95


class Interrupted(BaseException):
    pass


@needs_nerfstudio
def test_an_interrupted_training_resumes_and_ends_the_same(data, tmp_path, monkeypatch):
    monkeypatch.setattr(nerfstudio_training, 'CHECKPOINT_STEPS', 8)

    def interrupt(progress):
        if progress.done >= 20:
            raise Interrupted

    config, reports = replace(TINY, steps=24, rays_per_step=128), []
    with pytest.raises(Interrupted):
        train(data, tmp_path / 'work', config=config, progress=interrupt)
    field, report = train(data, tmp_path / 'work', config=config, progress=reports.append)
    whole, whole_report = train(data, tmp_path / 'whole', config=config)
    assert [p.done for p in reports if p.note.startswith('loss')] == [20]  # from step 16
    assert report['step'] == whole_report['step'] == [10, 20]
    np.testing.assert_allclose(report['loss'], whole_report['loss'], rtol=1e-3)
    views = [one.render(POSES[:1], CAMERA.scaled_to(16, 12))[0].rgb for one in (field, whole)]
    assert np.abs(views[0].astype(int) - views[1]).max() <= 2


@needs_nerfstudio
@pytest.mark.parametrize(
    ('kind', 'changed', 'sentence'),
    [
        ('nerfacto', {}, 'kind depth-nerfacto, not nerfacto'),
        ('depth-nerfacto', {'steps': 12}, 'steps 10, not 12'),
        ('depth-nerfacto', {'size': 'full', 'steps': 1}, 'reduced True, not False, steps 10, not'),
    ],
)
def test_a_checkpoint_with_other_settings_restarts_the_training(
    data, tmp_path, kind, changed, sentence
):
    config, reports = replace(TINY, steps=10, rays_per_step=64), []
    train(data, tmp_path / 'work', config=config)
    wanted = replace(config, **changed)
    field, report = train(data, tmp_path / 'work', kind, wanted, reports.append)
    assert (
        reports[0].done == 0 and 'starting over' in reports[0].note and sentence in reports[0].note
    )
    fresh, fresh_report = train(data, tmp_path / 'fresh', kind, wanted)
    assert report['step'] == fresh_report['step']
    views = [one.render(POSES[:1], CAMERA.scaled_to(8, 6))[0].rgb for one in (field, fresh)]
    assert np.abs(views[0].astype(int) - views[1]).max() <= 2


@needs_nerfstudio
def test_a_checkpoint_of_tcnn_restarts_the_training_and_removes_its_baking(data, tmp_path):
    from nerf_reversal_ros.fields.nerfstudio.training import BAKING_FOLDER

    config, reports = replace(TINY, steps=10, rays_per_step=64), []
    train(data, tmp_path, config=config)
    path, renders = tmp_path / 'nerfacto.safetensors', tmp_path / BAKING_FOLDER / 'rgb.npy'
    _, metadata = load_checkpoint(path, torch.device('cpu'))
    made_with = {**json.loads(metadata['made_with']), 'implementation': 'tcnn'}
    weights = {'model.field.mlp_base.model.params': torch.zeros(3)}
    renders.parent.mkdir()
    renders.touch()
    train(data, tmp_path, config=config)
    assert renders.exists()  # baked from this field
    save_checkpoint(path, weights, {**metadata, 'made_with': json.dumps(made_with)})
    train(data, tmp_path, config=config, progress=reports.append)
    assert reports[0].note.startswith('starting over: ')
    assert reports[0].note.endswith('was made with implementation tcnn, not torch')
    assert not renders.exists()


@needs_nerfstudio
def test_nerfacto_trains_without_depth(data, tmp_path):
    without_depth = replace(data, depth=np.zeros_like(data.depth))
    config = replace(TINY, steps=20, rays_per_step=256)
    field, report = train(without_depth, tmp_path / 'work', 'nerfacto', config)
    assert len(report['loss']) == 2 and np.isfinite(report['loss']).all()
    centers = transform_points(field.field_from_map, POSES[:, :3, 3])
    assert np.abs(centers).max() == pytest.approx(1 / 1.1, abs=0.02)


@needs_nerfstudio
def test_uncertainty_detects_unobserved_geometry_that_opacity_does_not(trained, data, monkeypatch):
    from nerf_reversal_ros.fields.nerfstudio.uncertainty import nerfacto_uncertainty

    monkeypatch.setattr(uncertainty, 'MAX_POSES', 8)
    monkeypatch.setattr(uncertainty, 'VIEW_SIZE_PX', 32)
    field, camera = trained[0], CAMERA.scaled_to(20, 15)
    grid = nerfacto_uncertainty(field, data)
    up = make_pose(Rotation.from_euler('x', 45, degrees=True))
    poses = np.concatenate(
        [POSES[4::8], POSES[4::8] @ up]
    )  # six of observed, six of unobserved space
    views = field.render(poses, camera)
    std_m = np.array(
        [grid.std_of_view_m(v, pose, camera) for v, pose in zip(views, poses, strict=True)]
    )
    error_m = np.array(
        [
            np.abs(view.depth - render_box_room(pose, camera)[1])
            for view, pose in zip(views, poses, strict=True)
        ]
    )
    assert np.median(error_m[:6]) < 0.05 and np.median(error_m[6:]) > 0.3
    assert std_m[6:].mean((1, 2)).min() > std_m[:6].mean((1, 2)).max()
    known = np.array([view.depth > 0 for view in views])
    incorrect, opacity = error_m[known] > 0.1, np.array([view.opacity for view in views])[known]
    assert roc_auc_score(incorrect, std_m[known]) > 0.9
    assert roc_auc_score(incorrect, -opacity) < 0.8


@needs_nerfstudio
def test_compositing_the_samples_gives_the_rendering_of_the_model(trained, data):
    from nerf_reversal_ros.fields.nerfstudio.uncertainty import DeformableNerfacto

    field, camera = trained[0], CAMERA.scaled_to(20, 15)
    deformable = DeformableNerfacto(field)
    directions = torch.from_numpy(camera.rays().reshape(-1, 3) @ POSES[3, :3, :3].T).float()
    directions /= directions.norm(dim=1, keepdim=True)
    origins = torch.from_numpy(POSES[3, :3, 3] - deformable.origin_m).float().expand_as(directions)
    samples = deformable.sample_rays(origins, directions)
    composited = (
        uncertainty.composite(deformable, directions, samples, samples.points).detach().numpy()
    )
    (view,) = field.render(POSES[3:4], camera)
    background = view.rgb.reshape(-1, 3) / 255 - composited  # behind the last segment
    assert background.min() > -0.01
    explained = background < 1.03 - view.opacity.reshape(-1, 1)
    assert explained.mean() > 0.85  # some rays have surfaces outside the cube
