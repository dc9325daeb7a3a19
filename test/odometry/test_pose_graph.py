"""The graph corrects all of its window, sums up what left it, and knows how sure it is."""

import sys

from driving import COVARIANCE, drifted, rms_m, STEP_NS, walked
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.config import LoopClosureConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.odometry.odometry_buffer import OdometrySample

gtsam = pytest.importorskip('gtsam', reason='pip install -r requirements/loop_closer.txt')

from nerf_reversal_ros.odometry.pose_chain import (  # noqa: E402
    drift_stds,
    fixed_axes_covariance,
    Keyframe,
    odometry_step_stds,
    PoseMeasurement,
    tangent_covariance,
)
from nerf_reversal_ros.odometry.pose_graph import PoseGraph  # noqa: E402

TURNED = make_pose(Rotation.from_euler('xyz', [20, -40, 110], degrees=True), (1.0, 2.0, 3.0))


def reading(k, x_m, turned_deg=0.0):
    """A robot that drives along x of odom, a picture each tenth of a second."""
    return OdometrySample(k * STEP_NS, make_pose(None, (x_m, 0, 0)), x_m, turned_deg)


def driven(steps):
    """A graph of so many keyframes, half a metre from each other."""
    graph = PoseGraph(LoopClosureConfig(keyframe_m=0.5))
    for k in range(steps + 1):
        graph.extend(reading(k, 0.5 * k))
    return graph


def at(x_m, y_m=0.0, std_m=0.01):
    return PoseMeasurement(
        0, make_pose(None, (x_m, y_m, 0)), np.diag([std_m**2] * 3 + [0.01**2] * 3)
    )


def test_the_covariance_of_gtsam_is_that_of_fixed_map_axes_turned_and_reordered():
    """Errors are drawn in fixed axes, and looked at in gtsam's tangent space."""
    rng = np.random.default_rng(0)
    half = rng.normal(0, 0.001, (6, 6))
    covariance = half @ half.T
    errors = rng.multivariate_normal(np.zeros(6), covariance, 4000)
    known, tangents = gtsam.Pose3(TURNED), []
    for shift, turn in zip(errors[:, :3], errors[:, 3:], strict=True):
        off = TURNED.copy()
        off[:3, 3] += shift
        off[:3, :3] = Rotation.from_rotvec(turn).as_matrix() @ TURNED[:3, :3]
        tangents.append(known.localCoordinates(gtsam.Pose3(off)))
    expected = tangent_covariance(covariance, TURNED)
    assert np.cov(np.array(tangents).T) == pytest.approx(expected, abs=0.1 * expected.max())
    assert fixed_axes_covariance(expected, TURNED) == pytest.approx(covariance)


def test_each_axis_of_the_covariance_comes_back_as_it_was_given():
    variances = np.square([0.1, 0.2, 0.3, 0.01, 0.02, 0.03])
    graph = PoseGraph(LoopClosureConfig())
    graph.extend(reading(0, 0.0))
    graph.add_measurement(0, PoseMeasurement(0, TURNED, np.diag(variances)))
    assert np.diag(graph.covariance(0)) == pytest.approx(variances, rel=1e-3)


def test_a_keyframe_comes_after_each_piece_of_the_path_and_each_turn():
    graph = PoseGraph(LoopClosureConfig(keyframe_m=0.2, keyframe_deg=10.0))
    drive = [(0.0, 0.0), (0.15, 0.0), (0.25, 0.0), (0.25, 9.0), (0.25, 11.0), (0.25, 12.0)]
    assert [graph.extend(reading(k, x, turned)) for k, (x, turned) in enumerate(drive)] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]


def test_before_an_anchor_no_pose_is_known_and_with_it_all_are():
    graph = driven(4)
    assert graph.path == []
    assert graph.predict(reading(9, 2.1)) is None
    graph.add_measurement(2, at(11.0, 5.0))
    assert [tuple(np.round(p[:2, 3], 6)) for _, p in graph.path] == [
        (10.0, 5.0),
        (10.5, 5.0),
        (11.0, 5.0),
        (11.5, 5.0),
        (12.0, 5.0),
    ]
    assert graph.predict(reading(9, 2.1))[:3, 3] == pytest.approx((12.1, 5.0, 0.0))


def test_the_drift_between_two_anchors_is_spread_evenly_over_the_steps():
    graph = driven(10)
    graph.add_measurement(0, at(0.0))
    graph.add_measurement(10, at(5.1))
    places = [p[0, 3] for _, p in graph.path]
    assert np.diff(places) == pytest.approx([0.51] * 10, abs=0.002)


def test_the_odometry_may_be_off_by_its_whole_drift_from_anchor_to_anchor():
    config = LoopClosureConfig(odometry_drift=0.06, odometry_drift_m=0.03)
    keyframes = [Keyframe(k, reading(k, 0.1 * k)) for k in range(101)]
    stds = odometry_step_stds(keyframes, True, config)
    total_rad, total_m = np.sqrt(np.sum(stds**2, axis=0))
    assert total_m == pytest.approx((0.03 + 0.06 * 10.0) / 3)  # bounds are three sigma
    assert total_rad == pytest.approx(np.radians(2.0) / 3)
    assert np.ptp(stds[:, 1]) == 0.0


def test_a_few_steps_are_less_certain_than_their_part_of_many():
    """Errors of odometry are not independent from step to step: one step in five is like five."""
    config = LoopClosureConfig(odometry_drift=0.06, odometry_drift_m=0.03)
    one, five, ten = (
        drift_stds(reading(0, 0.0), reading(1, 0.1 * n), n, config)[1] for n in (1, 5, 10)
    )
    assert five == pytest.approx((0.03 + 0.06 * 0.5) / 3)
    assert one == pytest.approx(five / np.sqrt(5))
    assert ten == pytest.approx((0.03 + 0.06 * 1.0) / 3)


def test_the_uncertainty_after_the_last_anchor_is_about_what_the_graph_would_say():
    graph = driven(5)
    graph.add_measurement(5, at(2.5))
    graph.covariance(5)  # known up to here; the rest is grown from it
    for k in range(6, 21):
        graph.extend(reading(k, 0.5 * k))
    grown = graph.covariance(20)
    graph.add_measurement(5, at(2.5))
    assert np.diag(grown) == pytest.approx(np.diag(graph.covariance(20)), rel=0.25)


def test_an_uncertainty_grows_from_the_anchor_on():
    graph = driven(10)
    graph.add_measurement(0, at(0.0))
    stds = [np.sqrt(graph.covariance(k)[0, 0]) for k in range(11)]
    assert stds[0] == pytest.approx(0.01, rel=0.01)
    assert np.all(np.diff(stds) > 0.0)


def test_one_anchor_that_is_off_does_not_bend_a_path_of_many():
    graph = driven(20)
    for k in range(21):
        graph.add_measurement(k, at(0.5 * k, y_m=0.3 if k == 10 else 0.0))
    assert abs(graph.path[10][1][1, 3]) < 0.03
    assert abs(graph.path[5][1][1, 3]) < 0.01


def test_what_left_the_window_still_counts_and_stays_in_the_path():
    """The same anchors with a window of 20 and of 200: the newest poses and their stds agree."""
    truth = walked(120, 0.5)
    odometry = drifted(truth)
    ends = []
    for window in (20, 200):
        graph = PoseGraph(LoopClosureConfig(keyframe_m=0.5, window=window))
        for k, odom_from_base in enumerate(odometry):
            graph.extend(OdometrySample(k * STEP_NS, odom_from_base, 0.55 * k, 0.0))
            if k % 10 == 0:
                graph.add_measurement(
                    len(graph.keyframes) - 1, PoseMeasurement(0, truth[k], COVARIANCE)
                )
        assert len(graph.keyframes) <= window
        assert [stamp for stamp, _ in graph.path] == [k * STEP_NS for k in range(len(truth))]
        assert rms_m(np.stack([p for _, p in graph.path]), truth) < 0.1
        ends.append((graph.path[-1][1], graph.covariance(len(graph.keyframes) - 1)))
    assert ends[0][0] == pytest.approx(ends[1][0], abs=1e-3)
    assert np.diag(ends[0][1]) == pytest.approx(np.diag(ends[1][1]), rel=0.05)


def test_the_path_of_hours_is_thinned_out_and_what_is_kept_does_not_grow():
    graph = PoseGraph(LoopClosureConfig(keyframe_m=0.5, window=20, path_poses=100))
    for k in range(1500):
        graph.extend(reading(k, 0.5 * k))
        if k % 100 == 0:
            graph.add_measurement(len(graph.keyframes) - 1, at(0.5 * k))
    stamps = [stamp for stamp, _ in graph.path]
    assert stamps[0] == 0
    assert stamps[-1] == 1499 * STEP_NS
    assert stamps == sorted(set(stamps))
    assert len(stamps) <= 120


def test_without_gtsam_one_sentence_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gtsam', None)
    with pytest.raises(ConfigError, match=r'needs gtsam.*: pip install --no-deps -r '):
        PoseGraph(LoopClosureConfig())
