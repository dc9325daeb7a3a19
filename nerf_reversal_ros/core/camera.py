"""Pinhole camera model without distortion: scaling, projection and back-projection."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.errors import ImageError


@dataclass(frozen=True)
class Camera:
    """
    Intrinsics of images of one size.

    Pixel centers are at integer coordinates (OpenCV): the upper left pixel is (0, 0) and covers
    -0.5 to 0.5.
    """

    width: int
    """Image width in pixels."""
    height: int
    """Image height in pixels."""
    fx: float
    """Focal length along x in pixels."""
    fy: float
    """Focal length along y in pixels."""
    cx: float
    """Principal point, pixels from the center of the leftmost column."""
    cy: float
    """Principal point, pixels from the center of the top row."""

    def __post_init__(self) -> None:
        """Validate the size and the focal lengths."""
        values = (self.fx, self.fy, self.cx, self.cy)
        if self.width < 1 or self.height < 1:
            raise ImageError(
                f'a camera of {self.width}x{self.height} pixels has no image: give a size > 0'
            )
        if not np.all(np.isfinite(values)) or self.fx <= 0 or self.fy <= 0:
            raise ImageError(
                f'intrinsics fx, fy, cx, cy = {values} are not a camera: focal lengths must be'
                ' finite and > 0 (is camera_info filled in?)'
            )

    @property
    def matrix(self) -> NDArray[np.float64]:
        """Calibration matrix K (3, 3): pixel = K @ point_in_camera, up to scale."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    def scaled_to(self, width: int, height: int) -> 'Camera':
        """Return the camera of the same view at another image size."""
        sx, sy = width / self.width, height / self.height
        return Camera(
            width,
            height,
            self.fx * sx,
            self.fy * sy,
            (self.cx + 0.5) * sx - 0.5,
            (self.cy + 0.5) * sy - 0.5,
        )

    def scaled_to_width(self, width: int) -> 'Camera':
        """Return the camera of the same view at a given width, with the aspect ratio kept."""
        return self.scaled_to(width, max(1, round(self.height * width / self.width)))

    def downscaled_to(self, longer_side: int) -> 'Camera':
        """Return the camera of the same view with at most ``longer_side`` pixels on that side."""
        scale = min(1.0, longer_side / max(self.width, self.height))
        return self.scaled_to(*(max(1, round(side * scale)) for side in (self.width, self.height)))

    def rays(self) -> NDArray[np.float64]:
        """Return ray directions (H, W, 3) of the pixel centers, optical frame, z = 1."""
        u, v = np.meshgrid(np.arange(self.width), np.arange(self.height))
        x, y = (u - self.cx) / self.fx, (v - self.cy) / self.fy
        return np.stack([x, y, np.ones_like(x)], axis=-1)

    def project(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Project points (..., 3) of the optical frame, z > 0, to pixels (..., 2)."""
        focal, center = np.array([self.fx, self.fy]), np.array([self.cx, self.cy])
        pixels: NDArray[np.float64] = points[..., :2] / points[..., 2:] * focal + center
        return pixels

    def unproject(
        self, pixels: NDArray[np.float64], depth: NDArray[np.float64] | float = 1.0
    ) -> NDArray[np.float64]:
        """
        Back-project pixels (..., 2) with their depth (...) to points (..., 3) [m, optical frame].

        The default depth gives ray directions with z = 1, as `rays` does.
        """
        focal, center = np.array([self.fx, self.fy]), np.array([self.cx, self.cy])
        directions = (np.asarray(pixels) - center) / focal
        ones = np.ones((*directions.shape[:-1], 1))
        points: NDArray[np.float64] = np.concatenate([directions, ones], axis=-1)
        return points * np.asarray(depth, dtype=np.float64)[..., None]

    def back_project(self, depth: NDArray[np.float32], stride: int = 1) -> NDArray[np.float64]:
        """Back-project the known pixels of a depth image to points (N, 3) [m, optical frame]."""
        sparse = depth[::stride, ::stride]
        known = sparse > 0
        return self.rays()[::stride, ::stride][known] * sparse[known][:, None].astype(np.float64)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers for JSON; `Camera(**values)` restores the camera."""
        return {
            'width': self.width,
            'height': self.height,
            'fx': self.fx,
            'fy': self.fy,
            'cx': self.cx,
            'cy': self.cy,
        }
