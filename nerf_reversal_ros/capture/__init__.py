"""
One recording as frames in the map frame: pose convention, gravity, selection, depth correction.

What images alone give (keypoints, resampling) lives here too. No radiance field is known here.
Other folders start at `capture`.
"""
