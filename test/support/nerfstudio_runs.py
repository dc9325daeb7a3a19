"""Small, fast runs of the trainer of nerfstudio on the box room, and builds of maps from them."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
import pytest
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
import torch

from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.fields.sim3 import make_sim3, scale_of, to_opengl, transform_poses

needs_nerfstudio = pytest.mark.skipif(
    not any(d.metadata['Name'] == 'nerfstudio' for d in importlib.metadata.distributions()),
    reason='nerfstudio is not installed: make test installs it',
)
CPU = torch.device('cpu')
CAMERA = Camera(160, 120, 130.0, 130.0, 79.5, 59.5)
POSES = walk(24)
WORLD_FROM_MAP = make_sim3(
    0.4, make_pose(Rotation.from_euler('xyz', [-90, 0, 30], degrees=True), (2.0, 1.0, -3.0))
)
"""World of the data of the run: y is up, and a unit is 2.5 m."""


class TrainedRun(NamedTuple):
    """A run that nerfstudio trained."""

    config: Path
    """Its config.yml."""
    trainer: Any
    """The trainer of nerfstudio, after the last step."""


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


def train_run(scene: Path, output: Path, steps: int) -> TrainedRun:
    """Train a small Nerfacto on a CPU with the trainer of nerfstudio."""
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
    return TrainedRun(config.get_base_dir() / 'config.yml', trainer)


def load(config: Path):
    """Load a run on the CPU."""
    from nerf_reversal_ros.fields.nerfstudio.run import load_run

    return load_run(config, CPU)


def edit_config(config: Path, old: str, new: str) -> Path:
    """Replace text of a config.yml that contains it."""
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    return config


def write_positions(path: Path, numbers, *more_lines: str) -> Path:
    """Write known positions of the images of these numbers, from 1 on."""
    lines = [f'frame_{i:05d}.png,' + ','.join(map(str, POSES[i - 1, :3, 3])) for i in numbers]
    path.write_text('\n'.join(['# picture,x,y,z', *lines, *more_lines]) + '\n')
    return path


def build_map_of_run(config: Path, map_dir: Path, *arguments: object) -> int:
    """Build a tiny map of a run from the command line; return the exit status."""
    settings = map_dir.with_suffix('.yaml')
    settings.write_text(
        'nerfstudio: {bake_views: 12, bake_size: 64}\n'
        'field: {voxel_m: 0.1, steps: 2, rays_per_step: 256}\n'
        'synthesis: {views: 4, width: 32, min_opacity: 0, max_near_share: 1, clearance_m: 0}\n'
        'regressor: {components: 4, epochs: 12}\n'
        'atlas: {views: 4, size: 64}\n'
    )
    options = ['--device', 'cpu', '--config', str(settings), '--field', f'nerfstudio:{config}']
    return main(['build', *options, *map(str, arguments), str(map_dir)])


def build_error(config: Path, tmp_path: Path, capsys) -> str:
    """Fail to build a map of a run; return the last line of the error output."""
    assert build_map_of_run(config, tmp_path / 'room.map') == 1
    message = capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / 'room.map').exists()
    return message


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
