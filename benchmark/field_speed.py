"""
Time of the voxel field on a CPU: compiled kernels against PyTorch, in the same run.

    python benchmark/field_speed.py BUILD_BAG WORK_DIR [--steps N,N,...] [--out FILE.json]
        [--figure FILE.png]

Both paths train fields of BUILD_BAG with each number of steps, in turns, from the same fused depth
and the same rays. Held-out images measure each field. Then both render the same views, in turns.
Times are CPU times of all threads, so other work on the machine matters less; compilation is left
out. A ratio is the compiled time over that of PyTorch.
"""

import argparse
from dataclasses import replace
from pathlib import Path
import tempfile
import time
from unittest.mock import patch

from matplotlib.figure import Figure
import numpy as np
from results import add_out_argument, Column, ResultTable, writable_file, write_results
import torch
from torch import Tensor

from nerf_reversal_ros.capture.depth_calibration import estimate_depth_correction
from nerf_reversal_ros.capture.mapping_data import SplitCapture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.scene_scale import estimate_scene_depth, settings_for_scene
from nerf_reversal_ros.core.config import BuildConfig, VoxelFieldConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.fields import voxel_training
from nerf_reversal_ros.fields.training_data import load_training_data, TrainingData
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_optimizers import CompiledOptimizer, TorchOptimizer

PATHS = {'compiled': CompiledOptimizer, 'PyTorch': TorchOptimizer}
VIEWS, WIDTH_PX, REPEATS = 20, 96, 5
"""Views of a measurement of rendering, their longer side, and measurements of each path."""


def main() -> None:
    """Train and render by both paths, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('build_bag', type=Path)
    parser.add_argument('work_dir', type=Path, help='folder for the training images')
    parser.add_argument('--steps', default=f'25,50,100,{VoxelFieldConfig().steps}')
    parser.add_argument('--figure', type=writable_file, metavar='FILE.png')
    add_out_argument(parser)
    args = parser.parse_args()
    steps = [int(count) for count in args.steps.split(',')]

    data, config = load(args.build_bag, args.work_dir)
    train(data, replace(config, steps=2))  # compiles
    training = ResultTable(
        'PSNR against time',
        (
            'path',
            Column('steps'),
            Column('held-out PSNR', 'dB', 2),
            Column('training', 's', 1),
            Column('ratio', '', 2),
        ),
    )
    curves: dict[str, list[tuple[float, float]]] = {name: [] for name in PATHS}
    field = None
    for count in steps:
        results = {}
        for name, optimizer in PATHS.items():
            with patch.object(voxel_training, 'CompiledOptimizer', optimizer):
                field, psnr_db, seconds = train(data, replace(config, steps=count))
            results[name] = seconds
            curves[name].append((seconds, psnr_db))
        for name, seconds in results.items():
            ratio = seconds / results['PyTorch'] if name == 'compiled' else None
            training.add_row(name, count, curves[name][-1][1], seconds, ratio)
    rendering = measure_rendering(field, data)
    if args.figure:
        draw(args.figure, curves)
    write_results(args.out, 'Time of the voxel field', training, rendering)


def load(bag: Path, work_dir: Path) -> tuple[TrainingData, VoxelFieldConfig]:
    """Load the images that a build would train on, and its settings."""
    config = BuildConfig()
    capture = open_capture(bag, config.capture)
    split = SplitCapture.split(capture, config.field.validation_share)
    correction = estimate_depth_correction(split.capture, split.training_frames)
    work_dir.mkdir(parents=True, exist_ok=True)
    split = split.with_depth_correction(correction)
    data = load_training_data(split.capture, split.held_out, work_dir, no_progress)
    return data, settings_for_scene(config, estimate_scene_depth(capture)).field


def train(data: TrainingData, config: VoxelFieldConfig) -> tuple[VoxelField, float, float]:
    """Fit a field; return it, its held-out PSNR [dB] and the CPU time of its steps [s]."""
    reports = [time.process_time()]

    def run(trainer, *args):
        reports[0] = time.process_time()
        report = original(trainer, *args)
        reports.append(time.process_time())
        return report

    trainer = voxel_training._VoxelFieldTrainer
    original = trainer.run
    with tempfile.TemporaryDirectory() as folder, patch.object(trainer, 'run', run):
        field, report = voxel_training.fit_voxel_field(
            data, config, device=torch.device('cpu'), seed=0, work_dir=Path(folder)
        )
    return field, report['psnr_db'], reports[1] - reports[0]


def measure_rendering(field: VoxelField, data: TrainingData) -> ResultTable:
    """Render views by both paths in turns."""
    table = ResultTable(
        f'Rendering of {VIEWS} views of {WIDTH_PX} px',
        (
            'path',
            Column('time', 's', 2),
            Column('rays per second', 'million', 2),
            Column('ratio', '', 2),
        ),
    )
    camera = data.camera(0).scaled_to_width(WIDTH_PX)
    poses = data.map_from_camera[data.sample_indices(VIEWS)]
    seconds = {name: [] for name in PATHS}
    for _ in range(REPEATS):
        seconds['compiled'].append(rendering_seconds(field, poses, camera))
        with patch.object(VoxelField, 'trace', trace_with_torch_on_all_cores):
            seconds['PyTorch'].append(rendering_seconds(field, poses, camera))
    medians = {name: float(np.median(times)) for name, times in seconds.items()}
    rays = len(poses) * camera.width * camera.height
    for name, median in medians.items():
        ratio = median / medians['PyTorch'] if name == 'compiled' else None
        table.add_row(name, median, rays / median / 1e6, ratio)
    return table


def trace_with_torch_on_all_cores(field: VoxelField, origins: Tensor, directions: Tensor):
    """Trace a chunk of the rays on each core: PyTorch's own threads gain little."""
    parts = torch.get_num_threads()
    chunks = zip(origins.chunk(parts), directions.chunk(parts), strict=True)
    traced = parallel_map(lambda chunk: field.trace_with_torch(*chunk), chunks)
    return tuple(torch.cat(part) for part in zip(*traced, strict=True))


def rendering_seconds(field: VoxelField, poses: FloatArray, camera) -> float:
    """Return the CPU time of rendering a view per pose."""
    start = time.process_time()
    field.render(poses, camera)
    return time.process_time() - start


def draw(path: Path, curves: dict[str, list[tuple[float, float]]]) -> None:
    """Draw PSNR against time."""
    figure = Figure(figsize=(6, 4), layout='constrained')
    axes = figure.subplots()
    for name, points in curves.items():
        axes.plot(*np.transpose(points), marker='o', label=name)
    axes.set(xscale='log', xlabel='training [CPU s]', ylabel='held-out PSNR [dB]')
    axes.legend()
    figure.savefig(path, dpi=150)


if __name__ == '__main__':
    main()
