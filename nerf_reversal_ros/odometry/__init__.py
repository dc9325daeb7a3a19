"""
Poses of the localizer against the odometry of the robot.

Odometry check, pose graph, loop closure and the transform map -> odom, all without ROS.
"""
