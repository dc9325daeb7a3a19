"""Find the camera of images without intrinsics from the rooms that they show."""

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.building.room_cache import RoomCache
from nerf_reversal_ros.building.view_descriptors import ViewIndex
from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.localization.camera_search import CameraSearch, FoundCamera
from nerf_reversal_ros.localization.matching import QUERY_DETECTOR

RANKED_SIZE_PX = 320
"""Longer side [px] of the images whose keypoints rank the rooms."""


class RoomsCameraSearch:
    """
    Finds the camera of images of one size in the rooms of a building.

    Parameters
    ----------
    index : ViewIndex
        Ranks the rooms.
    rooms : RoomCache
        Loads them.
    max_rooms : int
        Rooms that are tried for one image.
    """

    def __init__(self, index: ViewIndex, rooms: RoomCache, max_rooms: int) -> None:
        self._index, self._rooms, self._max_rooms = index, rooms, max_rooms
        self._searches: dict[str, CameraSearch] = {}
        self._count = 0

    def __len__(self) -> int:
        """Return the number of images that were added."""
        return self._count

    def add(self, rgb: NDArray[np.uint8]) -> bool:
        """Match an image (H, W, 3) with the rooms it may show; return whether it fits one."""
        self._count += 1
        height, width = rgb.shape[:2]
        size = Camera(width, height, 1.0, 1.0, 0.0, 0.0).downscaled_to(RANKED_SIZE_PX)
        keypoints = QUERY_DETECTOR(downscale_image(rgb, size))
        for score in self._index.rank(keypoints.descriptors)[: self._max_rooms]:
            localizer = self._rooms.localizer(score.name)
            if localizer is None:
                continue
            search = self._searches.setdefault(score.name, localizer.camera_search())
            if search.add(rgb):
                return True
        return False

    def find(self) -> FoundCamera | None:
        """Return the most certain camera of those that fit the images in a room, if any."""
        found = [camera for search in self._searches.values() if (camera := search.find())]
        return min(found, key=lambda camera: camera.focal_std, default=None)
