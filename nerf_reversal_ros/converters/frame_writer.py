"""
Write the frames of a recording to a bag; the same for all formats.

Frames that cannot be used are left out. A capture has one image size: frames of another one, such
as those of a second camera, are resampled to the commonest size. What such an image does not show
is masked.
"""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.image_decoding import rgb_from_bytes
from nerf_reversal_ros.bags.image_masks import fill_masked, mask_depth
from nerf_reversal_ros.capture.image_resampling import resample_to_camera
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.converters.left_out import LeftOutFrames, LeftOutReason, UnusableFrameError
from nerf_reversal_ros.converters.options import Conversion, ConvertOptions
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import Progress

NO_DEPTH_WARNING = (
    'no depth: the pose convention cannot be checked, lengths are in meters only if the poses'
    ' are, and only the field nerfacto can be built'
)


class ConvertedFrame(NamedTuple):
    """One frame as a bag holds it."""

    image: bytes | NDArray[np.uint8]
    """Content of a JPEG or PNG file of 8 bits, or RGB (H, W, 3), undistorted."""
    depth: NDArray[np.float32] | None
    """(h, w) meters along the optical z axis, 0 unknown, same view as the image."""
    camera: Camera
    """Intrinsics of the image."""
    world_from_camera: FloatArray
    """(4, 4)."""
    valid: NDArray[np.bool_] | None = None
    """(H, W) pixels that are not masked; None: all."""


class RecordedFrame(Protocol):
    """One frame of a recording."""

    name: str
    """Name in messages."""
    stamp_ns: int
    """Stamp of its messages."""

    def camera(self) -> Camera:
        """Check all but the pixels; return the intrinsics, or raise UnusableFrameError."""

    def missing_depth(self) -> str | None:
        """Return None if there is depth, what is missing, or '' if none was recorded."""

    def read(self, use_depth: bool) -> ConvertedFrame:
        """Read the frame, with or without depth; UnusableFrameError if it is damaged."""


def write_frames(
    source: Path,
    bag: Path,
    frames: Sequence[RecordedFrame],
    options: ConvertOptions,
    **writer_options: Any,
) -> Conversion:
    """
    Write frames to a new bag.

    Parameters
    ----------
    source : Path
        The recording, for messages.
    bag : Path
        Folder to write.
    frames : sequence of RecordedFrame
        At least one.
    options : ConvertOptions
        Largest fraction of frames to leave out, and whether to use depth.
    **writer_options
        Options of `BagWriter`.

    Raises
    ------
    CaptureError
        If too many frames cannot be used, or the bag cannot be written.
    """
    left_out = LeftOutFrames(source, len(frames), options.max_left_out)
    usable, has_depth = _check_frames(frames, left_out, options.use_depth)
    left_out.check()
    sizes = Counter((camera.width, camera.height) for _, camera in usable)
    size = max(sizes, key=lambda size: sizes[size])
    target = next(camera for _, camera in usable if (camera.width, camera.height) == size)
    written, resampled = 0, 0
    with BagWriter(bag, **writer_options) as writer:
        for done, (frame, _) in enumerate(usable, start=1):
            converted = left_out.attempt(frame.name, partial(frame.read, has_depth))
            if converted is not None:
                if (converted.camera.width, converted.camera.height) != size:
                    converted, resampled = _resample(converted, target), resampled + 1
                writer.write(frame.stamp_ns, *_without_masked(converted))
                written += 1
            note = NO_DEPTH_WARNING if done == 1 and not has_depth else ''
            if left_out.count:
                note = note or f'{left_out.count} left out'
            options.progress(Progress('convert', done, len(usable), note))
        left_out.check()
    notes = left_out.lines()
    if resampled:
        notes.append(
            f'{resampled} frames of another size were resampled to {size[0]}x{size[1]}, the size'
            f' of {sizes[size]} frames, and masked where they show nothing'
        )
    return Conversion(bag, written, tuple(notes))


def _check_frames(
    frames: Sequence[RecordedFrame], left_out: LeftOutFrames, use_depth: bool
) -> tuple[list[tuple[RecordedFrame, Camera]], bool]:
    """Return the frames that can be used with their cameras, and whether there is depth."""
    checked = [(frame, left_out.attempt(frame.name, frame.camera)) for frame in frames]
    usable = [(frame, camera) for frame, camera in checked if camera is not None]
    missing = [frame.missing_depth() for frame, _ in usable]
    has_depth = use_depth and any(message != '' for message in missing)
    if not has_depth:
        return usable, False

    def check_depth(message: str | None) -> bool:
        if message is None:
            return True
        raise UnusableFrameError(LeftOutReason.NO_DEPTH, message or 'it has none, others have')

    return [
        (frame, camera)
        for (frame, camera), message in zip(usable, missing, strict=True)
        if left_out.attempt(frame.name, partial(check_depth, message))
    ], True


def _resample(frame: ConvertedFrame, target: Camera) -> ConvertedFrame:
    """Resample a frame to the camera of the others; mask what it does not show."""
    camera = frame.camera
    image = resample_to_camera(_rgb(frame), camera, target, frame.valid)
    depth = frame.depth
    if depth is not None:
        width = max(1, round(target.width * depth.shape[1] / camera.width))
        to = target.scaled_to(width, max(1, round(width * target.height / target.width)))
        own = camera.scaled_to(depth.shape[1], depth.shape[0])
        columns = own.cx + (np.arange(to.width) - to.cx) * own.fx / to.fx
        rows = own.cy + (np.arange(to.height) - to.cy) * own.fy / to.fy
        maps = np.meshgrid(columns.astype(np.float32), rows.astype(np.float32))
        depth = np.asarray(cv2.remap(depth, *maps, cv2.INTER_NEAREST), dtype=np.float32)
    return ConvertedFrame(image.rgb, depth, target, frame.world_from_camera, image.valid)


def _without_masked(frame: ConvertedFrame) -> ConvertedFrame:
    """Leave masked pixels out of color and depth."""
    valid = frame.valid
    if valid is None or valid.all():
        return frame._replace(valid=None)
    depth = None if frame.depth is None else mask_depth(frame.depth, valid)
    return frame._replace(image=fill_masked(_rgb(frame), valid), depth=depth)


def _rgb(frame: ConvertedFrame) -> NDArray[np.uint8]:
    return rgb_from_bytes(frame.image) if isinstance(frame.image, bytes) else frame.image
