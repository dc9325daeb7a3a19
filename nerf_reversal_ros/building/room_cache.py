"""
The localizers of a building's rooms: loaded when they are wanted, let go by least recent use.

A thread of low priority loads them beside the work. The present room, those that look like it and
those that links join with it stay as long as the limit of the memory allows, which counts what is
loaded and what is being loaded.
"""

from collections import OrderedDict
from contextlib import suppress
from dataclasses import replace
import logging
import os
import sys
from threading import Condition, get_native_id, Thread
from typing import NamedTuple

from nerf_reversal_ros.building.look_alikes import common_landmarks, rooms_alike
from nerf_reversal_ros.building.seen_sides import seen_sides
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.devices import resolve_device_type
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.memory import array_bytes
from nerf_reversal_ros.localization.localizer import Localizer
from nerf_reversal_ros.maps.building_folder import Building, Room
from nerf_reversal_ros.maps.map_folder import Map

LOADED_FILES = 'atlas.safetensors', 'surface.safetensors', 'regressor.safetensors'
"""Files of a map that its localizer holds in memory."""
BYTES_PER_STORED = 4
"""Most bytes in memory of a byte in these files: 8-bit numbers become float32."""
USUAL_INLIERS, USUAL_KEYPOINTS = 100, 400
"""Keypoints of a usual image, and those of them that agree with its pose: the rooms that look like
the present one in such an image are kept."""
MAX_LOOK_ALIKES = 4
"""Rooms that are kept because they look like the present one, at most."""
LOADER_NICENESS = 10
"""Niceness of the thread that loads rooms: images go first."""
MB = 1_000_000

log = logging.getLogger(__name__)


class LoadedRoom(NamedTuple):
    """What is in memory of a room."""

    localizer: Localizer
    seen_sides: FloatArray
    """(S, 3) of its surface, see `seen_sides`."""
    nbytes: int


class RoomCache:
    """
    Localizers of rooms within a limit of memory.

    All methods may be called from several threads.

    Parameters
    ----------
    building : Building
        The rooms, and the links that make them neighbors.
    config : LocalizerConfig
        Settings of the localizers, and ``memory_limit_mb``.
    """

    def __init__(self, building: Building, config: LocalizerConfig) -> None:
        self._building, self._config = building, config
        self._limit = config.memory_limit_mb * MB
        self._changed = Condition()
        self._loaded: OrderedDict[str, LoadedRoom] = OrderedDict()
        """The least recently used first."""
        self._sizes: dict[str, int] = {}
        """Sizes of all rooms that were loaded at some time [bytes]."""
        self._failures: dict[str, str] = {}
        self._wanted: list[str] = []
        self._neighbors: list[str] = []
        """Rooms to load if they fit beside each other and the present one, look-alikes first."""
        self._present: str | None = None
        self._loading: str | None = None
        self._is_closed = False
        self._thread = Thread(target=self._load_rooms, name='rooms', daemon=True)
        self._thread.start()

    @property
    def nbytes(self) -> int:
        """Size of the arrays of all loaded rooms."""
        with self._changed:
            return self._nbytes()

    @property
    def loaded(self) -> list[str]:
        """Rooms in memory, the least recently used first."""
        with self._changed:
            return list(self._loaded)

    @property
    def neighbors(self) -> list[str]:
        """Rooms that stay with the present one: look-alikes first, then those linked with it."""
        with self._changed:
            return list(self._neighbors)

    @property
    def is_loading(self) -> bool:
        """Whether a room is being loaded."""
        with self._changed:
            return self._loading is not None

    @property
    def failures(self) -> dict[str, str]:
        """Why rooms could not be opened, by name; they are left out from then on."""
        with self._changed:
            return dict(self._failures)

    def room(self, name: str, *, wait: bool = True) -> LoadedRoom | None:
        """
        Return what is in memory of a room, and have it loaded if it is not.

        Parameters
        ----------
        name : str
            The room.
        wait : bool, optional
            Whether to wait until it is loaded.

        Returns
        -------
        LoadedRoom or None
            None if the room cannot be opened, or is not loaded and was not to be waited for.
        """
        with self._changed:
            while name not in self._loaded:
                if name in self._failures or self._is_closed:
                    return None
                if name not in self._wanted and name != self._loading:
                    self._wanted.append(name)
                    self._changed.notify_all()
                if not wait:
                    return None
                self._changed.wait()
            self._loaded.move_to_end(name)
            return self._loaded[name]

    def localizer(self, name: str, *, wait: bool = True) -> Localizer | None:
        """Return the localizer of a room as `room` does."""
        room = self.room(name, wait=wait)
        return None if room is None else room.localizer

    def forget_wanted(self) -> None:
        """Load no room that was wanted before but what threads wait for: an image wants anew."""
        with self._changed:
            self._wanted.clear()
            self._changed.notify_all()

    def stay_in(self, name: str) -> None:
        """Keep a room, and load look-alikes and linked rooms, kept if the memory suffices."""
        with self._changed:
            if name == self._present:
                return
            self._present = name
            common = common_landmarks(self._building, name)
            alike = rooms_alike(common, USUAL_INLIERS, USUAL_KEYPOINTS)[:MAX_LOOK_ALIKES]
            linked = neighbors_of(self._building, name)
            self._neighbors = list(dict.fromkeys([*alike, *linked]))
            self._changed.notify_all()

    @property
    def device(self) -> str:
        """Device of the networks of all rooms, ``cpu`` or ``cuda``."""
        return resolve_device_type(self._config.device)

    def to(self, device: str) -> None:
        """Move the networks of all rooms to a device; ConfigError if it is not available."""
        device = resolve_device_type(device)
        with self._changed:
            self._config = replace(self._config, device=device)
            for room in self._loaded.values():
                room.localizer.to(device)

    def close(self) -> None:
        """Let all rooms go, and end the thread; a room that is being loaded is waited for."""
        with self._changed:
            self._is_closed = True
            self._loaded.clear()
            self._changed.notify_all()
        self._thread.join()

    def _load_rooms(self) -> None:
        """Load rooms as they are wanted, until the cache is closed."""
        lower_priority()
        while (request := self._next()) is not None:
            name, is_wanted = request
            try:
                self._load(self._building.rooms[name], is_wanted)
            except Exception as error:
                self._fail(name, error)
            with self._changed:
                self._loading = None
                self._changed.notify_all()

    def _next(self) -> tuple[str, bool] | None:
        """Wait for a room to load; return it and whether it is wanted; None once closed."""
        with self._changed:
            while not self._is_closed:
                is_wanted = bool(self._wanted)
                names = self._wanted or self._missing_neighbors()
                if names:
                    self._loading = names.pop(0)
                    return self._loading, is_wanted
                self._changed.wait()
        return None

    def _load(self, room: Room, is_wanted: bool) -> None:
        """Load a room; others go before it, so that the limit holds while it is loaded."""
        map_ = room.open()
        with self._changed:
            size = self._sizes.setdefault(room.name, stored_bytes(map_) * BYTES_PER_STORED)
            if not is_wanted and not self._fits_beside_kept(room.name):
                return
            self._make_space(size)
        localizer = map_.localizer(self._config)
        localizer.prepare()
        sides = seen_sides(localizer.surface, map_.mapping_poses, map_.camera)
        size = array_bytes(localizer) + sides.nbytes
        with self._changed:
            self._sizes[room.name] = size
            if not self._is_closed:
                if localizer.device != self.device:  # it changed meanwhile
                    localizer.to(self.device)
                self._make_space(size)
                self._loaded[room.name] = LoadedRoom(localizer, sides, size)

    def _fail(self, name: str, error: Exception) -> None:
        """Remember and tell why a room cannot be opened."""
        is_told = isinstance(error, NerfReversalError)
        reason = str(error) if is_told else f'{type(error).__name__}: {error}'
        with self._changed:
            self._failures[name] = reason
        log.warning('the room %s is left out: %s', name, reason)

    def _make_space(self, size: int) -> None:
        """Let rooms go until ``size`` bytes fit: the present one last, look-alikes before it."""
        kept = {self._present, *self._neighbors}
        by_use = list(self._loaded)
        order = [room for room in by_use if room not in kept]
        order += [room for room in reversed(self._neighbors) if room in self._loaded]
        order += [room for room in by_use if room == self._present]
        for room in order:
            if self._nbytes() + size <= self._limit:
                return
            del self._loaded[room]

    def _fits_beside_kept(self, name: str) -> bool:
        """Return whether a neighbor fits without the present room or a neighbor going."""
        kept = [self._present, *self._neighbors]
        beside = sum(room.nbytes for other, room in self._loaded.items() if other in kept)
        return beside + self._sizes[name] <= self._limit

    def _missing_neighbors(self) -> list[str]:
        """Return the neighbors to load, as far as it is known that they fit."""
        return [
            name
            for name in self._neighbors
            if name not in self._loaded
            and name not in self._failures
            and (name not in self._sizes or self._fits_beside_kept(name))
        ]

    def _nbytes(self) -> int:
        return sum(room.nbytes for room in self._loaded.values())


def neighbors_of(building: Building, name: str) -> list[str]:
    """Return the rooms that links of the building join with a room."""
    linked = [link['rooms'] for link in building.links if link.get('taken') and 'rooms' in link]
    others = (other for pair in linked if name in pair for other in pair)
    return [other for other in dict.fromkeys(others) if other != name and other in building.rooms]


def stored_bytes(map_: Map) -> int:
    """Return the size of the files of a map that its localizer holds in memory."""
    return sum(map_.manifest['files'].get(name, {'bytes': 0})['bytes'] for name in LOADED_FILES)


def lower_priority() -> None:
    """Let other threads go before this one, on Linux, where each has a priority of its own."""
    if sys.platform == 'linux':
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, get_native_id(), LOADER_NICENESS)
