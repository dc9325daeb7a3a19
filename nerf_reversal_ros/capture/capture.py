"""Frames of one recording in the map frame; `open_capture` makes a capture from a bag."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_index import MessageRef
from nerf_reversal_ros.bags.bag_reader import BagReader, RawMessage
from nerf_reversal_ros.bags.image_masks import fill_masked, mask_depth
from nerf_reversal_ros.capture.frame_reading import (
    decode_depth,
    decode_mask,
    decode_rgb,
    FrameEntry,
    read_message,
)
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.parallel import parallel_stream


@dataclass(frozen=True)
class Frame:
    """Color image, depth, pose and stamp of one entry of a capture."""

    index: int
    """Position in the capture."""
    stamp_ns: int
    """Stamp of the color image."""
    rgb: NDArray[np.uint8]
    """(H, W, 3), undistorted."""
    camera: Camera
    """Intrinsics at the size of ``rgb``."""
    depth: NDArray[np.float32] | None
    """(h, w) meters along the optical z axis, 0 unknown; same view as ``rgb``, own size."""
    depth_camera: Camera | None
    """Intrinsics at the size of ``depth``."""
    map_from_camera: FloatArray
    """(4, 4) pose of the optical camera frame in the map."""
    valid: NDArray[np.bool_] | None = None
    """(H, W) pixels that are not masked; None: all. Others have depth 0 and a smooth color."""


@dataclass(frozen=True)
class StampedImage:
    """A color image of a bag, without a pose."""

    stamp_ns: int
    """Stamp of the message."""
    rgb: NDArray[np.uint8]
    """(H, W, 3), undistorted."""
    camera: Camera
    """Intrinsics at the size of ``rgb``."""


@dataclass(frozen=True)
class Finding:
    """Something that is measurably wrong with a bag."""

    cause: str
    """Short name, such as ``clocks``."""
    text: str
    """One clause with the measurement and the remedy."""


@dataclass(frozen=True)
class DepthCorrection:
    """Linear depth calibration: true depth = ``scale * depth + offset_m``."""

    scale: float = 1.0
    offset_m: float = 0.0
    points: int = 0
    """Number of triangulated points of the fit."""
    error_m: float | None = None
    """Median absolute difference of measured and triangulated depth [m]."""
    corrected_error_m: float | None = None
    """The same after correction [m], on frames that were not used for the fit."""

    def apply(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Correct a depth image [m]; 0 stays unknown."""
        if self.scale == 1.0 and self.offset_m == 0.0:
            return depth
        corrected = np.float32(self.scale) * depth + np.float32(self.offset_m)
        return np.where((depth > 0) & (corrected > 0), corrected, np.float32(0))


class Capture:
    """The frames of a bag, decoded on access; `open_capture` makes it."""

    def __init__(
        self,
        source: Path,
        config: CaptureConfig,
        entries: list[FrameEntry],
        map_from_camera: FloatArray,
        convention: PoseConvention,
        counts: dict[str, int],
        depth_correction: DepthCorrection = DepthCorrection(),
        findings: tuple[Finding, ...] = (),
    ) -> None:
        """Store the results of `open_capture`."""
        self.source = source
        self.convention = convention
        self.map_from_camera = map_from_camera
        """(N, 4, 4) poses of the optical camera frame in the map."""
        self.stamps_ns = np.array([entry.image.stamp_ns for entry in entries], np.int64)
        """(N,) stamps of the color images."""
        self.counts = counts
        """Numbers of messages by kind, and of dropped frames by reason."""
        self.camera = entries[0].camera_model.camera
        """Intrinsics of the first image."""
        self.has_depth = any(entry.depth for entry in entries)
        self.has_masks = any(entry.mask for entry in entries)
        self.depth_correction = depth_correction
        """Correction applied to the depth of all frames."""
        self.findings = findings
        """What is measurably wrong with the poses; empty unless they were compared."""
        self._config = config
        self._entries = entries
        self._bag: BagReader | None = None
        self._reading = Lock()

    def with_depth_correction(self, correction: DepthCorrection) -> 'Capture':
        """Return the same capture with another depth correction."""
        return Capture(
            self.source,
            self._config,
            self._entries,
            self.map_from_camera,
            self.convention,
            self.counts,
            correction,
            self.findings,
        )

    def with_poses(self, frames: NDArray[np.int64], map_from_camera: FloatArray) -> 'Capture':
        """Return a capture of the frames (K,) with other poses (K, 4, 4)."""
        return Capture(
            self.source,
            self._config,
            [self._entries[i] for i in frames.tolist()],
            map_from_camera,
            self.convention,
            {**self.counts, 'kept': len(frames)},
            self.depth_correction,
            self.findings,
        )

    @property
    def recorded_ns(self) -> NDArray[np.int64]:
        """(N,) times of recording of the images [ns], by which the bag is ordered."""
        return np.array([entry.image.log_time_ns for entry in self._entries], np.int64)

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._entries)

    def frame(self, index: int) -> Frame:
        """
        Read one frame by random access; iteration is faster for many frames.

        Threads may call this at the same time: messages are read one after another, and decoded
        in parallel.

        Raises
        ------
        IndexError
            If there is no such frame.
        CaptureError
            If the bag is gone or damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f'frame {index} of a capture of {len(self)} frames')
        with self._reading:
            if self._bag is None:
                self._bag = BagReader(self.source)
            refs = self._entries[index].message_refs
            messages = {ref: read_message(self._bag, ref) for ref in refs}
        return self._decode_frame(self._bag, index, messages)

    def __iter__(self) -> Iterator[Frame]:
        """Read all frames in order, in one pass through the bag; threads decode them."""
        with BagReader(self.source) as bag:
            messages = enumerate(self._messages_of_frames(bag))
            yield from parallel_stream(lambda item: self._decode_frame(bag, *item), messages)

    def _messages_of_frames(self, bag: BagReader) -> Iterator[dict[MessageRef, RawMessage]]:
        """Yield the messages of each frame, in order."""
        remaining_uses = Counter(ref for entry in self._entries for ref in entry.message_refs)
        pending: dict[MessageRef, RawMessage] = {}
        index = 0
        for raw in bag.messages(list({ref.topic for ref in remaining_uses})):
            ref = MessageRef.from_message(raw)
            if remaining_uses[ref]:
                pending[ref] = raw
            while index < len(self):
                refs = self._entries[index].message_refs
                if any(ref not in pending for ref in refs):
                    break
                yield {ref: pending[ref] for ref in refs}
                for used in refs:
                    remaining_uses[used] -= 1
                    if not remaining_uses[used]:
                        del pending[used]
                index += 1

    def _decode_frame(
        self, bag: BagReader, index: int, messages: Mapping[MessageRef, RawMessage]
    ) -> Frame:
        entry = self._entries[index]
        model = entry.camera_model
        rgb = decode_rgb(bag, messages[entry.image], model)
        depth_m, depth_camera, valid = None, None, None
        if entry.depth is not None:
            decoded, depth_camera = decode_depth(bag, messages[entry.depth], entry, self._config)
            depth_m = self.depth_correction.apply(decoded)
        if entry.mask is not None:
            valid = decode_mask(bag, messages[entry.mask], model)
            rgb = fill_masked(rgb, valid)
            depth_m = None if depth_m is None else mask_depth(depth_m, valid)
        return Frame(
            index=index,
            stamp_ns=entry.image.stamp_ns,
            rgb=rgb,
            camera=model.camera,
            depth=depth_m,
            depth_camera=depth_camera,
            map_from_camera=self.map_from_camera[index],
            valid=valid,
        )
