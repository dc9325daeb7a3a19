"""The graph corrects its window, marginalizes older keyframes, and has consistent covariances."""

import sys

from driving import COVARIANCE, loop_trajectory, rms_distance_m, simulate_odometry, STEP_NS
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.odometry.config import LoopClosureConfig
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

ROTATED_POSE = make_pose(Rotation.from_euler('xyz', [20, -40, 110], degrees=True), (1.0, 2.0, 3.0))


def sample_at(k, x_m, rotation_deg=0.0):
    """Return the odometry of a robot on the x axis of odom."""
    return OdometrySample(k * STEP_NS, make_pose(None, (x_m, 0, 0)), x_m, rotation_deg)


def straight_graph(steps):
    """Return a graph of a number of keyframes, half a meter apart."""
    graph = PoseGraph(LoopClosureConfig(keyframe_m=0.5))
    for k in range(steps + 1):
        graph.extend(sample_at(k, 0.5 * k))
    return graph


def measurement_at(x_m, y_m=0.0, std_m=0.01):
    return PoseMeasurement(
        0, make_pose(None, (x_m, y_m, 0)), np.diag([std_m**2] * 3 + [0.01**2] * 3)
    )


def test_the_covariance_of_gtsam_is_that_of_fixed_map_axes_rotated_and_reordered():
    """Errors sampled in fixed axes have the converted covariance in GTSAM's tangent space."""
    rng = np.random.default_rng(0)
    half = rng.normal(0, 0.001, (6, 6))
    covariance = half @ half.T
    errors = rng.multivariate_normal(np.zeros(6), covariance, 4000)
    reference, tangents = gtsam.Pose3(ROTATED_POSE), []
    for shift, rotvec in zip(errors[:, :3], errors[:, 3:], strict=True):
        perturbed = ROTATED_POSE.copy()
        perturbed[:3, 3] += shift
        perturbed[:3, :3] = Rotation.from_rotvec(rotvec).as_matrix() @ ROTATED_POSE[:3, :3]
        tangents.append(reference.localCoordinates(gtsam.Pose3(perturbed)))
    expected = tangent_covariance(covariance, ROTATED_POSE)
    assert np.cov(np.array(tangents).T) == pytest.approx(expected, abs=0.1 * expected.max())
    assert fixed_axes_covariance(expected, ROTATED_POSE) == pytest.approx(covariance)


def test_the_covariance_of_a_single_measurement_is_returned_axis_by_axis():
    variances = np.square([0.1, 0.2, 0.3, 0.01, 0.02, 0.03])
    graph = PoseGraph(LoopClosureConfig())
    graph.extend(sample_at(0, 0.0))
    graph.add_measurement(0, PoseMeasurement(0, ROTATED_POSE, np.diag(variances)))
    assert np.diag(graph.covariance(0)) == pytest.approx(variances, rel=1e-3)


def test_a_keyframe_is_added_after_each_motion_and_each_rotation():
    graph = PoseGraph(LoopClosureConfig(keyframe_m=0.2, keyframe_deg=10.0))
    motions = [(0.0, 0.0), (0.15, 0.0), (0.25, 0.0), (0.25, 9.0), (0.25, 11.0), (0.25, 12.0)]
    assert [graph.extend(sample_at(k, x, deg)) for k, (x, deg) in enumerate(motions)] == [
        True,
        False,
        True,
        False,
        True,
        False,
    ]


def test_the_first_measurement_determines_all_poses():
    graph = straight_graph(4)
    assert graph.path == []
    assert graph.predict(sample_at(9, 2.1)) is None
    graph.add_measurement(2, measurement_at(11.0, 5.0))
    assert [tuple(np.round(p[:2, 3], 6)) for _, p in graph.path] == [
        (10.0, 5.0),
        (10.5, 5.0),
        (11.0, 5.0),
        (11.5, 5.0),
        (12.0, 5.0),
    ]
    assert graph.predict(sample_at(9, 2.1))[:3, 3] == pytest.approx((12.1, 5.0, 0.0))


def test_drift_between_two_measurements_is_distributed_evenly():
    graph = straight_graph(10)
    graph.add_measurement(0, measurement_at(0.0))
    graph.add_measurement(10, measurement_at(5.1))
    x_m = [p[0, 3] for _, p in graph.path]
    assert np.diff(x_m) == pytest.approx([0.51] * 10, abs=0.002)


def test_step_stds_add_up_to_the_drift_between_two_measurements():
    config = LoopClosureConfig(odometry_drift=0.06, odometry_drift_m=0.03)
    keyframes = [Keyframe(k, sample_at(k, 0.1 * k)) for k in range(101)]
    stds = odometry_step_stds(keyframes, True, config)
    total_rad, total_m = np.sqrt(np.sum(stds**2, axis=0))
    assert total_m == pytest.approx((0.03 + 0.06 * 10.0) / 3)  # bounds are three sigma
    assert total_rad == pytest.approx(np.radians(2.0) / 3)
    assert np.ptp(stds[:, 1]) == 0.0


def test_few_steps_are_less_certain_than_their_fraction_of_many():
    """Consecutive errors of odometry are correlated: one step counts as a fifth of five."""
    config = LoopClosureConfig(odometry_drift=0.06, odometry_drift_m=0.03)
    one, five, ten = (
        drift_stds(sample_at(0, 0.0), sample_at(1, 0.1 * n), n, config)[1] for n in (1, 5, 10)
    )
    assert five == pytest.approx((0.03 + 0.06 * 0.5) / 3)
    assert one == pytest.approx(five / np.sqrt(5))
    assert ten == pytest.approx((0.03 + 0.06 * 1.0) / 3)


def test_the_extrapolated_covariance_is_close_to_that_of_the_graph():
    graph = straight_graph(5)
    graph.add_measurement(5, measurement_at(2.5))
    graph.covariance(5)  # optimized up to here; later ones are extrapolated
    for k in range(6, 21):
        graph.extend(sample_at(k, 0.5 * k))
    extrapolated = graph.covariance(20)
    graph.add_measurement(5, measurement_at(2.5))
    assert np.diag(extrapolated) == pytest.approx(np.diag(graph.covariance(20)), rel=0.25)


def test_uncertainty_grows_with_distance_from_the_measurement():
    graph = straight_graph(10)
    graph.add_measurement(0, measurement_at(0.0))
    stds = [np.sqrt(graph.covariance(k)[0, 0]) for k in range(11)]
    assert stds[0] == pytest.approx(0.01, rel=0.01)
    assert np.all(np.diff(stds) > 0.0)


def test_a_single_incorrect_measurement_does_not_bend_the_path():
    graph = straight_graph(20)
    for k in range(21):
        graph.add_measurement(k, measurement_at(0.5 * k, y_m=0.3 if k == 10 else 0.0))
    assert abs(graph.path[10][1][1, 3]) < 0.03
    assert abs(graph.path[5][1][1, 3]) < 0.01


def test_marginalized_keyframes_keep_their_information_and_stay_in_the_path():
    """Windows of 20 and of 200 keyframes give equal final poses and standard deviations."""
    map_from_base_gt = loop_trajectory(120, 0.5)
    odometry = simulate_odometry(map_from_base_gt)
    ends = []
    for window in (20, 200):
        graph = PoseGraph(LoopClosureConfig(keyframe_m=0.5, window=window))
        for k, odom_from_base in enumerate(odometry):
            graph.extend(OdometrySample(k * STEP_NS, odom_from_base, 0.55 * k, 0.0))
            if k % 10 == 0:
                graph.add_measurement(
                    len(graph.keyframes) - 1, PoseMeasurement(0, map_from_base_gt[k], COVARIANCE)
                )
        assert len(graph.keyframes) <= window
        assert [stamp for stamp, _ in graph.path] == [k * STEP_NS for k in range(len(odometry))]
        assert rms_distance_m(np.stack([p for _, p in graph.path]), map_from_base_gt) < 0.1
        ends.append((graph.path[-1][1], graph.covariance(len(graph.keyframes) - 1)))
    assert ends[0][0] == pytest.approx(ends[1][0], abs=1e-3)
    assert np.diag(ends[0][1]) == pytest.approx(np.diag(ends[1][1]), rel=0.05)


def test_a_long_path_is_thinned_out_and_bounded():
    graph = PoseGraph(LoopClosureConfig(keyframe_m=0.5, window=20, path_poses=100))
    for k in range(1500):
        graph.extend(sample_at(k, 0.5 * k))
        if k % 100 == 0:
            graph.add_measurement(len(graph.keyframes) - 1, measurement_at(0.5 * k))
    stamps = [stamp for stamp, _ in graph.path]
    assert stamps[0] == 0
    assert stamps[-1] == 1499 * STEP_NS
    assert stamps == sorted(set(stamps))
    assert len(stamps) <= 120


def test_without_gtsam_the_error_names_the_installation_command(monkeypatch):
    monkeypatch.setitem(sys.modules, 'gtsam', None)
    with pytest.raises(ConfigError, match=r'needs gtsam.*: pip install --no-deps .gtsam'):
        PoseGraph(LoopClosureConfig())
