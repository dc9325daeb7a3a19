"""
Render pictures of the demo room from off the walked path, with exact poses.

Run from the top of the repository::

    python -m demo.render_off_path --out off_path --work /tmp/demo_work
    python benchmark/hard_sets.py demo_output/map --off-path off_path/050 off_path/100

The light and the phone are those of the test walk. Pictures from inside furniture, or close to
it, are left out.
"""

import argparse
from pathlib import Path

import drjit as dr
import numpy as np
from tqdm import tqdm

from demo import trajectories
from demo.render_room import (
    BATCH,
    CAMERA,
    DEPTH_CAMERA,
    develop,
    FRAMES,
    LIGHTINGS,
    PHONES,
)
from demo.renderer import RawFrame, Renderer
from demo.room import SIZE_M

DISTANCES_M = (0.5, 1.0, 0.25)
NEAR_M = 0.4
"""Matter this near is in the way if it fills `NEAR_SHARE` of the picture."""
NEAR_SHARE = 0.05


def is_free(frame: RawFrame) -> bool:
    """Tell whether nothing is in the way of the camera."""
    return float(np.mean(frame.depth < NEAR_M)) < NEAR_SHARE


def main() -> None:
    """Write one bag for each distance."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('--out', type=Path, required=True, help='folder for the bags')
    parser.add_argument('--work', type=Path, required=True, help='folder for meshes and light')
    parser.add_argument('--count', type=int, default=60, help='pictures to render at a distance')
    parser.add_argument('--samples', type=int, default=6, help='rays a pixel')
    parser.add_argument('--threads', type=int, default=1, help='processor cores to use')
    arguments = parser.parse_args()
    dr.set_thread_count(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    renderer = Renderer(arguments.work, LIGHTINGS)
    walk = trajectories.build_walk(FRAMES['walk'])
    for seed, distance_m in enumerate(DISTANCES_M):
        poses = trajectories.beside(walk, SIZE_M, distance_m, arguments.count, seed)
        frames: list[RawFrame] = []
        for start in tqdm(range(0, len(poses), BATCH), desc=f'{distance_m} m', unit='batch'):
            sharp = [pose[None] for pose in poses[start : start + BATCH]]
            frames += renderer.frames('test', sharp, CAMERA, DEPTH_CAMERA, arguments.samples)
        free = [k for k, frame in enumerate(frames) if is_free(frame)]
        bag = arguments.out / f'{round(100 * distance_m):03d}'
        rng = np.random.default_rng(seed)
        stamps_ns = walk.stamps_ns[0] + np.arange(len(free)) * 1_000_000_000
        develop(bag, [frames[k] for k in free], poses[free], stamps_ns, PHONES['test'], rng)
        print(f'{bag}: {len(free)} of {len(poses)} pictures, the others had something in the way')


if __name__ == '__main__':
    main()
