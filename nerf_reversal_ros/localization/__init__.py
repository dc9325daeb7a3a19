"""
One image to a pose with covariance, or to a rejection reason.

`localizer` is the way of one image; landmarks, refinement, gate and calibration are its steps.
Nothing here renders, trains or knows ROS.
"""
