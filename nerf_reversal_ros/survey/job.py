"""
The job of one room: build its map where it is called, and return how that ended.

A job is plain data, so that it can go to another process or machine. What a user can cause is a
result, not an exception: other rooms go on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
import hashlib
import json
from pathlib import Path
import time
import traceback

import cv2
from threadpoolctl import threadpool_limits
import torch

from nerf_reversal_ros import __version__
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.errors import MapInUseError, NerfReversalError
from nerf_reversal_ros.core.files import is_full_disk
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.jobs.resources import Resources
from nerf_reversal_ros.mapping.build_request import describe_files
from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.mapping.stages import CAPTURE
from nerf_reversal_ros.survey.bag_joining import check_one_world, join_bags
from nerf_reversal_ros.survey.plan import RoomPlan

LOCK_POLL_S = 1.0
"""Time between two attempts to enter a staging folder [s]."""


@dataclass(frozen=True)
class Job:
    """What builds the map of a room."""

    name: str
    bags: tuple[Path, ...]
    map_dir: Path
    config: BuildConfig
    field_kind: str
    device: str
    resources: Resources
    lock_wait_s: float = 0.0
    """Time for which another build of the map is waited for: that of a lost worker ends soon."""
    version: str = __version__

    @classmethod
    def of_room(cls, room: RoomPlan, map_dir: Path) -> 'Job':
        """Return the job of a room with bags; paths become absolute."""
        bags = tuple(bag.absolute() for bag in room.bags)
        return cls(
            room.name,
            bags,
            map_dir.absolute(),
            room.config,
            room.field_kind,
            room.device,
            room.resources,
        )

    @property
    def fingerprint(self) -> str:
        """Checksum of the inputs that determine the map: files of the bags, settings, version."""
        inputs = {
            'bags': [describe_files([bag]) for bag in self.bags],
            'config': asdict(self.config),
            'field': self.field_kind,
            'device': self.device,
            'version': self.version,
        }
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    @property
    def joined_bag(self) -> Path:
        """The bag that is built from: that of the room, or all of its bags as one."""
        return self.bags[0] if len(self.bags) == 1 else self.map_dir.with_suffix('.bag')

    def at(self, map_dir: Path) -> 'Job':
        """Return the same job with another folder to write to."""
        return replace(self, map_dir=map_dir)


@dataclass(frozen=True)
class JobResult:
    """How a job ended."""

    name: str
    seconds: float = 0.0
    reason: str = ''
    """Why there is no map; empty if there is one."""
    defect: str = ''
    """Traceback of an error that is not the user's."""
    worker: str = ''
    """Name of the machine, and number of the process, on Ray."""
    packed: bytes | None = None
    """The map as an archive, where the machine does not share the folder of the survey."""


def run_job(job: Job, progress: ProgressCallback) -> JobResult:
    """Build the map of a room; an error becomes the reason of the result."""
    start_s = time.monotonic()

    def result(reason: str = '', defect: str = '') -> JobResult:
        return JobResult(job.name, time.monotonic() - start_s, reason, defect)

    try:
        with _threads(job.resources.cpus):
            _build(job, progress)
    except NerfReversalError as error:
        return result(reason=str(error))
    except MemoryError:
        return result(reason=f'not enough memory: {remedies.JOB_RESOURCES}')
    except OSError as error:
        if is_full_disk(error):
            folder = job.map_dir.parent
            return result(reason=f'no space left for {folder}: {remedies.FREE_DISK_SPACE}')
        if error.strerror is None:
            return result(reason=_defect(error), defect=traceback.format_exc())
        return result(reason=f'{error.strerror}: {error.filename or job.map_dir}')
    except Exception as error:
        return result(reason=_defect(error), defect=traceback.format_exc())
    return result()


def _build(job: Job, progress: ProgressCallback) -> None:
    bag = job.joined_bag
    if len(job.bags) > 1:
        join_bags(job.bags, bag, job.config.capture)
        check_one_world(job.bags, bag, job.config.capture, progress)
    deadline_s = time.monotonic() + job.lock_wait_s
    while True:
        try:
            build_map(
                bag,
                job.map_dir,
                job.config,
                device=job.device,
                field=job.field_kind,
                overwrite=True,
                progress=progress,
            )
            return
        except MapInUseError:
            if time.monotonic() > deadline_s:
                raise
            progress(Progress(CAPTURE, 0, 1, 'waiting for the build of a worker that was lost'))
            time.sleep(LOCK_POLL_S)


def _defect(error: Exception) -> str:
    return f'{type(error).__name__}, a defect of this program: {error}'


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """
    Let PyTorch, BLAS and OpenCV use so many threads; 0: as they are.

    With another number of threads sums are rounded otherwise: the same room has another map.
    """
    if not count:
        yield
        return
    of_torch, of_opencv = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)
    try:
        with threadpool_limits(count):
            yield
    finally:
        torch.set_num_threads(of_torch)
        cv2.setNumThreads(of_opencv)
