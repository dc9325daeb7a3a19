"""What describes a room and its recordings, for `demo.render_room`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from demo.room import Baking, Lighting, Room
from demo.sensors import ColorSensor, DepthSensor
from demo.trackers import Tracker
from demo.trajectories import EllipsePath, KeyPath, sample_trajectory, Trajectory
from nerf_reversal_ros.core.camera import Camera


@dataclass(frozen=True)
class Recording:
    """One capture: where the camera goes, in which light, and with which errors."""

    path: EllipsePath | KeyPath
    """Where the camera goes."""
    frame_count: int
    """Number of frames."""
    blurred_fraction: float
    """Fraction of the frames with motion blur."""
    path_seed: int
    """Seed of the sway of the hand."""
    sensor_seed: int
    """Seed of all noise."""
    lighting: Lighting
    """Radiance of the lights."""
    color: ColorSensor
    """Exposure, white balance and noise."""
    tracker: Tracker | None = None
    """Errors of the poses; without it they are exact."""

    def trajectory(self) -> Trajectory:
        """Return the true poses."""
        return sample_trajectory(
            self.path, self.frame_count, self.blurred_fraction, self.path_seed
        )


@dataclass(frozen=True)
class RoomSpec:
    """A room, the camera that films it, and the recordings."""

    size_m: tuple[float, float, float]
    """Extent along x, y and z."""
    seed: int
    """Seed of the textures and of what stands in the room."""
    furnish: Callable[[Room], None]
    """Adds everything to an empty room."""
    camera: Camera
    """Camera of the color images."""
    depth_size_px: tuple[int, int]
    """Width and height of the depth images, which show the same view."""
    recordings: Mapping[str, Recording]
    """``walk``, to build a map from, and ``test``, to localize."""
    depth: DepthSensor = field(default_factory=DepthSensor)
    """The depth sensor."""
    baking: Baking = field(default_factory=Baking)
    """Effort to bake the light."""

    @property
    def depth_camera(self) -> Camera:
        """Camera of the depth images."""
        return self.camera.scaled_to(*self.depth_size_px)

    def build(self) -> Room:
        """Return the furnished room."""
        room = Room(self.size_m, self.seed)
        self.furnish(room)
        return room


def make_camera(
    width: int, height: int, view_deg: float, off_center_px: tuple[float, float]
) -> Camera:
    """Make a camera whose longer side sees ``view_deg`` degrees; the center of view is off."""
    focal_px = max(width, height) / (2 * np.tan(np.radians(view_deg) / 2))
    right, down = off_center_px
    center = (width - 1) / 2 + right, (height - 1) / 2 + down
    return Camera(width, height, focal_px, focal_px, *center)
