"""
The true poses of a walk through a building, in the rooms whose place is known.

A bag states its poses in the world of one recording. They are known in a room if the room was
recorded in that world, if links place it beside such a room, or if a file says where it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
import json
from pathlib import Path
from typing import Any

import numpy as np

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import FloatArray, inverse
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.maps.building_folder import Building

BUILDING_FRAME = 'map'


@dataclass(frozen=True)
class WalkTruth:
    """Images of a walk, and their true poses in rooms."""

    capture: Capture
    """The images with their poses in the frame of the walk."""
    room_from_walk: Mapping[str, FloatArray]
    """(4, 4) poses of the walk's frame in the map frames of the rooms whose place is known."""
    rooms: tuple[str, ...] | None = None
    """Room that each image was taken in; None if that is not given."""

    def pose(self, room: str | None, map_from_camera: FloatArray) -> FloatArray | None:
        """Return a pose (4, 4) of the walk in the map frame of a room; None if it is unknown."""
        motion = None if room is None else self.room_from_walk.get(room)
        return None if motion is None else motion @ map_from_camera


def open_walk(
    building: Building,
    bag: Path,
    config: CaptureConfig,
    frame: str | None = None,
    progress: ProgressCallback = no_progress,
) -> WalkTruth:
    """
    Open a bag whose poses are in the world of one room's mapping bag, or in the building's frame.

    Parameters
    ----------
    building : Building
        The rooms; those in the frame of that room are known by their placements.
    bag : Path
        rosbag2 with images and ground truth.
    config : CaptureConfig
        How the bag is read.
    frame : str, optional
        A room, or ``map``, the frame of the building with z up. Default: the first room that has
        a place in the building, else the first room.
    progress : callable, optional
        Receives the progress of reading the bag.

    Raises
    ------
    CaptureError, MapError
        If the bag cannot be used, or there is no such room.
    """
    if frame == BUILDING_FRAME:
        convention = _axes_of_rooms(building)
        return WalkTruth(_open(bag, config, convention, progress), _from_building(building))
    placed = [name for name, room in building.rooms.items() if room.frame == BUILDING_FRAME]
    name = frame or [*placed, *building.rooms][0]
    room = building.room(name)
    capture = _open(bag, config, room.open().convention, progress)
    motions = {}
    if room.building_from_room is not None:
        others = _from_building(building)
        motions = {other: others[other] @ room.building_from_room for other in others}
    return WalkTruth(capture, {**motions, name: np.eye(4)})


def open_walk_of_truth(
    building: Building,
    bag: Path,
    config: CaptureConfig,
    truth_file: Path,
    progress: ProgressCallback = no_progress,
) -> WalkTruth:
    """
    Open a bag of which a file says where it was taken, as ``python -m demo.flat`` writes it.

    The file is JSON: ``rooms`` has ``world_from_flat`` (4, 4) by name, for the world of each
    room's mapping bag. ``tests`` has the same by the name of the bag, and ``frames``: a list of
    ``stamp_ns`` and ``room``.

    Raises
    ------
    CaptureError, ConfigError, MapError
        If the bag or the file cannot be used, or the file says nothing of the bag.
    """
    capture = _open(bag, config, _axes_of_rooms(building), progress)
    try:
        truth = json.loads(truth_file.read_text(encoding='utf-8'))
        if bag.name not in truth['tests']:
            known = ', '.join(truth['tests'])
            raise ConfigError(f'{truth_file} says nothing of the bag {bag.name}: it has {known}')
        block = truth['tests'][bag.name]
        rooms = {int(frame['stamp_ns']): str(frame['room']) for frame in block['frames']}
        flat_from_walk = placement_of(block, capture.convention.map_from_world)
        placements = true_placements(building, truth)
    except OSError as error:
        raise ConfigError(f'cannot read {truth_file}: {error.strerror}') from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f'{truth_file} has no rooms and tests as demo.flat writes them ({error!r})'
        ) from error
    unknown = [stamp for stamp in capture.stamps_ns.tolist() if stamp not in rooms]
    if unknown:
        raise ConfigError(
            f'{truth_file} has no room for {len(unknown)} images of {bag}, first of stamp'
            f' {unknown[0]}'
        )
    motions = {name: inverse(pose) @ flat_from_walk for name, pose in placements.items()}
    return WalkTruth(capture, motions, tuple(rooms[s] for s in capture.stamps_ns.tolist()))


def placement_of(block: Mapping[str, Any], map_from_world: FloatArray) -> FloatArray:
    """Return the pose (4, 4) of a map frame in the flat, from a block of the truth."""
    return inverse(np.array(block['world_from_flat'])) @ inverse(map_from_world)


def true_placements(building: Building, truth: Mapping[str, Any]) -> dict[str, FloatArray]:
    """Return the true poses (4, 4) of the building's rooms in the flat, of those it has."""
    return {
        name: placement_of(truth['rooms'][name], room.open().convention.map_from_world)
        for name, room in building.rooms.items()
        if name in truth['rooms']
    }


def _open(
    bag: Path, config: CaptureConfig, convention: PoseConvention, progress: ProgressCallback
) -> Capture:
    """Open every frame of a bag."""
    return open_capture(bag, config, convention=convention, select_frames=False, progress=progress)


def _axes_of_rooms(building: Building) -> PoseConvention:
    """Return the camera axes of the first room's mapping bag, for poses with z up."""
    first = next(iter(building.rooms.values()))
    return replace(first.open().convention, map_from_world=np.eye(4))


def _from_building(building: Building) -> dict[str, FloatArray]:
    """Return room_from_building (4, 4) of the rooms that have a place in the building."""
    return {
        name: inverse(room.building_from_room)
        for name, room in building.rooms.items()
        if room.building_from_room is not None
    }
