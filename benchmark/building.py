"""
Judge a building map: each test image in the building, and in the map of its own room alone.

    python benchmark/building.py BUILDING [--flat TRUTH.json WALK ...] [--room NAME=BAG ...]
        [--memory MB] [--every N] [--tracked] [--out FILE.json]

TRUTH.json is that of ``python -m demo.flat``: it places the rooms of the flat and says in which
room each image of the WALKs beside it was taken. BAG is another walk in the world of the mapping
bag of the room NAME. An accepted pose counts in the room that it is in: its error is the distance
from the true pose there. It is of a wrong room if the camera was in another room and the pose is
farther off than 10 cm or 5 degrees.

With ``--tracked`` the walks are sequences: the poses before an image predict its pose, as in the
localizer node. Else each image stands alone.

All rooms are in memory for the first tables, and all images wait for their room. For the last
table no image waits, and rooms come and go within the limit of the memory. There the images come
as fast as they were recorded: rooms are loaded between them.
"""

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
import json
import math
from pathlib import Path
import resource
import time
from typing import Any

import numpy as np
from numpy.typing import NDArray
from results import add_out_argument, Column, ResultTable, write_results

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_distance
from nerf_reversal_ros.core.outcome import (
    CORRECT_WITHIN_DEG,
    CORRECT_WITHIN_M,
    Outcome,
    PoseEstimate,
    RejectionReason,
)
from nerf_reversal_ros.localization.localizer_protocol import localize_or_reject, LocalizerProtocol
from nerf_reversal_ros.localization.tracking import PoseTracker
from nerf_reversal_ros.maps.building_folder import Building, open_building

ALL_ROOMS_MB = 100_000
"""Limit of the memory under which no room goes."""
RECALL_M, RECALL_DEG = 0.05, 5.0
MB = 1e6
TRACKING_TIMEOUT_S = LocalizerConfig().tracking_timeout_s


@dataclass(frozen=True)
class Walk:
    """Test images with their true poses in each room whose place is known."""

    name: str
    capture: Capture
    rooms: tuple[str, ...]
    """Room of the camera, by image."""
    room_from_walk: Mapping[str, FloatArray]
    """(4, 4) true poses of the walk's frame in the map frames of rooms."""

    def truth(self, index: int, room: str) -> FloatArray | None:
        """Return the true pose (4, 4) of an image in a room; None if nobody knows it."""
        motion = self.room_from_walk.get(room)
        return None if motion is None else motion @ self.capture.map_from_camera[index]


@dataclass(frozen=True)
class Judged:
    """An outcome, judged."""

    room: str
    """That the camera was in."""
    answered_in: str | None
    """Room of the accepted pose; None for a rejection."""
    error_m: float
    """Infinite for an accepted pose in a room to which the image cannot belong."""
    error_deg: float
    latency_ms: float
    reason: str = ''

    @property
    def is_recalled(self) -> bool:
        """Whether the pose is within 5 cm and 5 degrees."""
        accepted = self.answered_in is not None
        return accepted and self.error_m <= RECALL_M and self.error_deg <= RECALL_DEG

    @property
    def is_incorrect(self) -> bool:
        """Whether an accepted pose is beyond 10 cm or 5 degrees."""
        if self.answered_in is None:
            return False
        return self.error_m > CORRECT_WITHIN_M or self.error_deg > CORRECT_WITHIN_DEG

    @property
    def is_wrong_room(self) -> bool:
        """Whether the pose is incorrect, and in another room than the camera."""
        return self.is_incorrect and self.answered_in != self.room


def main() -> None:
    """Judge a building and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    add_walk_arguments(parser)
    parser.add_argument('--memory', type=int, default=400, help='limit [MB] of the last table')
    parser.add_argument('--every', type=int, default=1, help='judge every N-th image')
    parser.add_argument('--tracked', action='store_true', help='predict each pose')
    add_out_argument(parser)
    args = parser.parse_args()
    building = open_building(args.building)
    walks = open_walks(building, args)
    in_building, alone = judge_all(building, walks, args.every, args.tracked)
    tables = [compare(in_building, alone), latencies(in_building, alone)]
    if args.flat:
        tables.append(placements(building, args.flat[0]))
    tables.append(within_memory(building, walks, args.memory, args.every, args.tracked))
    write_results(args.out, 'A building', *tables)


def add_walk_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the building and its test walks."""
    parser.add_argument('building', type=Path)
    parser.add_argument('--flat', type=Path, nargs='+', default=[], metavar=('TRUTH', 'WALK'))
    parser.add_argument('--room', nargs='*', default=[], metavar='NAME=BAG')


def open_walks(building: Building, args: argparse.Namespace) -> list[Walk]:
    """Open the test walks that the arguments name."""
    walks = [*flat_walks(building, *args.flat)] if args.flat else []
    return walks + [room_walk(building, *item.split('=', 1)) for item in args.room]


def flat_walks(building: Building, truth_file: Path, *bags: Path) -> Iterator[Walk]:
    """Yield the test walks of a flat, whose truth places all its rooms."""
    truth = json.loads(truth_file.read_text(encoding='utf-8'))
    for bag in bags:
        block, capture = truth['tests'][bag.name], open_walk(bag)
        flat_from_walk = true_placement(block, capture.convention.map_from_world)
        rooms = {frame['stamp_ns']: frame['room'] for frame in block['frames']}
        room_from_walk = {
            name: inverse(flat_from_room) @ flat_from_walk
            for name, flat_from_room in true_placements(building, truth).items()
        }
        names = tuple(rooms[int(stamp)] for stamp in capture.stamps_ns)
        yield Walk(bag.name, capture, names, room_from_walk)


def room_walk(building: Building, name: str, bag: str) -> Walk:
    """Return a test walk in the world of one room, and in no other room."""
    map_from_world = building.room(name).open().convention.map_from_world
    capture = open_walk(Path(bag))
    motion = map_from_world @ inverse(capture.convention.map_from_world)
    return Walk(name, capture, (name,) * len(capture), {name: motion})


def open_walk(bag: Path) -> Capture:
    """Open all frames of a bag."""
    return open_capture(bag, CaptureConfig(), select_frames=False)


def true_placement(block: dict[str, Any], map_from_world: FloatArray) -> FloatArray:
    """Return the pose (4, 4) of a map frame in the flat, from a block of the truth."""
    return inverse(np.array(block['world_from_flat'])) @ inverse(map_from_world)


def true_placements(building: Building, truth: dict[str, Any]) -> dict[str, FloatArray]:
    """Return the true poses (4, 4) of the building's rooms in the flat, of those it has."""
    return {
        name: true_placement(truth['rooms'][name], room.open().convention.map_from_world)
        for name, room in building.rooms.items()
        if name in truth['rooms']
    }


def judge_all(
    building: Building, walks: list[Walk], every: int, is_tracked: bool
) -> tuple[list[Judged], list[Judged]]:
    """
    Localize each image in the building and, right after, in the map of its room alone.

    All rooms are in memory. Each localizer sees one image before, so that no time includes a
    start.
    """
    config = LocalizerConfig(memory_limit_mb=ALL_ROOMS_MB)
    localizer = building.localizer(config)
    own = {name: room.open().localizer(config) for name, room in building.rooms.items()}
    in_building, alone = [], []
    for walk in walks:
        for room in dict.fromkeys(walk.rooms):
            own[room].prepare()
        for name in building.rooms:
            localizer.rooms.localizer(name)
        tracker = PoseTracker() if is_tracked else None
        trackers = {name: PoseTracker() if is_tracked else None for name in own}
        for index in range(0, len(walk.capture), every):
            rgb, room = walk.capture.frame(index).rgb, walk.rooms[index]
            in_building.append(judge(building, walk, index, localizer, rgb, tracker))
            alone.append(judge(building, walk, index, own[room], rgb, trackers[room], room))
        counted = [judged for judged in in_building[-len(walk.capture) :] if judged.answered_in]
        print(f'{walk.name}: {len(counted)} answered', flush=True)
    localizer.close()
    return in_building, alone


def judge(
    building: Building,
    walk: Walk,
    index: int,
    localizer: LocalizerProtocol,
    rgb: NDArray[np.uint8],
    tracker: PoseTracker | None,
    room: str | None = None,
) -> Judged:
    """Localize an image, in a room alone if its name is given, and judge the outcome."""
    stamp_ns = int(walk.capture.stamps_ns[index])
    expected = tracker.predict(stamp_ns, TRACKING_TIMEOUT_S) if tracker else None
    start = time.perf_counter()
    outcome = localize_or_reject(localizer, rgb, walk.capture.camera, expected)
    latency_ms = 1000 * (time.perf_counter() - start)
    if tracker:
        tracker.add(outcome, stamp_ns)
    true_room = walk.rooms[index]
    if not isinstance(outcome, PoseEstimate):
        reason = str(outcome.reason)
        return Judged(true_room, None, np.nan, np.nan, latency_ms, reason)
    answered_in = room or outcome.diagnostics.room
    assert answered_in is not None
    truth = walk.truth(index, answered_in)
    errors = np.inf, np.inf
    if truth is not None:
        errors = pose_distance(truth, pose_in_room(building, outcome, room))
    return Judged(true_room, answered_in, *errors, latency_ms)


def pose_in_room(building: Building, outcome: Outcome, room: str | None) -> FloatArray:
    """Return an accepted pose (4, 4) in the map frame of its room."""
    assert isinstance(outcome, PoseEstimate)
    if room is not None:
        return outcome.map_from_camera
    placement = building.rooms[outcome.diagnostics.room].building_from_room
    if placement is None:
        return outcome.map_from_camera
    return inverse(placement) @ outcome.map_from_camera


def compare(in_building: list[Judged], alone: list[Judged]) -> ResultTable:
    """Return the table of accuracy: for each room that images were taken in, and for all."""
    table = ResultTable(
        'Each room in the building, and alone',
        (
            'room of the camera',
            Column('images'),
            Column('accepted'),
            Column('alone: accepted'),
            Column('within 5 cm 5 deg', '%', 1),
            Column('alone: within 5 cm 5 deg', '%', 1),
            Column('median', 'cm', 2),
            Column('alone: median', 'cm', 2),
            Column('incorrect'),
            Column('alone: incorrect'),
            Column('wrong room'),
        ),
    )
    for room in [*dict.fromkeys(judged.room for judged in in_building), None]:
        pair = [
            [judged for judged in results if room in (None, judged.room)]
            for results in (in_building, alone)
        ]
        table.add_row(
            room or 'all',
            len(pair[0]),
            *(sum(judged.answered_in is not None for judged in results) for results in pair),
            *(100 * np.mean([judged.is_recalled for judged in results]) for results in pair),
            *(median_error_cm(results) for results in pair),
            *(sum(judged.is_incorrect for judged in results) for results in pair),
            sum(judged.is_wrong_room for judged in pair[0]),
        )
    return table


def median_error_cm(results: list[Judged]) -> float | None:
    """Return the median position error of the accepted poses [cm]; None without any."""
    errors = [judged.error_m for judged in results if judged.answered_in is not None]
    return 100 * float(np.median(errors)) if errors else None


def latencies(in_building: list[Judged], alone: list[Judged]) -> ResultTable:
    """Return the table of times, over all images and over those that both accept."""
    columns = (
        'images of',
        Column('images'),
        *(
            Column(f'{name}: {percentile}', 'ms')
            for name in ('building', 'alone')
            for percentile in ('p50', 'p95')
        ),
    )
    table = ResultTable('Time of an image', columns)
    pairs = list(zip(in_building, alone, strict=True))
    both = [pair for pair in pairs if all(judged.answered_in is not None for judged in pair)]
    for name, chosen in ('all', pairs), ('accepted in both', both):
        times = np.array([[judged.latency_ms for judged in pair] for pair in chosen])
        table.add_row(name, len(chosen), *np.percentile(times, (50, 95), axis=0).T.ravel())
    return table


def placements(building: Building, truth_file: Path) -> ResultTable:
    """Return the table of relative poses that the building found, against the truth."""
    truth = true_placements(building, json.loads(truth_file.read_text(encoding='utf-8')))
    table = ResultTable(
        'Relative poses of rooms', ('rooms', Column('error', 'cm', 2), Column('error', 'deg', 2))
    )
    placed = [name for name in truth if building.rooms[name].building_from_room is not None]
    for first, second in linked_pairs(building, placed):
        found = inverse(building.rooms[first].building_from_room)
        found = found @ building.rooms[second].building_from_room
        error_m, error_deg = pose_distance(inverse(truth[first]) @ truth[second], found)
        table.add_row(f'{first}, {second}', 100 * error_m, error_deg)
    return table


def linked_pairs(building: Building, names: list[str]) -> list[tuple[str, str]]:
    """Return the pairs of rooms of a flat between which a link was taken."""
    pairs = [tuple(link['rooms']) for link in building.links if link.get('taken')]
    return [pair for pair in pairs if pair[0] in names and pair[1] in names]


def within_memory(
    building: Building, walks: list[Walk], limit_mb: int, every: int, is_tracked: bool
) -> ResultTable:
    """Return the table of a robot that goes through all rooms within a limit of memory."""
    table = ResultTable(
        'Within a limit of memory, no image waits',
        (
            Column('limit', 'MB'),
            Column('most in memory', 'MB'),
            Column('rooms in memory, at most'),
            Column('images'),
            Column('accepted'),
            Column('not yet loaded'),
            Column('while a room is loaded'),
            Column('their p95', 'ms'),
            Column('p95 of the others', 'ms'),
            Column('p95: ratio', '', 2),
            Column('wrong room'),
            Column('peak of the process', 'MB'),
        ),
    )
    localizer = building.localizer(LocalizerConfig(memory_limit_mb=limit_mb), wait=False)
    results, loading, most, rooms = [], [], 0, 0
    for walk in walks:
        tracker = PoseTracker() if is_tracked else None
        spacing_s, due_s = 1e-9 * float(np.diff(walk.capture.stamps_ns).mean()) * every, 0.0
        for index in range(0, len(walk.capture), every):
            rgb = walk.capture.frame(index).rgb
            time.sleep(max(0.0, due_s - time.perf_counter()))
            due_s = time.perf_counter() + spacing_s
            before = localizer.rooms.is_loading
            results.append(judge(building, walk, index, localizer, rgb, tracker))
            loading.append(before or localizer.rooms.is_loading)
            most = max(most, localizer.rooms.nbytes)
            rooms = max(rooms, len(localizer.rooms.loaded))
    localizer.close()
    answered = np.array([judged.answered_in is not None for judged in results])
    busy, times = np.array(loading), np.array([judged.latency_ms for judged in results])
    during, others = (
        float(np.percentile(times[answered & mask], 95)) if (answered & mask).any() else math.nan
        for mask in (busy, ~busy)
    )
    table.add_row(
        limit_mb,
        most / MB,
        rooms,
        len(results),
        int(answered.sum()),
        sum(judged.reason == RejectionReason.ROOM_NOT_LOADED for judged in results),
        int((answered & busy).sum()),
        during,
        others,
        during / others,
        sum(judged.is_wrong_room for judged in results),
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / MB,
    )
    return table


if __name__ == '__main__':
    main()
