"""Draw the inliers of a pose: keypoints in the image, and their landmarks in a rendering."""

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import inverse, transform_points
from nerf_reversal_ros.core.outcome import Diagnostics

RADIUS_PX, OUTLINE_PX = 4, 3


def draw_inliers(
    panes: Sequence[NDArray[np.uint8]], diagnostics: Diagnostics, camera: Camera, view: Camera
) -> None:
    """
    Draw keypoints, and landmarks at the refined pose; each pair has one color.

    Parameters
    ----------
    panes : one or two (h, w, 3) arrays
        The image, and its rendering if there is one. They are drawn on.
    diagnostics : Diagnostics
        Of the image. Without inliers nothing is drawn.
    camera, view : Camera
        Intrinsics of the localized image, and of the panes.
    """
    points, keypoints = diagnostics.inlier_points, diagnostics.inlier_pixels
    pose = diagnostics.refined_pose
    if points is None or keypoints is None or pose is None:
        return
    pixels = view.project(camera.unproject(keypoints))
    in_camera = transform_points(inverse(pose), points)
    # The hue goes around the middle of the image, so that neighbors are alike, and far ones not.
    angles = np.arctan2(pixels[:, 1] - view.cy, pixels[:, 0] - view.cx)
    hues = np.stack([np.degrees(angles) / 2 % 180, *np.full((2, len(angles)), 255)], 1)
    colors = cv2.cvtColor(hues.astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0]
    for pane, centers in zip(panes, (pixels, view.project(in_camera)), strict=False):
        for (x, y), color in zip(np.round(centers).astype(int).tolist(), colors, strict=True):
            cv2.circle(pane, (x, y), RADIUS_PX, (0, 0, 0), OUTLINE_PX, cv2.LINE_AA)
            cv2.circle(pane, (x, y), RADIUS_PX, color.tolist(), 1, cv2.LINE_AA)
