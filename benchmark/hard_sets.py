"""
Evaluate a map on corrupted images, far from the mapping trajectory, and on other rooms.

    python benchmark/hard_sets.py MAP [TEST_BAG] [--off-path BAG ...] [--other BAG ...]
        [--reference BUILD_BAG] [--json FILE] [--every N] [--out FILE.json]

Images of TEST_BAG, whose poses are known, are blurred, darkened, occluded, cropped and rolled.
Images of the bags off the path, whose poses are known too, are used unchanged where they are far
enough from every mapping position. No pose is correct for images of the other bags, which are of
other rooms, nor for mirrored images of TEST_BAG. The table has a row for each set: accepted
images, recall within 5 cm and 5 degrees, worst accepted pose, and incorrect poses, which are
beyond 10 cm or 5 degrees. With the bag of the build, SIFT + PnP localizes the same images: the
last columns count its correct poses, and the accepted images among these.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from results import add_out_argument, Column, ResultTable, write_results
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from nerf_reversal_ros.baselines.sift_pnp import SiftPnp
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import iter_images, open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig, LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, make_pose, pose_distance
from nerf_reversal_ros.core.metrics import compute_metrics, json_safe, results_from_outcomes
from nerf_reversal_ros.core.outcome import (
    CORRECT_WITHIN_DEG,
    CORRECT_WITHIN_M,
    Outcome,
    PoseEstimate,
)
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.localization.localizer_protocol import localize_or_reject
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.synthesis.image_corruption import (
    crop,
    make_mirror_negative,
    motion_blur,
    occlude,
    PosedImage,
    Rgb,
)

Corruption = Callable[[PosedImage, np.random.Generator], PosedImage]

OFF_PATH = {'0.35-0.75 m off the path': (0.35, 0.75), 'beyond 0.75 m': (0.75, np.inf)}
"""Distances from the nearest mapping position, from and up to [m]."""
COLUMNS = (
    'set',
    Column('images'),
    Column('accepted'),
    Column('within 5 cm 5 deg', '%'),
    Column('median', 'cm', 2),
    Column('worst', 'cm', 2),
    Column('worst', 'deg', 2),
    Column('incorrect'),
    Column('ANEES/6', '', 2),
    Column('p50', 'ms'),
    Column('p95', 'ms'),
    Column("SIFT + PnP's correct"),
    Column('of them accepted'),
)

UNKNOWN_POSE = np.full((4, 4), np.nan)
"""Pose of an image that no pose of the map fits."""


def main() -> None:
    """Evaluate all sets and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('test_bag', type=Path, nargs='?')
    parser.add_argument('--off-path', type=Path, nargs='*', default=[], help='bags of this room')
    parser.add_argument('--other', type=Path, nargs='*', default=[], help='bags of other rooms')
    parser.add_argument('--reference', type=Path, help='bag of the build, for SIFT + PnP')
    parser.add_argument('--json', type=Path, help='write the metrics of each set')
    parser.add_argument('--every', type=int, default=1, help='evaluate every N-th image')
    add_out_argument(parser)
    args = parser.parse_args()

    map_ = open_map(args.map)
    localizer = open_localizer(map_, LocalizerConfig())
    peer = SiftPnp(open_reference(args.reference, map_)) if args.reference else None
    sets: dict[str, Iterable[PosedImage]] = {}
    if args.test_bag:
        capture = open_query_capture(args.test_bag, map_)
        sets |= {
            name: corrupt_images(capture, corruption, args.every)
            for name, corruption in CORRUPTIONS.items()
        }
    if args.off_path:
        captures = [open_query_capture(bag, map_) for bag in args.off_path]
        positions = map_.mapping_poses[:, :3, 3]
        sets |= {
            name: off_path_images(captures, positions, low_m, high_m, args.every)
            for name, (low_m, high_m) in OFF_PATH.items()
        }
    metrics: dict[str, dict] = {}
    tables = [ResultTable('Images whose pose is known', COLUMNS)]
    for name, images in sets.items():
        if (block := evaluate_images(localizer, images, name, peer)) is not None:
            metrics[name] = block
            tables[0].add_row(name, *metrics_cells(block))
    tables.append(
        ResultTable('Images that no pose fits', ('set', Column('images'), Column('accepted')))
    )
    negatives: dict[str, Iterable[PosedImage]] = {}
    if args.other:
        negatives['other rooms'] = images_of_bags(args.other)
    if args.test_bag:
        unchanged = corrupt_images(capture, CORRUPTIONS['unchanged'], args.every)
        negatives['mirrored'] = map(make_mirror_negative, unchanged)
    for name, images in negatives.items():
        metrics[name] = block = count_accepted(localizer, images, name)
        tables[1].add_row(name, block['images'], block['published'])
    if args.json:
        args.json.write_text(json.dumps(json_safe(metrics), indent=1) + '\n')
    write_results(args.out, 'Difficult images', *(table for table in tables if table.rows))


def open_query_capture(bag: Path, map_: Map) -> Capture:
    """Open all frames of a bag of the map's room, with the pose convention of the map."""
    return open_capture(bag, CaptureConfig(), convention=map_.convention, select_frames=False)


def open_reference(bag: Path, map_: Map) -> Capture:
    """Open the frames of the build's bag that the map was built from."""
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    return open_capture(bag, built.capture, convention=map_.convention)


def off_path_images(
    captures: list[Capture], positions: FloatArray, low_m: float, high_m: float, every: int
) -> Iterator[PosedImage]:
    """Yield the images whose distance to all mapping positions (N, 3) is within the limits."""
    for capture in captures:
        camera_positions = capture.map_from_camera[:, None, :3, 3]
        nearest_m = np.linalg.norm(camera_positions - positions, axis=2).min(axis=1)
        for index in np.flatnonzero((nearest_m >= low_m) & (nearest_m < high_m))[::every]:
            frame = capture.frame(int(index))
            yield PosedImage(frame.rgb, frame.camera, frame.map_from_camera)


def corrupt_images(capture: Capture, corruption: Corruption, every: int) -> Iterator[PosedImage]:
    """Yield the corrupted images of a capture; the random numbers depend on the frame alone."""
    for frame in capture:
        if frame.index % every == 0:
            image = PosedImage(frame.rgb, frame.camera, frame.map_from_camera)
            yield corruption(image, np.random.default_rng(frame.index))


def evaluate_images(
    localizer: Localizer, images: Iterable[PosedImage], name: str, peer: SiftPnp | None
) -> dict[str, object] | None:
    """Localize images and compute the metrics; None if there is no image."""
    outcomes: list[Outcome] = []
    poses_gt = []
    peer_is_correct = []
    for image in tqdm(images, desc=name, leave=False):
        outcomes.append(localize_or_reject(localizer, image.rgb, image.camera))
        poses_gt.append(image.map_from_camera)
        if peer:
            peer_is_correct.append(is_correct(peer.localize(image.rgb, image.camera), image))
    if not outcomes:
        return None
    latency_ms = [outcome.diagnostics.latency_ms.get('total', np.nan) for outcome in outcomes]
    metrics = compute_metrics(results_from_outcomes(outcomes, latency_ms), np.array(poses_gt))
    if peer:
        is_accepted = [isinstance(outcome, PoseEstimate) for outcome in outcomes]
        metrics['peer_correct'] = sum(peer_is_correct)
        metrics['peer_correct_accepted'] = int(np.logical_and(peer_is_correct, is_accepted).sum())
    return metrics


def is_correct(pose: FloatArray | None, image: PosedImage) -> bool:
    """Return whether a pose (4, 4) was found and is within the limits of a correct one."""
    if pose is None:
        return False
    distance_m, angle_deg = pose_distance(pose, image.map_from_camera)
    return distance_m <= CORRECT_WITHIN_M and angle_deg <= CORRECT_WITHIN_DEG


def images_of_bags(bags: list[Path]) -> Iterator[PosedImage]:
    """Yield the images of bags of other rooms; their poses are NaN."""
    for bag in bags:
        for image in iter_images(bag, CaptureConfig()):
            yield PosedImage(image.rgb, image.camera, UNKNOWN_POSE)


def count_accepted(
    localizer: Localizer, images: Iterable[PosedImage], name: str
) -> dict[str, object]:
    """Count the accepted images of a set for which no pose is correct."""
    outcomes = [
        localize_or_reject(localizer, image.rgb, image.camera)
        for image in tqdm(images, desc=name, leave=False)
    ]
    reasons = [getattr(outcome, 'reason', 'published') for outcome in outcomes]
    return {
        'images': len(outcomes),
        'published': reasons.count('published'),
        'rejected': {reason: reasons.count(reason) for reason in sorted(set(reasons))},
        'most_inliers': max(
            (outcome.diagnostics.scores.get('inliers', 0.0) for outcome in outcomes), default=0.0
        ),
    }


def metrics_cells(block: dict) -> list[float | None]:
    """Return the cells of a row behind its name."""
    published = block['published']
    return [
        block['images'],
        published,
        100 * block['recall']['5cm_5deg'],
        100 * block['median_translation_m'],
        100 * block['worst_published_translation_m'] if published else None,
        block['worst_published_rotation_deg'] if published else None,
        block['wrong_published'],
        None if block['anees'] is None else block['anees'] / 6,
        block['latency_ms']['p50'],
        block['latency_ms']['p95'],
        block.get('peer_correct'),
        block.get('peer_correct_accepted'),
    ]


def corrupt_pixels(edit: Callable[[Rgb, np.random.Generator], NDArray]) -> Corruption:
    """Return a corruption that edits colors alone."""

    def corruption(image: PosedImage, rng: np.random.Generator) -> PosedImage:
        edited = np.clip(edit(image.rgb, rng), 0, 255).astype(np.uint8)
        return image._replace(rgb=edited)

    return corruption


def blur_by(fraction: float) -> Corruption:
    """Return a motion blur of random direction; its length is a fraction of the longer side."""

    def blur(rgb: Rgb, rng: np.random.Generator) -> NDArray:
        return motion_blur(rgb, round(fraction * max(rgb.shape)), rng.uniform(0, np.pi))

    return corrupt_pixels(blur)


def zoom(image: PosedImage, _: np.random.Generator) -> PosedImage:
    """Crop the middle two thirds of each side, as a longer focal length shows."""
    height, width = image.rgb.shape[:2]
    h, w = round(height / 1.5), round(width / 1.5)
    return crop(image, (height - h) // 2, (width - w) // 2, h, w)


def crop_least_texture(image: PosedImage, _: np.random.Generator) -> PosedImage:
    """Crop half of each side where the mean absolute Laplacian is lowest."""
    gray = cv2.cvtColor(image.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    texture = np.abs(cv2.Laplacian(gray, cv2.CV_32F))
    height, width = gray.shape
    h, w = height // 2, width // 2
    corners = [(y, x) for y in range(0, h + 1, h // 4) for x in range(0, w + 1, w // 4)]
    top, left = min(corners, key=lambda p: texture[p[0] : p[0] + h, p[1] : p[1] + w].mean())
    return crop(image, top, left, h, w)


def roll_by(degrees: float) -> Corruption:
    """Return a rotation about the optical axis; pixels without data are black."""

    def roll(image: PosedImage, _: np.random.Generator) -> PosedImage:
        rgb, camera, map_from_camera = image
        rotation = Rotation.from_euler('z', degrees, degrees=True)
        homography = camera.matrix @ rotation.as_matrix().T @ np.linalg.inv(camera.matrix)
        size = (camera.width, camera.height)
        rolled = cv2.warpPerspective(rgb, homography, size).astype(np.uint8)
        return PosedImage(rolled, camera, map_from_camera @ make_pose(rotation))

    return roll


CORRUPTIONS: dict[str, Corruption] = {
    'unchanged': lambda image, _: image,
    'least texture': crop_least_texture,
    'motion blur 2 %': blur_by(0.02),
    'motion blur 4 %': blur_by(0.04),
    'dark, noisy': corrupt_pixels(lambda rgb, rng: rgb * 0.25 + rng.normal(0, 3, rgb.shape)),
    'overexposed': corrupt_pixels(lambda rgb, _: rgb * 2.0),
    '30 % occluded': corrupt_pixels(lambda rgb, rng: occlude(rgb, 0.3, rng)),
    'focal length 1.5 times': zoom,
    'rolled by 30 deg': roll_by(30),
    'rolled by 90 deg': roll_by(90),
    'rolled by 180 deg': roll_by(180),
}


if __name__ == '__main__':
    main()
