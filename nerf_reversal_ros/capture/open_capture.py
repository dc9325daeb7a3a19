"""
Open a bag as a capture: index, synchronize, estimate the pose convention, select frames.

The bag is read once. Color, depth and poses are joined by their stamps, the pose convention and
the gravity alignment are estimated, and frames without use are dropped. Only stamps, poses and
message references are kept; images are read on access.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_index import BagIndex, index_bag, MessageRef
from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.bags.camera_poses import CameraPoses
from nerf_reversal_ros.bags.depth_registration import DepthRegistration
from nerf_reversal_ros.bags.image_masks import mask_depth
from nerf_reversal_ros.capture.capture import Capture, StampedImage
from nerf_reversal_ros.capture.depth_alignment import find_registration
from nerf_reversal_ros.capture.depth_unit import check_depth_values
from nerf_reversal_ros.capture.frame_reading import (
    decode_depth,
    decode_mask,
    decode_rgb,
    FrameEntry,
    read_depth,
    read_message,
)
from nerf_reversal_ros.capture.frame_selection import is_blurred, is_duplicate, sharpness
from nerf_reversal_ros.capture.gravity_alignment import (
    estimate_floor_normal,
    estimate_gravity_alignment,
)
from nerf_reversal_ros.capture.pose_check import PoseCheck
from nerf_reversal_ros.capture.pose_convention import (
    DepthImage,
    POSE_CONVENTIONS,
    PoseConvention,
    PoseMisfitError,
    reprojection_errors,
    select_convention,
    world_from_camera,
)
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.core.sampling import nearest_stamp_indices

MAX_GAP_S = 10.0
"""Largest tolerance of stamps; those farther apart are of different clocks [s]."""
MIN_POSE_RANGE = 1e-3
"""Smallest range of any element of the poses ([m] or unitless) that counts as motion."""


def open_capture(
    bag: Path,
    config: CaptureConfig,
    *,
    convention: PoseConvention | None = None,
    select_frames: bool = True,
    compare_poses: bool = False,
    min_frames: int = 0,
    progress: ProgressCallback = no_progress,
) -> Capture:
    """
    Open a bag as a capture.

    Parameters
    ----------
    bag : Path
        A rosbag2.
    config : CaptureConfig
        Topics, synchronization tolerance, pose convention and frame selection.
    convention : PoseConvention, optional
        Convention of a map, applied unchanged, so that the poses are in the frame of that map.
        Without it the convention is estimated (or confirmed) by depth reprojection, and the
        gravity alignment is estimated.
    select_frames : bool
        Drop frames without depth, blurred frames and duplicates. False keeps every image that
        has a pose.
    compare_poses : bool
        Compare the poses with the motions of the images, for `Capture.findings`.
    min_frames : int
        Fewest frames that are enough, before and after the selection.
    progress : callback
        Receives one report per indexed image.

    Raises
    ------
    CaptureError
        If the bag cannot be used, or ``convention`` is of a map that was built without a bag.
    ConfigError
        If a required setting is missing and cannot be estimated from the bag.
    """
    if convention is not None:
        _check_convention(convention, bag)
    with BagReader(bag) as reader:
        config = config.with_topics_of(reader.count)
        index = index_bag(reader, config, sharpness, progress)
        stamps_ns = np.array([item.message_ref.stamp_ns for item in index.images], np.int64)
        camera_poses = CameraPoses(reader, config, index.image_frame)
        poses = camera_poses.at(stamps_ns)
        entries = _frame_entries(
            index, stamps_ns, config, find_registration(reader, config, index)
        )
        all_images = PoseCheck(reader, config, entries, camera_poses)
        has_pose = _match_poses(poses.gap_ns, config, all_images)
        entries = [entry for entry, keep in zip(entries, has_pose, strict=True) if keep]
        check = PoseCheck(reader, config, entries, camera_poses)
        bag_poses = poses.poses[has_pose]
        _check_motion(bag_poses, Path(bag))
        if convention is None:
            _check_count(len(entries), min_frames, bag, 'with a pose')
            frame = camera_poses.frame
            convention = _estimate_convention(reader, config, entries, bag_poses, frame, check)
        findings = check.findings() if compare_poses else ()
    map_from_camera = convention.map_from_camera(bag_poses)
    counts = {
        **index.counts,
        'poses broken': camera_poses.invalid_count,
        'pictures without a pose': int(np.sum(~has_pose)),
    }
    if select_frames:
        scores = np.array([item.sharpness for item in index.images])[has_pose]
        kept = _select_frames(entries, map_from_camera, scores, config, counts)
        entries, map_from_camera = [entries[i] for i in kept], map_from_camera[kept]
        _check_count(len(entries), min_frames, bag, 'without blurred and repeated ones')
    counts['kept'] = len(entries)
    return Capture(
        Path(bag), config, entries, map_from_camera, convention, counts, findings=findings
    )


def iter_images(bag: Path, config: CaptureConfig) -> Iterator[StampedImage]:
    """
    Read the color images of a bag in order, with intrinsics; depth and poses are not required.

    Damaged images are skipped with a warning in the log.

    Raises
    ------
    CaptureError
        If the bag cannot be read, has no images, or most of them are damaged.
    """
    with BagReader(bag) as reader:
        config = config.with_topics_of(reader.count)
        index = index_bag(reader, config, sharpness, no_progress, include_depth=False)
        models = {item.message_ref: item.camera_model for item in index.images}
        for raw in reader.messages([config.image_topic]):
            model = models.get(MessageRef.from_message(raw))
            if model is not None:
                yield StampedImage(raw.stamp_ns, decode_rgb(reader, raw, model), model.camera)


def _check_convention(convention: PoseConvention, bag: Path) -> None:
    if not convention.of_bag:
        raise CaptureError(
            f'the map was built without a bag, so that the pose of {bag} in it is unknown: build'
            ' the map with a BAG of the room'
        )


def _match_stamps(
    gap_ns: NDArray[np.int64], topic: str, config: CaptureConfig
) -> NDArray[np.bool_]:
    """Return which images (N,) have a message within the tolerance; CaptureError if none has."""
    matched = gap_ns <= config.sync_tolerance_s * 1e9
    if not matched.any():
        gap_s = float(gap_ns.min()) * 1e-9
        remedy = remedies.SYNC_TOLERANCE
        if gap_s >= MAX_GAP_S:
            remedy = 'they are of different clocks, record both by the clock of one computer'
        raise CaptureError(
            f'no image on {config.image_topic} has a message on {topic} within sync_tolerance_s'
            f' = {config.sync_tolerance_s} s, the smallest difference is {gap_s:.3f} s:'
            f' {remedy}'
        )
    return np.asarray(matched)


def _match_poses(
    gap_ns: NDArray[np.int64], config: CaptureConfig, check: PoseCheck
) -> NDArray[np.bool_]:
    """Return which images (N,) have a pose within the tolerance; CaptureError if none has."""
    if gap_ns.min() > config.sync_tolerance_s * 1e9:
        finding = check.stamps_finding()
        if finding is not None:
            raise CaptureError(f'{check.bag_path}: {finding.text}')
    return _match_stamps(gap_ns, config.pose_topic or 'TF', config)


def _frame_entries(
    index: BagIndex,
    stamps_ns: NDArray[np.int64],
    config: CaptureConfig,
    registration: DepthRegistration | None,
) -> list[FrameEntry]:
    """Join each image with the depth message of the nearest stamp within the tolerance."""
    masks = [index.masks.get(item.message_ref.stamp_ns) for item in index.images]
    if not index.depths:
        return [
            FrameEntry(item.message_ref, None, item.camera_model, mask=mask)
            for item, mask in zip(index.images, masks, strict=True)
        ]
    depth_ns = np.array([depth.stamp_ns for depth in index.depths], np.int64)
    nearest = nearest_stamp_indices(depth_ns, stamps_ns)
    matched = _match_stamps(np.abs(depth_ns[nearest] - stamps_ns), config.depth_topic, config)
    return [
        FrameEntry(
            item.message_ref,
            index.depths[i] if is_matched else None,
            item.camera_model,
            registration,
            mask,
        )
        for item, i, is_matched, mask in zip(index.images, nearest, matched, masks, strict=True)
    ]


def _check_count(count: int, min_frames: int, bag: Path, condition: str) -> None:
    if count < min_frames:
        frames = f'{count} frame{"" if count == 1 else "s"}'
        raise CaptureError(
            f'{bag} has only {frames} {condition}, a map needs at least {min_frames}: record a'
            ' walk through the room'
        )


def _check_motion(poses: FloatArray, bag: Path) -> None:
    if len(poses) > 1 and np.ptp(poses.reshape(-1, 16), axis=0).max() < MIN_POSE_RANGE:
        raise CaptureError(
            f'all {len(poses)} poses of {bag} are the same, without tracking (FaceID camera) or'
            ' motion: record with the LiDAR camera while you walk'
        )


def _estimate_convention(
    bag: BagReader,
    config: CaptureConfig,
    entries: list[FrameEntry],
    poses: FloatArray,
    world_frame: str,
    check: PoseCheck,
) -> PoseConvention:
    """Estimate axes by depth reprojection, else from metadata or settings; then align gravity."""
    metadata = bag.custom_metadata
    with_depth = [i for i, entry in enumerate(entries) if entry.depth is not None]

    def depth_image(k: int) -> DepthImage:
        entry = entries[with_depth[k]]
        assert entry.depth is not None
        depth, camera = decode_depth(bag, read_message(bag, entry.depth), entry, config)
        if entry.mask is not None:
            mask = decode_mask(bag, read_message(bag, entry.mask), entry.camera_model)
            depth = mask_depth(depth, mask)
        return depth, camera

    def depth_in_unit(k: int, unit_m: float) -> NDArray[np.float32]:
        entry = entries[with_depth[k]]
        assert entry.depth is not None
        return read_depth(bag, read_message(bag, entry.depth), unit_m)

    errors_m: dict[str, float] = {}
    if with_depth:
        check_depth_values(depth_in_unit, len(with_depth), config)
        errors_m = reprojection_errors(poses[with_depth], depth_image)
        try:
            axes = select_convention(errors_m, config.pose_convention)
        except PoseMisfitError as error:
            raise CaptureError(f'{error}: {check.misfit_finding().text}') from error
    else:
        axes = _configured_axes(bag, config, metadata)
    cameras = world_from_camera(poses, axes)

    def floor() -> FloatArray | None:
        rng = np.random.default_rng(0)
        if not with_depth:
            return None
        return estimate_floor_normal(cameras[with_depth], depth_image, rng)

    gravity_alignment = estimate_gravity_alignment(
        axes, world_frame, config.up_axis, metadata.get('up_axis', ''), cameras, floor
    )
    finite = {name: error_m for name, error_m in errors_m.items() if np.isfinite(error_m)}
    return PoseConvention(axes, *gravity_alignment, finite)


def _configured_axes(bag: BagReader, config: CaptureConfig, metadata: dict[str, str]) -> str:
    """Return the pose convention of the settings, or of the metadata of the bag."""
    if config.pose_convention != 'auto':
        return config.pose_convention
    if metadata.get('pose_convention') in POSE_CONVENTIONS:
        return metadata['pose_convention']
    raise ConfigError(
        f'{bag.path} has no depth to estimate the convention of its poses:'
        f' {remedies.CONVENTION.format(conventions=", ".join(POSE_CONVENTIONS))}'
    )


def _select_frames(
    entries: list[FrameEntry],
    map_from_camera: FloatArray,
    scores: NDArray[np.float64],
    config: CaptureConfig,
    counts: dict[str, int],
) -> NDArray[np.int64]:
    """Select the frames (K,) to build from, and add the numbers of dropped frames to counts."""
    has_depth = np.array([entry.depth is not None for entry in entries])
    lacks_depth = ~has_depth & has_depth.any()
    blurred = is_blurred(scores, config.blur_ratio) & ~lacks_depth
    kept = np.flatnonzero(~lacks_depth & ~blurred)
    min_rotation_rad = np.radians(config.min_turn_deg)
    duplicate = is_duplicate(map_from_camera[kept], config.min_move_m, min_rotation_rad)
    counts['dropped without depth'] = int(lacks_depth.sum())
    counts['dropped as blurred'] = int(blurred.sum())
    counts['dropped as duplicate'] = int(duplicate.sum())
    return kept[~duplicate]
