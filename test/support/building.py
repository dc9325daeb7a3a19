"""
Child processes that have the heavy modules from their start: they are forked from one server.

Builds in such processes can be killed or run out of disk space; `ros_rig` runs nodes in them.
"""

from collections.abc import Callable
import multiprocessing
import os
from pathlib import Path
import resource
import signal
import sys
from typing import Any

import torch

from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.maps.map_writer import MapWriter
from nerf_reversal_ros.regressor.regressor import PoseRegressor

NODES = ('localizer', 'builder', 'evaluator', 'player', 'loop_closer')
SPAWNER = multiprocessing.get_context('forkserver')
SPAWNER.set_forkserver_preload(
    [
        *('torch._dynamo', 'sklearn.decomposition', 'hypothesis'),
        'nerf_reversal_ros.mapping.pipeline',
        *(f'nerf_reversal_ros.ros.{name}_node' for name in NODES),
    ]
)


def run(work: Callable[..., None], *arguments: Any) -> int:
    """Run ``work`` in a child process and return its exit status, negative for a signal."""
    process = SPAWNER.Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def build_until(stage: str, done: int, bag: Path, map_dir: Path, config: BuildConfig) -> None:
    """Build, and kill the own process when a stage has reported ``done`` units."""
    torch.set_num_threads(2)

    def progress(report: Progress) -> None:
        if report.stage == stage and report.done >= done:
            os.kill(os.getpid(), signal.SIGKILL)

    build_map(bag, map_dir, config, device='cpu', progress=progress)


def save_map_file(map_dir: Path, source: Path, part: str) -> None:
    """Load the field or the regressor of a map, and save it to another map."""
    with MapWriter(map_dir, {}) as writer:
        kind = {'field': VoxelField, 'regressor': PoseRegressor}[part]
        kind.load(source / f'{part}.safetensors', 'cpu').save(writer.path(part))


def run_with_file_size_limit(
    limit: int, error_path: Path, work: Callable[..., None], *arguments: Any
) -> None:
    """Run ``work`` with a limit on the size of files [bytes]; write its error to a file."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        work(*arguments)
    except NerfReversalError as error:
        error_path.write_text(f'{type(error).__name__}: {error}', encoding='utf-8')
        sys.exit(1)
