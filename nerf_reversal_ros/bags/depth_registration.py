"""Register depth of another camera, such as the depth imager of a sensor, to the color camera."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, transform_points

SAME_M, SAME_RAD, SAME_FOCAL = 0.001, 1e-3, 0.005
"""Cameras closer than this, and with focal lengths within this fraction, see the same."""


@dataclass(frozen=True)
class DepthRegistration:
    """How depth is seen from the color camera."""

    depth_model: CameraModel
    """Camera of the depth, at the size of its images."""
    color_camera: Camera
    """Undistorted color camera, at the size that depth is registered to."""
    color_from_depth: FloatArray
    """(4, 4) optical frame of the depth camera in that of the color camera."""

    @property
    def is_identity(self) -> bool:
        """Whether the depth is aligned to color already."""
        depth, color = self.depth_model.camera, self.color_camera
        motion = self.color_from_depth - np.eye(4)
        return bool(
            np.linalg.norm(motion[:3, 3]) < SAME_M
            and np.abs(motion[:3, :3]).max() < SAME_RAD
            and abs(depth.fx / depth.width / (color.fx / color.width) - 1) < SAME_FOCAL
            and abs(depth.cx / depth.width - color.cx / color.width) < SAME_FOCAL
            and abs(depth.cy / depth.height - color.cy / color.height) < SAME_FOCAL
        )

    def register(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """
        Render depth (h, w) [m] from the color camera; 0 where nothing is seen.

        Each pixel covers the 2 x 2 pixels around its projection, against cracks; the nearest
        surface wins.
        """
        source, target = self.depth_model.camera, self.color_camera
        undistorted = self.depth_model.undistort_depth(depth)
        points = transform_points(self.color_from_depth, source.back_project(undistorted))
        points = points[points[:, 2] > 0]
        pixels = np.floor(target.project(points)).astype(np.int64)
        farthest_first = np.argsort(-points[:, 2], kind='stable')
        out = np.zeros((target.height, target.width), np.float32)
        column, row = (pixels[farthest_first, k] for k in (0, 1))
        depth_m = points[farthest_first, 2].astype(np.float32)
        corners = []
        for right, down in ((0, 0), (1, 0), (0, 1), (1, 1)):
            u, v = column + right, row + down
            inside = (u >= 0) & (v >= 0) & (u < target.width) & (v < target.height)
            corner = np.zeros_like(out)
            corner[v[inside], u[inside]] = depth_m[inside]
            corners.append(corner)
        layers = np.stack(corners)
        nearest = np.where(layers > 0, layers, np.inf).min(0)
        np.copyto(out, nearest, where=np.isfinite(nearest), casting='unsafe')
        return out
