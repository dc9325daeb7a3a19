"""
Tracking over time: localized poses of the robot combined with its odometry, without ROS.

`odometry_check` confirms or rejects single poses, `map_from_odom` smooths the transform for TF,
and `loop_closure` corrects the trajectory by a pose graph. Localization of one image belongs to
`localization`, topics and TF to `ros`.
"""
