"""Evaluate a map or a building on many bags: each is a job, here or on a Ray cluster."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from nerf_reversal_ros.core.config import QueryConfig
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.progress import ProgressCallback
from nerf_reversal_ros.evaluation.building_evaluation import (
    BuildingEvaluation,
    evaluate_building,
)
from nerf_reversal_ros.evaluation.map_evaluation import evaluate_map, MapEvaluation
from nerf_reversal_ros.jobs.job_states import DONE, FAILED, JobStates
from nerf_reversal_ros.jobs.ray_cluster import Ended, ONE_CORE_ADVICE, RayJob, run_on_ray
from nerf_reversal_ros.jobs.resources import one_core
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.maps.opening import open_map

MEMORY_GB = 0.5
"""Memory that Ray sets aside for the evaluation of a bag [GB]."""


class EvaluatedBag(NamedTuple):
    """What is left of an evaluation without its images."""

    metrics: dict[str, Any]
    """The content of ``metrics.json``."""
    summary: str
    """For a terminal."""


@dataclass(frozen=True)
class BagJob:
    """The evaluation of one bag; plain data, which goes to another process or machine."""

    map_dir: Path
    bag: Path
    config: QueryConfig
    reference: Path | None = None
    """Mapping bag, of a map."""
    baselines: str = 'none'
    """Of a map."""
    frame: str | None = None
    """Of a building, see `evaluate_building`."""
    truth: Path | None = None
    """Of a building."""

    @property
    def needs(self) -> tuple[Path, ...]:
        """Paths that the machine must have."""
        return tuple(filter(None, (self.map_dir, self.bag, self.reference, self.truth)))

    def evaluate(
        self, progress: ProgressCallback, on_skip: Callable[[str], None] = lambda _: None
    ) -> MapEvaluation | BuildingEvaluation:
        """Evaluate the bag, with the images at hand."""
        map_ = open_map(self.map_dir)
        if isinstance(map_, Map):
            return evaluate_map(
                map_,
                self.bag,
                reference=self.reference,
                baselines=self.baselines,
                config=self.config,
                progress=progress,
                on_skip=on_skip,
            )
        return evaluate_building(
            map_,
            self.bag,
            frame=self.frame,
            truth=self.truth,
            config=self.config,
            progress=progress,
        )

    def __call__(self, progress: ProgressCallback, worker: str = '') -> EvaluatedBag:
        """Evaluate the bag; return what can travel."""
        result = self.evaluate(progress)
        return EvaluatedBag(result.metrics, result.summary())


def evaluate_bags(
    jobs: Sequence[BagJob], states: JobStates, ray: str | None = None
) -> Iterator[Ended]:
    """
    Evaluate bags, and yield an `Ended` with an `EvaluatedBag` for each as it ends.

    Parameters
    ----------
    jobs : sequence of BagJob
        Of different bags.
    states : JobStates
        Receives the progress; its names are the paths of the bags.
    ray : str, optional
        Ray cluster, see `run_on_ray`; None: one bag after the other in this process.

    Raises
    ------
    ConfigError
        If there is no such cluster.
    """
    for ended in _run_here(jobs, states) if ray is None else _run_on_ray(jobs, states, ray):
        states.end(ended.name, FAILED if ended.reason else DONE, note=ended.reason)
        yield ended


def _run_here(jobs: Sequence[BagJob], states: JobStates) -> Iterator[Ended]:
    for job in jobs:
        name = str(job.bag)
        try:
            yield Ended(name, job(partial(states.report, name)))
        except NerfReversalError as error:
            yield Ended(name, reason=str(error))


def _run_on_ray(jobs: Sequence[BagJob], states: JobStates, ray: str) -> Iterator[Ended]:
    """Run the jobs on a cluster; an image keeps one core busy."""
    ray_jobs = []
    for job in jobs:
        resources = one_core(job.config.localizer.device, MEMORY_GB)
        ray_jobs.append(RayJob(str(job.bag), 'bag', job, resources, ONE_CORE_ADVICE, job.needs))
    return run_on_ray(ray_jobs, ray, states)
