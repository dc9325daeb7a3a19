"""
Train the networks of a study: each is a row of its table and a job, here or on a Ray cluster.

A cluster shares the folder of the study: field and views are made here once, and read there. The
image codecs are fitted by each job that needs one.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.devices import resolve_device
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import atomic_write
from nerf_reversal_ros.core.progress import ProgressCallback
from nerf_reversal_ros.jobs.job_states import DONE, FAILED, JobStates
from nerf_reversal_ros.jobs.ray_cluster import ONE_CORE_ADVICE, RayJob, run_on_ray
from nerf_reversal_ros.jobs.resources import one_core
from nerf_reversal_ros.study.data import StudyData
from nerf_reversal_ros.study.plan import Experiment, StudyPlan
from nerf_reversal_ros.study.training import codec_quality, train_experiment, trivial_baselines

BYTES_PER_PIXEL = 12
"""Of the training images, with what a codec makes of them."""
BASE_MEMORY_GB = 1.0
"""Memory of a job without images [GB]."""


@dataclass(frozen=True)
class StudyInputs:
    """What a study is of; plain data, from which any machine makes its `StudyData`."""

    bag: Path
    work_dir: Path
    config: BuildConfig
    plan: StudyPlan
    device: str

    def open(self, progress: ProgressCallback) -> StudyData:
        """Open the capture; field and views are read from the folder where they are there."""
        capture = open_capture(self.bag, self.config.capture, progress=progress)
        device = resolve_device(self.device)
        return StudyData(capture, self.work_dir, self.config, self.plan, device, progress)


@dataclass(frozen=True)
class RowJob:
    """Trains one network on a worker, and writes its row into the shared folder."""

    inputs: StudyInputs
    experiment: Experiment
    file: Path

    def __call__(self, progress: ProgressCallback, worker: str = '') -> None:
        """Train and evaluate the network."""
        try:
            train_row(self.experiment, self.inputs.open(progress), self.file)
        except OSError as error:
            folder = self.inputs.work_dir
            raise BuildError(f'cannot write to {folder}: {error.strerror or error}') from error


def train_row(experiment: Experiment, data: StudyData, file: Path) -> None:
    """Train and evaluate the network of an experiment, and write its row."""
    file.parent.mkdir(exist_ok=True)
    atomic_write(file, json.dumps(_row(experiment, data)))


def train_rows_on_ray(
    inputs: StudyInputs,
    data: StudyData,
    files: dict[Experiment, Path],
    ray: str,
    changed: Callable[[JobStates], None],
) -> None:
    """
    Train networks on a cluster, once field and views are in the folder of the study.

    Parameters
    ----------
    inputs : StudyInputs
        For the workers, with absolute paths.
    data : StudyData
        The same, opened here.
    files : dict
        Files of the rows by experiments, cheap ones first.
    ray : str
        Ray cluster, see `run_on_ray`.
    changed : callable
        Called when a job goes on.

    Raises
    ------
    ConfigError
        If there is no such cluster.
    BuildError
        If networks could not be trained; the rows of the others are written.
    """
    _render_views(data, files)
    jobs = []
    for experiment, file in files.items():
        memory_gb = BASE_MEMORY_GB + BYTES_PER_PIXEL * data.pixel_count(experiment) / 1e9
        resources = one_core(data.device.type, memory_gb)
        work, needs = RowJob(inputs, experiment, file), (inputs.bag, inputs.work_dir)
        jobs.append(RayJob(experiment.name, 'network', work, resources, ONE_CORE_ADVICE, needs))
    states, failed = JobStates([job.name for job in jobs], changed), dict[str, str]()
    for ended in run_on_ray(jobs, ray, states):
        states.end(ended.name, FAILED if ended.reason else DONE, note=ended.reason)
        if ended.reason:
            failed[ended.name] = ended.reason
    if failed:
        reasons = '; '.join(f'{name}: {reason}' for name, reason in failed.items())
        raise BuildError(f'{len(failed)} of {len(jobs)} networks were not trained: {reasons}')


def _render_views(data: StudyData, experiments: Iterable[Experiment]) -> None:
    """Train the field and render the views of all experiments, of each kind once."""
    for experiment in {(each.filtered, each.full_size): each for each in experiments}.values():
        data.synthetic_views(experiment)


def _row(experiment: Experiment, data: StudyData) -> dict[str, Any]:
    """Train and evaluate one experiment, with trivial baselines and the quality of its codec."""
    images = data.images(experiment)
    codec = data.codec(experiment, images.training)
    result = train_experiment(
        experiment,
        images,
        codec,
        data.plan,
        device=data.device,
        seed=data.config.seed,
        progress=data.progress,
    )
    evaluated = {'stretch': images.held_out, 'leaking': images.leaking}
    training_poses = images.training.map_from_camera
    result['trivial'] = {
        name: trivial_baselines(training_poses, views.map_from_camera)
        for name, views in evaluated.items()
    }
    if experiment.compression != 'none':
        result['compression_quality'] = {
            'retained_training': [round(float(value), 5) for value in codec.retained],
            **{name: codec_quality(codec, views) for name, views in evaluated.items()},
        }
    return result
