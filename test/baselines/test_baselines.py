"""Poses, costs and choice of the baselines."""

from pathlib import Path
import signal
import subprocess
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_room import walk, write_bag

from nerf_reversal_ros.baselines.baselines import (
    Baseline,
    BaselineInputs,
    BASELINES,
    check_reference,
    create_baseline,
    nearest_reference,
    parse_baselines,
    skipped_baselines,
)
from nerf_reversal_ros.baselines.vlad import REFERENCE_STRIDE
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import make_pose, pose_errors

IDENTITY_CONVENTION = PoseConvention('optical', np.eye(4), 'configured')


def planar_pose(yaw_deg: float, x: float = 0.0) -> np.ndarray:
    return make_pose(Rotation.from_euler('z', yaw_deg, degrees=True), (x, 0, 0))


class ConstantRegressor:
    """A regressor with the same result for every image."""

    map_from_camera = planar_pose(4)

    def regress(self, rgb: np.ndarray, camera: Camera) -> 'ConstantRegressor':
        """Return the constant result."""
        return self

    def retrieve(self, regression: 'ConstantRegressor', count: int) -> np.ndarray:
        """Return two views, neither at the regressed pose."""
        return np.stack([planar_pose(5), planar_pose(6)])[:count]


def open_bag(bag: Path) -> Capture:
    return open_capture(bag, CaptureConfig(), convention=IDENTITY_CONVENTION, select_frames=False)


def make_baseline(name: str, reference: Capture | None = None) -> Baseline:
    """Make a baseline on a constant regressor and, where given, a reference."""
    return BASELINES[name](BaselineInputs(np.eye(4)[None], ConstantRegressor(), reference))


def blank_wall(like: Frame) -> Frame:
    """Return a frame of a uniform gray image."""
    return Frame(0, 0, np.full_like(like.rgb, 90), like.camera, None, None, np.eye(4))


@pytest.fixture(scope='module')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return open_bag(write_bag(tmp_path_factory.mktemp('bags') / 'walk', walk(120)))


@pytest.fixture(scope='module')
def queries(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    bag = tmp_path_factory.mktemp('bags') / 'other'
    return list(open_bag(write_bag(bag, walk(4, height=1.4, phase=0.1), depth=False)))


def test_mean_pose_is_the_mean_of_the_mapping_poses(queries: list[Frame]) -> None:
    mapping_poses = np.stack([planar_pose(10, 1.0), planar_pose(30, 3.0)])
    baseline = BASELINES['mean_pose'](BaselineInputs(mapping_poses, ConstantRegressor()))
    assert baseline(queries[0]) == pytest.approx(planar_pose(20, 2.0))


def test_nearest_reference_weighs_five_degrees_like_five_centimeters() -> None:
    nearest = nearest_reference(
        np.stack([planar_pose(20, 0.0), planar_pose(2, 0.1), planar_pose(0, 0.5)])
    )
    assert nearest(planar_pose(0, 0.0)) == pytest.approx(planar_pose(2, 0.1))


def test_nearest_reference_uses_the_ground_truth(queries: list[Frame]) -> None:
    mapping_poses = np.stack([frame.map_from_camera for frame in queries])
    inputs = BaselineInputs(mapping_poses, ConstantRegressor())
    baseline = BASELINES['nearest_reference'](inputs)
    assert baseline(queries[2]) == pytest.approx(queries[2].map_from_camera)


def test_pca_retrieval_returns_the_most_similar_view(queries: list[Frame]) -> None:
    assert make_baseline('pca_retrieval')(queries[0]) == pytest.approx(planar_pose(5))


def test_vlad_retrieval_recognizes_its_reference_images(reference: Capture) -> None:
    baseline = make_baseline('vlad_retrieval', reference)
    for index in (0, 12 * REFERENCE_STRIDE, 25 * REFERENCE_STRIDE):
        frame = reference.frame(index)
        assert baseline(frame) == pytest.approx(frame.map_from_camera)


def test_vlad_retrieval_returns_a_reference_pose_of_similar_orientation(
    reference: Capture, queries: list[Frame]
) -> None:
    baseline = make_baseline('vlad_retrieval', reference)
    estimated = np.stack([baseline(frame) for frame in queries])
    references = reference.map_from_camera[::REFERENCE_STRIDE]
    assert all(np.isclose(references, pose).all(axis=(1, 2)).any() for pose in estimated)
    errors = pose_errors(estimated, np.stack([frame.map_from_camera for frame in queries]))
    assert np.degrees(errors.rotation).max() < 45


def test_vlad_retrieval_returns_none_for_a_blank_wall(
    reference: Capture, queries: list[Frame]
) -> None:
    assert make_baseline('vlad_retrieval', reference)(blank_wall(queries[0])) is None


def test_sift_pnp_localizes_within_two_centimeters(
    reference: Capture, queries: list[Frame]
) -> None:
    baseline = make_baseline('sift_pnp', reference)
    estimated = [baseline(frame) for frame in queries]
    assert all(pose is not None for pose in estimated)
    errors = pose_errors(
        np.stack(estimated), np.stack([frame.map_from_camera for frame in queries])
    )
    assert errors.translation.max() < 0.02
    assert np.degrees(errors.rotation).max() < 0.6


def test_sift_pnp_returns_none_for_a_blank_wall(reference: Capture, queries: list[Frame]) -> None:
    assert make_baseline('sift_pnp', reference)(blank_wall(queries[0])) is None


def test_sift_pnp_needs_depth_in_its_reference(tmp_path: Path) -> None:
    without_depth = open_bag(write_bag(tmp_path / 'flat', walk(12), depth=False))
    with pytest.raises(CaptureError, match='has SIFT features with depth'):
        make_baseline('sift_pnp', without_depth)


def test_all_skips_only_baselines_without_their_reference() -> None:
    pytest.importorskip('pycolmap', reason='hloc_sift needs pycolmap')
    assert parse_baselines('all', has_reference=True) == tuple(BASELINES)
    assert parse_baselines('all', has_reference=False) == (
        'mean_pose',
        'nearest_reference',
        'pca_retrieval',
        'inerf_prior',
        'inerf_random',
    )


def test_a_baseline_without_its_package_is_skipped_or_names_the_package(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'pycolmap', None)  # as if it were not installed
    assert set(BASELINES) - set(parse_baselines('all', has_reference=True)) == {'hloc_sift'}
    (sentence,) = skipped_baselines(has_reference=True)
    assert sentence.startswith('hloc_sift skipped: needs pycolmap, which is not installed')
    assert sentence.endswith(": pip install 'pycolmap>=4.0'")
    with pytest.raises(ConfigError, match=r'hloc_sift needs pycolmap, .*: pip install .pycolmap'):
        parse_baselines('hloc_sift', has_reference=True)


def test_a_package_that_cannot_be_imported_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / 'pycolmap.py').write_text('raise ImportError("libGL.so.1 is missing")')
    for name in ('pycolmap', 'nerf_reversal_ros.baselines.hloc_sift'):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    reference = open_bag(write_bag(tmp_path / 'flat', walk(12), depth=False))
    with pytest.raises(ConfigError, match=r'cannot be imported \(libGL.so.1 ') as caught:
        make_baseline('hloc_sift', reference)
    assert str(caught.value).endswith(remedies.WITHOUT_HLOC)
    assert make_baseline('vlad_retrieval', reference)


@pytest.mark.parametrize('module', ['cli.main', 'baselines.hloc_sift'])
def test_sigterm_ends_a_program_without_a_stack_trace(module: str) -> None:
    pytest.importorskip('pycolmap', reason='hloc_sift needs pycolmap')
    program = f"""
import os, signal
import nerf_reversal_ros.{module}
from nerf_reversal_ros.baselines.baselines import parse_baselines
parse_baselines('all', has_reference=True)
os.kill(os.getpid(), signal.SIGTERM)
"""
    command = [sys.executable, '-c', program]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (-signal.SIGTERM, '')


def test_without_a_reference_one_sentence_names_the_skipped_baselines() -> None:
    pytest.importorskip('pycolmap', reason='hloc_sift needs pycolmap')
    assert skipped_baselines(has_reference=True) == []
    assert skipped_baselines(has_reference=False) == [
        'vlad_retrieval, sift_pnp, seed_cnn, seed_mlp, hloc_sift skipped: needs the mapping'
        ' images: give --reference with the bag of the build'
    ]


def test_names_keep_their_order_without_duplicates() -> None:
    assert parse_baselines('none', has_reference=True) == ()
    names = parse_baselines('pca_retrieval, mean_pose,pca_retrieval', has_reference=False)
    assert names == ('pca_retrieval', 'mean_pose')


def test_an_unknown_name_is_rejected_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match='did you mean mean_pose') as caught:
        parse_baselines('mean-pose', has_reference=False)
    assert f'choose from {", ".join(BASELINES)}, all, none' in str(caught.value)


def test_a_named_baseline_without_its_reference_names_the_option() -> None:
    with pytest.raises(ConfigError, match=r'sift_pnp needs .* give --reference with the bag of'):
        parse_baselines('sift_pnp', has_reference=False)


def test_the_costs_are_those_of_the_baseline_or_of_the_map(reference: Capture) -> None:
    inputs = BaselineInputs(reference.map_from_camera, ConstantRegressor(), reference)
    map_costs = {'mapping_s': 600.0, 'map_mb': 33.0}
    mean = create_baseline('mean_pose', inputs, map_costs).costs
    assert mean['map_mb'] == pytest.approx(16 * 8 / 1e6)
    vlad = create_baseline('vlad_retrieval', inputs, map_costs).costs
    assert 0 < vlad['mapping_s'] < 60
    vector_bytes, pose_bytes = 32 * 128 * 4, 16 * 8
    images = len(range(0, len(reference), REFERENCE_STRIDE))
    expected_bytes = images * (vector_bytes + pose_bytes) + vector_bytes
    assert vlad['map_mb'] == pytest.approx(expected_bytes / 1e6)
    assert create_baseline('pca_retrieval', inputs, map_costs).costs == map_costs


def test_the_mapping_bag_is_known_again_after_its_poses_were_adjusted(tmp_path):
    reference = open_capture(write_bag(tmp_path / 'bag', walk(8)), CaptureConfig())
    adjusted = reference.map_from_camera.copy()
    adjusted[:, 0, 3] += 0.04
    check_reference(reference, adjusted, max_change_m=0.05)
    with pytest.raises(CaptureError, match='is not the bag that the map was built from'):
        check_reference(reference, adjusted)
