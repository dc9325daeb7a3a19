"""One image at the sizes of its attempts, with keypoints that are detected once for all rooms."""

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.parallel import start
from nerf_reversal_ros.localization.matching import (
    make_query,
    QUERY_DETECTOR,
    QueryImage,
    REFERENCE_SIZE_PX,
    RETRY_DETECTOR,
)


class ImageQueries:
    """
    Query images of one image, each made when it is first needed.

    Parameters
    ----------
    rgb : (H, W, 3) uint8 array
        The image.
    camera : Camera
        Intrinsics of ``rgb``.
    config : LocalizerConfig
        Sizes of the first attempts and of the retries.
    """

    def __init__(self, rgb: NDArray[np.uint8], camera: Camera, config: LocalizerConfig) -> None:
        self.rgb, self.camera, self._config = rgb, camera, config
        self._detecting: Callable[[], QueryImage] | None = None

    def begin(self) -> None:
        """Detect the keypoints of the first attempts in another thread, if there are any."""
        if self._config.query_size and self._detecting is None:
            self._detecting = start(self._make_first)

    def finish(self) -> None:
        """Wait for what `begin` started."""
        if self._detecting is not None:
            _ = self.first

    @cached_property
    def first(self) -> QueryImage:
        """The image of the first attempts."""
        return self._make_first() if self._detecting is None else self._detecting()

    @cached_property
    def retry(self) -> QueryImage:
        """The larger image of the retries, with more keypoints and fainter ones."""
        return make_query(self.rgb, self.camera, self._config.retry_size, RETRY_DETECTOR)

    def _make_first(self) -> QueryImage:
        size = self._config.query_size or REFERENCE_SIZE_PX
        return make_query(self.rgb, self.camera, size, QUERY_DETECTOR)
