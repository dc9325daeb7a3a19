"""Read and decode the messages of one frame: undistorted color, and depth in meters."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_index import MessageRef
from nerf_reversal_ros.bags.bag_reader import BagReader, RawMessage
from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.bags.depth_decoding import depth_from_message
from nerf_reversal_ros.bags.depth_registration import DepthRegistration
from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.bags.image_masks import kept_pixels
from nerf_reversal_ros.capture.pose_convention import DepthImage
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ImageError


class FrameEntry(NamedTuple):
    """References to the messages of one frame, and its camera model."""

    image: MessageRef
    depth: MessageRef | None
    camera_model: CameraModel
    registration: DepthRegistration | None = None
    """How the depth is registered to color; None if it is aligned to it."""
    mask: MessageRef | None = None

    @property
    def message_refs(self) -> tuple[MessageRef, ...]:
        """Messages that the frame is read from."""
        return tuple(ref for ref in (self.image, self.depth, self.mask) if ref is not None)


def read_message(bag: BagReader, message_ref: MessageRef) -> RawMessage:
    """Read one message again; CaptureError if the bag no longer holds it."""
    for raw in bag.messages([message_ref.topic], message_ref.log_time_ns):
        if raw.stamp_ns == message_ref.stamp_ns:
            return raw
    raise CaptureError(
        f'{bag.path} was changed while it was read, {message_ref} is gone: open it again'
    )


def decode_rgb(bag: BagReader, raw: RawMessage, model: CameraModel) -> NDArray[np.uint8]:
    """Decode and undistort an image to writable RGB (H, W, 3); CaptureError if damaged."""
    try:
        rgb = model.undistort_rgb(rgb_from_message(bag.decode(raw)))
        return np.require(rgb, requirements=['C', 'W'])
    except ImageError as error:
        raise CaptureError(f'the image at {raw.stamp_ns} ns of {bag.path}: {error}') from error


def read_depth(bag: BagReader, raw: RawMessage, unit_m: float) -> NDArray[np.float32]:
    """Decode depth (h, w) [m] as `depth_from_message` does; CaptureError if damaged."""
    try:
        return depth_from_message(bag.decode(raw), unit_m)
    except ImageError as error:
        raise CaptureError(f'the depth at {raw.stamp_ns} ns of {bag.path}: {error}') from error


def decode_mask(bag: BagReader, raw: RawMessage, model: CameraModel) -> NDArray[np.bool_]:
    """Decode and undistort a mask to the valid pixels (H, W) of its image."""
    camera = model.camera
    try:
        mask = rgb_from_message(bag.decode(raw))
        model.scaled_to(mask.shape[1], mask.shape[0])  # rejects another aspect ratio
    except ImageError as error:
        raise CaptureError(f'the mask at {raw.stamp_ns} ns of {bag.path}: {error}') from error
    kept = kept_pixels(mask, camera.width, camera.height)
    return model.undistort_depth(kept.astype(np.float32)) > 0


def decode_depth(
    bag: BagReader, raw: RawMessage, entry: FrameEntry, config: CaptureConfig
) -> DepthImage:
    """
    Decode, register and undistort depth (h, w) [m], and return it with its camera.

    Depth beyond ``max_depth_m`` becomes 0 (unknown). CaptureError if it is damaged or of another
    aspect ratio than the image.
    """
    depth = read_depth(bag, raw, config.depth_unit_m)
    try:
        if entry.registration is not None:
            registered = entry.registration.register(depth)
            registered[registered > config.max_depth_m] = 0.0
            return registered, entry.registration.color_camera
        model = entry.camera_model.scaled_to(depth.shape[1], depth.shape[0])
    except ImageError as error:
        raise CaptureError(f'the depth at {raw.stamp_ns} ns of {bag.path}: {error}') from error
    depth[depth > config.max_depth_m] = 0.0
    return model.undistort_depth(depth), model.camera
