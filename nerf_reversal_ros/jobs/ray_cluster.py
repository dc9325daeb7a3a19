"""
Run jobs on a Ray cluster.

A job is a callable that can be pickled. Ray gives each a machine with the CPU cores, GPUs and
memory that it names, and repeats it elsewhere if its machine is lost. Ray, its dashboard off and
without telemetry, is optional: see ``requirements/ray.txt``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
import os
from pathlib import Path
import socket
import time
from types import ModuleType
from typing import Any, NamedTuple

from nerf_reversal_ros import __version__
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError, NerfReversalError
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.jobs.job_states import JobStates
from nerf_reversal_ros.jobs.resources import Resources

POLL_S = 0.5
"""Time between two looks at the jobs [s]."""
REPORT_PERIOD_S = 0.5
"""Smallest time between two reports of a stage from a worker [s]."""
CONNECT_TIMEOUT_S = 5.0
_LOCAL = 'local'


class JobAdvice(NamedTuple):
    """What to do about jobs that cannot run, of `core.remedies`."""

    lost: str
    """If the machine of a job was lost too often."""
    too_large: str
    """If no machine has the resources of a job."""


ONE_CORE_ADVICE = JobAdvice(remedies.SAME_COMMAND, remedies.OTHER_DEVICE)
"""For jobs of one core: what a machine can lack is the GPU."""


@dataclass(frozen=True)
class RayJob:
    """What runs on a machine of the cluster."""

    name: str
    """Unique among the jobs."""
    kind: str
    """What it is of, such as ``room``: for sentences."""
    work: Callable[[ProgressCallback, str], Any]
    """Takes a callback for progress, and the name of its worker; can be pickled, as its result.
    A `NerfReversalError` is the reason of its failure."""
    resources: Resources
    advice: JobAdvice
    needs: tuple[Path, ...] = ()
    """Paths that its machine must have."""


@dataclass(frozen=True)
class Ended:
    """How a job ended on a worker."""

    name: str
    value: Any = None
    """What it returned."""
    reason: str = ''
    """Why it failed; empty if it did not."""
    defect: str = ''
    """Traceback of an error that is not the user's."""
    worker: str = ''
    """Name of the machine, and number of the process."""


def run_on_ray(jobs: Sequence[RayJob], address: str, states: JobStates) -> Iterator[Ended]:
    """
    Run jobs on a cluster, and yield how they end, in that order.

    Parameters
    ----------
    jobs : sequence of RayJob
        Jobs of different names.
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
    pending: dict[Any, RayJob] = {}
    try:
        board = _start_board(ray)
        _check_resources(ray, jobs, address, states)
        for job in jobs:
            pending[_submit(ray, job, board)] = job
        while pending:
            done, _ = ray.wait(list(pending), timeout=POLL_S)
            _pass_reports(ray, board, states)
            for ref in done:
                yield _fetch(ray, ref, pending.pop(ref))
    finally:
        for ref in pending:
            ray.cancel(ref, force=True)
        ray.shutdown()


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
    ray: ModuleType, jobs: Sequence[RayJob], address: str, states: JobStates
) -> None:
    """Tell which jobs no machine has room for: Ray would wait without a word."""
    machines = [node['Resources'] for node in ray.nodes() if node['Alive']]
    for job in jobs:
        wanted = job.resources.by_ray_name
        if any(all(m.get(k, 0) >= v for k, v in wanted.items()) for m in machines):
            continue
        words = ', '.join(f'{amount:g} {kind}' for kind, amount in wanted.items() if amount)
        sentence = f'no machine of the Ray cluster has {words} for the {job.kind} {job.name}'
        if address == _LOCAL:
            raise ConfigError(f'{sentence}: {job.advice.too_large}')
        states.rows[job.name].note = f'{sentence}, it waits for one'


def _submit(ray: ModuleType, job: RayJob, board: Any) -> Any:
    wanted = job.resources.by_ray_name
    task = ray.remote(run_job_on_worker).options(
        name=f'{job.kind} {job.name}',
        num_cpus=wanted['CPU'],
        num_gpus=wanted['GPU'],
        memory=wanted['memory'] or None,
        max_retries=job.resources.retries,
    )
    return task.remote(job, __version__, board)


def run_job_on_worker(job: RayJob, version: str, board: Any) -> Ended:
    """Run a job on a worker, if it has the version of the caller and the files of the job."""
    worker = f'{socket.gethostname()}:{os.getpid()}'
    if version != __version__:
        reason = f'{worker} has version {__version__} of nerf_reversal_ros, not {version}'
        return Ended(job.name, reason=f'{reason}: {remedies.SAME_VERSION}', worker=worker)
    missing = [str(path) for path in job.needs if not path.exists()]
    if missing:
        reason = f'{missing[0]} is not on {worker}: {remedies.SHARE_BAGS}'
        return Ended(job.name, reason=reason, worker=worker)
    try:
        value = job.work(_reporter(job.name, board, worker), worker)
    except NerfReversalError as error:
        return Ended(job.name, reason=str(error), worker=worker)
    return Ended(job.name, value, worker=worker)


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


def _fetch(ray: ModuleType, ref: Any, job: RayJob) -> Ended:
    """Return how a task ended; its errors, and the loss of its machine, are reasons."""
    try:
        ended: Ended = ray.get(ref)
    except ray.exceptions.RayTaskError as error:
        missing = isinstance(error.cause, ImportError)
        remedy = remedies.SAME_VERSION if missing else job.advice.lost
        reason = f'its worker failed ({_first_line(error.cause)}): {remedy}'
        return Ended(job.name, reason=reason, defect='' if missing else str(error))
    except ray.exceptions.RayError as error:
        reason = f'its worker was lost ({type(error).__name__}): {job.advice.lost}'
        return Ended(job.name, reason=reason)
    return ended


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else type(error).__name__
