"""
Landmark map (atlas): 3-D points with descriptors, in the map frame.

`mapping.landmark_building` finds them in renderings of the radiance field and in images of the
mapping capture. Localization matches a query image with the landmarks that are visible at a pose
hypothesis, or with all of them, so it renders no field.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
import safetensors.numpy

from nerf_reversal_ros.capture.descriptor_kernels import DESCRIPTOR_DIM
from nerf_reversal_ros.core.array_files import read_point_arrays
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, transform_coordinates

MAX_VIEW_ANGLE_DEG = 65.0
"""Maximum angle [deg] between the viewing direction of a query and those of the landmark."""
MAX_DISTANCE_RATIO = 2.5
"""Maximum ratio of the viewing distance of a query and that of the landmark."""
MIN_DEPTH_RATIO = 0.05
"""Minimum depth of a visible landmark along the optical axis, over its viewing distance."""
MIN_SIZE_PX = 1.2
"""Minimum diameter [px] at which a landmark is expected in a query image: the detector finds no
keypoint below two pixels, and sizes vary by `landmark_building.MAX_SIZE_RATIO`."""
IMAGE_MARGIN = 0.25
"""Margin around the image, as a fraction of its size, in which landmarks count as visible: a pose
hypothesis is imprecise."""
DESCRIPTOR_STEP = 1 / 400
"""Quantization step of stored descriptors (uint8): entries above 255 steps are clipped."""


@dataclass(frozen=True)
class Atlas:
    """Landmark map of L landmarks."""

    origin_m: FloatArray
    """(3,) origin of ``points`` in the map [m]: float32 stays precise far from the map origin."""
    points: NDArray[np.float32]
    """(L, 3) positions relative to ``origin_m`` [m]."""
    directions: NDArray[np.float32]
    """(L, 3) unit vectors: mean direction from the landmark to the cameras that observed it."""
    distances: NDArray[np.float32]
    """(L,) mean distance to those cameras [m]."""
    sizes: NDArray[np.float32]
    """(L,) diameter of the described region [m]; infinite in maps of older versions."""
    views: NDArray[np.uint8]
    """(L,) number of views that confirm the landmark, at most 255."""
    descriptors: NDArray[np.float32]
    """(L, 128) RootSIFT of unit length."""

    def __len__(self) -> int:
        """Return the number of landmarks."""
        return len(self.points)

    def visible_indices(
        self, map_from_camera: FloatArray, camera: Camera, max_count: int
    ) -> NDArray[np.intp]:
        """
        Return the indices of the landmarks that a camera near a pose may observe.

        Parameters
        ----------
        map_from_camera : (4, 4) array
            Pose hypothesis.
        camera : Camera
            Intrinsics of the query image.
        max_count : int
            Maximum number of landmarks; those confirmed by most views are kept.

        Returns
        -------
        (N,) array
            Ascending.
        """
        rotation = map_from_camera[:3, :3].astype(np.float32)
        center = (map_from_camera[:3, 3] - self.origin_m).astype(np.float32)
        # Rows are contiguous, and bounds are multiplied by the depth: that is twice as fast as
        # dividing by it.
        x, y, depth = transform_coordinates(rotation.T, -rotation.T @ center, self.points)
        is_visible = depth > MIN_DEPTH_RATIO * self.distances
        for along, focal, principal, size in (
            (x, camera.fx, camera.cx, camera.width),
            (y, camera.fy, camera.cy, camera.height),
        ):
            lower, upper = -IMAGE_MARGIN * size - principal, (1 + IMAGE_MARGIN) * size - principal
            is_visible &= along > np.float32(lower / focal) * depth
            is_visible &= along < np.float32(upper / focal) * depth
        is_visible &= self.sizes > np.float32(MIN_SIZE_PX / camera.fx) * depth
        indices = np.flatnonzero(is_visible)
        return self.most_confirmed(indices[self._is_similar_view(indices, center)], max_count)

    def most_confirmed(self, indices: NDArray[np.intp], max_count: int) -> NDArray[np.intp]:
        """Return the ``max_count`` of some landmarks that most views confirm, ascending."""
        if len(indices) <= max_count:
            return indices
        order = np.argsort(-self.views[indices].astype(np.int16), kind='stable')[:max_count]
        return np.sort(indices[order])

    def _is_similar_view(
        self, indices: NDArray[np.intp], center: NDArray[np.float32]
    ) -> NDArray[np.bool_]:
        """Return whether a camera center (3,) observes landmarks from a similar viewpoint."""
        ray = self.points[indices] - center
        distance = np.sqrt(np.einsum('ij,ij->i', ray, ray))
        along_direction = -np.einsum('ij,ij->i', ray, self.directions[indices])
        ratio = distance / self.distances[indices]
        is_similar = (
            along_direction > np.float32(np.cos(np.radians(MAX_VIEW_ANGLE_DEG))) * distance
        )
        is_similar &= (ratio < MAX_DISTANCE_RATIO) & (ratio > 1 / MAX_DISTANCE_RATIO)
        return np.asarray(is_similar)

    def save(self, path: Path) -> None:
        """Write one safetensors file; `load` reads it."""
        safetensors.numpy.save_file(
            {
                'origin_m': self.origin_m[None],
                'points': self.points,
                'directions': self.directions,
                'distances': self.distances,
                'sizes': self.sizes,
                'views': self.views,
                'descriptors': quantize(self.descriptors),
            },
            path,
        )

    @classmethod
    def load(cls, path: Path) -> 'Atlas':
        """
        Read what `save` wrote.

        Raises
        ------
        MapError
            If the file is missing or malformed.
        """
        rows: dict[str, tuple[tuple[int, ...], str]] = {
            'points': ((3,), 'float32'),
            'directions': ((3,), 'float32'),
            'distances': ((), 'float32'),
            'sizes': ((), 'float32'),
            'views': ((), 'uint8'),
            'descriptors': ((DESCRIPTOR_DIM,), 'uint8'),
        }
        stored = read_point_arrays(path, 'atlas', rows, {'sizes': np.inf})
        descriptors = normalize(stored.pop('descriptors').astype(np.float32))
        return cls(**stored, descriptors=descriptors)


def quantize(descriptors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return RootSIFT (N, 128) in steps of `DESCRIPTOR_STEP`, as files hold it."""
    return np.clip(np.round(descriptors / DESCRIPTOR_STEP), 0, 255).astype(np.uint8)


def normalize(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return vectors (N, D) scaled to unit length."""
    length = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    unit: NDArray[np.float32] = (vectors / length).astype(np.float32)
    return unit
