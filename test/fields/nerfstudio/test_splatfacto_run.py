"""Splats that somebody else trained are loaded and rendered; a slow rasteriser stands in."""

from copy import deepcopy
import importlib.metadata
import inspect
import sys
from types import SimpleNamespace

from nerfstudio_runs import write_scene
import numpy as np
import pytest
from rooms import walk
from scipy.spatial.transform import Rotation
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import look_at, make_pose, transform_points
from nerf_reversal_ros.fields.nerfstudio.dependency import no_downloads, require_nerfstudio
from nerf_reversal_ros.fields.sim3 import make_sim3, scale_of, transform_poses

pytestmark = pytest.mark.skipif(
    not any(d.metadata['Name'] == 'nerfstudio' for d in importlib.metadata.distributions()),
    reason='nerfstudio is not installed: make test brings it',
)
TRAINED_ON = Camera(32, 24, 26.0, 26.0, 15.5, 11.5)
VIEW = Camera(64, 48, 40.0, 44.0, 30.0, 25.0)  # of another size, wide, its centre elsewhere
AT = look_at(np.array([0.3, -0.4, 1.2]), np.array([1.5, 2.0, 0.4]))
BEHIND = AT @ make_pose(translation=(0.0, 0.0, -1.0))
LAMP = np.array([(21 - 30) / 40, (10 - 25) / 44, 1.0]) * 2.0
"""In pixel (21, 10) of the view at AT, at a depth of 2 m; the wall to the left is at 3 m."""
RED, AZURE = (255, 0, 0), (0, 128, 255)
X, Y = np.meshgrid(np.arange(-2.7, 1.0, 0.15), np.arange(-2.0, 2.0, 0.15))
POINTS = np.vstack([LAMP, np.stack([X, Y, np.full_like(X, 3.0)], axis=-1).reshape(-1, 3)])
TURNED = make_pose(Rotation.from_euler('xyz', [-90, 0, 30], degrees=True), (2.0, 1.0, -3.0))


def blended(means, quats, scales, opacities, colors, viewmats, Ks, width, height, **told):
    """Return what gsplat's rasteriser would, which needs CUDA; its projection does not."""
    from gsplat.cuda import _torch_impl as plain
    from nerfstudio.models.splatfacto import SH2RGB

    assert told['render_mode'] == 'RGB+ED' and told['rasterize_mode'] == 'classic'
    shapes, _ = plain._quat_scale_to_covar_preci(quats, scales, True, False)
    projected = plain._fully_fused_projection(means, shapes, viewmats, Ks, width, height)
    at, depths, conics = (each[0] for each in projected[1:4])
    rgb = SH2RGB(colors[:, 0])  # they are the same from everywhere
    nearest = depths.argsort()  # all are in front of the camera
    x = torch.arange(width)[:, None] + 0.5 - at[nearest, 0]
    y = torch.arange(height)[:, None, None] + 0.5 - at[nearest, 1]
    a, b, c = conics[nearest].T
    alpha = opacities[nearest] * torch.exp(-(a * x * x + c * y * y) / 2 - b * x * y)
    alpha = torch.where(alpha < 1 / 255, 0, alpha.clamp_max(0.999))
    left = torch.cumprod(torch.cat([torch.ones(height, width, 1), 1 - alpha], -1), -1)
    seen = (alpha * left[..., :-1]) @ torch.cat([rgb, depths[:, None]], -1)[nearest]
    opacity = 1 - left[..., -1:]
    seen[..., 3:] /= opacity.clamp_min(1e-10)
    return seen[None], opacity[None], {}


@pytest.fixture(params=[np.eye(4), make_sim3(0.4, TURNED)], ids=['metres', 'another scale'])
def opened(request, tmp_path, monkeypatch):
    """Return a run whose Gaussians came to be POINTS, those, and the run's world from the map."""
    require_nerfstudio()
    from nerfstudio.configs.method_configs import method_configs
    from nerfstudio.models import splatfacto

    from nerf_reversal_ros.fields.nerfstudio import run as nerfstudio_run

    world_from_map = request.param
    poses = transform_poses(world_from_map, walk(8))
    scene = write_scene(tmp_path / 'scene', poses, walk(8), TRAINED_ON)
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
    points = torch.tensor(transform_points(world_from_map @ AT, POINTS), dtype=torch.float32)
    points = points @ parsed.dataparser_transform[:, :3].T + parsed.dataparser_transform[:, 3]
    size = 0.1 * scale_of(world_from_map) * parsed.dataparser_scale
    paints = torch.tensor([RED] + [AZURE] * X.size)
    gaussians = {
        'gauss_params.means': points * parsed.dataparser_scale,
        'gauss_params.scales': torch.full((len(points), 3), np.log(size)),
        'gauss_params.quats': torch.randn(len(points), 4),
        'gauss_params.features_dc': splatfacto.RGB2SH(paints / 255),
        'gauss_params.features_rest': torch.zeros(len(points), 15, 3),
        'gauss_params.opacities': torch.full((len(points), 1), 9.0),
    }
    trainer.pipeline.model.load_state_dict(gaussians, strict=False)
    trainer.save_checkpoint(29_999)

    monkeypatch.setattr(nerfstudio_run, '_check_cuda', lambda *_: None)
    monkeypatch.setitem(sys.modules, 'gsplat.cuda._backend', SimpleNamespace(_C=object()))
    monkeypatch.setattr(splatfacto, 'rasterization', blended)
    monkeypatch.setattr(torch.Tensor, 'cuda', lambda tensor: tensor)
    # Compiling it takes a quarter of a minute.
    monkeypatch.setattr(splatfacto, 'get_viewmat', inspect.unwrap(splatfacto.get_viewmat))
    run = nerfstudio_run.load_run(trainer.base_dir / 'config.yml', torch.device('cpu'))
    return run, gaussians, world_from_map


def test_a_splatfacto_is_opened_with_as_many_gaussians_as_it_came_to(opened):
    run, gaussians, _ = opened
    assert run.model.config.num_random != run.model.num_points == len(POINTS)
    for name, trained in gaussians.items():
        torch.testing.assert_close(run.model.state_dict()[name], trained, rtol=0, atol=0)
    assert run.camera == TRAINED_ON


def test_splats_are_seen_where_they_are_and_their_depth_is_along_the_axis_in_metres(opened):
    run, _, world_from_map = opened
    views = run.field(np.linalg.inv(world_from_map)).render(np.stack([AT, BEHIND]), VIEW)
    v, u = np.mgrid[:48, :64]
    for view, (x, y, lamp_m, wall_m) in zip(views, [(21, 10, 2, 3), (24, 15, 3, 4)], strict=True):
        lamp = np.hypot(u - x, v - y) < 8
        red = np.where(lamp, view.rgb[..., 0], 0.0)
        centre = [np.average(across, weights=red) for across in (u, v)]
        assert centre == pytest.approx([x, y], abs=0.05)
        assert view.depth[y, x] == pytest.approx(lamp_m, abs=0.01)
        np.testing.assert_allclose(view.rgb[y, x], RED, atol=1)
        wall = ~lamp & (abs(u - 22) < 14) & (abs(v - 25) < 19)  # rays are up to a fifth longer
        np.testing.assert_allclose(view.depth[wall], wall_m, atol=0.01)
        np.testing.assert_allclose(view.rgb[wall] - np.array(AZURE), 0, atol=3)
        assert not view.depth[:, 50:].any() and view.opacity[:, 50:].max() < 0.5
