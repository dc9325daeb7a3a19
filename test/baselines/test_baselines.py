"""Baselines are what they say, and are asked for by name."""

from pathlib import Path
import sys

import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from small_room import walk, write_bag

from nerf_reversal_ros.baselines.baselines import (
    BaselineInputs,
    BASELINES,
    create_baseline,
    nearest_reference,
    parse_baselines,
    skipped_baselines,
)
from nerf_reversal_ros.baselines.vlad import REFERENCE_STRIDE
from nerf_reversal_ros.capture.capture import Capture, Frame, open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import make_pose, pose_errors

AS_IT_IS = PoseConvention('optical', np.eye(4), 'configured')


def turned(degrees: float, x: float = 0.0) -> np.ndarray:
    return make_pose(Rotation.from_euler('z', degrees, degrees=True), (x, 0, 0))


class Retriever:
    """A regressor that says the same of every picture."""

    map_from_camera = turned(4)

    def regress(self, rgb: np.ndarray, camera: Camera) -> 'Retriever':
        """Answer the same always."""
        return self

    def retrieve(self, regression: 'Retriever', count: int) -> np.ndarray:
        """Know two views, and the better one is not at the guess."""
        return np.stack([turned(5), turned(6)])[:count]


def opened(bag: Path) -> Capture:
    return open_capture(bag, CaptureConfig(), convention=AS_IT_IS, select_frames=False)


@pytest.fixture(scope='module')
def reference(tmp_path_factory: pytest.TempPathFactory) -> Capture:
    return opened(write_bag(tmp_path_factory.mktemp('bags') / 'walk', walk(120)))


@pytest.fixture(scope='module')
def queries(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    bag = tmp_path_factory.mktemp('bags') / 'other'
    return list(opened(write_bag(bag, walk(4, height=1.4, phase=0.1), depth=False)))


def test_mean_pose_is_the_middle_of_the_walk(queries: list[Frame]) -> None:
    material = BaselineInputs(np.stack([turned(10, 1.0), turned(30, 3.0)]), Retriever())
    assert BASELINES['mean_pose'](material)(queries[0]) == pytest.approx(turned(20, 2.0))


def test_nearest_reference_weighs_five_degrees_like_five_centimetres() -> None:
    nearest = nearest_reference(np.stack([turned(20, 0.0), turned(2, 0.1), turned(0, 0.5)]))
    assert nearest(turned(0, 0.0)) == pytest.approx(turned(2, 0.1))


def test_nearest_reference_is_told_the_truth(queries: list[Frame]) -> None:
    walked = np.stack([frame.map_from_camera for frame in queries])
    locate = BASELINES['nearest_reference'](BaselineInputs(walked, Retriever()))
    assert locate(queries[2]) == pytest.approx(queries[2].map_from_camera)


def test_pca_retrieval_is_the_most_alike_synthetic_view(queries: list[Frame]) -> None:
    locate = BASELINES['pca_retrieval'](BaselineInputs(np.eye(4)[None], Retriever()))
    assert locate(queries[0]) == pytest.approx(turned(5))


def test_vlad_retrieval_knows_the_kept_pictures_of_the_walk(reference: Capture) -> None:
    locate = BASELINES['vlad_retrieval'](BaselineInputs(np.eye(4)[None], Retriever(), reference))
    for index in (0, 12 * REFERENCE_STRIDE, 25 * REFERENCE_STRIDE):
        frame = reference.frame(index)
        assert locate(frame) == pytest.approx(frame.map_from_camera)


def test_vlad_retrieval_answers_with_a_kept_pose_that_looks_the_same_way(
    reference: Capture, queries: list[Frame]
) -> None:
    locate = BASELINES['vlad_retrieval'](BaselineInputs(np.eye(4)[None], Retriever(), reference))
    found = np.stack([locate(frame) for frame in queries])
    kept = reference.map_from_camera[::REFERENCE_STRIDE]
    assert all(np.isclose(kept, pose).all(axis=(1, 2)).any() for pose in found)
    errors = pose_errors(found, np.stack([frame.map_from_camera for frame in queries]))
    assert np.degrees(errors.rotation).max() < 45  # the same way, roughly


def test_vlad_retrieval_gives_no_answer_to_a_blank_wall(
    reference: Capture, queries: list[Frame]
) -> None:
    locate = BASELINES['vlad_retrieval'](BaselineInputs(np.eye(4)[None], Retriever(), reference))
    blank = Frame(0, 0, np.full_like(queries[0].rgb, 90), queries[0].camera, None, None, np.eye(4))
    assert locate(blank) is None


def test_sift_pnp_finds_the_camera_to_a_centimetre(
    reference: Capture, queries: list[Frame]
) -> None:
    locate = BASELINES['sift_pnp'](BaselineInputs(np.eye(4)[None], Retriever(), reference))
    found = [locate(frame) for frame in queries]
    assert all(answer is not None for answer in found)
    errors = pose_errors(np.stack(found), np.stack([frame.map_from_camera for frame in queries]))
    assert errors.translation.max() < 0.02
    assert np.degrees(errors.rotation).max() < 0.6


def test_sift_pnp_gives_no_answer_to_a_blank_wall(
    reference: Capture, queries: list[Frame]
) -> None:
    locate = BASELINES['sift_pnp'](BaselineInputs(np.eye(4)[None], Retriever(), reference))
    blank = Frame(0, 0, np.full_like(queries[0].rgb, 90), queries[0].camera, None, None, np.eye(4))
    assert locate(blank) is None


def test_sift_pnp_needs_depth_in_its_reference(tmp_path: Path) -> None:
    flat = opened(write_bag(tmp_path / 'flat', walk(12), depth=False))
    with pytest.raises(CaptureError, match='has SIFT features with depth'):
        BASELINES['sift_pnp'](BaselineInputs(np.eye(4)[None], Retriever(), flat))


def test_all_leaves_out_only_what_lacks_its_reference() -> None:
    pytest.importorskip('pycolmap', reason='hloc_sift needs pycolmap')
    assert parse_baselines('all', has_reference=True) == tuple(BASELINES)
    assert parse_baselines('all', has_reference=False) == (
        'mean_pose',
        'nearest_reference',
        'pca_retrieval',
        'inerf_prior',
        'inerf_random',
    )


def test_a_baseline_whose_package_is_missing_is_left_out_or_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, 'pycolmap', None)  # as if it were not installed
    assert set(BASELINES) - set(parse_baselines('all', has_reference=True)) == {'hloc_sift'}
    (said,) = skipped_baselines(has_reference=True)
    assert said.startswith('hloc_sift left out: needs pycolmap (')
    assert said.endswith('): pip install pycolmap')
    with pytest.raises(ConfigError, match=r'hloc_sift needs pycolmap .*: pip install pycolmap'):
        parse_baselines('hloc_sift', has_reference=True)


def test_without_a_reference_one_sentence_tells_which_are_left_out() -> None:
    pytest.importorskip('pycolmap', reason='hloc_sift needs pycolmap')
    assert skipped_baselines(has_reference=True) == []
    assert skipped_baselines(has_reference=False) == [
        'vlad_retrieval, sift_pnp, seed_cnn, seed_mlp, hloc_sift left out: needs --reference with'
        ' the bag of the build'
    ]


def test_names_are_taken_in_the_order_given_and_once() -> None:
    assert parse_baselines('none', has_reference=True) == ()
    names = parse_baselines('pca_retrieval, mean_pose,pca_retrieval', has_reference=False)
    assert names == ('pca_retrieval', 'mean_pose')


def test_an_unknown_name_is_refused_with_those_known() -> None:
    with pytest.raises(ConfigError, match='did you mean mean_pose') as caught:
        parse_baselines('mean-pose', has_reference=False)
    assert f'known are {", ".join(BASELINES)}, all, none' in str(caught.value)


def test_a_named_baseline_that_lacks_its_reference_says_which_option_to_give() -> None:
    with pytest.raises(ConfigError, match='sift_pnp needs --reference with the bag of the build'):
        parse_baselines('sift_pnp', has_reference=False)


def test_what_a_baseline_took_and_keeps_stands_beside_its_figures(reference: Capture) -> None:
    material = BaselineInputs(reference.map_from_camera, Retriever(), reference)
    of_map = {'mapping_s': 600.0, 'map_mb': 33.0}
    mean = create_baseline('mean_pose', material, of_map).costs
    assert mean['map_mb'] == pytest.approx(16 * 8 / 1e6)
    vlad = create_baseline('vlad_retrieval', material, of_map).costs
    assert 0 < vlad['mapping_s'] < 60
    words = 32 * 128 * 4
    kept = len(range(0, len(reference), REFERENCE_STRIDE))
    assert vlad['map_mb'] == pytest.approx((kept * words + words + kept * 128) / 1e6)
    assert create_baseline('pca_retrieval', material, of_map).costs == of_map
