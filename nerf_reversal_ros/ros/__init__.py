"""
ROS 2 nodes: convert messages, call the core, publish the results.

Only modules of this folder import rclpy and message packages. Algorithms and file formats belong
to the other folders; command-line programs are in `cli`.
"""
