"""
Render images of the demo room away from the mapping trajectory, with exact poses.

Run from the top of the repository::

    python -m demo.render_off_path --out off_path --work /tmp/demo_work
    python benchmark/hard_sets.py demo_output/map --off-path off_path/050 off_path/100

Lighting and sensors are those of the query capture. Images inside or close to furniture are
skipped.
"""

import argparse

import numpy as np
from tqdm import tqdm

from demo import trajectories
from demo.raw_frame import RawFrame
from demo.render_room import BATCH, develop, Draft, FrameStore, parse_arguments
from demo.rooms.demo_room import SPEC

DISTANCES_M = (0.5, 1.0, 0.25)
NEAR_M = 0.4
"""An object nearer than this [m] occludes the view if it fills `NEAR_FRACTION` of the image."""
NEAR_FRACTION = 0.05


def is_free(frame: RawFrame) -> bool:
    """Return whether no near object occludes the view."""
    return float(np.mean(frame.depth < NEAR_M)) < NEAR_FRACTION


def main() -> None:
    """Write one bag for each distance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--count', type=int, default=60, help='images to render at each distance')
    arguments = parse_arguments(parser)
    renderer = FrameStore(SPEC, arguments.work, Draft()).renderer
    mapping = SPEC.recordings['walk'].trajectory()
    for seed, distance_m in enumerate(DISTANCES_M):
        poses = trajectories.sample_off_trajectory(
            mapping, SPEC.size_m, distance_m, arguments.count, seed
        )
        frames: list[RawFrame] = []
        for start in tqdm(range(0, len(poses), BATCH), desc=f'{distance_m} m', unit='batch'):
            sharp = [pose[None] for pose in poses[start : start + BATCH]]
            frames += renderer.frames(
                'test', sharp, SPEC.camera, SPEC.depth_camera, arguments.samples
            )
        free = [k for k, frame in enumerate(frames) if is_free(frame)]
        bag = arguments.out / f'{round(100 * distance_m):03d}'
        rng = np.random.default_rng(seed)
        stamps_ns = mapping.stamps_ns[0] + np.arange(len(free)) * 1_000_000_000
        query = SPEC.recordings['test']
        develop(SPEC, query, bag, [frames[k] for k in free], poses[free], stamps_ns, rng)
        print(f'{bag}: {len(free)} of {len(poses)} images, the others were occluded')


if __name__ == '__main__':
    main()
