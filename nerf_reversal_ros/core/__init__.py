"""
Shared foundations: errors, settings, geometry, cameras, outcomes, files, metrics.

Nothing here imports another folder, reads a bag or depends on ROS. Bags start at `bags`, poses
and frames of a recording at `capture`.
"""
