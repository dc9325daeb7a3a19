"""
A survey: from a plan to the maps of its rooms and the building map; a repeated one resumes.

A room whose map is up to date is left as it is. A room that fails does not stop the others, and
an earlier map of it stays in the building.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import write_output
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.jobs.job_states import BUILT, FAILED, GIVEN, JobStates, UNCHANGED
from nerf_reversal_ros.maps.building_folder import Building
from nerf_reversal_ros.maps.map_folder import MANIFEST, Map, open_map
from nerf_reversal_ros.survey.build_fraction import build_fraction
from nerf_reversal_ros.survey.finish import finish_building, SurveyedRoom
from nerf_reversal_ros.survey.job import Job, JobResult, run_job
from nerf_reversal_ros.survey.plan import RoomPlan, SurveyPlan
from nerf_reversal_ros.survey.ray_jobs import run_rooms_on_ray
from nerf_reversal_ros.survey.record import only_survey, ROOMS_FOLDER, SurveyRecord, whole_map


@dataclass(frozen=True)
class Survey:
    """How a survey ended."""

    building: Building
    failed: dict[str, str]
    """Reasons by the names of rooms."""
    notes: list[str]
    """Sentences for the user."""


def run_survey(
    plan: SurveyPlan,
    out: Path,
    *,
    ray: str | None = None,
    changed: Callable[[JobStates], None] = lambda _: None,
    progress: ProgressCallback = no_progress,
) -> Survey:
    """
    Build what is missing of a plan, and write the building map.

    Parameters
    ----------
    plan : SurveyPlan
        The rooms.
    out : Path
        Folder of the survey, which becomes the building map; rooms are in ``rooms/NAME.map``.
    ray : str, optional
        Ray cluster, see `run_on_ray`; None: one room after the other in this process.
    changed : callable
        Called when a job goes on.
    progress : callback
        Receives the reports of the work after the jobs.

    Raises
    ------
    ConfigError, BuildError, MapError
        If the folder or the cluster cannot be used, or no room has a map.
    """
    if (out / MANIFEST).exists():
        raise BuildError(f'{out} is a map, not a folder for a survey: choose another folder')
    states = JobStates([room.name for room in plan.rooms], changed, build_fraction)
    notes: list[str] = []
    with only_survey(out):
        failed = _build_rooms(plan, out, ray, states, notes)
        rooms = _surveyed_rooms(plan, out, failed, notes)
        if not rooms:
            reasons = '; '.join(f'{name}: {reason}' for name, reason in failed.items())
            raise BuildError(f'no room of {plan.path} has a map ({reasons})')
        notes += _rooms_without_images(plan)
        building = finish_building(out, rooms, progress=progress, note=notes.append)
    return Survey(building, failed, notes)


def map_dir_of(out: Path, room: RoomPlan) -> Path:
    """Return where the map of a room is, or will be."""
    return room.map_dir or out / ROOMS_FOLDER / f'{room.name}.map'


def _build_rooms(
    plan: SurveyPlan, out: Path, ray: str | None, states: JobStates, notes: list[str]
) -> dict[str, str]:
    """Build the maps that are missing or out of date; return the reasons of those that fail."""
    record, failed = SurveyRecord(out), dict[str, str]()
    jobs, fingerprints = [], {}
    for room in plan.rooms:
        if room.map_dir is not None:
            states.end(room.name, GIVEN)
            continue
        job = Job.of_room(room, map_dir_of(out, room))
        fingerprints[room.name] = job.fingerprint
        if record.finished_map(room.name, job.map_dir, job.fingerprint):
            states.end(room.name, UNCHANGED)
        else:
            jobs.append(job)
    for job in jobs if ray is not None else ():
        record.begin(job.name, job.map_dir, fingerprints[job.name])
    results = (
        _run_here(jobs, record, fingerprints, states)
        if ray is None
        else run_rooms_on_ray(jobs, out, ray, states)
        if jobs
        else ()
    )
    for result in results:
        if result.defect:
            file = out / ROOMS_FOLDER / f'{result.name}.log'
            write_output(file, result.defect)
            notes.append(f'the traceback of {result.name} is in {file}')
        if result.reason:
            failed[result.name] = result.reason
        states.end(result.name, FAILED if result.reason else BUILT, result.seconds, result.reason)
    return failed


def _run_here(
    jobs: Sequence[Job], record: SurveyRecord, fingerprints: dict[str, str], states: JobStates
) -> Iterator[JobResult]:
    """Run jobs one after the other in this process."""
    for job in jobs:
        record.begin(job.name, job.map_dir, fingerprints[job.name])

        def report(progress: Progress, name: str = job.name) -> None:
            states.report(name, progress)

        yield run_job(job, report)


def _rooms_without_images(plan: SurveyPlan) -> list[str]:
    """Tell which rooms can be linked by the walks of others alone, in a sentence or none."""
    names = [
        room.name
        for room in plan.rooms
        if room.map_dir is not None and room.building_from_room is None
    ]
    if not names or len(plan.rooms) == 1:
        return []
    return [
        f'the plan gives maps, and no images, of {", ".join(names)}: links with other rooms are'
        ' found by the walks of those alone'
    ]


def _surveyed_rooms(
    plan: SurveyPlan, out: Path, failed: dict[str, str], notes: list[str]
) -> list[SurveyedRoom]:
    """Open the maps of all rooms; of one that failed, an earlier map."""
    rooms = []
    for room in plan.rooms:
        path = map_dir_of(out, room)
        map_: Map | None
        if room.name in failed:
            map_ = whole_map(path)
            if map_ is None:
                continue
            notes.append(f'the earlier map of {room.name} stays in the building: {path}')
        else:
            map_ = open_map(path)
        bag = Job.of_room(room, path).joined_bag if room.bags else None
        if bag is not None and not bag.exists():
            bag = None  # was joined on a machine that does not share the folder
        rooms.append(SurveyedRoom(room.name, map_, bag, room.building_from_room))
    return rooms
