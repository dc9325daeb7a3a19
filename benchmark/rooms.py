"""
Build and evaluate several rooms with several seeds, beside the baselines, in one table.

    python benchmark/rooms.py PLAN.yaml WORK [--seeds N ...] [--baselines NAMES] [--config FILE]
        [--out FILE.json]

PLAN.yaml holds the rooms by name, each with what ``benchmark/room.py`` takes: ``mapping`` and
``query``, and if need be ``mapping_frames``, ``query_frames`` ('A:B', quoted) and ``poses``. Paths
are relative to the folder of PLAN.yaml; ``benchmark/rooms.yaml`` is an example. A room whose files
are missing, or that cannot be built, is skipped with the reason. ``align: true`` is for a walk
that drifts: poses are compared after one rigid motion, which is fitted for each method.

Bags and maps of a room are in WORK/ROOM, and are used again by a repeated command. A figure is the
median of the seeds, with the lowest and the highest in brackets. Baselines localize the same
images in the same run. *Incorrect* are accepted poses beyond 10 cm or 5 deg.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from results import add_out_argument, Cell, Column, ResultTable, write_results
from room import (
    combine,
    evaluate_room,
    map_notes,
    method_blocks,
    METHOD_NAMES,
    metrics_notes,
    REGRESSOR,
    Room,
    scaled,
)

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.convert import frame_range
from nerf_reversal_ros.cli.evaluate import baseline_names
from nerf_reversal_ros.core.config import load_build_config
from nerf_reversal_ros.core.errors import ConfigError, NerfReversalError
from nerf_reversal_ros.core.validated_config import (
    config_from_dict,
    read_yaml,
    setting,
    ValidatedConfig,
)
from nerf_reversal_ros.evaluation.summary import DEGREES_OF_FREEDOM

COLUMNS = (
    'room',
    'method',
    Column('images'),
    Column('localized'),
    Column('median', 'cm', 2),
    Column('median', 'deg', 2),
    Column('within 5 cm 5 deg', '%', 1),
    Column('worst', 'cm', 2),
    Column('worst', 'deg', 2),
    Column('incorrect'),
    Column(f'ANEES/{DEGREES_OF_FREEDOM}', '', 2),
    Column('p50', 'ms'),
    Column("of hloc's p50", '', 2),
)
PEERS = 'sift_pnp,hloc_sift'
"""The baselines by default: the methods of others that are as accurate."""
NOT_COMPARED = (REGRESSOR, METHOD_NAMES['nearest_reference'])
"""Rows of ``benchmark/room.py`` that are no method to choose."""


def main() -> None:
    """Build and evaluate room after room, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('plan', type=Path, help='rooms by name, as YAML')
    parser.add_argument('work', type=Path, help='folder for bags and maps, a folder a room')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2], help='default: 0 1 2')
    parser.add_argument('--config', type=Path, help='build settings of all rooms, as YAML')
    parser.add_argument(
        '--baselines', type=baseline_names, default=PEERS, help=f'default: {PEERS}'
    )
    add_out_argument(parser)
    args = parser.parse_args()
    try:
        rooms = read_plan(args.plan)
        load_build_config(args.config)
    except NerfReversalError as error:
        parser.error(str(error))
    table, notes = ResultTable('Rooms and methods', COLUMNS), []
    with ProgressConsole() as console:
        for name, room in rooms.items():
            try:
                check_files(room)
                maps, metrics = evaluate_room(
                    room, args.work / name, args.seeds, args.config, args.baselines, console
                )
            except NerfReversalError as error:
                notes.append(f'{name} skipped: {error}')
                console.print_line(notes[-1])
                continue
            for method, cells in method_rows(metrics).items():
                table.add_row(name, method, *cells)
            if room.align:
                notes.append(f'{name}: poses are compared after one rigid motion of each method.')
            notes += [f'{name}: {note}' for note in [*metrics_notes(metrics), *map_notes(maps)]]
    if not table.rows:
        raise SystemExit('no room was evaluated, for the reasons above: correct the plan')
    for note in notes:
        print(note)
    write_results(args.out, 'Accuracy and latency in several rooms', table, notes=notes)


@dataclass(frozen=True)
class PlannedRoom(ValidatedConfig):
    """A room as it is written in a plan."""

    mapping: str = setting('', 'bag or recording that the map is built from')
    query: str = setting('', 'bag or recording with ground truth to localize')
    mapping_frames: str = setting('', "frames of mapping to convert, 'A:B' in quotes")
    query_frames: str = setting('', "frames of query to convert, 'A:B' in quotes")
    poses: str = setting('', 'pose file of a 7-Scenes recording')
    align: bool = setting(False, 'the walk drifts: compare poses after one rigid motion')


def read_plan(file: Path) -> dict[str, Room]:
    """
    Read the rooms of a plan by name; paths become relative to the working folder.

    Raises
    ------
    ConfigError
        If the file is no plan, names no room, or has a value of a room that cannot be used.
    """
    rooms = {str(name): plan_room(str(name), room, file) for name, room in read_yaml(file).items()}
    if not rooms:
        raise ConfigError(f'{file} names no room: write NAME: {{mapping: BAG, query: BAG}}')
    return rooms


def plan_room(name: str, values: Mapping[str, Any], file: Path) -> Room:
    """Return one room of a plan; ConfigError if it cannot be used."""
    planned = config_from_dict(PlannedRoom, values, name)
    for key in ('mapping', 'query'):
        if not getattr(planned, key):
            raise ConfigError(f'{name} in {file} has no {key}: give a bag or a recording')
    if Path(name).name != name:
        raise ConfigError(f'{name} in {file} cannot name a folder of WORK: leave out the slashes')
    try:
        mapping_frames, query_frames = (
            frame_range(text) if text else None
            for text in (planned.mapping_frames, planned.query_frames)
        )
    except argparse.ArgumentTypeError as error:
        raise ConfigError(f'{name} in {file}: {error}') from error
    return Room(
        file.parent / planned.mapping,
        file.parent / planned.query,
        mapping_frames,
        query_frames,
        file.parent / planned.poses if planned.poses else None,
        planned.align,
    )


def check_files(room: Room) -> None:
    """Raise ConfigError if a file of a room is missing."""
    for path in filter(None, (room.mapping, room.query, room.poses)):
        if not path.exists():
            raise ConfigError(f'there is no {path}: get it, or correct its path in the plan')


def method_rows(metrics: Sequence[dict[str, Any]]) -> dict[str, list[Cell]]:
    """Return the figures of each compared method over the builds, by its name in the table."""
    builds = [method_blocks(one) for one in metrics]
    hloc = METHOD_NAMES['hloc_sift']
    rows = {}
    for method in builds[0]:
        if method not in NOT_COMPARED:
            values = [method_values(build[method], build.get(hloc)) for build in builds]
            rows[method] = [combine(cells) for cells in zip(*values, strict=True)]
    return rows


def method_values(block: Mapping[str, Any], hloc: Mapping[str, Any] | None) -> list[float | None]:
    """Return the figures of a method in one build; ``hloc`` is the block of hloc, if it ran."""
    has_rotation = not block.get('position_only', False)
    p50_ms = block['latency_ms']['p50']
    hloc_ms = hloc['latency_ms']['p50'] if hloc else None
    return [
        block['images'],
        block['published'],
        scaled(block['median_translation_m'], 100),
        block['median_rotation_deg'] if has_rotation else None,
        100 * block['recall']['5cm_5deg'] if has_rotation else None,
        scaled(block['worst_published_translation_m'], 100),
        block['worst_published_rotation_deg'] if has_rotation else None,
        block['wrong_published'] if has_rotation else None,
        scaled(block['anees'], 1 / DEGREES_OF_FREEDOM),
        p50_ms,
        p50_ms / hloc_ms if p50_ms and hloc_ms else None,
    ]


if __name__ == '__main__':
    main()
