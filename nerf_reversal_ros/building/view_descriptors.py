"""
View descriptors: which room of a building an image shows.

A view of a room is a mapping pose with the landmarks that are seen from it. Their descriptors are
aggregated like the keypoints of an image (VLAD) and projected to fewer dimensions (PCA). No image
of the mapping capture is needed: the map of the room has all of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import safetensors
import safetensors.numpy

from nerf_reversal_ros.building.shown_landmarks import shown_landmarks
from nerf_reversal_ros.capture.descriptor_kernels import DESCRIPTOR_DIM
from nerf_reversal_ros.capture.vlad import cluster_words, MAX_CLUSTERED_DESCRIPTORS, vlad
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.array_files import READ_ERRORS
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.parallel import one_blas_thread, parallel_map
from nerf_reversal_ros.localization.atlas import Atlas, normalize, quantize
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map

FORMAT = 'view descriptors 1'
"""Name and version of the file."""
MAX_VIEWS = 150
"""Views of one room, at most, evenly spaced along its mapping capture."""
MAX_LANDMARKS = 400
"""Landmarks of one view, at most, as many as an image has keypoints."""
WORDS, DIMENSIONS = 64, 256
"""Visual words, and dimensions of a view descriptor, at most."""
MAX_PROJECTED_VIEWS = 3000
"""Views, about, that the projection is learned from, a bound on time and memory."""
DEPTH_SIZE_PX = 96
"""Longer side [px] of the rendering that tells which landmarks are hidden."""

Array = NDArray[np.float32]


@dataclass(frozen=True)
class RoomScore:
    """How similar an image is to the views of a room."""

    name: str
    """The room."""
    score: float
    """Cosine of the angle between the image and the most similar view."""
    view: int
    """Row of that view in `ViewIndex.vectors`."""


@dataclass(frozen=True)
class ViewIndex:
    """View descriptors of all rooms of a building."""

    names: tuple[str, ...]
    """The rooms."""
    words: Array
    """(W, 128) visual words of unit length."""
    mean: Array
    """(W * 128,) mean of the aggregated views."""
    projection: Array
    """(W * 128, D) from an aggregated view, less the mean, to its descriptor."""
    vectors: Array
    """(N, D) view descriptors of unit length, those of a room in a row."""
    rooms: NDArray[np.int32]
    """(N,) index of the room of each view, ascending."""
    frames: NDArray[np.int32]
    """(N,) row of each view in `Map.mapping_poses` of its room."""

    @classmethod
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
            If a file of a map is malformed, or if no room has landmarks.
        """
        described = [_room_views(map_) for map_ in rooms.values()]
        if not any(described):
            raise MapError(f'no view of {", ".join(rooms)} has landmarks: {remedies.BUILD_AGAIN}')
        views = [view for room in described for view in room]
        landmarks = sum(len(view.landmarks) for view in views)
        step = -(-landmarks // MAX_CLUSTERED_DESCRIPTORS)
        words = cluster_words(
            np.concatenate([view.descriptors[::step] for view in views]), WORDS, seed
        )
        sample = views[:: -(-len(views) // MAX_PROJECTED_VIEWS)]
        aggregated = np.stack([vlad(view.descriptors, words) for view in sample])
        mean = aggregated.mean(0)
        projection = _principal_axes(aggregated - mean)
        vectors = parallel_map(
            lambda view: _unit((vlad(view.descriptors, words) - mean)[None] @ projection), views
        )
        return cls(
            tuple(rooms),
            words,
            mean,
            projection,
            np.concatenate(vectors),
            np.repeat(np.arange(len(rooms), dtype=np.int32), [len(room) for room in described]),
            np.array([view.frame for view in views], np.int32),
        )

    @property
    def nbytes(self) -> int:
        """Size of the arrays in memory."""
        arrays = self.words, self.mean, self.projection, self.vectors, self.rooms, self.frames
        return sum(array.nbytes for array in arrays)

    @one_blas_thread()
    def describe(self, descriptors: Array) -> Array:
        """Return the view descriptor (D,) of an image by its keypoints' RootSIFT (n, 128)."""
        aggregated = vlad(descriptors, self.words) - self.mean
        described: Array = _unit(aggregated[None] @ self.projection)[0]
        return described

    @one_blas_thread()
    def rank(self, descriptors: Array, count: int | None = None) -> list[RoomScore]:
        """
        Rank the rooms by the view that is most similar to an image.

        Parameters
        ----------
        descriptors : (n, 128) array
            RootSIFT of the keypoints of the image; without any, all rooms are alike.
        count : int, optional
            Rooms to return at most; default: all.

        Returns
        -------
        list of RoomScore
            Rooms that have views, the most similar one first.
        """
        if not len(descriptors):
            similarity = np.zeros(len(self.vectors), np.float32)
        else:
            similarity = self.vectors @ self.describe(descriptors)
        best = np.maximum.reduceat(similarity, self._bounds[:-1])
        scores = []
        for i in np.argsort(-best, kind='stable')[:count]:
            start, end = self._bounds[i], self._bounds[i + 1]
            view = int(start + similarity[start:end].argmax())
            scores.append(RoomScore(self.names[self.rooms[start]], float(best[i]), view))
        return scores

    @cached_property
    def _bounds(self) -> NDArray[np.intp]:
        """First row of each room that has views, and the number of all rows."""
        return np.flatnonzero(np.diff(self.rooms, prepend=-1, append=len(self.names)))

    def to_bytes(self) -> bytes:
        """Return the file that `load` reads; numbers of 8 and 16 bit."""
        step = np.abs(self.vectors).max(1, keepdims=True) / 127
        arrays = {
            'words': self.words.astype(np.float16),
            'mean': self.mean.astype(np.float16),
            'projection': self.projection.astype(np.float16),
            'vectors': np.round(self.vectors / step).astype(np.int8),
            'rooms': self.rooms,
            'frames': self.frames,
        }
        metadata = {'format': FORMAT, 'rooms': json.dumps(self.names)}
        return safetensors.numpy.save(arrays, metadata)

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
                names = tuple(json.loads(metadata['rooms']))
                arrays = {name: file.get_tensor(name) for name in file.keys()}
            index = cls._of_arrays(names, arrays)
            index._check()
        except READ_ERRORS as error:
            raise MapError(
                f'the view descriptors {path} are malformed ({error}): {remedies.SURVEY_AGAIN}'
            ) from error
        return index

    @classmethod
    def _of_arrays(
        cls, names: tuple[str, ...], arrays: dict[str, NDArray[np.generic]]
    ) -> 'ViewIndex':
        words, mean, projection, vectors = (
            arrays[name].astype(np.float32) for name in ('words', 'mean', 'projection', 'vectors')
        )
        rooms, frames = (arrays[name].astype(np.int32) for name in ('rooms', 'frames'))
        return cls(names, words, mean, projection, _unit(vectors), rooms, frames)

    def _check(self) -> None:
        """Raise ValueError if the arrays do not fit together."""
        size, count = self.mean.size, len(self.vectors)
        shapes = (
            self.words.shape == (size // DESCRIPTOR_DIM, DESCRIPTOR_DIM)
            and self.mean.ndim == 1
            and self.projection.shape == (size, self.vectors.shape[-1])
            and self.vectors.ndim == 2
            and self.rooms.shape == self.frames.shape == (count,)
        )
        if not shapes or not size or not count:
            raise ValueError('the shapes of the arrays do not fit')
        if len({*self.names}) < len(self.names) or not all(isinstance(n, str) for n in self.names):
            raise ValueError(f'rooms {self.names}')
        if (np.diff(self.rooms) < 0).any() or not 0 <= self.rooms[0] <= self.rooms[-1] < len(
            self.names
        ):
            raise ValueError('views of rooms that do not exist')
        floats = self.words, self.mean, self.projection, self.vectors
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
    surface = Surface.load(map_.file('surface.safetensors'))
    poses, camera = map_.mapping_poses, map_.capture_camera
    small = camera.downscaled_to(DEPTH_SIZE_PX)
    frames = np.unique(np.linspace(0, len(poses) - 1, min(MAX_VIEWS, len(poses))).round())
    stored = quantize(atlas.descriptors)
    views = []
    for frame in frames.astype(int):
        rendering = surface.render(poses[frame], small)
        shown, _ = shown_landmarks(atlas, poses[frame], camera, rendering, small, MAX_LANDMARKS)
        if len(shown):
            views.append(_View(int(frame), stored, shown))
    return views


def _principal_axes(centered: Array) -> Array:
    """Return the principal axes (d, D) of rows (N, d), at most `DIMENSIONS`."""
    # Of the smaller of the two products of the rows: the vectors are longer than they are many.
    values, vectors = np.linalg.eigh(centered @ centered.T)
    kept = np.flatnonzero(values > 1e-6 * max(values.max(), 1e-12))[::-1][:DIMENSIONS]
    if not len(kept):  # one view alone, or equal ones
        return np.eye(centered.shape[1], 1, dtype=np.float32)
    axes = centered.T @ vectors[:, kept]
    return np.asarray(axes / np.linalg.norm(axes, axis=0), np.float32)


def _unit(vectors: Array) -> Array:
    """Return rows (N, D) scaled to unit length."""
    length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return np.asarray(vectors / length, np.float32)
