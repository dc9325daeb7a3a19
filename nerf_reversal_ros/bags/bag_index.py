"""Index a bag in one pass: images with sharpness and camera model, depth messages, counts."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_reader import BagReader, RawMessage
from nerf_reversal_ros.bags.camera_info_file import read_camera_info_file
from nerf_reversal_ros.bags.camera_info_matching import CameraInfoIndex
from nerf_reversal_ros.bags.camera_model import (
    camera_model_from_info,
    CameraModel,
)
from nerf_reversal_ros.bags.image_decoding import rgb_from_message, thumbnail
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.progress import Progress, ProgressCallback

log = logging.getLogger(__name__)


class MessageRef(NamedTuple):
    """Reference to a message of the bag, by which it can be read again."""

    topic: str
    log_time_ns: int
    stamp_ns: int

    @classmethod
    def from_message(cls, raw: RawMessage) -> 'MessageRef':
        """Return the reference to a message."""
        return cls(raw.topic, raw.log_time_ns, raw.stamp_ns)


class ImageEntry(NamedTuple):
    """A color image that can be decoded."""

    message_ref: MessageRef
    sharpness: float
    """Sharpness of the half-size gray image, in the unit of the given measure."""
    camera_model: CameraModel
    """Intrinsics at the size of the image."""


@dataclass
class BagIndex:
    """Images, depth messages and message counts of a bag."""

    images: list[ImageEntry] = field(default_factory=list)
    """Images in order of their stamps, which are unique."""
    depths: list[MessageRef] = field(default_factory=list)
    """Depth messages in order of their stamps."""
    masks: dict[int, MessageRef] = field(default_factory=dict)
    """Mask messages by their stamps, which are those of their images."""
    image_frame: str = ''
    """Coordinate frame in the headers of the images."""
    counts: dict[str, int] = field(default_factory=dict)
    """Numbers of messages by kind, as in ``manifest.json`` and ``metrics.json``."""


def index_bag(
    bag: BagReader,
    config: CaptureConfig,
    sharpness: Callable[[NDArray[np.uint8]], float],
    progress: ProgressCallback,
    *,
    include_depth: bool = True,
) -> BagIndex:
    """
    Index the images, depth messages and camera models of a bag in one pass.

    Parameters
    ----------
    bag : BagReader
        An open bag.
    config : CaptureConfig
        Topics of color, depth and CameraInfo.
    sharpness : callable
        Measures the sharpness of a half-size gray image (h, w).
    progress : callback
        Receives one report per image.
    include_depth : bool
        Index the depth topic and the masks, too.

    Raises
    ------
    CaptureError
        If a topic is missing, images differ in size, most of them are damaged, or a CameraInfo
        cannot be that of its image.
    ConfigError
        If ``camera_info_file`` is set and is no calibration.
    """
    topics = _required_topics(bag, config, include_depth)
    collector = _MessageCollector(bag, config, sharpness)
    total = bag.count(config.image_topic)
    unstamped: Counter[str] = Counter()
    for raw in bag.messages(topics):
        if not raw.has_stamp:
            unstamped[raw.topic] += 1
        if raw.topic == config.camera_info_topic:
            collector.infos.add(bag.decode(raw), raw.stamp_ns)
        elif raw.topic == config.image_topic:
            collector.add_image(raw)
            progress(Progress('capture', collector.image_count, total))
        elif raw.topic == config.mask_topic:
            collector.masks[raw.stamp_ns] = MessageRef.from_message(raw)
        else:
            collector.depths.append(MessageRef.from_message(raw))
    for topic, count in sorted(unstamped.items()):
        log.warning(
            '%s: %d stamps on %s are 0 or all the same, times of recording are used',
            bag.path,
            count,
            topic,
        )
    for warning in bag.warnings:
        log.warning('%s: %s', bag.path, warning)
    if unmatched := collector.unmatched_masks:
        log.warning(
            '%s: %d of %d masks have the stamp of no image and are not used',
            bag.path,
            unmatched,
            len(collector.masks),
        )
    if repeated := collector.repeated_count:
        log.warning(
            '%s: %d of %d images repeat the stamp of another one and are left out',
            bag.path,
            repeated,
            collector.image_count,
        )
    collector.check_usable()
    return collector.index()


def _required_topics(bag: BagReader, config: CaptureConfig, include_depth: bool) -> list[str]:
    """Return the topics to read, after a check of their existence and types."""
    bag.require_topic(config.image_topic, 'image_topic', ('Image', 'CompressedImage'))
    topics = [config.image_topic]
    if not config.camera_info_file:
        bag.require_topic(
            config.camera_info_topic,
            'camera_info_topic',
            ('CameraInfo',),
            f', or {remedies.CALIBRATION}',
        )
        topics.append(config.camera_info_topic)
    if include_depth and config.depth_topic:
        bag.require_topic(
            config.depth_topic,
            'depth_topic',
            ('Image', 'CompressedImage'),
            ', or to nothing, to go without depth',
        )
        topics.append(config.depth_topic)
    if include_depth and bag.count(config.mask_topic):
        bag.require_topic(config.mask_topic, 'mask_topic', ('Image', 'CompressedImage'))
        topics.append(config.mask_topic)
    return topics


class _MessageCollector:
    """Messages collected in the pass through a bag."""

    def __init__(
        self,
        bag: BagReader,
        config: CaptureConfig,
        sharpness: Callable[[NDArray[np.uint8]], float],
    ) -> None:
        self._bag = bag
        self._config = config
        self._sharpness = sharpness
        self._images: dict[int, tuple[MessageRef, float]] = {}
        self._frames: dict[int, str] = {}
        self._image_size = (0, 0)
        self._thumbnail_shape: tuple[int, ...] = ()
        self._damaged_count = 0
        self._first_error = ''
        self.image_count = 0
        calibration = config.camera_info_file
        self.infos = CameraInfoIndex(read_camera_info_file(calibration) if calibration else None)
        self.depths: list[MessageRef] = []
        self.masks: dict[int, MessageRef] = {}

    def add_image(self, raw: RawMessage) -> None:
        """Decode an image and store its sharpness, or count it as damaged."""
        self.image_count += 1
        message = self._bag.decode(raw)
        try:
            gray = thumbnail(message)
        except ImageError as error:
            self._damaged_count += 1
            self._first_error = self._first_error or str(error)
            log.warning(
                'skipped an image of %s, at %d ns: %s', self._bag.path, raw.stamp_ns, error
            )
            return
        self._check_size(raw, message, gray.shape)
        entry = MessageRef.from_message(raw), self._sharpness(gray)
        self._images.setdefault(raw.stamp_ns, entry)
        self._frames.setdefault(raw.stamp_ns, message.header.frame_id)

    @property
    def unmatched_masks(self) -> int:
        """Number of masks whose stamp is that of no image."""
        return len(self.masks.keys() - self._images.keys())

    @property
    def repeated_count(self) -> int:
        """Number of images that share their stamp with an earlier one."""
        return self.image_count - self._damaged_count - len(self._images)

    def check_usable(self) -> None:
        """Raise CaptureError without images, without CameraInfo, or if most images are damaged."""
        path, topic = self._bag.path, self._config.image_topic
        if not self.image_count:
            reasons = ''.join(f' ({warning})' for warning in self._bag.warnings)
            raise CaptureError(
                f'image_topic {topic} of {path} has no message{reasons}: set it to the topic of'
                ' the images'
            )
        if self._damaged_count * 2 > self.image_count:
            raise CaptureError(
                f'{self._damaged_count} of {self.image_count} images on {topic} of {path} cannot'
                f' be decoded: the first reason is: {self._first_error}'
            )
        if not self.infos:
            raise CaptureError(
                f'camera_info_topic {self._config.camera_info_topic} of {path} has no message:'
                f' record it with the images, or {remedies.CALIBRATION}'
            )

    def index(self) -> BagIndex:
        """Return the index; CaptureError if a CameraInfo does not fit the images."""
        return BagIndex(
            images=self._assign_camera_models(),
            depths=sorted(self.depths, key=lambda message_ref: message_ref.stamp_ns),
            masks=self.masks,
            image_frame=next(filter(None, self._frames.values()), ''),
            counts={
                'pictures': self.image_count,
                'pictures damaged': self._damaged_count,
                'pictures with a repeated stamp': self.repeated_count,
                'depth pictures': len(self.depths),
            },
        )

    def _check_size(self, raw: RawMessage, message: Any, thumbnail_shape: tuple[int, ...]) -> None:
        """Require the size of the first image; only another thumbnail needs full decoding."""
        if thumbnail_shape == self._thumbnail_shape:
            return
        height, width = rgb_from_message(message).shape[:2]
        if self._thumbnail_shape:
            first_width, first_height = self._image_size
            raise CaptureError(
                f'the image at {raw.stamp_ns} ns on {raw.topic} of {self._bag.path} is'
                f' {width}x{height}, those before it are {first_width}x{first_height}: cut the bag'
                ' there, a capture has one size'
            )
        self._thumbnail_shape, self._image_size = thumbnail_shape, (width, height)

    def _assign_camera_models(self) -> list[ImageEntry]:
        """Assign the CameraInfo of frame and nearest stamp to each image, in order of stamps."""
        entries, warnings = [], []
        for frame in dict.fromkeys(self._frames.values()):
            stamps = [stamp for stamp, own in self._frames.items() if own == frame]
            try:
                infos, notes = self.infos.nearest(frame, np.array(stamps, np.int64))
                models = [self._camera_model(info) for info in infos]
            except ImageError as error:
                raise CaptureError(f'the bag {self._bag.path}: {error}') from error
            warnings += [*notes, *models[0].warnings]
            entries += [
                ImageEntry(*self._images[stamp], model)
                for stamp, model in zip(stamps, models, strict=True)
            ]
        for warning in warnings:
            log.warning('%s: %s', self._bag.path, warning)
        return sorted(entries, key=lambda entry: entry.message_ref.stamp_ns)

    def _camera_model(self, info: Any) -> CameraModel:
        config = self._config
        return camera_model_from_info(info, *self._image_size, config, config.image_topic)
