"""
Survey a building: build the maps of many rooms, and join them to a building map.

PLAN is a YAML file that lists rooms with their bags and settings, or a folder with a bag for each
room. OUT becomes the building map: rooms/NAME.map are its rooms. The rooms are built one after
the other on this machine, or on a Ray cluster.

A survey that was interrupted resumes when the same command is given again. A later one builds
only the rooms whose bags or settings have changed. A room that fails does not stop the others.
"""

import argparse
from pathlib import Path

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.job_table import JobTable

HELP = 'build the maps of many rooms, and join them to a building'
AFTER_INTERRUPT = '; the same command resumes the survey'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument(
        'plan', metavar='PLAN', type=Path, help='rooms, as YAML, or a folder with a bag each'
    )
    parser.add_argument('out', metavar='OUT', type=Path, help='the building map to write')
    parser.add_argument(
        '--ray',
        metavar='local|auto|ADDRESS',
        help='build on Ray: started on this machine, running here, or a cluster by its address',
    )


def run(arguments: argparse.Namespace) -> None:
    """Run the survey, and print its rooms."""
    from nerf_reversal_ros.core import remedies
    from nerf_reversal_ros.core.errors import BuildError
    from nerf_reversal_ros.survey.plan import read_plan

    plan = read_plan(arguments.plan)

    from nerf_reversal_ros.survey.survey import run_survey

    with JobTable() as table, ProgressConsole() as console:
        survey = run_survey(
            plan, arguments.out, ray=arguments.ray, changed=table, progress=console
        )
    rooms = survey.building.rooms.values()
    apart = [room.name for room in rooms if room.building_from_room is None]
    for line in (*table.lines(), *survey.notes):
        print(line)
    if apart:
        print(f'rooms with a frame of their own, as nothing links them: {", ".join(apart)}')
    print(f'wrote the building {arguments.out}: {len(rooms)} rooms')
    if survey.failed:
        reasons = '; '.join(f'{name}: {reason}' for name, reason in survey.failed.items())
        raise BuildError(
            f'{len(survey.failed)} of {len(plan.rooms)} rooms failed, {remedies.REPEAT_SURVEY}:'
            f' {reasons}'
        )
