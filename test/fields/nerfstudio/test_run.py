"""Loading of a nerfstudio run: cameras, renderings, device."""

from nerfstudio_runs import CAMERA, CPU, edit_config, load, needs_nerfstudio, POSES, WORLD_FROM_MAP
import numpy as np
import pytest
import torch

from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import pose_errors
from nerf_reversal_ros.fields.nerfstudio.dependency import no_downloads
from nerf_reversal_ros.fields.sim3 import scale_of, transform_poses

pytestmark = needs_nerfstudio


def test_cameras_of_a_run_have_the_poses_of_its_data(trained_run):
    run = load(trained_run.config)
    rows = [int(name[6:11]) - 1 for name in run.names]
    errors = pose_errors(run.world_from_camera, transform_poses(WORLD_FROM_MAP, POSES)[rows])
    assert len(rows) == 22 and errors.translation.max() < 1e-5 and errors.rotation.max() < 1e-5
    assert run.camera == CAMERA


def test_a_rendering_in_meters_matches_that_of_nerfstudio(trained_run):
    config, trainer = trained_run
    run = load(config)
    camera = trainer.pipeline.datamanager.train_dataset.cameras[3:4]
    model = trainer.pipeline.model.eval()
    model.proposal_sampler.set_anneal(1.0)  # as after a longer training
    outputs = model.get_outputs_for_camera(camera)
    map_from_world = np.linalg.inv(WORLD_FROM_MAP)
    rendering = run.field(map_from_world).render(
        transform_poses(map_from_world, run.world_from_camera[3:4]), run.camera
    )[0]
    np.testing.assert_allclose(rendering.rgb, outputs['rgb'].numpy() * 255, atol=1.0)
    ray_length = np.linalg.norm(CAMERA.rays(), axis=-1)
    unit_m = (
        scale_of(map_from_world)
        / trainer.pipeline.datamanager.train_dataparser_outputs.dataparser_scale
    )
    depth_m = outputs['depth'][..., 0].numpy() / ray_length * unit_m
    known = rendering.depth > 0
    np.testing.assert_allclose(rendering.depth[known], depth_m[known], rtol=2e-3)


def test_colors_use_the_mean_appearance_for_any_setting_of_the_run(trained_run, run_config):
    colors = []
    key = 'use_average_appearance_embedding'
    for config in (trained_run.config, edit_config(run_config, f'{key}: true', f'{key}: false')):
        field = load(config).field(np.eye(4))
        colors.append(field.render(POSES[:1], CAMERA.scaled_to(16, 12))[0].rgb)
    np.testing.assert_array_equal(*colors)


def test_the_model_moves_to_the_device_when_it_is_rendered(trained_run):
    from nerf_reversal_ros.fields.nerfstudio.run import load_run

    other_device = torch.device('meta')
    run = load_run(trained_run.config, other_device)
    field = run.field(np.eye(4))
    assert {weights.device for weights in run.model.parameters()} == {CPU}
    assert {weights.device for weights in field.model.parameters()} == {other_device}


def test_corrections_of_the_camera_optimizer_are_applied_to_the_poses():
    from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig

    from nerf_reversal_ros.fields.nerfstudio.field import nerfstudio_cameras
    from nerf_reversal_ros.fields.nerfstudio.run import _apply_camera_optimizer

    class Model:
        camera_optimizer = CameraOptimizerConfig(mode='SO3xR3').setup(num_cameras=2, device='cpu')

    with torch.no_grad():
        Model.camera_optimizer.pose_adjustment += 0.1 * torch.arange(12).view(2, 6)
    intrinsics = np.array([130.0, 130.0, 79.5, 59.5])
    rays, corrected = (
        nerfstudio_cameras(np.eye(4), poses, intrinsics, (160, 120)).generate_rays(
            torch.tensor([[0], [1]]), coords=torch.tensor([[20.5, 30.5], [7.5, 90.5]])
        )
        for poses in (POSES[:2], _apply_camera_optimizer(Model, POSES[:2]))
    )
    Model.camera_optimizer.apply_to_raybundle(rays)
    torch.testing.assert_close(rays.origins, corrected.origins, rtol=0, atol=1e-5)
    torch.testing.assert_close(rays.directions, corrected.directions, rtol=0, atol=1e-5)


def test_a_model_without_depth_raises_an_error():
    from nerfstudio.data.scene_box import SceneBox
    from nerfstudio.models.vanilla_nerf import NeRFModel, VanillaModelConfig

    from nerf_reversal_ros.fields.nerfstudio.field import NerfstudioField

    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    with no_downloads():
        model = VanillaModelConfig(_target=NeRFModel).setup(scene_box=box, num_train_data=1)
    with pytest.raises(BuildError, match='NeRFModel renders no accumulation and no depth and no'):
        NerfstudioField(model, np.eye(4)).render(POSES[:1], CAMERA.scaled_to(4, 3))
