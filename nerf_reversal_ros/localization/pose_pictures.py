"""
Pictures of localized images: each beside the map as it looks from the accepted pose.

The inliers are drawn in both, each keypoint in the color of its landmark.
"""

from pathlib import Path
import re
import textwrap

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.image_decoding import IMAGE_SUFFIXES
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.files import write_output
from nerf_reversal_ros.core.geometry import inverse
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate
from nerf_reversal_ros.localization.inlier_drawing import draw_inliers
from nerf_reversal_ros.localization.map_renderer import open_renderer
from nerf_reversal_ros.maps.building_folder import Building
from nerf_reversal_ros.maps.map_folder import Map

LONGER_SIDE_PX = 640
"""Longer side of an image and its rendering [px]."""
_CHARACTER_PX, _LINE_PX = 8, 18


class PosePictures:
    """Writes the picture of each image to a folder."""

    def __init__(self, folder: Path, map_: Map | Building) -> None:
        """
        Make the folder, and load what is rendered: the field, or the surface if there is none.

        Of a building it is loaded when its room is first rendered, one room at a time.

        Raises
        ------
        NerfReversalError
            If the folder cannot be made.
        MapError
            If the file of the map is malformed.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NerfReversalError(
                f'cannot make the folder {folder} for pictures ({error.strerror}): name another'
            ) from error
        self._folder = folder
        self._count = 0
        self._render = open_renderer(map_) if isinstance(map_, Map) else None
        self._building = map_ if isinstance(map_, Building) else None
        self._room = ''

    def add(
        self, name: str, rgb: NDArray[np.uint8], camera: Camera, outcome: Outcome, text: str
    ) -> Path:
        """
        Write ``NUMBER_NAME.jpg``: image and rendering with the inliers; a rejected image alone.

        Parameters
        ----------
        name : str
            Name of the image.
        rgb : (H, W, 3) uint8 array
        camera : Camera
            Intrinsics of ``rgb``.
        outcome : Outcome
            Where a pose is rendered.
        text : str
            Caption.

        Raises
        ------
        NerfReversalError
            If the file cannot be written.
        """
        self._count += 1
        view = camera.downscaled_to(LONGER_SIDE_PX)
        size = (view.width, view.height)
        shown = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
        panes = [np.asarray(shown, np.uint8)]
        if isinstance(outcome, PoseEstimate):
            panes.append(self._rendering(outcome, view))
        draw_inliers(panes, outcome.diagnostics, camera, view)
        picture = np.hstack(panes)
        captioned = np.vstack([picture, _caption(text, picture.shape[1])])
        bgr = cv2.cvtColor(captioned, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode('.jpg', bgr)
        path = Path(name)
        name = path.stem if path.suffix.lower() in IMAGE_SUFFIXES else path.name
        stem = re.sub(r'[^\w.-]', '_', name)
        file = self._folder / f'{self._count:05d}_{stem}.jpg'
        write_output(file, encoded.tobytes())
        return file

    def _rendering(self, outcome: PoseEstimate, view: Camera) -> NDArray[np.uint8]:
        """Render the map, or the room of the building, at a pose."""
        pose = outcome.map_from_camera
        if self._building is not None:
            room = self._building.room(str(outcome.diagnostics.room))
            if self._room != room.name:
                self._render, self._room = open_renderer(room.open()), room.name
            if room.building_from_room is not None:
                pose = inverse(room.building_from_room) @ pose
        assert self._render is not None
        return self._render(pose, view)


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    """Draw a text, black on white, on as many lines as it needs (h, width, 3)."""
    lines = textwrap.wrap(text, max(1, (width - 8) // _CHARACTER_PX))
    drawn = np.full((_LINE_PX * len(lines) + 6, width, 3), 255, np.uint8)
    font = cv2.FONT_HERSHEY_SIMPLEX
    for number, line in enumerate(lines, start=1):
        place = (4, number * _LINE_PX - 3)
        cv2.putText(drawn, line, place, font, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return drawn
