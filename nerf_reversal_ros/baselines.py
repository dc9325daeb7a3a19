"""
What a localizer must beat, each a function from a frame to a pose.

A baseline looks at a frame's picture and camera only; ``nearest_reference`` is the exception: an
oracle that is told the true pose and so shows what looking up walked poses could give at best.
"""

from collections.abc import Callable
from dataclasses import dataclass
import difflib
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.camera import Camera
from nerf_reversal_ros.capture import Capture, Frame
from nerf_reversal_ros.errors import CaptureError, ConfigError
from nerf_reversal_ros.geometry import Array, mean_pose
from nerf_reversal_ros.progress import ProgressCallback, silent
from nerf_reversal_ros.sift_pnp import SiftPnp

SAME_PLACE_M = 0.001
"""The poses of one bag, read twice, are no further apart."""
Locate = Callable[[Frame], Array | None]
"""From a frame to map_from_camera (4, 4), or None where the method gives no answer."""

DEG_PER_M = 100.0
"""For choosing the nearest reference pose: 5 degrees count as much as 5 centimetres."""


class _Retrieval(Protocol):
    @property
    def retrieved(self) -> Array: ...


class Regresses(Protocol):
    """The map's regressor, as far as baselines need it."""

    def regress(self, rgb: NDArray[np.uint8], camera: Camera) -> _Retrieval:
        """Return, among others, ``retrieved``: (K, 4, 4) poses of similar views, best first."""


@dataclass(frozen=True)
class Material:
    """What baselines are made from."""

    map_from_camera_walked: Array
    """(M, 4, 4) poses that the map was built from."""
    regressor: Regresses
    """The map's regressor."""
    reference: Capture | None = None
    """The pictures that the map was built from, with the convention of the map."""
    progress: ProgressCallback = silent


def _mean_pose(material: Material) -> Locate:
    """Answer with the mean of the walked poses, whatever the picture shows."""
    mean = mean_pose(material.map_from_camera_walked)
    return lambda frame: mean


def _nearest_reference(material: Material) -> Locate:
    """Answer with the walked pose that is nearest to the truth: an oracle."""
    nearest = nearest_reference(material.map_from_camera_walked)
    return lambda frame: nearest(frame.map_from_camera)


def _pca_retrieval(material: Material) -> Locate:
    """Answer with the pose of the synthetic view whose PCA code is most alike."""

    def locate(frame: Frame) -> Array | None:
        retrieved = material.regressor.regress(frame.rgb, frame.camera).retrieved
        return retrieved[0] if len(retrieved) else None

    return locate


def _sift_pnp(material: Material) -> Locate:
    """Answer with SIFT + PnP against every tenth real picture, lifted with its depth."""
    if material.reference is None:
        raise ConfigError('the baseline sift_pnp needs --reference with the bag of the build')
    reference = SiftPnp(material.reference, progress=material.progress)
    return lambda frame: reference.locate(frame.rgb, frame.camera)


BASELINES: dict[str, Callable[[Material], Locate]] = {
    'mean_pose': _mean_pose,
    'nearest_reference': _nearest_reference,
    'pca_retrieval': _pca_retrieval,
    'sift_pnp': _sift_pnp,
}
"""Every known baseline; each is made from `Material` once and then asked for every frame."""

NEED_REFERENCE = ('sift_pnp',)
"""Those that need the real pictures of the build."""


def chosen_baselines(text: str, *, has_reference: bool) -> tuple[str, ...]:
    """
    Return the names that ``all``, ``none`` or ``NAME,...`` stands for.

    ``all`` leaves out those that need the reference pictures when there are none.

    Raises
    ------
    ConfigError
        On an unknown name, or a named one that lacks its reference pictures.
    """
    if text == 'none':
        return ()
    if text == 'all':
        return tuple(name for name in BASELINES if has_reference or name not in NEED_REFERENCE)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(',') if name.strip()))
    for name in names:
        if name not in BASELINES:
            near = difflib.get_close_matches(name, BASELINES, n=1)
            guess = f'did you mean {near[0]}? ' if near else ''
            raise ConfigError(
                f'unknown baseline {name!r}: {guess}known are {", ".join(BASELINES)}, all, none'
            )
        if name in NEED_REFERENCE and not has_reference:
            raise ConfigError(f'the baseline {name} needs --reference with the bag of the build')
    return names


def refuse_other_walk(reference: Capture, map_from_camera_walked: Array) -> None:
    """
    Make sure that reference pictures are those that a map was built from.

    Raises
    ------
    CaptureError
        If most of the walked poses (M, 4, 4) are not among those of the pictures.
    """
    known = cKDTree(reference.map_from_camera[:, :3, 3])
    away_m, _ = known.query(map_from_camera_walked[:, :3, 3])
    found = int(np.sum(away_m < SAME_PLACE_M))
    if 2 * found < len(away_m):
        raise CaptureError(
            f'{reference.source} is not the bag that the map was built from, only {found} of its'
            f' {len(away_m)} poses are there: give that bag as --reference'
        )


def nearest_reference(map_from_camera_walked: Array) -> Callable[[Array], Array]:
    """Return a function from a true pose (4, 4) to the nearest of the walked ones (M, 4, 4)."""
    walked = np.asarray(map_from_camera_walked, dtype=np.float64)

    def nearest(true: Array) -> Array:
        metres = np.linalg.norm(walked[:, :3, 3] - true[:3, 3], axis=1)
        turns = np.swapaxes(walked[:, :3, :3], 1, 2) @ true[:3, :3]
        degrees = np.degrees(Rotation.from_matrix(turns).magnitude())
        found: Array = walked[np.argmin(metres * DEG_PER_M + degrees)]
        return found

    return nearest
