"""
One recording as frames in the map frame: pose convention, gravity, selection, depth correction.

Functions of single images (keypoints, resampling) are here, too; nothing depends on a radiance
field. Other folders open a bag with `open_capture` and use the `Capture` that it returns.
"""
