"""
Train a depth-nerfacto with nerfstudio's own pipeline, to import as a nerfstudio run.

    python benchmark/run_study.py BUILD_BAG WORK --steps 2500 [--out FILE.json]

The training data are every second frame that a build would select, without the held-out frames.
They are written as a transforms.json in another world frame: rotated, translated and scaled. The
last line is the path of the run's config.yml, to build a map from it, with the bag or without:

    nerf-reversal build --device cpu --field nerfstudio:CONFIG.yml BUILD_BAG MAP
    nerf-reversal evaluate MAP OTHER_BAG --baselines none

WORK keeps the data: a command with another number of steps trains on them again.
"""

import argparse
import json
from pathlib import Path
import time
from typing import Any

import cv2
import numpy as np
from results import add_out_argument, Column, ResultTable, write_results
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import VoxelFieldConfig
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.fields.nerfstudio.dependency import no_downloads, require_nerfstudio
from nerf_reversal_ros.fields.sim3 import (
    make_sim3,
    scale_of,
    to_opengl,
    transform_poses,
)

WORLD_FROM_MAP = make_sim3(
    0.37, make_pose(Rotation.from_euler('xyz', [-90, 0, 30], degrees=True), (2.0, 1.0, -3.0))
)
"""The world frame of the run; its unit is 2.7 m."""
EVERY = 2
SIZE = 160
"""Longer side of the training images [px]."""


def main() -> None:
    """Write the training data unless they exist, and train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('build_bag', type=Path)
    parser.add_argument('work', type=Path)
    parser.add_argument('--steps', type=int, default=2500, help='of training; default: 2500')
    parser.add_argument('--device', choices=('cpu', 'cuda'), default='cpu', help='default: cpu')
    add_out_argument(parser)
    args = parser.parse_args()
    require_nerfstudio()
    scene = args.work / 'scene'
    if not (scene / 'transforms.json').exists():
        write_scene(args.build_bag, scene)
    count = len(json.loads((scene / 'transforms.json').read_text(encoding='utf-8'))['frames'])
    start = time.process_time()
    config_yml = train(scene, args.work / 'runs', args.steps, args.device)
    columns = Column('frames'), Column('steps'), 'device', Column('CPU time', 'min', 1)
    table = ResultTable('Training', columns)
    table.add_row(count, args.steps, args.device, (time.process_time() - start) / 60)
    write_results(args.out, 'A nerfstudio run', table)
    print(config_yml)


def write_scene(bag: Path, scene: Path) -> None:
    """Write frames of a capture as the transforms.json and images that nerfstudio reads."""
    (scene / 'depth').mkdir(parents=True, exist_ok=True)
    capture = open_capture(bag, CaptureConfig())
    held_out = held_out_mask(len(capture), VoxelFieldConfig().validation_share)
    selected = set(np.flatnonzero(~held_out)[::EVERY].tolist())
    camera, frames = capture.camera.downscaled_to(SIZE), []
    size = camera.width, camera.height
    for frame in capture:
        if frame.index not in selected:
            continue
        assert frame.depth is not None
        name = f'frame_{frame.index:05d}.png'
        rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(scene / name), cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
        depth = cv2.resize(frame.depth, size, interpolation=cv2.INTER_NEAREST)
        thousandths = np.rint(1000 * depth * scale_of(WORLD_FROM_MAP)).astype(np.uint16)
        cv2.imwrite(str(scene / 'depth' / name), thousandths)
        world_from_camera = transform_poses(WORLD_FROM_MAP, frame.map_from_camera[None])
        pose = to_opengl(np.eye(4), world_from_camera)[0]
        frames.append(
            {
                'file_path': name,
                'depth_file_path': f'depth/{name}',
                'transform_matrix': [*pose.tolist(), [0.0, 0.0, 0.0, 1.0]],
            }
        )
    intrinsics = {
        'fl_x': camera.fx,
        'fl_y': camera.fy,
        'cx': camera.cx + 0.5,
        'cy': camera.cy + 0.5,
    }
    content = {**intrinsics, 'w': camera.width, 'h': camera.height, 'frames': frames}
    (scene / 'transforms.json').write_text(json.dumps(content))
    print(f'{len(frames)} of {len(capture)} frames')


def train(scene: Path, output: Path, steps: int, device: str) -> Path:
    """Train a small depth-nerfacto with nerfstudio's trainer; return its config.yml."""
    from nerfstudio.cameras.camera_optimizers import CameraOptimizerConfig
    from nerfstudio.configs.base_config import MachineConfig
    from nerfstudio.data.datamanagers.base_datamanager import (
        VanillaDataManager,
        VanillaDataManagerConfig,
    )
    from nerfstudio.data.dataparsers.nerfstudio_dataparser import NerfstudioDataParserConfig
    from nerfstudio.data.datasets.depth_dataset import DepthDataset
    from nerfstudio.engine.optimizers import AdamOptimizerConfig
    from nerfstudio.engine.schedulers import ExponentialDecaySchedulerConfig
    from nerfstudio.engine.trainer import TrainerConfig
    from nerfstudio.models.depth_nerfacto import DepthNerfactoModelConfig
    from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

    from nerf_reversal_ros.fields.nerfstudio.models import REDUCED_SETTINGS

    adam: dict[str, Any] = {
        'optimizer': AdamOptimizerConfig(lr=1e-2, eps=1e-15),
        'scheduler': ExponentialDecaySchedulerConfig(lr_final=1e-4, max_steps=steps),
    }
    never = 100_000
    config = TrainerConfig(
        method_name='depth-nerfacto',
        output_dir=output,
        timestamp=f'{steps}_steps',
        vis='tensorboard',
        max_num_iterations=steps,
        steps_per_eval_batch=never,
        steps_per_eval_image=never,
        steps_per_eval_all_images=never,
        steps_per_save=500,
        machine=MachineConfig(device_type=device, seed=0),
        pipeline=VanillaPipelineConfig(
            datamanager=VanillaDataManagerConfig(
                _target=VanillaDataManager[DepthDataset],
                dataparser=NerfstudioDataParserConfig(data=scene),
                train_num_rays_per_batch=1024,
            ),
            model=DepthNerfactoModelConfig(
                implementation='torch',
                camera_optimizer=CameraOptimizerConfig(mode='off'),
                depth_loss_mult=0.1,
                starting_depth_sigma=0.01,
                depth_sigma=0.0004,
                sigma_decay_rate=0.04 ** (2 / steps),
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
    return Path(config.get_base_dir() / 'config.yml')


if __name__ == '__main__':
    main()
