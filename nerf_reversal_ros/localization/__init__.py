"""
Localization of images in a map: a pose with covariance, or a rejection.

Here are the map parts that localization reads (landmarks, surface cloud, calibration), the stages
that use them, from `localizer` to `gate`, and files of poses and of parts of a map. Training and
map building belong to `mapping`, odometry to `odometry`, ROS to `ros`.
"""
