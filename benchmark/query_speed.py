"""
Time an image, by stage and beside SIFT + PnP and hloc, in one run.

    python benchmark/query_speed.py MAP QUERY_BAG [--reference BUILD_BAG] [--hz RATE]
        [--images N] [--out FILE.json]

All methods localize ten images one after the other before the next ten, so that what else the
machine does slows all of them. The bag is repeated until there are N images, 130 by default.
*Tracked* is a video at RATE, 30 by default: the images are stamped at this rate whatever the bag
says, and the pose of each is predicted from those before, as in the node. SIFT + PnP and hloc run
where the bag of the build is given, and hloc where pycolmap is installed.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
import importlib.util
from itertools import chain
from pathlib import Path
from time import perf_counter

from hard_sets import open_query_capture, open_reference
import numpy as np
from results import add_out_argument, Column, ResultTable, write_results
from tqdm import tqdm

from nerf_reversal_ros.baselines.sift_pnp import SiftPnp
from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.outcome import Outcome, Rejection
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.localization.tracking import PoseTracker
from nerf_reversal_ros.maps.map_folder import Map, open_map

IMAGES = 130
WARM_UP = 5
"""Images that all methods localize before the time is measured."""
BLOCK = 10
"""Images that a method localizes before the next method does: its threads are idle then."""
UNTRACKED, TRACKED, PEER = 'this package', 'tracked', 'SIFT + PnP'
TIMES = (
    'method',
    Column('images'),
    Column('answered'),
    Column('p50', 'ms', 1),
    Column('p95', 'ms', 1),
    Column("p50 / SIFT + PnP's", '', 2),
    Column('p50 / untracked', '', 2),
)
STAGES = (
    'stage',
    Column('ran', '%'),
    Column('p50 there', 'ms', 1),
    Column('mean of all', 'ms', 1),
    Column('tracked: ran', '%'),
    Column('p50 there', 'ms', 1),
    Column('mean of all', 'ms', 1),
)
Method = Callable[[int, Frame], object]
"""Localizes the image of a number; returns an outcome, a pose, or None."""


def main() -> None:
    """Time all methods on the images of a bag, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('query_bag', type=Path)
    parser.add_argument('--reference', type=Path, help='bag of the build, for the other methods')
    parser.add_argument('--hz', type=float, default=30.0, help='rate of the tracked images')
    parser.add_argument('--images', type=int, default=IMAGES, help='least number of images')
    add_out_argument(parser)
    args = parser.parse_args()
    map_ = open_map(args.map)
    frames = list(open_query_capture(args.query_bag, map_))
    reference = open_reference(args.reference, map_) if args.reference else None
    methods = make_methods(map_, reference, args.hz)
    run(methods, frames[:WARM_UP])
    methods |= localizers(map_, args.hz)  # what they remember of the warm-up is forgotten
    results, times_ms = run(methods, frames * -(-args.images // len(frames)))
    times = ResultTable('Time of an image', TIMES)
    p50 = {name: float(np.median(values)) for name, values in times_ms.items()}
    for name, values in times_ms.items():
        times.add_row(
            name,
            len(values),
            sum(is_answer(result) for result in results[name]),
            *np.percentile(values, [50, 95]),
            p50[name] / p50[PEER] if PEER in p50 else None,
            p50[name] / p50[UNTRACKED] if name == TRACKED else None,
        )
    stages = stage_table(results[UNTRACKED], results[TRACKED])
    write_results(args.out, 'Time of an image', times, stages)


def make_methods(map_: Map, reference: Capture | None, hz: float) -> dict[str, Method]:
    """Return the methods by name; without a reference, those of this package alone."""
    methods = localizers(map_, hz)
    if reference is not None:
        methods[PEER] = of_frame(SiftPnp(reference).localize)
        if importlib.util.find_spec('pycolmap') is not None:
            from nerf_reversal_ros.baselines.hloc_sift import HlocSift

            methods['hloc with SIFT'] = of_frame(HlocSift(reference).localize)
    return methods


def localizers(map_: Map, hz: float) -> dict[str, Method]:
    """Return the localizer of a map without and with tracking."""
    untracked = open_localizer(map_, LocalizerConfig())
    tracked = open_localizer(map_, LocalizerConfig())
    tracker = PoseTracker()

    def track(number: int, frame: Frame) -> Outcome:
        stamp_ns = round((1 + number) / hz * 1e9)
        expected = tracker.predict(stamp_ns, tracked.config.tracking_timeout_s)
        outcome = tracked.localize(frame.rgb, frame.camera, expected_pose=expected)
        tracker.add(outcome, stamp_ns)
        return outcome

    return {UNTRACKED: of_frame(untracked.localize), TRACKED: track}


def of_frame(localize: Callable[..., object]) -> Method:
    """Return a method that localizes each frame by itself."""
    return lambda _, frame: localize(frame.rgb, frame.camera)


def run(
    methods: Mapping[str, Method], frames: Sequence[Frame]
) -> tuple[dict[str, list], dict[str, list[float]]]:
    """Localize frames by methods that take turns; return results and times [ms] by method."""
    results: dict[str, list] = {name: [] for name in methods}
    times_ms: dict[str, list[float]] = {name: [] for name in methods}
    for first in tqdm(range(0, len(frames), BLOCK), leave=False):
        for name, localize in methods.items():
            for number, frame in enumerate(frames[first : first + BLOCK], first):
                start_s = perf_counter()
                results[name].append(localize(number, frame))
                times_ms[name].append(1e3 * (perf_counter() - start_s))
    return results, times_ms


def is_answer(result: object) -> bool:
    """Return whether a method localized an image."""
    return result is not None and not isinstance(result, Rejection)


def stage_table(untracked: Sequence[Outcome], tracked: Sequence[Outcome]) -> ResultTable:
    """Print how often each stage ran, and its time."""
    table = ResultTable('Stages of an image', STAGES)
    laps = [[outcome.diagnostics.latency_ms for outcome in run] for run in (untracked, tracked)]
    for stage in dict.fromkeys(stage for image in chain(*laps) for stage in image):
        cells = []
        for images in laps:
            times_ms = [image[stage] for image in images if stage in image]
            cells += [
                100 * len(times_ms) / len(images),
                np.median(times_ms) if times_ms else None,
                sum(times_ms) / len(images),
            ]
        table.add_row(stage, *cells)
    return table


if __name__ == '__main__':
    main()
