"""
The building map at the end of a survey: views of all rooms, where the rooms lie, one manifest.

This is the one place where the survey and `nerf_reversal_ros.building` meet.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
import hashlib
import json
import os
from pathlib import Path

from nerf_reversal_ros import __version__
from nerf_reversal_ros.building.look_alikes import find_look_alikes
from nerf_reversal_ros.building.placement import place_rooms, Placement
from nerf_reversal_ros.building.view_descriptors import ViewIndex
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.errors import MapError, NerfReversalError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import ProgressCallback
from nerf_reversal_ros.maps.building_folder import (
    Building,
    BUILDING_VERSION,
    open_building,
    Room,
    write_building,
)
from nerf_reversal_ros.maps.map_folder import Map

INPUTS = 'inputs'
"""Entry of ``building.json``: checksum of what the building was made from."""


@dataclass(frozen=True)
class SurveyedRoom:
    """A room that has a map."""

    name: str
    map: Map
    bag: Path | None
    """The bag of its walk, which is localized in other rooms; None if only the map is known."""
    building_from_room: FloatArray | None
    """(4, 4) known placement."""


def finish_building(
    out: Path,
    rooms: Sequence[SurveyedRoom],
    *,
    progress: ProgressCallback,
    note: Callable[[str], None] = lambda _: None,
) -> Building:
    """
    Write the building map of rooms; leave one as it is that was made of the same rooms.

    Parameters
    ----------
    out : Path
        Folder of the survey.
    rooms : sequence of SurveyedRoom
        At least one, in the order of the plan.
    progress : callback
        Receives the reports of finding how rooms lie.
    note : callable
        Receives sentences for the user.

    Raises
    ------
    MapError, BuildError
        If a map cannot be read, or the building cannot be written.
    """
    inputs = _inputs(out, rooms)
    before: Building | None = None
    try:
        before = open_building(out)
        if before.manifest.get(INPUTS) == inputs:
            note('the building is up to date')
            return before
        gone = [name for name in before.rooms if name not in {room.name for room in rooms}]
        for name in gone:
            kept = before.rooms[name].map_dir
            note(f'the room {name} is no longer part of the building, its map stays: {kept}')
    except MapError:  # none yet, or a damaged one
        pass
    captures = _captures(rooms, note)
    views, placed = _describe_and_place(rooms, captures, progress)
    maps = {room.name: room.map for room in rooms}
    look_alikes = find_look_alikes(maps, placed.building_from_room, before, progress=progress)
    for sentence in placed.sentences:
        note(sentence)
    return write_building(
        out,
        [
            Room(room.name, room.map.path, room.map.identity, placed.building_from_room[room.name])
            for room in rooms
        ],
        views,
        placed.links,
        {'package_version': __version__, INPUTS: inputs},
        look_alikes,
    )


def _inputs(out: Path, rooms: Sequence[SurveyedRoom]) -> str:
    """Return a checksum of the maps, their folders and known placements, and the version."""
    entries = [
        [
            room.name,
            room.map.identity,
            os.path.relpath(room.map.path.resolve(), out.resolve()),
            None if room.building_from_room is None else room.building_from_room.tolist(),
        ]
        for room in rooms
    ]
    return hashlib.sha256(
        json.dumps([__version__, BUILDING_VERSION, entries]).encode()
    ).hexdigest()


def _captures(rooms: Sequence[SurveyedRoom], note: Callable[[str], None]) -> Mapping[str, Capture]:
    """Open the bags of the rooms in the frames of their maps; one that cannot be read is told."""
    captures = {}
    for room in rooms:
        if room.bag is None:
            continue
        try:
            config = room.map.query_config({}).capture
            captures[room.name] = open_capture(room.bag, config, convention=room.map.convention)
        except NerfReversalError as error:
            note(f'no image of the room {room.name} is looked for in others: {error}')
    return captures


def _describe_and_place(
    rooms: Sequence[SurveyedRoom], captures: Mapping[str, Capture], progress: ProgressCallback
) -> tuple[bytes, Placement]:
    """Describe the views of all rooms, and find how the rooms lie to each other."""
    known = {
        room.name: room.building_from_room for room in rooms if room.building_from_room is not None
    }
    maps = {room.name: room.map for room in rooms}
    index = ViewIndex.build(maps)
    placement = place_rooms(maps, captures, index, known, progress=progress)
    return index.to_bytes(), placement
