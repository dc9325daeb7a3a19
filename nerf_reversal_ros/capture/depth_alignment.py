"""Find out whether depth is aligned to color, and how to register it where it is not."""

import logging
from typing import Any, NamedTuple

import numpy as np

from nerf_reversal_ros.bags.bag_index import BagIndex
from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.bags.camera_model import camera_model_from_info
from nerf_reversal_ros.bags.depth_decoding import depth_from_message
from nerf_reversal_ros.bags.depth_registration import DepthRegistration
from nerf_reversal_ros.bags.tf_trajectories import TfTrajectories
from nerf_reversal_ros.core.capture_config import CameraInfoConfig, CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ImageError

log = logging.getLogger(__name__)


class _DepthHeader(NamedTuple):
    stamp_ns: int
    frame: str
    width: int
    height: int


def find_registration(
    bag: BagReader, config: CaptureConfig, index: BagIndex
) -> DepthRegistration | None:
    """
    Return how the depth of a bag is registered to color; None if it is aligned to it.

    Depth whose frame differs from that of color is of another camera. Its CameraInfo is found by
    that frame, the pose of the camera in TF. Where one of both is missing, a warning says so and
    depth is taken as aligned.

    Raises
    ------
    CaptureError
        If the CameraInfo of the depth cannot be that of its images.
    """
    first = _first_depth(bag, config) if index.depths else None
    if first is None:
        return None
    frame, color_frame = first.frame, index.image_frame.strip('/')
    if not frame or not color_frame or frame == color_frame:
        return None
    info = _info_of_frame(bag, config, frame)
    tf = TfTrajectories(bag, config.tf_topic)
    missing = [] if info is not None else [f'a camera_info of the frame {frame}']
    if not tf.connects(color_frame, frame):
        missing.append(f'a transform from {color_frame} to it')
    if info is None or missing:
        log.warning(
            '%s: depth is of the frame %s, color of %s, and is taken as aligned to it; if it is'
            ' not, record aligned depth, or %s',
            bag.path,
            frame,
            color_frame,
            ' and '.join(missing),
        )
        return None
    try:
        model = camera_model_from_info(info, first.width, first.height, CameraInfoConfig())
    except ImageError as error:
        raise CaptureError(f'camera_info of the depth of {bag.path}: {error}') from error
    color = index.images[0].camera_model.camera.scaled_to_width(first.width)
    color_from_depth, _ = tf.parent_from_child(
        color_frame, frame, np.array([first.stamp_ns], np.int64)
    )
    registration = DepthRegistration(model, color, color_from_depth[0])
    if registration.is_identity:
        return None
    log.info('%s: depth of %s is registered to color', bag.path, frame)
    return registration


def _first_depth(bag: BagReader, config: CaptureConfig) -> _DepthHeader | None:
    """Return what describes the first depth image that can be decoded; None if none can."""
    for raw in bag.messages([config.depth_topic]):
        try:
            message = bag.decode(raw)
            height, width = depth_from_message(message, config.depth_unit_m).shape
        except (CaptureError, ImageError):  # told when its frame is read
            continue
        return _DepthHeader(raw.stamp_ns, message.header.frame_id.strip('/'), width, height)
    return None


def _info_of_frame(bag: BagReader, config: CaptureConfig, frame: str) -> Any | None:
    """Return the first CameraInfo of a frame, of the topic most like that of the depth."""
    found = []
    for topic, kind in bag.topics.items():
        if kind.endswith('/CameraInfo') and topic != config.camera_info_topic:
            raw = next(bag.messages([topic]), None)
            message = raw and bag.decode(raw)
            if message and message.header.frame_id.strip('/') == frame:
                pairs = zip(topic, config.depth_topic, strict=False)
                same = next((i for i, (a, b) in enumerate(pairs) if a != b), len(topic))
                found.append((same, topic, message))
    return max(found, key=lambda item: item[:2])[2] if found else None
