"""
Several bags of one room as one recording, if they share one world.

Bags share a world if their poses are of one frame: of one session, or of a tracker that found its
own map again. It is told by images: motions between frames of two bags, from matches and depth,
have to agree with the recorded poses.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import pairwise
import os
from pathlib import Path
import shutil

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.bags.storage_files import read_metadata, storage_paths
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.files import remove
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.core.progress import ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.mapping.feature_tracks import match_across, MatchedFrames
from nerf_reversal_ros.mapping.walk_parts import MIN_JUMP, MIN_JUMP_DEG, motion_to_joined

FRAMES_PER_BAG = 60
"""Frames of each bag that are compared with those of the others."""


def join_bags(bags: Sequence[Path], target: Path, config: CaptureConfig) -> None:
    """
    Put the files of bags into one folder, which is a bag: as hard links, else as copies.

    Raises
    ------
    CaptureError
        If a bag lacks a topic that the first one has, or two bags overlap in time.
    """
    _check_topics_and_times(bags, config)
    files = [
        (f'{number:03}_{file.name}', file)
        for number, bag in enumerate(bags)
        for file in storage_paths(bag, read_metadata(bag))
    ]
    remove(target)
    target.mkdir(parents=True)
    for name, file in files:
        try:
            os.link(file.resolve(), target / name)
        except OSError:  # of another file system
            shutil.copy2(file, target / name)
    metadata = bags[0] / 'metadata.yaml'
    if bags[0].is_dir() and metadata.exists():  # names axes and the direction of gravity
        shutil.copy2(metadata, target / metadata.name)


def check_one_world(
    bags: Sequence[Path], joined: Path, config: CaptureConfig, progress: ProgressCallback
) -> None:
    """
    Require by images that the poses of all bags are of one frame.

    Parameters
    ----------
    bags : sequence of Path
        The bags.
    joined : Path
        What `join_bags` made of them.
    config : CaptureConfig
        Topics and pose convention.
    progress : callback
        Receives the reports of reading and matching.

    Raises
    ------
    CaptureError
        If two bags show nothing in common, or have different worlds.
    """
    capture = open_capture(joined, config, progress=progress)
    times_ns = capture.recorded_ns
    bag_of_frame = np.full(len(capture), -1)
    for number, bag in enumerate(bags):
        with BagReader(bag) as reader:
            begin, end = reader.span_ns
        bag_of_frame[(times_ns >= begin) & (times_ns <= end)] = number
    chosen = np.sort(
        np.concatenate(
            [
                own[evenly_spaced_indices(len(own), FRAMES_PER_BAG)]
                for own in (np.flatnonzero(bag_of_frame == k) for k in range(len(bags)))
                if len(own)
            ]
        )
    )
    matched = match_across(capture, chosen, bag_of_frame[chosen], progress)
    _check_motions(matched, capture.map_from_camera[chosen], bag_of_frame[chosen], bags)


def _check_motions(
    matched: MatchedFrames, poses: FloatArray, part: NDArray[np.int64], bags: Sequence[Path]
) -> None:
    """Compare the motions between frames (K,) of different bags with the poses (K, 4, 4)."""
    joined = part == 0
    waiting = list(range(1, len(bags)))
    while waiting:
        motions = {k: motion_to_joined(matched, poses, joined, part == k) for k in waiting}
        found = [k for k in waiting if motions[k] is not None]
        if not found:
            raise CaptureError(
                f'the bag {bags[waiting[0]]} shows nothing that {bags[0]} shows, so that nothing'
                f' tells whether they share a world: {remedies.ROOM_OF_ITS_OWN}'
            )
        for k in found:
            motion = motions[k]
            assert motion is not None
            errors = pose_errors(poses[part == k], motion @ poses[part == k])
            distance_m = float(np.median(errors.translation))
            angle_deg = float(np.degrees(np.median(errors.rotation)))
            if distance_m > MIN_JUMP * matched.scene_depth_m or angle_deg > MIN_JUMP_DEG:
                raise CaptureError(
                    f'the bags {bags[0]} and {bags[k]} do not share a world, their poses differ by'
                    f' {distance_m:.2f} m and {angle_deg:.1f} deg: {remedies.ROOM_OF_ITS_OWN}'
                )
            joined |= part == k
            waiting.remove(k)


def _check_topics_and_times(bags: Sequence[Path], config: CaptureConfig) -> None:
    """Require the topics of the first bag in all, and times that do not overlap."""
    with ExitStack() as stack:
        readers = [stack.enter_context(BagReader(bag)) for bag in bags]
        used = config.with_topics_of(readers[0].count)
        topics = [
            topic
            for topic in (
                *(used.image_topic, used.camera_info_topic),
                *(used.depth_topic, used.pose_topic),
            )
            if topic and readers[0].count(topic)
        ]
        for reader in readers[1:]:
            for topic in topics:
                same_type = reader.topics.get(topic) == readers[0].topics[topic]
                if not same_type or not reader.count(topic):
                    raise CaptureError(
                        f'the bag {reader.path} has no topic {topic} of the type in {bags[0]}:'
                        f' {remedies.ROOM_OF_ITS_OWN}'
                    )
            if reader.custom_metadata != readers[0].custom_metadata:
                raise CaptureError(
                    f'the metadata of the bags {bags[0]} and {reader.path} name different axes'
                    f' or devices: {remedies.ROOM_OF_ITS_OWN}'
                )
        ordered = sorted(readers, key=lambda reader: reader.span_ns)
        for before, after in pairwise(ordered):
            if after.span_ns[0] <= before.span_ns[1]:
                raise CaptureError(
                    f'the bags {before.path} and {after.path} overlap in time:'
                    f' {remedies.ROOM_OF_ITS_OWN}'
                )
