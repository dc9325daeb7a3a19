"""
Localization of one image in a map: a pose with covariance, or a rejection.

Here are the map parts that localization reads (landmarks, surface cloud, calibration) and the
stages that use them, from `localizer` to `gate`. Training and map building belong to `mapping`,
tracking over time to `odometry`, ROS to `ros`.
"""
