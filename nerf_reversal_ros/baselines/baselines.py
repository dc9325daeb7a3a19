"""
Registry of the baselines: names, requirements, creation and costs.

A baseline localizes a frame by its image and camera alone. The exception is
``nearest_reference``, an oracle that takes the ground truth: it bounds the accuracy of retrieval.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
import difflib
import importlib.util
import time
from typing import Any, Protocol, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.baselines.sift_pnp import SiftPnp
from nerf_reversal_ros.baselines.vlad import VladRetrieval
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError, ConfigError, ImageError
from nerf_reversal_ros.core.geometry import FloatArray, mean_pose
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback

if TYPE_CHECKING:  # a list of the names must not load PyTorch
    from nerf_reversal_ros.baselines.inerf import INerf
    from nerf_reversal_ros.baselines.original_networks import NetworkKind
    from nerf_reversal_ros.fields.voxel import VoxelField

SAME_POSITION_M = 0.001
"""Largest distance [m] between equal poses of one bag, read twice."""
LocalizeFn = Callable[[Frame], FloatArray | None]
"""From a frame to map_from_camera (4, 4), or None if the method finds no pose."""

MAX_INERF_IMAGES = 30
"""Images that iNeRF is evaluated on, at most: it takes seconds per image."""

DEG_PER_M = 100.0
"""Weight of rotation in the nearest reference pose: 5 degrees count as much as 5 centimeters."""


class _RegressedPoseProtocol(Protocol):
    @property
    def map_from_camera(self) -> FloatArray: ...


class RegressorProtocol(Protocol):
    """The part of `PoseRegressor` that baselines use."""

    def regress(self, rgb: NDArray[np.uint8], camera: Camera) -> _RegressedPoseProtocol:
        """Return the pose (4, 4) of an image, and the input of `retrieve`."""

    def retrieve(self, regression: Any, count: int) -> FloatArray:
        """Return poses (K, 4, 4) of similar views, the most similar first."""


@dataclass(frozen=True)
class BaselineInputs:
    """Data that baselines are created from."""

    mapping_poses: FloatArray
    """(M, 4, 4) map_from_camera of the mapping images."""
    regressor: RegressorProtocol
    """The map's regressor."""
    reference: Capture | None = None
    """Capture of the mapping images, in the pose convention of the map."""
    progress: ProgressCallback = no_progress
    field: 'VoxelField | None' = None
    """The map's field."""


@dataclass(frozen=True)
class Baseline:
    """A method that is ready to localize frames."""

    localize: LocalizeFn
    storage_bytes: int | None = None
    """Size of the data that it keeps of the mapping capture; None if it uses the map instead."""
    position_only: bool = False
    """Whether its rotation is a constant, without meaning."""
    max_images: int | None = None
    """Number of evenly spaced images to evaluate a slow method on, at most; None for all."""
    costs: Mapping[str, float] = field(default_factory=dict)
    """``mapping_s``: duration of its creation from the mapping capture [s]. ``map_mb``: size of
    the data that it keeps [MB]."""

    def __call__(self, frame: Frame) -> FloatArray | None:
        """Localize a frame; return None for an unusable image too."""
        try:
            return self.localize(frame)
        except ImageError:
            return None


def _mean_pose(inputs: BaselineInputs) -> Baseline:
    """Return the mean of the mapping poses for every image."""
    mean = mean_pose(inputs.mapping_poses)
    return Baseline(lambda frame: mean, mean.nbytes)


def _nearest_reference(inputs: BaselineInputs) -> Baseline:
    """Return the mapping pose nearest to the ground truth: an oracle."""
    nearest = nearest_reference(inputs.mapping_poses)
    return Baseline(lambda frame: nearest(frame.map_from_camera), inputs.mapping_poses.nbytes)


def _pca_retrieval(inputs: BaselineInputs) -> Baseline:
    """Return the pose of the indexed view with the nearest image code."""

    def localize(frame: Frame) -> FloatArray | None:
        regressor = inputs.regressor
        (best,) = regressor.retrieve(regressor.regress(frame.rgb, frame.camera), 1)
        return best

    return Baseline(localize)


def _vlad_retrieval(inputs: BaselineInputs) -> Baseline:
    """Return the pose of the most similar of every fourth reference image, by VLAD of SIFT."""
    reference = _require_reference('vlad_retrieval', inputs)
    method = VladRetrieval(reference, progress=inputs.progress)
    return Baseline(lambda frame: method.localize(frame.rgb), method.nbytes)


def _sift_pnp(inputs: BaselineInputs) -> Baseline:
    """Solve PnP on SIFT matches with every tenth reference image, back-projected by its depth."""
    method = SiftPnp(_require_reference('sift_pnp', inputs), progress=inputs.progress)
    return Baseline(lambda frame: method.localize(frame.rgb, frame.camera), method.nbytes)


def _original_network(kind: 'NetworkKind') -> Callable[[BaselineInputs], Baseline]:
    """Return the factory of a network of the original project, which regresses positions."""

    def make(inputs: BaselineInputs) -> Baseline:
        from nerf_reversal_ros.baselines.original_networks import OriginalNetwork

        reference = _require_reference(f'seed_{kind}', inputs)
        method = OriginalNetwork(reference, kind, progress=inputs.progress)
        return Baseline(
            lambda frame: method.localize(frame.rgb, frame.camera), method.nbytes, True
        )

    return make


def _hloc_sift(inputs: BaselineInputs) -> Baseline:
    """Run hloc with SIFT on points triangulated from every fourth reference image."""
    try:
        from nerf_reversal_ros.baselines.hloc_sift import HlocSift
    except ImportError as error:
        raise ConfigError(
            f'the baseline hloc_sift needs pycolmap, which cannot be imported ({error}):'
            f' {remedies.WITHOUT_HLOC}'
        ) from error
    method = HlocSift(_require_reference('hloc_sift', inputs), progress=inputs.progress)
    return Baseline(lambda frame: method.localize(frame.rgb, frame.camera), method.nbytes)


def _inerf_prior(inputs: BaselineInputs) -> Baseline:
    """Refine the regressed pose by iNeRF."""
    method = _make_inerf('inerf_prior', inputs)

    def localize(frame: Frame) -> FloatArray:
        prior = inputs.regressor.regress(frame.rgb, frame.camera).map_from_camera
        return method.refine(frame.rgb, frame.camera, prior, seed=frame.index)

    return Baseline(localize, max_images=MAX_INERF_IMAGES)


def _inerf_random(inputs: BaselineInputs) -> Baseline:
    """Refine a random pose of the mapped volume by iNeRF."""
    from nerf_reversal_ros.baselines.inerf import random_pose

    method = _make_inerf('inerf_random', inputs)

    def localize(frame: Frame) -> FloatArray:
        initial = random_pose(inputs.mapping_poses, np.random.default_rng(frame.index))
        return method.refine(frame.rgb, frame.camera, initial, seed=frame.index)

    return Baseline(localize, max_images=MAX_INERF_IMAGES)


def _require_reference(name: str, inputs: BaselineInputs) -> Capture:
    """Return the reference, or raise ConfigError if there is none."""
    if inputs.reference is None:
        raise ConfigError(f'the baseline {name} needs the mapping images: {remedies.REFERENCE}')
    return inputs.reference


def _make_inerf(name: str, inputs: BaselineInputs) -> 'INerf':
    """Make iNeRF on the map's field, or raise ConfigError if there is none."""
    from nerf_reversal_ros.baselines.inerf import INerf

    if inputs.field is None:
        raise ConfigError(f'the baseline {name} needs a map with a voxel field')
    return INerf(inputs.field)


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
"""Factories of all baselines by name."""

REFERENCE_BASELINES = ('vlad_retrieval', 'sift_pnp', 'seed_cnn', 'seed_mlp', 'hloc_sift')
"""Baselines that need the mapping images."""


def create_baseline(name: str, inputs: BaselineInputs, map_costs: Mapping[str, float]) -> Baseline:
    """
    Create a baseline and record its costs.

    Parameters
    ----------
    name : str
        A key of `BASELINES`.
    inputs : BaselineInputs
        Data to create it from.
    map_costs : mapping
        Costs of the map, which are those of a baseline that uses the map.

    Raises
    ------
    CaptureError, ConfigError
        If an input is missing or unsuitable.
    """
    start_s = time.perf_counter()
    baseline = BASELINES[name](inputs)
    if baseline.storage_bytes is None:
        return replace(baseline, costs=map_costs)
    duration_s = time.perf_counter() - start_s
    return replace(
        baseline, costs={'mapping_s': duration_s, 'map_mb': baseline.storage_bytes / 1e6}
    )


def missing_requirement(name: str, *, has_reference: bool) -> str:
    """Return what is missing for a baseline, as a predicate; empty if nothing is."""
    if name in REFERENCE_BASELINES and not has_reference:
        return f'needs the mapping images: {remedies.REFERENCE}'
    if name == 'hloc_sift':
        # Its import takes long and replaces the handler of SIGTERM: `hloc_sift` does it.
        if importlib.util.find_spec('pycolmap') is None:
            return f'needs pycolmap, which is not installed: {remedies.INSTALL_PYCOLMAP}'
    return ''


def skipped_baselines(*, has_reference: bool) -> list[str]:
    """Return one sentence per missing requirement, with the baselines that ``all`` skips."""
    missing = {name: missing_requirement(name, has_reference=has_reference) for name in BASELINES}
    return [
        f'{", ".join(name for name in missing if missing[name] == reason)} skipped: {reason}'
        for reason in dict.fromkeys(filter(None, missing.values()))
    ]


def parse_baselines(text: str, *, has_reference: bool) -> tuple[str, ...]:
    """
    Parse a choice of baselines: ``all``, ``none`` or ``NAME,...``.

    ``all`` skips the baselines with a `missing_requirement`.

    Raises
    ------
    ConfigError
        On an unknown name, or on a name with a missing requirement.
    """
    if text == 'none':
        return ()
    if text == 'all':
        return tuple(
            name
            for name in BASELINES
            if not missing_requirement(name, has_reference=has_reference)
        )
    names = tuple(dict.fromkeys(name.strip() for name in text.split(',') if name.strip()))
    for name in names:
        if name not in BASELINES:
            similar = difflib.get_close_matches(name, BASELINES, n=1)
            suggestion = f'did you mean {similar[0]}? ' if similar else ''
            raise ConfigError(
                f'unknown baseline {name!r}: {suggestion}choose from {", ".join(BASELINES)}, all,'
                ' none'
            )
        missing = missing_requirement(name, has_reference=has_reference)
        if missing:
            raise ConfigError(f'the baseline {name} {missing}')
    return names


def check_reference(
    reference: Capture, mapping_poses: FloatArray, max_change_m: float = 0.0
) -> None:
    """
    Check that a reference capture is the one that a map was built from.

    The adjustment of the poses moved the mapping poses by up to ``max_change_m``.

    Raises
    ------
    CaptureError
        If most of the mapping poses (M, 4, 4) are missing in the reference.
    """
    positions = cKDTree(reference.map_from_camera[:, :3, 3])
    distances_m, _ = positions.query(mapping_poses[:, :3, 3])
    common = int(np.sum(distances_m < SAME_POSITION_M + max_change_m))
    if 2 * common < len(distances_m):
        raise CaptureError(
            f'{reference.source} is not the bag that the map was built from, it has only {common}'
            f' of the {len(distances_m)} mapping poses: {remedies.REFERENCE}'
        )


def nearest_reference(mapping_poses: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """
    Return a function from a ground-truth pose (4, 4) to the nearest mapping pose (M, 4, 4).

    The distance weighs rotation by `DEG_PER_M`.
    """
    poses = np.asarray(mapping_poses, dtype=np.float64)

    def nearest(map_from_camera_gt: FloatArray) -> FloatArray:
        distances_m = np.linalg.norm(poses[:, :3, 3] - map_from_camera_gt[:3, 3], axis=1)
        rotations = np.swapaxes(poses[:, :3, :3], 1, 2) @ map_from_camera_gt[:3, :3]
        angles_deg = np.degrees(Rotation.from_matrix(rotations).magnitude())
        pose: FloatArray = poses[np.argmin(distances_m * DEG_PER_M + angles_deg)]
        return pose

    return nearest
