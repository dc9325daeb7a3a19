"""Builds in processes of their own, which can be killed or run out of disk."""

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
from nerf_reversal_ros.mapping.pipeline import build_map

SPAWNER = multiprocessing.get_context('forkserver')
SPAWNER.set_forkserver_preload(['torch._dynamo', 'sklearn.decomposition', 'poselib', 'cv2'])


def run(work: Callable[..., None], *arguments: Any) -> int:
    """Do ``work`` in another process and return its exit status, negative for a signal."""
    process = SPAWNER.Process(target=work, args=arguments)
    process.start()
    process.join()
    return process.exitcode


def build_until(stage: str, done: int, bag: Path, map_dir: Path, config: BuildConfig) -> None:
    """Build, and be killed the moment that a stage has done so much."""
    torch.set_num_threads(2)

    def progress(told: Progress) -> None:
        if told.stage == stage and told.done >= done:
            os.kill(os.getpid(), signal.SIGKILL)

    build_map(bag, map_dir, config, device='cpu', progress=progress)


def with_file_size_limit(
    limit: int, told: Path, work: Callable[..., None], *arguments: Any
) -> None:
    """Do ``work`` where no file can become larger; write what error that was to ``told``."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        work(*arguments)
    except NerfReversalError as error:
        told.write_text(f'{type(error).__name__}: {error}', encoding='utf-8')
        sys.exit(1)
