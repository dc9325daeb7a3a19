"""
A bag of a walk through a room, as frames in the map's frame.

`open_capture` goes through the bag once, joins colour, depth and poses by their stamps, finds
out what the poses mean and which way is up, and leaves out what is no use. It keeps stamps,
poses and places in the bag; pictures are read when they are asked for.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_index import BagIndex, index_bag, MessageRef, nearest_stamp_indices
from nerf_reversal_ros.bags.bag_reader import BagReader, RawMessage
from nerf_reversal_ros.bags.camera_model import CameraModel
from nerf_reversal_ros.bags.depth_decoding import depth_from_message
from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.bags.trajectory import camera_poses_at
from nerf_reversal_ros.capture.frame_selection import is_blurred, is_duplicate
from nerf_reversal_ros.capture.gravity_alignment import (
    estimate_floor_normal,
    estimate_gravity_alignment,
)
from nerf_reversal_ros.capture.pose_convention import (
    DepthImage,
    POSE_CONVENTIONS,
    PoseConvention,
    reprojection_errors,
    select_convention,
    world_from_camera,
)
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError, ImageError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices


@dataclass(frozen=True)
class Frame:
    """One moment of a capture."""

    index: int
    """Position in the capture."""
    stamp_ns: int
    """Stamp of the colour picture."""
    rgb: NDArray[np.uint8]
    """(H, W, 3), undistorted."""
    camera: Camera
    """Intrinsics at the size of ``rgb``."""
    depth: NDArray[np.float32] | None
    """(h, w) metres along the optical z axis, 0 unknown; same view as ``rgb``, own size."""
    depth_camera: Camera | None
    """Intrinsics at the size of ``depth``."""
    map_from_camera: FloatArray
    """(4, 4) pose of the optical camera frame in the map."""


@dataclass(frozen=True)
class StampedImage:
    """A colour picture of a bag, without a pose."""

    stamp_ns: int
    """Stamp of the message."""
    rgb: NDArray[np.uint8]
    """(H, W, 3), undistorted."""
    camera: Camera
    """Intrinsics at the size of ``rgb``."""


class FrameEntry(NamedTuple):
    """Where the messages of one frame are in the bag."""

    image: MessageRef
    depth: MessageRef | None
    camera_model: CameraModel


@dataclass(frozen=True)
class DepthCorrection:
    """What true depth is: ``scale * depth + offset_m``."""

    scale: float = 1.0
    offset_m: float = 0.0
    points: int = 0
    """Triangulated points that it was found from."""
    error_m: float | None = None
    """Median difference of depth and triangulation [m], as measured."""
    corrected_error_m: float | None = None
    """The same after the correction; on pairs of frames that it was not fitted to."""

    def apply(self, depth: NDArray[np.float32]) -> NDArray[np.float32]:
        """Correct a depth picture [m]; 0 stays unknown."""
        if self.scale == 1.0 and self.offset_m == 0.0:
            return depth
        corrected = np.float32(self.scale) * depth + np.float32(self.offset_m)
        return np.where((depth > 0) & (corrected > 0), corrected, np.float32(0))


class Capture:
    """The frames of a bag; made by `open_capture`."""

    def __init__(
        self,
        source: Path,
        config: CaptureConfig,
        entries: list[FrameEntry],
        map_from_camera: FloatArray,
        convention: PoseConvention,
        counts: dict[str, int],
        depth_correction: DepthCorrection = DepthCorrection(),
    ) -> None:
        """Store what `open_capture` found."""
        self.source = source
        self.convention = convention
        self.map_from_camera = map_from_camera
        """(N, 4, 4) poses of the optical camera frame in the map."""
        self.stamps_ns = np.array([record.image.stamp_ns for record in entries], np.int64)
        """(N,) stamps of the colour pictures."""
        self.counts = counts
        """How many messages there were, and how many frames were left out for which reason."""
        self.camera = entries[0].camera_model.camera
        """Intrinsics of the first picture."""
        self.has_depth = any(record.depth for record in entries)
        self.depth_correction = depth_correction
        """Applied to the depth of all frames."""
        self._config = config
        self._entries = entries
        self._bag: BagReader | None = None

    def with_depth_correction(self, correction: DepthCorrection) -> 'Capture':
        """Return the same capture with another correction of its depth."""
        return Capture(
            self.source,
            self._config,
            self._entries,
            self.map_from_camera,
            self.convention,
            self.counts,
            correction,
        )

    def __len__(self) -> int:
        """Return the number of frames."""
        return len(self._entries)

    def frame(self, index: int) -> Frame:
        """
        Read one frame; for many, iterate, which is quicker.

        Raises
        ------
        IndexError
            If there is no such frame.
        CaptureError
            If the bag is gone or damaged.
        """
        if not 0 <= index < len(self):
            raise IndexError(f'frame {index} of a capture of {len(self)} frames')
        if self._bag is None:
            self._bag = BagReader(self.source)
        record = self._entries[index]
        colour = _read_message(self._bag, record.image)
        depth = record.depth and _read_message(self._bag, record.depth)
        return self._frame(self._bag, index, colour, depth)

    def __iter__(self) -> Iterator[Frame]:
        """Read all frames in order, in one pass through the bag."""
        uses: dict[MessageRef, int] = {}
        for record in self._entries:
            for place in (record.image, record.depth):
                if place is not None:
                    uses[place] = uses.get(place, 0) + 1
        waiting: dict[MessageRef, RawMessage] = {}
        index = 0
        topics = [self._config.image_topic, self._config.depth_topic]
        with BagReader(self.source) as bag:
            for raw in bag.messages(topics):
                place = MessageRef.from_message(raw)
                if place in uses:
                    waiting[place] = raw
                while index < len(self):
                    colour, depth, _ = self._entries[index]
                    if colour not in waiting or (depth is not None and depth not in waiting):
                        break
                    yield self._frame(bag, index, waiting[colour], depth and waiting[depth])
                    for used in (colour, depth):
                        if used is not None:
                            uses[used] -= 1
                            if not uses[used]:
                                del waiting[used], uses[used]
                    index += 1

    def _frame(
        self, bag: BagReader, index: int, colour: RawMessage, depth: RawMessage | None
    ) -> Frame:
        record = self._entries[index]
        rgb = _decode_rgb(bag, colour, record.camera_model)
        view = (
            None if depth is None else _decode_depth(bag, depth, record.camera_model, self._config)
        )
        return Frame(
            index=index,
            stamp_ns=record.image.stamp_ns,
            rgb=rgb,
            camera=record.camera_model.camera,
            depth=None if view is None else self.depth_correction.apply(view[0]),
            depth_camera=None if view is None else view[1],
            map_from_camera=self.map_from_camera[index],
        )


def open_capture(
    bag: Path,
    config: CaptureConfig,
    *,
    convention: PoseConvention | None = None,
    select_frames: bool = True,
    progress: ProgressCallback = no_progress,
) -> Capture:
    """
    Open a bag as a capture.

    Parameters
    ----------
    bag : Path
        A rosbag2.
    config : CaptureConfig
        Topics, tolerance, convention and what to leave out.
    convention : Convention, optional
        Applied as it is, so that the poses are in the frame of the map it comes from. Without
        it, the convention is found (or confirmed) by depth re-projection and z up is solved.
        That of a map which was built without a bag is refused.
    select_frames : bool
        Leave out frames without depth, blurred ones and duplicates; False keeps every picture
        that has a pose.
    progress : callback
        Hears of every picture that was looked at.

    Raises
    ------
    CaptureError
        If the bag cannot be used; the sentence says what is wrong with it.
    ConfigError
        If a setting is needed that the bag does not tell.
    """
    if convention is not None and not convention.of_bag:
        raise CaptureError(
            f'the map was built without a bag, so that nobody knows how the poses of {bag} lie in'
            ' it: build the map with a BAG of the room'
        )
    with BagReader(bag) as reader:
        config = config.with_topics_of(reader.count)
        found = index_bag(reader, config, progress)
        stamps_ns = np.array([item.message_ref.stamp_ns for item in found.images], np.int64)
        poses = camera_poses_at(reader, config, stamps_ns, found.image_frame)
        posed = _match_stamps(poses.gap_ns, config.pose_topic or 'TF', config)
        records = _frame_entries(found, stamps_ns, config)
        records = [record for record, good in zip(records, posed, strict=True) if good]
        raw_poses = poses.poses[posed]
        _check_motion(raw_poses, Path(bag))
        if convention is None:
            convention = _find_convention(reader, config, records, raw_poses, poses.frame)
    map_from_camera = convention.map_from_camera(raw_poses)
    counts = {
        **found.counts,
        'poses broken': poses.invalid_count,
        'pictures without a pose': int(np.sum(~posed)),
    }
    if select_frames:
        sharpness = np.array([item.sharpness for item in found.images])[posed]
        kept = _select_frames(records, map_from_camera, sharpness, config, counts)
        records, map_from_camera = [records[i] for i in kept], map_from_camera[kept]
    counts['kept'] = len(records)
    return Capture(Path(bag), config, records, map_from_camera, convention, counts)


def iter_images(bag: Path, config: CaptureConfig) -> Iterator[StampedImage]:
    """
    Read the colour pictures of a bag in order, with their intrinsics; nothing else is needed.

    Damaged pictures are left out, with a warning in the log.

    Raises
    ------
    CaptureError
        If the bag cannot be read, has no such pictures, or most of them are damaged.
    """
    with BagReader(bag) as reader:
        config = config.with_topics_of(reader.count)
        found = index_bag(reader, config, no_progress, include_depth=False)
        lenses = {item.message_ref: item.camera_model for item in found.images}
        for raw in reader.messages([config.image_topic]):
            lens = lenses.get(MessageRef.from_message(raw))
            if lens is not None:
                yield StampedImage(raw.stamp_ns, _decode_rgb(reader, raw, lens), lens.camera)


def _match_stamps(
    gap_ns: NDArray[np.int64], topic: str, config: CaptureConfig
) -> NDArray[np.bool_]:
    """Tell which pictures have a message near enough in time; CaptureError if none has."""
    matched = gap_ns <= config.sync_tolerance_s * 1e9
    if not matched.any():
        raise CaptureError(
            f'no picture on {config.image_topic} has a message on {topic} within sync_tolerance_s'
            f' = {config.sync_tolerance_s} s, the smallest difference is'
            f' {gap_ns.min() * 1e-9:.3f} s: set sync_tolerance_s above it if that is right'
        )
    return np.asarray(matched)


def _frame_entries(
    found: BagIndex, stamps_ns: NDArray[np.int64], config: CaptureConfig
) -> list[FrameEntry]:
    """Join pictures with depth."""
    if not found.depths:
        return [FrameEntry(item.message_ref, None, item.camera_model) for item in found.images]
    depth_ns = np.array([place.stamp_ns for place in found.depths], np.int64)
    position = nearest_stamp_indices(depth_ns, stamps_ns)
    matched = _match_stamps(np.abs(depth_ns[position] - stamps_ns), config.depth_topic, config)
    return [
        FrameEntry(item.message_ref, found.depths[where] if good else None, item.camera_model)
        for item, where, good in zip(found.images, position, matched, strict=True)
    ]


def _check_motion(poses: FloatArray, bag: Path) -> None:
    same = np.ptp(poses.reshape(-1, 16), axis=0).max() < 1e-3
    if len(poses) > 1 and same:
        raise CaptureError(
            f'all {len(poses)} poses of {bag} are the same: it was recorded without tracking (as'
            ' by the FaceID camera) or without a move, record with the LiDAR camera and walk'
        )


def _find_convention(
    bag: BagReader,
    config: CaptureConfig,
    records: list[FrameEntry],
    poses: FloatArray,
    world_frame: str,
) -> PoseConvention:
    """Tell what the poses mean by the depth or, without depth, by what bag or settings say."""
    said = bag.custom_metadata
    wanted = config.pose_convention
    deep = [i for i, record in enumerate(records) if record.depth is not None]

    def depth_view(k: int) -> DepthImage:
        record = records[deep[k]]
        assert record.depth is not None
        return _decode_depth(bag, _read_message(bag, record.depth), record.camera_model, config)

    errors: dict[str, float] = {}
    if deep:
        _check_depth_values(depth_view, len(deep), config)
        errors = reprojection_errors(poses[deep], depth_view)
        axes = select_convention(errors, wanted)
    elif wanted != 'auto':
        axes = wanted
    elif said.get('pose_convention') in POSE_CONVENTIONS:
        axes = said['pose_convention']
    else:
        raise ConfigError(
            f'{bag.path} has no depth that tells what its poses mean: set pose_convention to one'
            f' of {", ".join(POSE_CONVENTIONS)}'
        )
    cameras = world_from_camera(poses, axes)

    def floor() -> FloatArray | None:
        rng = np.random.default_rng(0)
        return estimate_floor_normal(cameras[deep], depth_view, rng) if deep else None

    up = estimate_gravity_alignment(
        axes, world_frame, config.up_axis, said.get('up_axis', ''), cameras, floor
    )
    return PoseConvention(axes, *up, errors)


def _check_depth_values(
    depth_view: Callable[[int], DepthImage], count: int, config: CaptureConfig
) -> None:
    if not any(depth_view(int(k))[0].any() for k in evenly_spaced_indices(count, 16)):
        raise CaptureError(
            f'the depth on {config.depth_topic} is 0 or beyond max_depth_m ='
            f' {config.max_depth_m} m everywhere: check the sensor, or set depth_topic to nothing'
            ' to go without depth'
        )


def _select_frames(
    records: list[FrameEntry],
    map_from_camera: FloatArray,
    sharpness: NDArray[np.float64],
    config: CaptureConfig,
    counts: dict[str, int],
) -> NDArray[np.int64]:
    """Choose the frames (K,) to build from, and count the others by reason."""
    deep = np.array([record.depth is not None for record in records])
    no_depth = ~deep & deep.any()
    blurred = is_blurred(sharpness, config.blur_ratio) & ~no_depth
    kept = np.flatnonzero(~no_depth & ~blurred)
    turn = np.radians(config.min_turn_deg)
    duplicate = is_duplicate(map_from_camera[kept], config.min_move_m, turn)
    counts['dropped without depth'] = int(no_depth.sum())
    counts['dropped as blurred'] = int(blurred.sum())
    counts['dropped as duplicate'] = int(duplicate.sum())
    return kept[~duplicate]


def _read_message(bag: BagReader, place: MessageRef) -> RawMessage:
    """Read one message again."""
    for raw in bag.messages([place.topic], place.log_time_ns):
        if raw.stamp_ns == place.stamp_ns:
            return raw
    raise CaptureError(f'{bag.path} was changed while it was read: {place} is gone')


def _decode_rgb(bag: BagReader, raw: RawMessage, lens: CameraModel) -> NDArray[np.uint8]:
    try:
        rgb = lens.undistort_rgb(rgb_from_message(bag.decode(raw)))
        return np.require(rgb, requirements=['C', 'W'])
    except ImageError as error:
        raise CaptureError(f'the picture at {raw.stamp_ns} ns of {bag.path}: {error}') from error


def _decode_depth(
    bag: BagReader, raw: RawMessage, lens: CameraModel, config: CaptureConfig
) -> DepthImage:
    try:
        depth = depth_from_message(bag.decode(raw))
        lens = lens.scaled_to(depth.shape[1], depth.shape[0])
    except ImageError as error:
        raise CaptureError(f'the depth at {raw.stamp_ns} ns of {bag.path}: {error}') from error
    depth[depth > config.max_depth_m] = 0.0
    return lens.undistort_depth(depth), lens.camera
