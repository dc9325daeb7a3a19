"""What every stage of a build shares: data, settings, device, staging folder and progress."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from nerf_reversal_ros.capture.mapping_data import MappingData
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.devices import free_memory
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.maps.map_writer import MapWriter


@dataclass(frozen=True)
class StageContext:
    """Inputs and outputs that all stages have in common."""

    writer: MapWriter
    mapping_data: MappingData
    config: BuildConfig
    """Settings, resolved for the scene; see `capture.scene_scale`."""
    device: torch.device
    progress: ProgressCallback
    scene_depth_m: float
    """Depth of the scene, which lengths in the settings follow."""

    @property
    def seed(self) -> int:
        """Seed of all randomness of the build."""
        return self.config.seed

    def work_dir(self, name: str) -> Path:
        """Return a folder for intermediate files; create it. A resumed build finds its files."""
        folder = self.writer.work_dir / name
        folder.mkdir(exist_ok=True)
        return folder

    @contextmanager
    def stage(self, name: str) -> Iterator['Stage']:
        """Run a block as a stage: record its duration for the manifest, and free its memory."""
        with self.writer.time_stage(name):
            yield Stage(name, self.writer, self.progress)
            free_memory()


@dataclass(frozen=True)
class Stage:
    """One stage of a build: whether it is finished, its stored information, its progress."""

    name: str
    writer: MapWriter
    progress: ProgressCallback

    @property
    def is_done(self) -> bool:
        """Whether this build, or the one that it resumes, finished the stage."""
        return self.writer.is_done(self.name)

    @property
    def info(self) -> dict[str, Any]:
        """Information that `finish` stored."""
        return self.writer.stage_info(self.name)

    def finish(self, info: dict[str, Any] | None = None) -> None:
        """Record that the stage is finished, with information for later stages (JSON)."""
        self.writer.finish_stage(self.name, info)

    def report(self, done: int, total: int) -> None:
        """Report progress under the name of the stage."""
        self.progress(Progress(self.name, done, total))

    def warn(self, warnings: list[str]) -> None:
        """Report warnings as notes of the stage."""
        report_warnings(warnings, self.name, self.progress)


def report_warnings(warnings: list[str], stage: str, progress: ProgressCallback) -> None:
    """Report each warning as a note of a stage."""
    for warning in warnings:
        progress(Progress(stage, 1, 1, warning))
