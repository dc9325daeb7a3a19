"""Settings of the odometry check and of the loop closer."""

from dataclasses import dataclass

from nerf_reversal_ros.core.validated_config import live_setting, setting, ValidatedConfig


@dataclass(frozen=True)
class OdometryDriftConfig(ValidatedConfig):
    """Error model of the odometry, and consensus of poses."""

    odometry_drift: float = live_setting(
        0.05, 'largest drift, as a fraction of path length and of rotation', low=0.0, high=1.0
    )
    odometry_drift_m: float = live_setting(
        0.05, 'drift allowed in addition, independent of the path [m]', low=0.001
    )
    odometry_drift_deg: float = live_setting(
        2.0, 'drift allowed in addition, independent of the rotation [deg]', low=0.01
    )
    odometry_witnesses: int = live_setting(
        3,
        'number of consistent poses that confirm a low-probability pose or override conflicting'
        ' earlier poses',
        low=2,
        high=100,
    )
    odometry_tolerance_s: float = live_setting(
        0.1, 'largest difference of stamps, image and odometry sample [s]', low=0.0, high=10.0
    )


@dataclass(frozen=True)
class OdometryConfig(OdometryDriftConfig):
    """Odometry check of the localizer."""

    min_confirmed_probability: float = live_setting(
        0.9,
        'accept a pose of at least this probability if earlier poses and odometry confirm it',
        low=0.0,
        high=1.0,
    )


@dataclass(frozen=True)
class LoopClosureConfig(OdometryDriftConfig):
    """Pose graph that fuses odometry with poses of the localizer."""

    keyframe_m: float = setting(0.2, 'path length between keyframes [m]', low=0.01, high=10.0)
    keyframe_deg: float = setting(10.0, 'rotation between keyframes [deg]', low=0.5, high=180.0)
    window: int = setting(
        100, 'optimized keyframes; older ones are marginalized', low=20, high=5000
    )
    path_poses: int = setting(
        2000, 'poses of the path, about; older ones are thinned out by half', low=100
    )
    gate: float = live_setting(
        0.999, 'confidence of the chi-square test for outliers', low=0.5, high=0.999999
    )
    min_std_m: float = setting(
        0.01, 'least standard deviation of a position, each axis [m]', low=0.001, high=1.0
    )
    min_std_deg: float = setting(
        0.2, 'least standard deviation of a rotation, each axis [deg]', low=0.01, high=45.0
    )
