"""
View descriptors: which room of a building an image shows.

A view of a room is a mapping pose with the landmarks that are seen from it. Their descriptors are
aggregated like the keypoints of an image (VLAD) and projected to fewer dimensions. The rooms of
the most similar views are ranked by the landmarks that are nearest to the keypoints: in a real
kitchen, VLAD alone ranks another room first too often. No image of the mapping capture is needed.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import safetensors
import safetensors.numpy

from nerf_reversal_ros.building.room_views import room_views
from nerf_reversal_ros.capture.descriptor_kernels import DESCRIPTOR_DIM
from nerf_reversal_ros.capture.vlad import cluster_words, MAX_CLUSTERED_DESCRIPTORS, vlad
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.array_files import READ_ERRORS
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.memory import array_bytes
from nerf_reversal_ros.core.parallel import one_blas_thread, parallel_map
from nerf_reversal_ros.localization.atlas import Atlas, normalize, quantize
from nerf_reversal_ros.maps.building_folder import Building
from nerf_reversal_ros.maps.map_folder import Map

FORMAT = 'view descriptors 1'
"""Name and version of the file."""
MAX_VIEWS = 150
"""Views of one room, at most, evenly spaced along its mapping capture."""
WORDS, DIMENSIONS = 64, 256
"""Visual words, and dimensions of a view descriptor, at most."""
MAX_PROJECTED_VIEWS = 3000
"""Views, about, that the projection is learned from, a bound on time and memory."""
MAX_KEYPOINTS, MAX_ROOM_LANDMARKS = 150, 2000
"""Keypoints of an image, and landmarks of a room, that are compared at most."""
CHANCE_SIMILARITY = 0.8
"""Cosine similarity to the nearest landmark that keypoints of other rooms reach by chance."""
SHORTLIST = 50
"""Rooms of the most similar views whose landmarks are compared: among 100 rooms, twelve held the
right one for 88 % of the images, fifty for 98 %."""
MAX_UNPACKED = 64
"""Rooms, least recently compared first to go, whose landmarks are kept as numbers of 32 bit: one
megabyte each, and to scale them anew takes as long as to compare them."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class RoomScore:
    """How well a room explains an image."""

    name: str
    """The room."""
    score: float
    """How well the landmarks of the room explain the keypoints, 0 to 1."""
    view: int
    """Row of that view in `ViewIndex.vectors`."""


@dataclass(frozen=True)
class ViewIndex:
    """View descriptors of all rooms of a building."""

    names: tuple[str, ...]
    """The rooms."""
    words: Array
    """(W, 128) visual words of unit length."""
    projection: Array
    """(W * 128, D) from an aggregated view to its descriptor."""
    vectors: Array
    """(N, D) view descriptors of unit length, those of a room in a row."""
    rooms: NDArray[np.int32]
    """(N,) index of the room of each view, ascending."""
    frames: NDArray[np.int32]
    """(N,) row of each view in `Map.mapping_poses` of its room."""
    landmarks: NDArray[np.uint8]
    """(M, 128) descriptors of landmarks that the views show, as maps store them."""
    landmark_rooms: NDArray[np.int32]
    """(M,) index of the room of each landmark, ascending."""
    _unpacked: OrderedDict[int, Array] = field(default_factory=OrderedDict, repr=False)
    """Landmarks of rooms, of unit length; the least recently compared first."""

    @classmethod
    @one_blas_thread()
    def build(cls, rooms: Mapping[str, Map], *, seed: int = 0) -> 'ViewIndex':
        """
        Describe the views of rooms.

        Parameters
        ----------
        rooms : mapping of Map
            Maps by name, at least one.
        seed : int, optional
            Of the clustering of words.

        Raises
        ------
        MapError
            If a file of a map is malformed.
        """
        described = [_room_views(map_) for map_ in rooms.values()]
        if not any(described):
            return cls._without_views(tuple(rooms))
        views = [view for room in described for view in room]
        step = -(-sum(len(view.landmarks) for view in views) // MAX_CLUSTERED_DESCRIPTORS)
        words = cluster_words(
            np.concatenate([view.descriptors[::step] for view in views]), WORDS, seed
        )
        sample = views[:: -(-len(views) // MAX_PROJECTED_VIEWS)]
        projection = _principal_axes(np.stack([_aggregate(v.descriptors, words) for v in sample]))
        vectors = parallel_map(
            lambda view: _unit(_aggregate(view.descriptors, words)[None] @ projection), views
        )
        landmarks = [_room_landmarks(room) for room in described]
        numbers = np.arange(len(rooms), dtype=np.int32)
        return cls(
            tuple(rooms),
            words,
            projection,
            np.concatenate(vectors),
            np.repeat(numbers, [len(room) for room in described]),
            np.array([view.frame for view in views], np.int32),
            np.concatenate(landmarks),
            np.repeat(numbers, [len(room) for room in landmarks]),
        )

    @classmethod
    def _without_views(cls, names: tuple[str, ...]) -> 'ViewIndex':
        """Return the index of rooms whose maps have no landmarks: it ranks none of them."""
        word, axis = (
            np.eye(1, DESCRIPTOR_DIM, dtype=np.float32),
            np.zeros((DESCRIPTOR_DIM, 1), np.float32),
        )
        none = np.empty(0, np.int32)
        landmarks = np.empty((0, DESCRIPTOR_DIM), np.uint8)
        vectors = np.empty((0, 1), np.float32)
        return cls(names, word, axis, vectors, none, none, landmarks, none)

    @property
    def nbytes(self) -> int:
        """Size of the arrays in memory."""
        return array_bytes(self)

    @one_blas_thread()
    def rank(self, descriptors: Array, count: int | None = None) -> list[RoomScore]:
        """
        Rank the rooms: those of the most similar views by how well they explain the keypoints.

        Parameters
        ----------
        descriptors : (n, 128) array
            RootSIFT of the keypoints of the image, that of the highest contrast first; without
            any, all rooms are alike.
        count : int, optional
            Rooms to return, `SHORTLIST` at most; default: so many.

        Returns
        -------
        list of RoomScore
            Rooms that have views, the best one first.
        """
        similarity = np.zeros(len(self.vectors), np.float32)
        if len(descriptors):
            similarity = self.vectors @ self.describe(descriptors)
        best = np.maximum.reduceat(similarity, self._bounds[:-1])
        strongest = descriptors[:MAX_KEYPOINTS]
        scores = []
        for i in np.argsort(-best, kind='stable')[:SHORTLIST]:
            start, end = self._bounds[i], self._bounds[i + 1]
            room, view = self.rooms[start], int(start + similarity[start:end].argmax())
            scores.append(RoomScore(self.names[room], self._explained(room, strongest), view))
        return sorted(scores, key=lambda score: -score.score)[:count]

    def describe(self, descriptors: Array) -> Array:
        """Return the vector (D,) of an image with keypoints (n, 128), to compare with views."""
        return _unit(_aggregate(descriptors, self.words)[None] @ self.projection)[0]

    def _explained(self, room: int, descriptors: Array) -> float:
        """Return how similar the landmarks of a room are to keypoints on average, 0 to 1."""
        landmarks = self._unit_landmarks(room)
        if not len(descriptors) or not len(landmarks):
            return 0.0
        nearest = (descriptors @ landmarks.T).max(1)
        return float(np.maximum(nearest - CHANCE_SIMILARITY, 0).mean() / (1 - CHANCE_SIMILARITY))

    def _unit_landmarks(self, room: int) -> Array:
        """Return the landmarks (m, 128) of a room, scaled to unit length once."""
        found = self._unpacked.pop(room, None)
        if found is None:
            start, end = np.searchsorted(self.landmark_rooms, [room, room + 1])
            found = normalize(self.landmarks[start:end].astype(np.float32))
        self._unpacked[room] = found
        while len(self._unpacked) > MAX_UNPACKED:
            self._unpacked.popitem(last=False)
        return found

    @cached_property
    def _bounds(self) -> NDArray[np.intp]:
        """First row of each room that has views, and the number of all rows."""
        return np.flatnonzero(np.diff(self.rooms, prepend=-1, append=len(self.names)))

    def to_bytes(self) -> bytes:
        """Return the file that `load` reads; numbers of 8 and 16 bit."""
        step = np.abs(self.vectors).max(1, keepdims=True) / 127
        arrays = {
            'words': self.words.astype(np.float16),
            'projection': self.projection.astype(np.float16),
            'vectors': np.round(self.vectors / step).astype(np.int8),
            'rooms': self.rooms,
            'frames': self.frames,
            'landmarks': self.landmarks,
            'landmark_rooms': self.landmark_rooms,
            # An array, for entries of the metadata are written in an order that varies.
            'names': np.frombuffer(json.dumps(self.names).encode(), np.uint8),
        }
        return safetensors.numpy.save(arrays, {'format': FORMAT})

    @classmethod
    def load(cls, path: Path) -> 'ViewIndex':
        """
        Read what `to_bytes` gave.

        Raises
        ------
        MapError
            If the file is missing, malformed, or of another version.
        """
        try:
            with safetensors.safe_open(path, 'numpy') as file:
                metadata = file.metadata() or {}
                if metadata.get('format') != FORMAT:
                    raise ValueError(f'format {metadata.get("format")!r}, not {FORMAT!r}')
                arrays = {name: file.get_tensor(name) for name in file.keys()}
            names = tuple(json.loads(arrays['names'].tobytes()))
            index = cls._of_arrays(names, arrays)
            index._check()
        except READ_ERRORS as error:
            raise MapError(
                f'the view descriptors {path} are malformed ({error}): {remedies.SURVEY_AGAIN}'
            ) from error
        return index

    @classmethod
    def of_building(cls, building: Building) -> 'ViewIndex':
        """Read that of a building; MapError if it is malformed, or of other rooms."""
        index = cls.load(building.views_file)
        if {*index.names} != {*building.rooms}:
            raise MapError(
                f'the view descriptors of the building {building.path} are of other rooms'
                f' ({", ".join(index.names)}): {remedies.SURVEY_AGAIN}'
            )
        return index

    @classmethod
    def _of_arrays(
        cls, names: tuple[str, ...], arrays: dict[str, NDArray[np.generic]]
    ) -> 'ViewIndex':
        words, projection, vectors = (
            arrays[name].astype(np.float32) for name in ('words', 'projection', 'vectors')
        )
        rooms, frames, of_landmarks = (
            arrays[name].astype(np.int32) for name in ('rooms', 'frames', 'landmark_rooms')
        )
        landmarks = arrays['landmarks'].astype(np.uint8)
        vectors = _unit(vectors)
        return cls(names, words, projection, vectors, rooms, frames, landmarks, of_landmarks)

    def _check(self) -> None:
        """Raise ValueError if the arrays do not fit together."""
        size, count = self.words.size, len(self.vectors)
        shapes = (
            self.words.shape == (size // DESCRIPTOR_DIM, DESCRIPTOR_DIM)
            and self.landmarks.shape == (len(self.landmark_rooms), DESCRIPTOR_DIM)
            and self.projection.shape == (size, self.vectors.shape[-1])
            and self.vectors.ndim == 2
            and self.rooms.shape == self.frames.shape == (count,)
        )
        if not shapes or not size:
            raise ValueError('the shapes of the arrays do not fit')
        if len({*self.names}) < len(self.names) or not all(isinstance(n, str) for n in self.names):
            raise ValueError(f'rooms {self.names}')
        known = np.isin(self.rooms, np.arange(len(self.names))).all()
        if (np.diff(self.rooms) < 0).any() or not known:
            raise ValueError('views of rooms that do not exist')
        floats = self.words, self.projection, self.vectors
        if not all(np.isfinite(array).all() for array in floats):
            raise ValueError('numbers that are not finite')


@dataclass(frozen=True)
class _View:
    frame: int
    """Row of its pose in `Map.mapping_poses`."""
    room_descriptors: NDArray[np.uint8]
    """(L, 128) descriptors of all landmarks of its room, as the map stores them."""
    landmarks: NDArray[np.intp]
    """(n,) rows of those that the view shows."""

    @property
    def descriptors(self) -> Array:
        """(n, 128) RootSIFT of the landmarks."""
        return normalize(self.room_descriptors[self.landmarks].astype(np.float32))


def _room_views(map_: Map) -> list[_View]:
    """Return views of a room; the descriptors of all rooms stay in memory, with 8 bit."""
    atlas = Atlas.load(map_.file('atlas.safetensors'))
    stored = quantize(atlas.descriptors)
    views = room_views(map_, atlas, MAX_VIEWS)
    return [_View(view.frame, stored, view.landmarks) for view in views]


def _aggregate(descriptors: Array, words: Array) -> Array:
    """Return the VLAD (W * 128,) of descriptors (n, 128), square roots taken: fewer bursts."""
    aggregated = vlad(descriptors, words)
    return _unit((np.sign(aggregated) * np.sqrt(np.abs(aggregated)))[None])[0]


def _room_landmarks(views: list[_View]) -> NDArray[np.uint8]:
    """Return descriptors (m, 128) of landmarks that the views of a room show, evenly chosen."""
    if not views:
        return np.empty((0, DESCRIPTOR_DIM), np.uint8)
    shown = np.unique(np.concatenate([view.landmarks for view in views]))
    chosen = np.linspace(0, len(shown) - 1, min(MAX_ROOM_LANDMARKS, len(shown))).astype(int)
    return views[0].room_descriptors[shown[chosen]]


def _principal_axes(rows: Array) -> Array:
    """Return the axes (d, D), `DIMENSIONS` at most, that keep the products of rows (N, d) best."""
    # Of the smaller of the two products of the rows: the vectors are longer than they are many.
    values, vectors = np.linalg.eigh(rows @ rows.T)
    kept = np.flatnonzero(values > 1e-6 * max(values.max(), 1e-12))[::-1][:DIMENSIONS]
    if not len(kept):  # one view alone, or equal ones
        return np.eye(rows.shape[1], 1, dtype=np.float32)
    axes = rows.T @ vectors[:, kept]
    return np.asarray(axes / np.linalg.norm(axes, axis=0), np.float32)


def _unit(vectors: Array) -> Array:
    """Return rows (N, D) scaled to unit length."""
    length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return np.asarray(vectors / length, np.float32)
