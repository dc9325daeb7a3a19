"""Small, fast runs of the trainer of nerfstudio on the box room."""

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from rooms import render_box_room

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.fields.sim3 import scale_of, to_opengl, transform_poses


def write_scene(folder: Path, world_from_camera: NDArray[np.float64], poses, camera: Camera):
    """Write a transforms.json with images rendered at ``poses`` in the room."""
    folder.mkdir(parents=True)
    frames = []
    for number, (camera_to_world, pose) in enumerate(
        zip(to_opengl(np.eye(4), world_from_camera), poses, strict=True)
    ):
        name = f'frame_{number + 1:05d}.png'
        rgb = render_box_room(pose, camera)[0]
        cv2.imwrite(str(folder / name), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        matrix = [*camera_to_world.tolist(), [0.0, 0.0, 0.0, 1.0]]
        frames.append({'file_path': name, 'transform_matrix': matrix})
    scene = {
        **{'fl_x': camera.fx, 'fl_y': camera.fy, 'cx': camera.cx + 0.5, 'cy': camera.cy + 0.5},
        **{'w': camera.width, 'h': camera.height, 'frames': frames},
    }
    (folder / 'transforms.json').write_text(json.dumps(scene))
    return folder


def train_run(scene: Path, output: Path, steps: int) -> tuple[Path, Any]:
    """Train a small Nerfacto on a CPU with nerfstudio; return config.yml and trainer."""
    require_nerfstudio()
    from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
    from nerfstudio.configs.base_config import LoggingConfig, MachineConfig
    from nerfstudio.data.datamanagers.base_datamanager import VanillaDataManagerConfig
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
    from nerfstudio.engine.optimizers import AdamOptimizerConfig
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.models.nerfacto import NerfactoModelConfig
    from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

    from nerf_reversal_ros.fields.nerfstudio.dependency import no_downloads
    from nerf_reversal_ros.fields.nerfstudio.models import REDUCED_SETTINGS

    adam = {'optimizer': AdamOptimizerConfig(lr=1e-2, eps=1e-15), 'scheduler': None}
    config = TrainerConfig(
        method_name='nerfacto',
        output_dir=output,
        timestamp='now',
        vis='tensorboard',
        max_num_iterations=steps,
        steps_per_eval_batch=10_000,
        steps_per_eval_image=10_000,
        machine=MachineConfig(device_type='cpu', seed=0),
        logging=LoggingConfig(local_writer=LoggingConfig().local_writer),
        pipeline=VanillaPipelineConfig(
            datamanager=VanillaDataManagerConfig(
                dataparser=NerfstudioDataParserConfig(data=scene),
                train_num_rays_per_batch=1024,
            ),
            model=NerfactoModelConfig(
                implementation='torch',
                camera_optimizer=CameraOptimizerConfig(mode='off'),
                **REDUCED_SETTINGS,
            ),
        ),
        optimizers={name: adam for name in ('proposal_networks', 'fields')},
    )
    config.set_experiment_name()
    config.save_config()
    with no_downloads():
        trainer = config.setup(local_rank=0, world_size=1)
        trainer.setup()
    trainer.train()
    return config.get_base_dir() / 'config.yml', trainer


class PerfectRun:
    """Field of a run without any error, in the world of the run."""

    def __init__(self, world_from_room: NDArray[np.float64]) -> None:
        self.room_from_world = np.linalg.inv(world_from_room)

    def render(self, world_from_camera: NDArray[np.float64], camera: Camera) -> list[Rendering]:
        """Render one view per pose; depth is in units of the world."""
        views = []
        for pose in transform_poses(self.room_from_world, world_from_camera):
            rgb, depth_m = render_box_room(pose, camera)
            depth = depth_m / np.float32(scale_of(self.room_from_world))
            views.append(Rendering(rgb, depth, np.ones_like(depth)))
        return views
