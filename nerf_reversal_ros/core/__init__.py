"""
What every folder may use: errors, settings, geometry, cameras, outcomes, files, metrics.

Nothing here imports another folder, reads a bag or knows ROS.
"""
