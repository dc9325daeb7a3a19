"""The seed project's recipe learns where a picture was taken, and nothing else."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from small_room import walk, write_bag

from nerf_reversal_ros.baselines import original_networks
from nerf_reversal_ros.baselines.original_networks import OriginalNetwork, PATIENCE
from nerf_reversal_ros.capture.capture import Capture, Frame, open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import mean_pose
from nerf_reversal_ros.core.progress import Progress

AS_IT_IS = PoseConvention('optical', np.eye(4), 'configured')


def recorded(path: Path, poses: np.ndarray) -> Capture:
    bag = write_bag(path, poses, depth=False)
    return open_capture(bag, CaptureConfig(), convention=AS_IT_IS, select_frames=False)


@pytest.fixture(scope='module', autouse=True)
def small_pictures() -> Iterator[None]:
    """
    Learn from pictures of 64x48, few at once: an epoch of a short walk has few steps.

    A PCA of as many components as pictures would know these by heart, and no other.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(original_networks, 'BATCH', 16)
        patch.setattr(original_networks, 'COMPONENTS', 20)
        patch.setattr(original_networks, 'LONGER_SIDE_PX', 64)
        yield


@pytest.fixture(scope='module')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    """Go round twice, so that the stretch to validate on is known from the other round."""
    rounds = [walk(60, height=1.3), walk(60, height=1.45, phase=0.04)]
    return recorded(tmp_path_factory.mktemp('bags') / 'walk', np.concatenate(rounds))


@pytest.fixture(scope='module')
def others(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    poses = walk(11, height=1.38)[1:-1]
    return list(recorded(tmp_path_factory.mktemp('bags') / 'other', poses))


@pytest.mark.parametrize('kind', ['cnn', 'mlp'])
def test_positions_are_learned_and_the_rotation_is_the_mean(
    kind: original_networks.NetworkKind, reference: Capture, others: list[Frame]
) -> None:
    heard: list[Progress] = []
    network = OriginalNetwork(reference, kind, epochs=40, progress=heard.append)
    middle = mean_pose(reference.map_from_camera)
    true = np.stack([frame.map_from_camera[:3, 3] for frame in others])
    found = np.stack([network.localize(frame.rgb, frame.camera) for frame in others])
    off_m = np.linalg.norm(found[:, :3, 3] - true, axis=1)
    assert np.median(off_m) < 0.6 * np.median(np.linalg.norm(middle[:3, 3] - true, axis=1))
    assert found[:, :3, :3] == pytest.approx(np.broadcast_to(middle[:3, :3], (len(found), 3, 3)))
    assert network.validation_error_m < network.mean_position_error_m
    epochs = [report for report in heard if report.stage == f'seed_{kind}']
    assert PATIENCE < len(epochs) <= 40 and 'mean position' in epochs[-1].note


def test_the_same_walk_gives_the_same_network(reference: Capture, others: list[Frame]) -> None:
    one, two = (OriginalNetwork(reference, 'cnn', epochs=2) for _ in range(2))
    frame = others[0]
    assert np.array_equal(
        one.localize(frame.rgb, frame.camera), two.localize(frame.rgb, frame.camera)
    )


def test_what_is_kept_is_network_and_pca(reference: Capture) -> None:
    network = OriginalNetwork(reference, 'mlp', epochs=1)
    pixels, components = 3 * 64 * 48, 20
    assert network.nbytes > 4 * pixels * (256 + components + 1)
    assert network.nbytes == pytest.approx(4 * pixels * (256 + components + 1), rel=0.05)


def test_some_pictures_are_no_walk(tmp_path: Path) -> None:
    few = recorded(tmp_path / 'few', walk(5))
    with pytest.raises(CaptureError, match='has 5 pictures: seed_cnn needs 16 at least'):
        OriginalNetwork(few, 'cnn')
