"""
Run the jobs of a survey on a Ray cluster.

Ray gives each job a machine with the CPU cores, GPUs and memory that the plan names, and repeats
it elsewhere if its machine is lost. Where machines share the folder of the survey, a job resumes
from its last stage; elsewhere a map returns as an archive through Ray's object store. Ray, its
dashboard off and without telemetry, is optional: see ``requirements/ray.txt``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
import os
from pathlib import Path
import secrets
import socket
from tempfile import TemporaryDirectory
import time
from types import ModuleType
from typing import Any

from nerf_reversal_ros import __version__
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError, NerfReversalError
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.survey.job import Job, JobResult, run_job
from nerf_reversal_ros.survey.job_states import JobStates
from nerf_reversal_ros.survey.map_archive import pack_map, unpack_map

POLL_S = 0.5
"""Time between two looks at the jobs [s]."""
REPORT_PERIOD_S = 0.5
"""Smallest time between two reports of a stage from a worker [s]."""
LOCK_WAIT_S = 180.0
"""Time in which the file lock of a lost worker is released, on network file systems, too [s]."""
CONNECT_TIMEOUT_S = 5.0
_TOKEN = '.survey-token'
_LOCAL = 'local'


def run_on_ray(
    jobs: Sequence[Job], out: Path, address: str, states: JobStates
) -> Iterator[JobResult]:
    """
    Run jobs on a cluster, and yield their results as they end, with the maps in their places.

    Parameters
    ----------
    jobs : sequence of Job
        Jobs of different names.
    out : Path
        Folder of the survey, which workers may share.
    address : str
        ``local`` starts Ray on this machine, ``auto`` finds one that runs here; else the address
        of a cluster.
    states : JobStates
        Receives the progress.

    Raises
    ------
    ConfigError
        If Ray is not installed, or there is no such cluster.
    """
    ray = connect(address)
    pending: dict[Any, Job] = {}
    token_file, token = out / _TOKEN, secrets.token_hex(16)
    try:
        token_file.write_text(token, encoding='ascii')
        board = _start_board(ray)
        _check_resources(ray, jobs, address, states)
        for job in jobs:
            pending[_submit(ray, job, token_file.absolute(), token, board)] = job
        while pending:
            done, _ = ray.wait(list(pending), timeout=POLL_S)
            _pass_reports(ray, board, states)
            for ref in done:
                yield _fetch(ray, ref, pending.pop(ref))
    except OSError as error:
        raise NerfReversalError(f'cannot write {token_file}: {error.strerror}') from error
    finally:
        for ref in pending:
            ray.cancel(ref, force=True)
        ray.shutdown()
        token_file.unlink(missing_ok=True)


def connect(address: str) -> ModuleType:
    """Start Ray or connect to a cluster; return the module. ConfigError names the remedy."""
    os.environ['RAY_USAGE_STATS_ENABLED'] = '0'
    if address == _LOCAL:  # Ray then binds to 127.0.0.1
        os.environ.setdefault('RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER', '0')
    try:
        import ray
    except ImportError as error:
        raise ConfigError(
            f'--ray needs Ray, which cannot be imported ({error}): {remedies.INSTALL_RAY}'
        ) from error
    if address != _LOCAL:
        _check_reachable(address)
    options: dict[str, Any] = {'log_to_driver': False, 'logging_level': 'ERROR'}
    if address == _LOCAL:
        options['include_dashboard'] = False
    try:
        ray.init(address=address, **options)
    except Exception as error:  # Ray raises many types, RuntimeError for another version of it
        raise ConfigError(
            f'Ray cannot use the cluster {address} ({_first_line(error)}): {remedies.START_RAY}'
        ) from error
    return ray


def _check_reachable(address: str) -> None:
    """Raise ConfigError soon where nothing listens: Ray itself tries for minutes."""
    found = address
    if address == 'auto':
        try:
            from ray._private.services import canonicalize_bootstrap_address

            found = canonicalize_bootstrap_address('auto') or ''
        except ImportError:  # another version of Ray: it then tells itself
            return
    host, _, port = found.rpartition('://')[2].rpartition(':')
    try:
        with socket.create_connection((host.strip('[]'), int(port)), CONNECT_TIMEOUT_S):
            return
    except (OSError, ValueError, OverflowError) as error:
        reason = f'nothing answers at {found}' if found else 'none is running here'
        raise ConfigError(
            f'there is no Ray cluster {address}, {reason}: {remedies.START_RAY}'
        ) from error


def _start_board(ray: ModuleType) -> Any:
    """Start the actor that holds the reports of the workers, on this machine if possible."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    board = ray.remote(_Board).options(
        num_cpus=0,
        max_restarts=-1,
        scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=True),
    )
    return board.remote()


class _Board:
    """Latest report of each job: an actor of Ray."""

    def __init__(self) -> None:
        self._reports: dict[str, tuple[Progress, str]] = {}

    def report(self, name: str, progress: Progress, worker: str) -> None:
        """Take a report."""
        self._reports[name] = progress, worker

    def take(self) -> dict[str, tuple[Progress, str]]:
        """Return the reports since the last call."""
        reports, self._reports = self._reports, {}
        return reports


def _pass_reports(ray: ModuleType, board: Any, states: JobStates) -> None:
    try:
        reports = ray.get(board.take.remote(), timeout=10 * POLL_S)
    except (ray.exceptions.RayError, TimeoutError):  # its machine was lost, and it starts anew
        reports = {}
    for name, (progress, worker) in reports.items():
        states.report(name, progress, worker)
    states.refresh()


def _check_resources(
    ray: ModuleType, jobs: Sequence[Job], address: str, states: JobStates
) -> None:
    """Tell which jobs no machine has room for: Ray would wait without a word."""
    machines = [node['Resources'] for node in ray.nodes() if node['Alive']]
    for job in jobs:
        wanted = _resources(job)
        if any(all(m.get(k, 0) >= v for k, v in wanted.items()) for m in machines):
            continue
        words = ', '.join(f'{amount:g} {kind}' for kind, amount in wanted.items() if amount)
        sentence = f'no machine of the Ray cluster has {words} for the room {job.name}'
        if address == _LOCAL:
            raise ConfigError(f'{sentence}: {remedies.SMALLER_JOBS}')
        states.rows[job.name].note = f'{sentence}, it waits for one'


def _resources(job: Job) -> dict[str, float]:
    """Return what a job takes, by the names of Ray; memory in bytes."""
    resources = job.resources
    return {
        'CPU': float(resources.ray_cpus),
        'GPU': resources.gpus,
        'memory': resources.memory_gb * 1e9,
    }


def _submit(ray: ModuleType, job: Job, token_file: Path, token: str, board: Any) -> Any:
    wanted = _resources(job)
    task = ray.remote(_work).options(
        name=f'survey {job.name}',
        num_cpus=wanted['CPU'],
        num_gpus=wanted['GPU'],
        memory=wanted['memory'] or None,
        max_retries=job.resources.retries,
    )
    threads = replace(job.resources, cpus=job.resources.ray_cpus)
    ready = replace(job, resources=threads, lock_wait_s=LOCK_WAIT_S)
    return task.remote(ready, token_file, token, board)


def _work(job: Job, token_file: Path, token: str, board: Any) -> JobResult:
    """Build a map on a worker: in its place if the folder is shared, else to send it back."""
    worker = f'{socket.gethostname()}:{os.getpid()}'
    if job.version != __version__:
        reason = f'{worker} has version {__version__} of nerf_reversal_ros, not {job.version}'
        return JobResult(job.name, reason=f'{reason}: {remedies.SAME_VERSION}', worker=worker)
    missing = [str(bag) for bag in job.bags if not bag.exists()]
    if missing:
        reason = f'the bag {missing[0]} is not on {worker}: {remedies.SHARE_BAGS}'
        return JobResult(job.name, reason=reason, worker=worker)
    report = _reporter(job.name, board, worker)
    if is_shared(token_file, token):
        return replace(run_job(job, report), worker=worker)
    with TemporaryDirectory(prefix='nerf_reversal_survey_') as folder:
        map_dir = Path(folder) / job.map_dir.name
        result = run_job(job.at(map_dir), report)
        packed = None if result.reason else pack_map(map_dir)
        return replace(result, worker=worker, packed=packed)


def is_shared(token_file: Path, token: str) -> bool:
    """Return whether this machine sees the folder of the survey."""
    try:
        return token_file.read_text(encoding='ascii') == token
    except (OSError, UnicodeDecodeError):
        return False


def _reporter(name: str, board: Any, worker: str) -> ProgressCallback:
    """Return a callback that sends the changes of a stage, and not more than twice a second."""
    last_s, last_stage = 0.0, ''

    def report(progress: Progress) -> None:
        nonlocal last_s, last_stage
        now_s = time.monotonic()
        if progress.stage != last_stage or now_s - last_s > REPORT_PERIOD_S:
            last_s, last_stage = now_s, progress.stage
            board.report.remote(name, progress, worker)

    return report


def _fetch(ray: ModuleType, ref: Any, job: Job) -> JobResult:
    """Return the result of a task; unpack a map that comes with it."""
    try:
        result: JobResult = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        missing = isinstance(error.cause, ImportError)
        remedy = remedies.SAME_VERSION if missing else remedies.JOB_RESOURCES
        reason = f'its worker failed ({_first_line(error.cause)}): {remedy}'
        return JobResult(job.name, reason=reason, defect='' if missing else str(error))
    except ray.exceptions.RayError as error:
        kind = type(error).__name__
        reason = f'its worker was lost ({kind}): {remedies.JOB_RESOURCES}'
        return JobResult(job.name, reason=reason)
    if result.packed is None:
        return result
    try:
        unpack_map(result.packed, job.map_dir)
    except NerfReversalError as error:
        return replace(result, packed=None, reason=str(error))
    return replace(result, packed=None)


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
