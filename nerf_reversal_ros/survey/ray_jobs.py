"""
The rooms of a survey as jobs on a Ray cluster.

Where machines share the folder of the survey, a job resumes from its last stage; elsewhere a map
returns as an archive through Ray's object store.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.progress import ProgressCallback
from nerf_reversal_ros.jobs.job_states import JobStates
from nerf_reversal_ros.jobs.ray_cluster import Ended, JobAdvice, RayJob, run_on_ray
from nerf_reversal_ros.jobs.shared_folder import share, SharedFolder
from nerf_reversal_ros.survey.job import Job, JobResult, run_job
from nerf_reversal_ros.survey.map_archive import pack_map, unpack_map

ADVICE = JobAdvice(remedies.JOB_RESOURCES, remedies.SMALLER_JOBS)
LOCK_WAIT_S = 180.0
"""Time in which the file lock of a lost worker is released, on network file systems, too [s]."""


def run_rooms_on_ray(
    jobs: Sequence[Job], out: Path, address: str, states: JobStates
) -> Iterator[JobResult]:
    """
    Build rooms on a cluster, and yield their results as they end, with the maps in their places.

    ``out`` is the folder of the survey, which workers may share; the others are as in
    `run_on_ray`.
    """
    by_name = {job.name: job for job in jobs}
    with share(out) as shared:
        ray_jobs = [
            RayJob(job.name, 'room', RoomWork(job, shared), job.resources, ADVICE, job.bags)
            for job in jobs
        ]
        for ended in run_on_ray(ray_jobs, address, states):
            yield _result(ended, by_name[ended.name])


@dataclass(frozen=True)
class RoomWork:
    """Builds a map on a worker: in its place if the folder is shared, else to send it back."""

    job: Job
    shared: SharedFolder

    def __call__(self, report: ProgressCallback, worker: str) -> JobResult:
        """Build the map."""
        threads = replace(self.job.resources, cpus=self.job.resources.ray_cpus)
        job = replace(self.job, resources=threads, lock_wait_s=LOCK_WAIT_S)
        if self.shared.is_here:
            return replace(run_job(job, report), worker=worker)
        with TemporaryDirectory(prefix='nerf_reversal_survey_') as folder:
            map_dir = Path(folder) / job.map_dir.name
            result = run_job(job.at(map_dir), report)
            packed = None if result.reason else pack_map(map_dir)
            return replace(result, worker=worker, packed=packed)


def _result(ended: Ended, job: Job) -> JobResult:
    """Return the result of a room; unpack a map that comes with it."""
    if ended.value is None:
        return JobResult(job.name, reason=ended.reason, defect=ended.defect, worker=ended.worker)
    result: JobResult = ended.value
    if result.packed is None:
        return result
    try:
        unpack_map(result.packed, job.map_dir)
    except NerfReversalError as error:
        return replace(result, packed=None, reason=str(error))
    return replace(result, packed=None)
