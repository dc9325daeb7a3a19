"""
What a localizer must beat, each a function from a frame to a pose.

A baseline looks at a frame's picture and camera only; ``nearest_reference`` is the exception: an
oracle that is told the true pose and so shows what looking up walked poses could give at best.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
import difflib
import time
from typing import Any, Protocol, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.baselines.sift_pnp import SiftPnp
from nerf_reversal_ros.baselines.vlad import VladRetrieval
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError, ConfigError, ImageError
from nerf_reversal_ros.core.geometry import FloatArray, mean_pose
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback

if TYPE_CHECKING:  # PyTorch is loaded where it is needed: names are known without it
    from nerf_reversal_ros.baselines.inerf import INerf
    from nerf_reversal_ros.baselines.original_networks import NetworkKind
    from nerf_reversal_ros.fields.voxel import VoxelField

SAME_POSITION_M = 0.001
"""The poses of one bag, read twice, are no further apart."""
LocalizeFn = Callable[[Frame], FloatArray | None]
"""From a frame to map_from_camera (4, 4), or None where the method gives no answer."""

MAX_INERF_IMAGES = 30
"""iNeRF takes seconds a picture."""

DEG_PER_M = 100.0
"""For choosing the nearest reference pose: 5 degrees count as much as 5 centimetres."""


class _RegressedPoseProtocol(Protocol):
    @property
    def map_from_camera(self) -> FloatArray: ...


class RegressorProtocol(Protocol):
    """The map's regressor, as far as baselines need it."""

    def regress(self, rgb: NDArray[np.uint8], camera: Camera) -> _RegressedPoseProtocol:
        """Return a pose (4, 4) and what `retrieve` needs."""

    def retrieve(self, regression: Any, count: int) -> FloatArray:
        """Return poses (K, 4, 4) of similar views, best first."""


@dataclass(frozen=True)
class BaselineInputs:
    """What baselines are made from."""

    mapping_poses: FloatArray
    """(M, 4, 4) poses that the map was built from."""
    regressor: RegressorProtocol
    """The map's regressor."""
    reference: Capture | None = None
    """The pictures that the map was built from, with the convention of the map."""
    progress: ProgressCallback = no_progress
    field: 'VoxelField | None' = None
    """The map's field."""


@dataclass(frozen=True)
class Baseline:
    """A method that is ready to be asked: a `LocalizeFn`."""

    localize: LocalizeFn
    storage_bytes: int | None = None
    """What it keeps of the walk; None where it stands on the map."""
    position_only: bool = False
    """Whether the rotation that it gives is no answer of its own."""
    max_images: int | None = None
    """It is asked about so many pictures at most, evenly spread, for it is slow."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """``mapping_s`` and ``map_mb``: what it took to make it from the walk, and what it keeps."""

    def __call__(self, frame: Frame) -> FloatArray | None:
        """Locate a frame; a picture that cannot be used has no answer."""
        try:
            return self.localize(frame)
        except ImageError:
            return None


def _mean_pose(material: BaselineInputs) -> Baseline:
    """Answer with the mean of the walked poses, whatever the picture shows."""
    mean = mean_pose(material.mapping_poses)
    return Baseline(lambda frame: mean, mean.nbytes)


def _nearest_reference(material: BaselineInputs) -> Baseline:
    """Answer with the walked pose that is nearest to the truth: an oracle."""
    nearest = nearest_reference(material.mapping_poses)
    kept = material.mapping_poses.nbytes
    return Baseline(lambda frame: nearest(frame.map_from_camera), kept)


def _pca_retrieval(material: BaselineInputs) -> Baseline:
    """Answer with the pose of the synthetic view whose PCA code is most alike."""

    def locate(frame: Frame) -> FloatArray | None:
        regressor = material.regressor
        (best,) = regressor.retrieve(regressor.regress(frame.rgb, frame.camera), 1)
        return best

    return Baseline(locate)


def _vlad_retrieval(material: BaselineInputs) -> Baseline:
    """Answer with the pose of the most alike (SIFT, VLAD) of every fourth real picture."""
    reference = _require_reference('vlad_retrieval', material)
    index = VladRetrieval(reference, progress=material.progress)
    return Baseline(lambda frame: index.localize(frame.rgb), index.nbytes)


def _sift_pnp(material: BaselineInputs) -> Baseline:
    """Answer with SIFT + PnP against every tenth real picture, lifted with its depth."""
    peer = SiftPnp(_require_reference('sift_pnp', material), progress=material.progress)
    return Baseline(lambda frame: peer.localize(frame.rgb, frame.camera), peer.nbytes)


def _original_network(kind: 'NetworkKind') -> Callable[[BaselineInputs], Baseline]:
    """Answer with the position that a network of the seed project's recipe regresses."""

    def make(material: BaselineInputs) -> Baseline:
        from nerf_reversal_ros.baselines.original_networks import OriginalNetwork

        reference = _require_reference(f'seed_{kind}', material)
        network = OriginalNetwork(reference, kind, progress=material.progress)
        locate = network.localize
        return Baseline(lambda frame: locate(frame.rgb, frame.camera), network.nbytes, True)

    return make


def _hloc_sift(material: BaselineInputs) -> Baseline:
    """Answer with hloc's SIFT against points triangulated from every fourth real picture."""
    from nerf_reversal_ros.baselines.hloc_sift import HlocSift

    peer = HlocSift(_require_reference('hloc_sift', material), progress=material.progress)
    return Baseline(lambda frame: peer.localize(frame.rgb, frame.camera), peer.nbytes)


def _inerf_prior(material: BaselineInputs) -> Baseline:
    """Answer with what iNeRF makes of the regressor's pose."""
    descent = _make_inerf('inerf_prior', material)

    def locate(frame: Frame) -> FloatArray:
        prior = material.regressor.regress(frame.rgb, frame.camera).map_from_camera
        return descent.refine(frame.rgb, frame.camera, prior, seed=frame.index)

    return Baseline(locate, max_images=MAX_INERF_IMAGES)


def _inerf_random(material: BaselineInputs) -> Baseline:
    """Answer with what iNeRF makes of a random pose of the walked volume."""
    from nerf_reversal_ros.baselines.inerf import random_pose

    descent = _make_inerf('inerf_random', material)

    def locate(frame: Frame) -> FloatArray:
        start = random_pose(material.mapping_poses, np.random.default_rng(frame.index))
        return descent.refine(frame.rgb, frame.camera, start, seed=frame.index)

    return Baseline(locate, max_images=MAX_INERF_IMAGES)


def _require_reference(name: str, material: BaselineInputs) -> Capture:
    if material.reference is None:
        raise ConfigError(f'the baseline {name} needs --reference with the bag of the build')
    return material.reference


def _make_inerf(name: str, material: BaselineInputs) -> 'INerf':
    from nerf_reversal_ros.baselines.inerf import INerf

    if material.field is None:
        raise ConfigError(f'the baseline {name} needs a map with a voxel field')
    return INerf(material.field)


BASELINES: dict[str, Callable[[BaselineInputs], Baseline]] = {
    'mean_pose': _mean_pose,
    'nearest_reference': _nearest_reference,
    'pca_retrieval': _pca_retrieval,
    'vlad_retrieval': _vlad_retrieval,
    'sift_pnp': _sift_pnp,
    'seed_cnn': _original_network('cnn'),
    'seed_mlp': _original_network('mlp'),
    'inerf_prior': _inerf_prior,
    'inerf_random': _inerf_random,
    'hloc_sift': _hloc_sift,
}
"""Every known baseline; each is made from `BaselineInputs` once and then asked for every frame."""

REFERENCE_BASELINES = ('vlad_retrieval', 'sift_pnp', 'seed_cnn', 'seed_mlp', 'hloc_sift')
"""Those that need the real pictures of the build."""


def create_baseline(name: str, inputs: BaselineInputs, map_costs: Mapping[str, float]) -> Baseline:
    """Make a baseline and note its costs: the map's own where it stands on the map."""
    start = time.perf_counter()
    made = BASELINES[name](inputs)
    if made.storage_bytes is None:
        return replace(made, costs=map_costs)
    took_s = time.perf_counter() - start
    return replace(made, costs={'mapping_s': took_s, 'map_mb': made.storage_bytes / 1e6})


def missing_requirement(name: str, *, has_reference: bool) -> str:
    """Say what a baseline lacks, as the end of a sentence; nothing if it can be had."""
    if name in REFERENCE_BASELINES and not has_reference:
        return 'needs --reference with the bag of the build'
    if name == 'hloc_sift':
        try:
            import pycolmap  # noqa: F401
        except ImportError as error:
            return f'needs pycolmap ({error}): pip install pycolmap'
    return ''


def skipped_baselines(*, has_reference: bool) -> list[str]:
    """Say, for each obstacle, which baselines ``all`` goes without."""
    lacks = {name: missing_requirement(name, has_reference=has_reference) for name in BASELINES}
    return [
        f'{", ".join(name for name, its in lacks.items() if its == lack)} left out: {lack}'
        for lack in dict.fromkeys(filter(None, lacks.values()))
    ]


def parse_baselines(text: str, *, has_reference: bool) -> tuple[str, ...]:
    """
    Return the names that ``all``, ``none`` or ``NAME,...`` stands for.

    ``all`` leaves out those that have an `missing_requirement`.

    Raises
    ------
    ConfigError
        On an unknown name, or a named one that lacks something.
    """
    if text == 'none':
        return ()
    if text == 'all':
        return tuple(
            n for n in BASELINES if not missing_requirement(n, has_reference=has_reference)
        )
    names = tuple(dict.fromkeys(name.strip() for name in text.split(',') if name.strip()))
    for name in names:
        if name not in BASELINES:
            near = difflib.get_close_matches(name, BASELINES, n=1)
            guess = f'did you mean {near[0]}? ' if near else ''
            raise ConfigError(
                f'unknown baseline {name!r}: {guess}known are {", ".join(BASELINES)}, all, none'
            )
        lacks = missing_requirement(name, has_reference=has_reference)
        if lacks:
            raise ConfigError(f'the baseline {name} {lacks}')
    return names


def check_reference(reference: Capture, mapping_poses: FloatArray) -> None:
    """
    Make sure that reference pictures are those that a map was built from.

    Raises
    ------
    CaptureError
        If most of the walked poses (M, 4, 4) are not among those of the pictures.
    """
    known = cKDTree(reference.map_from_camera[:, :3, 3])
    away_m, _ = known.query(mapping_poses[:, :3, 3])
    found = int(np.sum(away_m < SAME_POSITION_M))
    if 2 * found < len(away_m):
        raise CaptureError(
            f'{reference.source} is not the bag that the map was built from, only {found} of its'
            f' {len(away_m)} poses are there: give that bag as --reference'
        )


def nearest_reference(mapping_poses: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """Return a function from a true pose (4, 4) to the nearest of the walked ones (M, 4, 4)."""
    walked = np.asarray(mapping_poses, dtype=np.float64)

    def nearest(true: FloatArray) -> FloatArray:
        metres = np.linalg.norm(walked[:, :3, 3] - true[:3, 3], axis=1)
        turns = np.swapaxes(walked[:, :3, :3], 1, 2) @ true[:3, :3]
        degrees = np.degrees(Rotation.from_matrix(turns).magnitude())
        found: FloatArray = walked[np.argmin(metres * DEG_PER_M + degrees)]
        return found

    return nearest
