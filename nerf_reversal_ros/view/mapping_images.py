"""The images that a map was built from, read one at a time from their bag."""

from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_index import ImageEntry, index_bag
from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.capture.frame_reading import decode_rgb, read_message
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, MapError
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.maps.map_folder import Map


class MappingImages:
    """
    Images of the mapping poses; none is kept.

    Parameters
    ----------
    map_ : Map
    bag : Path
        The bag that the map was built from.
    config : CaptureConfig
        Topics of the bag.

    Raises
    ------
    CaptureError
        If the bag cannot be read or lacks most of the images.
    MapError
        If the map does not tell which images it was built from.
    """

    def __init__(self, map_: Map, bag: Path, config: CaptureConfig) -> None:
        stamps = map_.mapping_stamps_ns.tolist()
        if not stamps:
            raise MapError(
                f'the map {map_.path} does not tell which images it was built from, as maps of'
                f' earlier versions and of no bag: {remedies.BUILD_AGAIN}'
            )
        with BagReader(bag) as reader:
            config = config.with_topics_of(reader.count)
            index = index_bag(reader, config, _unmeasured, no_progress, include_depth=False)
        entries = {entry.message_ref.stamp_ns: entry for entry in index.images}
        self._entries: list[ImageEntry | None] = [entries.get(stamp) for stamp in stamps]
        self._bag, self._reading = BagReader(bag), Lock()
        found = sum(entry is not None for entry in self._entries)
        if 2 * found < len(stamps):
            self.close()
            raise CaptureError(
                f'{bag} is not the bag that the map was built from, it has only {found} of the'
                f' {len(stamps)} mapping images: {remedies.REFERENCE}'
            )

    def read(self, index: int) -> tuple[NDArray[np.uint8], Camera] | None:
        """
        Read the image (H, W, 3) of a mapping pose, and its intrinsics; None if there is none.

        Raises
        ------
        CaptureError
            If the bag is gone or damaged.
        """
        entry = self._entries[index] if index < len(self._entries) else None
        if entry is None:
            return None
        with self._reading:
            raw = read_message(self._bag, entry.message_ref)
        return decode_rgb(self._bag, raw, entry.camera_model), entry.camera_model.camera

    def close(self) -> None:
        """Close the bag."""
        self._bag.close()


def _unmeasured(gray: NDArray[np.uint8]) -> float:
    """Return nothing in the place of the sharpness, which no page shows."""
    return 0.0
