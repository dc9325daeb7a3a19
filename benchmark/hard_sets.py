"""
How a map answers pictures that are made hard: one command, one table.

    python benchmark/hard_sets.py MAP [TEST_BAG] [--off-path BAG ...] [--other BAG ...]
        [--json FILE] [--every N]

The pictures of TEST_BAG, whose poses are known, are blurred, darkened, covered, cropped and
turned. Those of the bags off the path, whose poses are known too, are taken as they are where they
are far enough from every walked position of the map. Those of the other bags are of other rooms,
and those of TEST_BAG in a mirror are as good as that: every answer is wrong. For each set: how
many were answered, how many within 5 cm and 5 degrees, the worst answer that was published, and
how many of these were wrong, beyond 10 cm or 5 degrees.
"""

import argparse
from collections.abc import Callable, Iterable, Iterator
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import iter_images, open_capture
from nerf_reversal_ros.core.config import CaptureConfig, LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray, make_pose
from nerf_reversal_ros.core.metrics import compute_metrics, json_safe, results_from_outcomes
from nerf_reversal_ros.core.outcome import Outcome
from nerf_reversal_ros.evaluation.evaluation import localize_or_reject
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.synthesis.image_corruption import (
    crop,
    make_mirror_negative,
    motion_blur,
    occlude,
    PosedImage,
    Rgb,
)

Change = Callable[[PosedImage, np.random.Generator], PosedImage]

NAME_WIDTH = 26
OFF_PATH = {'0.35-0.75 m off the path': (0.35, 0.75), 'beyond 0.75 m': (0.75, np.inf)}
"""Distances from the nearest walked position, from and up to [m]."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('test_bag', type=Path, nargs='?')
    parser.add_argument('--off-path', type=Path, nargs='*', default=[], help='bags of this room')
    parser.add_argument('--other', type=Path, nargs='*', default=[], help='bags of other rooms')
    parser.add_argument('--json', type=Path)
    parser.add_argument('--every', type=int, default=1, help='take every so manyth picture')
    args = parser.parse_args()

    map_ = open_map(args.map)
    localizer = open_localizer(map_, LocalizerConfig())
    sets: dict[str, Iterable[PosedImage]] = {}
    if args.test_bag:
        capture = opened(args.test_bag, map_)
        sets |= {name: changed(capture, change, args.every) for name, change in SETS.items()}
    if args.off_path:
        captures = [opened(bag, map_) for bag in args.off_path]
        walked = map_.mapping_poses[:, :3, 3]
        sets |= {
            name: off_path(captures, walked, low_m, high_m, args.every)
            for name, (low_m, high_m) in OFF_PATH.items()
        }
    found = {
        name: block
        for name, pictures in sets.items()
        if (block := judged(localizer, pictures, name)) is not None
    }
    heads = (('answered', 10), ('5cm 5deg', 10), ('median cm', 11), ('worst', 18), ('wrong', 7),
             ('ANEES/6', 9), ('p50, p95 ms', 13))  # fmt: skip
    print(f'{"set":<{NAME_WIDTH}}' + ''.join(f'{head:>{width}}' for head, width in heads))
    for name, block in found.items():
        print(row(name, block))
    if args.other:
        found['other rooms'] = other = strangers(localizer, of_bags(args.other))
        print(f'other rooms: {other["published"]} of {other["images"]} pictures were answered')
    if args.test_bag:
        reflected = map(make_mirror_negative, changed(capture, SETS['as they are'], args.every))
        found['in a mirror'] = other = strangers(localizer, reflected)
        print(f'in a mirror: {other["published"]} of {other["images"]} pictures were answered')
    if args.json:
        args.json.write_text(json.dumps(json_safe(found), indent=1) + '\n')


def opened(bag: Path, map_: Map) -> Capture:
    """Open a bag of the map's room."""
    return open_capture(bag, CaptureConfig(), convention=map_.convention, select_frames=False)


def off_path(
    captures: list[Capture], walked: FloatArray, low_m: float, high_m: float, every: int
) -> Iterator[PosedImage]:
    """Go through the pictures that are so far from all walked positions (N, 3)."""
    for capture in captures:
        places = capture.map_from_camera[:, None, :3, 3]
        nearest_m = np.linalg.norm(places - walked, axis=2).min(axis=1)
        for index in np.flatnonzero((nearest_m >= low_m) & (nearest_m < high_m))[::every]:
            frame = capture.frame(int(index))
            yield PosedImage(frame.rgb, frame.camera, frame.map_from_camera)


def changed(capture: Capture, change: Change, every: int) -> Iterator[PosedImage]:
    """Go through the pictures of a bag, made hard; always in the same way."""
    for frame in capture:
        if frame.index % every == 0:
            picture = PosedImage(frame.rgb, frame.camera, frame.map_from_camera)
            yield change(picture, np.random.default_rng(frame.index))


def judged(
    localizer: Localizer, pictures: Iterable[PosedImage], name: str
) -> dict[str, object] | None:
    """Localize pictures and measure the answers; None if there is no picture."""
    outcomes: list[Outcome] = []
    truth = []
    for picture in tqdm(pictures, desc=name, leave=False):
        outcomes.append(localize_or_reject(localizer, picture.rgb, picture.camera))
        truth.append(picture.map_from_camera)
    if not outcomes:
        return None
    took_ms = [outcome.diagnostics.latency_ms.get('total', np.nan) for outcome in outcomes]
    return compute_metrics(results_from_outcomes(outcomes, took_ms), np.array(truth))


def of_bags(bags: list[Path]) -> Iterator[PosedImage]:
    """Go through pictures of other rooms."""
    for bag in bags:
        for picture in iter_images(bag, CaptureConfig()):
            yield PosedImage(picture.rgb, picture.camera, np.full((4, 4), np.nan))


def strangers(localizer: Localizer, pictures: Iterable[PosedImage]) -> dict[str, object]:
    """Count the answers to pictures that no pose in the map is right for."""
    outcomes = [
        localize_or_reject(localizer, picture.rgb, picture.camera)
        for picture in tqdm(pictures, desc='other rooms', leave=False)
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


def row(name: str, block: dict) -> str:
    """Return a line of the table."""
    worst = (
        f'{block["worst_published_translation_m"] * 100:.2f} cm'
        f' {block["worst_published_rotation_deg"]:.2f} deg'
        if block['published']
        else '-'
    )
    median = block['median_translation_m'] * 100
    anees = '-' if block['anees'] is None else f'{block["anees"] / 6:.2f}'
    latency_ms = block['latency_ms']
    return (
        f'{name:<{NAME_WIDTH}}{block["published"]:>6}/{block["images"]:<3}'
        f'{block["recall"]["5cm_5deg"]:>10.0%}{median:>11.2f}{worst:>18}'
        f'{block["wrong_published"]:>7}{anees:>9}'
        f'{latency_ms["p50"]:>7.0f},{latency_ms["p95"]:>5.0f}'
    )


def of_pixels(edit: Callable[[Rgb, np.random.Generator], NDArray]) -> Change:
    """Make a change of colours alone."""

    def change(picture: PosedImage, rng: np.random.Generator) -> PosedImage:
        edited = np.clip(edit(picture.rgb, rng), 0, 255).astype(np.uint8)
        return picture._replace(rgb=edited)

    return change


def moved(share: float) -> Change:
    """Blur along a line of any direction, its length a share of the longer side."""

    def blur(rgb: Rgb, rng: np.random.Generator) -> NDArray:
        return motion_blur(rgb, round(share * max(rgb.shape)), rng.uniform(0, np.pi))

    return of_pixels(blur)


def longer_lens(picture: PosedImage, _: np.random.Generator) -> PosedImage:
    """Keep the middle of the picture, two thirds of it each way."""
    height, width = picture.rgb.shape[:2]
    h, w = round(height / 1.5), round(width / 1.5)
    return crop(picture, (height - h) // 2, (width - w) // 2, h, w)


def least_texture(picture: PosedImage, _: np.random.Generator) -> PosedImage:
    """Keep the half of the picture, each way, that has the least texture."""
    grey = cv2.cvtColor(picture.rgb, cv2.COLOR_RGB2GRAY).astype(np.float32)
    texture = np.abs(cv2.Laplacian(grey, cv2.CV_32F))
    height, width = grey.shape
    h, w = height // 2, width // 2
    places = [(y, x) for y in range(0, h + 1, h // 4) for x in range(0, w + 1, w // 4)]
    top, left = min(places, key=lambda p: texture[p[0] : p[0] + h, p[1] : p[1] + w].mean())
    return crop(picture, top, left, h, w)


def rolled(degrees: float) -> Change:
    """Turn the camera about its optical axis; what it did not see is black."""

    def change(picture: PosedImage, _: np.random.Generator) -> PosedImage:
        rgb, camera, true = picture
        turn = Rotation.from_euler('z', degrees, degrees=True)
        homography = camera.matrix @ turn.as_matrix().T @ np.linalg.inv(camera.matrix)
        size = (camera.width, camera.height)
        turned = cv2.warpPerspective(rgb, homography, size).astype(np.uint8)
        return PosedImage(turned, camera, true @ make_pose(turn))

    return change


SETS: dict[str, Change] = {
    'as they are': lambda picture, _: picture,
    'least texture': least_texture,
    'motion blur 2 %': moved(0.02),
    'motion blur 4 %': moved(0.04),
    'dark, noisy': of_pixels(lambda rgb, rng: rgb * 0.25 + rng.normal(0, 3, rgb.shape)),
    'bright, burnt out': of_pixels(lambda rgb, _: rgb * 2.0),
    '30 % covered': of_pixels(lambda rgb, rng: occlude(rgb, 0.3, rng)),
    'longer lens (1.5)': longer_lens,
    'rolled by 30 deg': rolled(30),
    'rolled by 90 deg': rolled(90),
    'rolled by 180 deg': rolled(180),
}


if __name__ == '__main__':
    main()
