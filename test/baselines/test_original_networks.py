"""The networks of the original project regress positions, without rotation."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
from small_room import walk, write_bag

from nerf_reversal_ros.baselines import original_networks
from nerf_reversal_ros.baselines.original_networks import (
    OriginalNetwork,
    PATIENCE,
    VALIDATION_FRACTION,
)
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import mean_pose
from nerf_reversal_ros.core.progress import Progress

IDENTITY_CONVENTION = PoseConvention('optical', np.eye(4), 'configured')


def record_capture(path: Path, poses: np.ndarray) -> Capture:
    bag = write_bag(path, poses, depth=False)
    return open_capture(bag, CaptureConfig(), convention=IDENTITY_CONVENTION, select_frames=False)


@pytest.fixture(scope='module', autouse=True)
def small_images() -> Iterator[None]:
    """
    Train on images of 64x48 in small batches: an epoch of a short capture has few steps.

    A PCA of as many components as images would overfit to these.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(original_networks, 'BATCH', 16)
        patch.setattr(original_networks, 'COMPONENTS', 20)
        patch.setattr(original_networks, 'LONGER_SIDE_PX', 64)
        yield


@pytest.fixture(scope='module')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Record two rounds: the second one covers the held-out segment of the first."""
    rounds = [walk(60, height=1.3), walk(60, height=1.45, phase=0.04)]
    return record_capture(tmp_path_factory.mktemp('bags') / 'walk', np.concatenate(rounds))


@pytest.fixture(scope='module')
def queries(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    poses = walk(11, height=1.38)[1:-1]
    return list(record_capture(tmp_path_factory.mktemp('bags') / 'other', poses))


def localize(network: OriginalNetwork, frames: Iterable[Frame]) -> np.ndarray:
    """Return the estimated poses (N, 4, 4) of frames."""
    return np.stack([network.localize(frame.rgb, frame.camera) for frame in frames])


def position_errors_m(poses: np.ndarray, ground_truth: np.ndarray) -> np.ndarray:
    return np.linalg.norm(poses[..., :3, 3] - ground_truth[:, :3, 3], axis=1)


@pytest.mark.parametrize('kind', ['cnn', 'mlp'])
def test_positions_are_learned_and_the_rotation_is_the_mean(
    kind: original_networks.NetworkKind, reference: Capture, queries: list[Frame]
) -> None:
    reports: list[Progress] = []
    network = OriginalNetwork(reference, kind, epochs=40, progress=reports.append)
    mean = mean_pose(reference.map_from_camera)
    ground_truth = np.stack([frame.map_from_camera for frame in queries])
    estimated = localize(network, queries)
    errors_m = position_errors_m(estimated, ground_truth)
    assert np.median(errors_m) < 0.6 * np.median(position_errors_m(mean, ground_truth))
    rotations = np.broadcast_to(mean[:3, :3], (len(estimated), 3, 3))
    assert estimated[:, :3, :3] == pytest.approx(rotations)
    held_out = held_out_mask(len(reference), VALIDATION_FRACTION)
    ground_truth = reference.map_from_camera[held_out]
    validation_m = position_errors_m(
        localize(network, map(reference.frame, np.flatnonzero(held_out))), ground_truth
    )
    training_mean = reference.map_from_camera[~held_out].mean(0)
    assert validation_m.mean() < position_errors_m(training_mean, ground_truth).mean()
    epochs = [report for report in reports if report.stage == f'seed_{kind}']
    assert PATIENCE < len(epochs) <= 40 and 'mean position' in epochs[-1].note


def test_training_is_deterministic(reference: Capture, queries: list[Frame]) -> None:
    first, second = (OriginalNetwork(reference, 'cnn', epochs=2) for _ in range(2))
    assert np.array_equal(localize(first, queries[:1]), localize(second, queries[:1]))


def test_the_size_is_that_of_network_and_pca(reference: Capture) -> None:
    network = OriginalNetwork(reference, 'mlp', epochs=1)
    pixels, components = 3 * 64 * 48, 20
    assert network.nbytes > 4 * pixels * (256 + components + 1)
    assert network.nbytes == pytest.approx(4 * pixels * (256 + components + 1), rel=0.05)


def test_a_reference_of_too_few_images_is_rejected(tmp_path: Path) -> None:
    short = record_capture(tmp_path / 'short', walk(5))
    with pytest.raises(CaptureError, match='has 5 images: seed_cnn needs at least 16'):
        OriginalNetwork(short, 'cnn')
