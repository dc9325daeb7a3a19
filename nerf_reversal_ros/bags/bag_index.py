"""One pass through a bag: where the pictures are, how sharp, and seen through which lens."""

from dataclasses import dataclass, field
import logging
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_reader import BagReader, RawMessage
from nerf_reversal_ros.bags.camera_model import camera_model_from_info, CameraModel
from nerf_reversal_ros.bags.depth_decoding import sharpness, thumbnail
from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.progress import Progress, ProgressCallback

log = logging.getLogger(__name__)


class MessageRef(NamedTuple):
    """Where a message is in the bag."""

    topic: str
    log_time_ns: int
    stamp_ns: int

    @classmethod
    def from_message(cls, raw: RawMessage) -> 'MessageRef':
        """Return the place of a message."""
        return cls(raw.topic, raw.log_time_ns, raw.stamp_ns)


class ImageEntry(NamedTuple):
    """A colour picture that can be decoded."""

    message_ref: MessageRef
    sharpness: float
    camera_model: CameraModel
    """At the size of the picture."""


@dataclass
class BagIndex:
    """What a bag holds."""

    images: list[ImageEntry] = field(default_factory=list)
    """By stamp, each stamp once."""
    depths: list[MessageRef] = field(default_factory=list)
    """By stamp."""
    image_frame: str = ''
    """Frame of the pictures' headers."""
    counts: dict[str, int] = field(default_factory=dict)
    """Messages by what they are."""


def index_bag(
    bag: BagReader,
    config: CaptureConfig,
    progress: ProgressCallback,
    *,
    include_depth: bool = True,
) -> BagIndex:
    """
    Go through the pictures of a bag once.

    Raises
    ------
    CaptureError
        If a topic is missing, pictures differ in size, or most of them are damaged.
    """
    image_topic, info_topic = config.image_topic, config.camera_info_topic
    bag.require_topic(image_topic, 'image_topic', ('Image', 'CompressedImage'))
    bag.require_topic(info_topic, 'camera_info_topic', ('CameraInfo',))
    topics = [image_topic, info_topic]
    if include_depth and config.depth_topic:
        bag.require_topic(
            config.depth_topic,
            'depth_topic',
            ('Image', 'CompressedImage'),
            ', or to nothing, to go without depth',
        )
        topics.append(config.depth_topic)
    total = bag.count(image_topic)
    pictures: dict[int, tuple[MessageRef, float]] = {}
    infos: dict[int, Any] = {}
    found, size, damaged, done = BagIndex(), _SizeCheck(bag), 0, 0
    for raw in bag.messages(topics):
        if raw.topic == info_topic:
            infos[raw.stamp_ns] = bag.decode(raw)
        elif raw.topic != image_topic:
            found.depths.append(MessageRef.from_message(raw))
        else:
            done += 1
            message = bag.decode(raw)
            found.image_frame = found.image_frame or message.header.frame_id
            try:
                grey = thumbnail(message)
            except ImageError as error:
                damaged += 1
                log.warning(
                    'left out a picture of %s, at %d ns: %s', bag.path, raw.stamp_ns, error
                )
                continue
            finally:
                progress(Progress('capture', done, total))
            size.check(raw, message, grey.shape)
            pictures.setdefault(raw.stamp_ns, (MessageRef.from_message(raw), sharpness(grey)))
    _check_usable(bag, config, done, damaged, infos)
    found.images = _assign_camera_models(bag, pictures, infos, size.image_size, config.rectified)
    found.depths.sort(key=lambda place: place.stamp_ns)
    found.counts = {
        'pictures': done,
        'pictures damaged': damaged,
        'pictures with a repeated stamp': done - damaged - len(pictures),
        'depth pictures': len(found.depths),
    }
    return found


def nearest_stamp_indices(
    stamps_ns: NDArray[np.int64], query_ns: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Return for each time (M,) the position of the nearest of N > 0 growing stamps."""
    after = np.clip(np.searchsorted(stamps_ns, query_ns), 0, len(stamps_ns) - 1)
    before = np.clip(after - 1, 0, None)
    earlier = query_ns - stamps_ns[before] < stamps_ns[after] - query_ns
    return np.where(earlier, before, after)


class _SizeCheck:
    """Holds all pictures to the size of the first one."""

    def __init__(self, bag: BagReader) -> None:
        self._bag = bag
        self._thumbnail_shape: tuple[int, ...] = ()
        self.image_size = (0, 0)

    def check(self, raw: RawMessage, message: Any, small: tuple[int, ...]) -> None:
        if small == self._thumbnail_shape:
            return
        h, w = rgb_from_message(message).shape[:2]
        if not self._thumbnail_shape:
            self._thumbnail_shape, self.image_size = small, (w, h)
        else:
            w0, h0 = self.image_size
            raise CaptureError(
                f'the picture at {raw.stamp_ns} ns on {raw.topic} of {self._bag.path} is {w}x{h},'
                f' those before it are {w0}x{h0}: cut the bag there, a capture has one size'
            )


def _check_usable(
    bag: BagReader, config: CaptureConfig, pictures: int, damaged: int, infos: dict[int, Any]
) -> None:
    if not pictures:
        raise CaptureError(f'image_topic {config.image_topic} of {bag.path} has no message')
    if damaged * 2 > pictures:
        raise CaptureError(
            f'{damaged} of {pictures} pictures on {config.image_topic} of {bag.path} cannot be'
            ' decoded: the bag is damaged, or the topic does not hold JPEG or PNG'
        )
    if not infos:
        raise CaptureError(
            f'camera_info_topic {config.camera_info_topic} of {bag.path} has no message: record'
            ' it with the pictures'
        )


def _assign_camera_models(
    bag: BagReader,
    pictures: dict[int, tuple[MessageRef, float]],
    infos: dict[int, Any],
    size: tuple[int, int],
    rectified: bool,
) -> list[ImageEntry]:
    """Give every picture, by stamp, the intrinsics that were measured nearest in time."""
    info_stamps = np.array(sorted(infos), np.int64)
    stamps = sorted(pictures)
    colours = []
    for stamp, position in zip(
        stamps, nearest_stamp_indices(info_stamps, np.array(stamps, np.int64)), strict=True
    ):
        try:
            info = infos[int(info_stamps[position])]
            lens = camera_model_from_info(info, *size, rectified=rectified)
        except ImageError as error:
            raise CaptureError(f'the bag {bag.path}: {error}') from error
        place, sharp = pictures[stamp]
        colours.append(ImageEntry(place, sharp, lens))
    return colours
