"""Gaussian splatting runs: loading and rendering, with a slow rasterizer in place of CUDA."""

from copy import deepcopy
import inspect
import sys
from types import SimpleNamespace

from nerfstudio_runs import needs_nerfstudio, write_scene
import numpy as np
import pytest
from rooms import walk
from scipy.spatial.transform import Rotation
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import look_at, make_pose, transform_points
from nerf_reversal_ros.fields.nerfstudio.dependency import no_downloads, require_nerfstudio
from nerf_reversal_ros.fields.sim3 import make_sim3, scale_of, transform_poses

pytestmark = needs_nerfstudio
TRAINING_CAMERA = Camera(32, 24, 26.0, 26.0, 15.5, 11.5)
VIEW = Camera(64, 48, 40.0, 44.0, 30.0, 25.0)  # another size, wide, off-center
POSE = look_at(np.array([0.3, -0.4, 1.2]), np.array([1.5, 2.0, 0.4]))
POSE_BEHIND = POSE @ make_pose(translation=(0.0, 0.0, -1.0))
LAMP = np.array([(21 - 30) / 40, (10 - 25) / 44, 1.0]) * 2.0
"""At pixel (21, 10) of the view from POSE, at a depth of 2 m; the wall to the left is at 3 m."""
RED, AZURE = (255, 0, 0), (0, 128, 255)
X, Y = np.meshgrid(np.arange(-2.7, 1.0, 0.15), np.arange(-2.0, 2.0, 0.15))
POINTS = np.vstack([LAMP, np.stack([X, Y, np.full_like(X, 3.0)], axis=-1).reshape(-1, 3)])
WORLD_POSE = make_pose(Rotation.from_euler('xyz', [-90, 0, 30], degrees=True), (2.0, 1.0, -3.0))


def rasterize(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **settings):
    """Replace the rasterizer of gsplat, which needs CUDA, by one on its CPU projection."""
    from gsplat.cuda import _torch_impl as plain
    from nerfstudio.models.splatfacto import SH2RGB

    assert settings['render_mode'] == 'RGB+ED' and settings['rasterize_mode'] == 'classic'
    shapes, _ = plain._quat_scale_to_covar_preci(quats, scales, True, False)
    projected = plain._fully_fused_projection(means, shapes, viewmats, Ks, width, height)
    centers, depths, conics = (each[0] for each in projected[1:4])
    rgb = SH2RGB(colors[:, 0])  # no view dependence
    nearest = depths.argsort()  # all are in front of the camera
    x = torch.arange(width)[:, None] + 0.5 - centers[nearest, 0]
    y = torch.arange(height)[:, None, None] + 0.5 - centers[nearest, 1]
    a, b, c = conics[nearest].T
    alpha = opacities[nearest] * torch.exp(-(a * x * x + c * y * y) / 2 - b * x * y)
    alpha = torch.where(alpha < 1 / 255, 0, alpha.clamp_max(0.999))
    transmittance = torch.cumprod(torch.cat([torch.ones(height, width, 1), 1 - alpha], -1), -1)
    blended = (alpha * transmittance[..., :-1]) @ torch.cat([rgb, depths[:, None]], -1)[nearest]
    opacity = 1 - transmittance[..., -1:]
    blended[..., 3:] /= opacity.clamp_min(1e-10)
    return blended[None], opacity[None], {}


@pytest.fixture(params=[np.eye(4), make_sim3(0.4, WORLD_POSE)], ids=['meters', 'another scale'])
def loaded_run(request, tmp_path, monkeypatch):
    """Load a run with Gaussians at POINTS: the run, its weights, and its world from the map."""
    require_nerfstudio()
    from nerfstudio.configs.method_configs import method_configs
    from nerfstudio.models import splatfacto

    from nerf_reversal_ros.fields.nerfstudio import run as nerfstudio_run

    world_from_map = request.param
    poses = transform_poses(world_from_map, walk(8))
    scene = write_scene(tmp_path / 'scene', poses, walk(8), TRAINING_CAMERA)
    config = deepcopy(method_configs['splatfacto'])
    config.output_dir, config.timestamp, config.vis = tmp_path / 'out', 'now', 'tensorboard'
    config.pipeline.datamanager.data, config.machine.device_type = scene, 'cpu'
    config.set_experiment_name()
    config.save_config()
    with no_downloads():
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
    parsed = trainer.pipeline.datamanager.train_dataparser_outputs
    parsed.save_dataparser_transform(trainer.base_dir / 'dataparser_transforms.json')
    points = torch.tensor(transform_points(world_from_map @ POSE, POINTS), dtype=torch.float32)
    points = points @ parsed.dataparser_transform[:, :3].T + parsed.dataparser_transform[:, 3]
    size = 0.1 * scale_of(world_from_map) * parsed.dataparser_scale
    colors_rgb = torch.tensor([RED] + [AZURE] * X.size)
    gaussians = {
        'gauss_params.means': points * parsed.dataparser_scale,
        'gauss_params.scales': torch.full((len(points), 3), np.log(size)),
        'gauss_params.quats': torch.randn(len(points), 4),
        'gauss_params.features_dc': splatfacto.RGB2SH(colors_rgb / 255),
        'gauss_params.features_rest': torch.zeros(len(points), 15, 3),
        'gauss_params.opacities': torch.full((len(points), 1), 9.0),
    }
    trainer.pipeline.model.load_state_dict(gaussians, strict=False)
    trainer.save_checkpoint(29_999)

    monkeypatch.setattr(nerfstudio_run, '_check_cuda', lambda *_: None)
    monkeypatch.setitem(sys.modules, 'gsplat.cuda._backend', SimpleNamespace(_C=object()))
    monkeypatch.setattr(splatfacto, 'rasterization', rasterize)
    monkeypatch.setattr(torch.Tensor, 'cuda', lambda tensor: tensor)
    # Compiling it takes a quarter of a minute.
    monkeypatch.setattr(splatfacto, 'get_viewmat', inspect.unwrap(splatfacto.get_viewmat))
    run = nerfstudio_run.load_run(trainer.base_dir / 'config.yml', torch.device('cpu'))
    return run, gaussians, world_from_map


def test_a_run_loads_with_the_number_of_gaussians_of_its_checkpoint(loaded_run):
    run, gaussians, _ = loaded_run
    assert run.model.config.num_random != run.model.num_points == len(POINTS)
    for name, trained in gaussians.items():
        torch.testing.assert_close(run.model.state_dict()[name], trained, rtol=0, atol=0)
    assert run.camera == TRAINING_CAMERA


def test_gaussians_are_rendered_at_their_pixels_with_depth_along_the_axis_in_meters(loaded_run):
    run, _, world_from_map = loaded_run
    views = run.field(np.linalg.inv(world_from_map)).render(np.stack([POSE, POSE_BEHIND]), VIEW)
    v, u = np.mgrid[:48, :64]
    for view, (x, y, lamp_m, wall_m) in zip(views, [(21, 10, 2, 3), (24, 15, 3, 4)], strict=True):
        lamp = np.hypot(u - x, v - y) < 8
        red = np.where(lamp, view.rgb[..., 0], 0.0)
        center = [np.average(across, weights=red) for across in (u, v)]
        assert center == pytest.approx([x, y], abs=0.05)
        assert view.depth[y, x] == pytest.approx(lamp_m, abs=0.01)
        np.testing.assert_allclose(view.rgb[y, x], RED, atol=1)
        wall = ~lamp & (abs(u - 22) < 14) & (abs(v - 25) < 19)  # rays are up to a fifth longer
        np.testing.assert_allclose(view.depth[wall], wall_m, atol=0.01)
        np.testing.assert_allclose(view.rgb[wall] - np.array(AZURE), 0, atol=3)
        assert not view.depth[:, 50:].any() and view.opacity[:, 50:].max() < 0.5
