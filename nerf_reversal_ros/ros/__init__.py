"""The nodes, and everything else that imports ROS."""
