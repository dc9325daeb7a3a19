"""
A rosbag2 as checked messages: topics, stamps, poses, pixels and camera models.

No ROS is needed, and nothing here depends on the map frame. Other folders start at `bag_reader`
for messages and at `bag_index` for the images and cameras of a bag; `capture` adds the map frame.
"""
