"""Baking of a field without error into a voxel field."""

from dataclasses import replace

from nerfacto_room import CAMERA, POSES, SETTINGS, TINY
import numpy as np
import pytest
from rooms import render_box_room
import torch

from nerf_reversal_ros.core.geometry import transform_points
from nerf_reversal_ros.fields.baking import bake, render_views
from nerf_reversal_ros.fields.base import Occupancy
from nerf_reversal_ros.fields.uncertainty import UncertaintyGrid

pytestmark = pytest.mark.usefixtures('coarse_texture')


class Interrupted(BaseException):
    pass


class ExactField:
    """The box voxel_field as a field without error, which counts its renderings."""

    rendered = 0

    def render(self, map_from_camera, camera):
        from nerf_reversal_ros.fields.base import Rendering

        self.rendered += len(map_from_camera)
        views = [render_box_room(pose, camera) for pose in map_from_camera]
        return [Rendering(rgb, depth, np.ones_like(depth)) for rgb, depth in views]

    def occupancy(self, points):
        return np.full(len(points), Occupancy.FREE, np.uint8)


def test_a_field_without_error_is_baked_with_little_loss(data, tmp_path):
    config = replace(SETTINGS, nerfstudio=replace(TINY, bake_views=30))
    voxel_field, report = bake(
        ExactField(), data, config, device=torch.device('cpu'), work_dir=tmp_path / 'work'
    )
    assert report['original_psnr_db'] > 25 and report['psnr_db'] > 20
    assert report['baking_loss_db'] == pytest.approx(
        report['original_psnr_db'] - report['psnr_db'], abs=0.5
    )
    assert report['baked_alike_db'] > 20 and report['depth_error_m'] < 0.02
    assert report['original_measured_frames'] == report['measured_frames'] == 6  # of 48, 0.12
    assert voxel_field.render(POSES[:1], CAMERA)[0].opacity.mean() > 0.9


def test_uncertain_depth_is_left_out(tmp_path):
    information = np.zeros((9, 9, 9, 3), np.float32)
    information[:5] = 1e4  # certain up to x = 0; the variance rises to 0.75 m^2 at x = 1 m
    grid = UncertaintyGrid(np.array([-4.0, -4.0, -1.0]), 1.0, information)
    camera, known = CAMERA.scaled_to(40, 30), {}
    for name, uncertainty in (('all', None), ('certain', grid)):
        (tmp_path / name).mkdir()
        known[name] = render_views(
            ExactField(),
            POSES[:6],
            camera,
            tmp_path / name,
            max_depth_m=8.0,
            uncertainty=uncertainty,
            max_std_m=0.3,
        )[1].astype(np.float32)
    for pose, full, limited in zip(POSES[:6], known['all'], known['certain'], strict=True):
        x = transform_points(pose, (camera.rays() * full[..., None]).reshape(-1, 3))[:, 0]
        tested = (full.ravel() > 0) & (np.abs(x - 0.12) > 0.02)  # 0.3^2 = 0.75 * 0.12
        np.testing.assert_array_equal(limited.ravel()[tested] > 0, x[tested] < 0.12)


def test_an_interrupted_rendering_resumes_after_the_last_view(tmp_path):
    def interrupt(progress):
        if progress.done == 3:
            raise Interrupted

    field, camera = ExactField(), CAMERA.scaled_to(40, 30)
    with pytest.raises(Interrupted):
        render_views(field, POSES[:5], camera, tmp_path, max_depth_m=8.0, progress=interrupt)
    rgb, depth = render_views(field, POSES[:5], camera, tmp_path, max_depth_m=8.0)
    assert field.rendered == 5
    for index in range(5):
        np.testing.assert_array_equal(rgb[index], render_box_room(POSES[index], camera)[0])
    assert depth.max() < 8.0 and (depth > 0).mean() > 0.1
