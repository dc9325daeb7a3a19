"""
The whole chain, as ``make demo`` runs it: a map of the demo room, and poses in it through ROS.

1. The builder node makes a map of one walk through the room.
2. The player node shows the pictures of another walk to the localizer node, through DDS.
3. The same pictures are localized from the bag, without ROS: the poses must be the same.
4. The answers are judged by the true poses: a table, metrics.json and report.html.
"""

import json
import os
from pathlib import Path
import signal
import sys
import time
from typing import Any

from ament_index_python.packages import get_package_prefix
from through_ros import DemoError, differences, node, play, started

from nerf_reversal_ros.geometry import Array, pose_from_quaternion

ROOT = Path(__file__).resolve().parents[1]
WALK, TEST = Path('demo/bags/walk'), Path('demo/bags/test')
CONFIG, OUT = Path('demo/build.yaml'), Path('demo_output')
SAME_M, SAME_DEG = 0.001, 0.1
"""Poses through ROS and without differ by no more."""


def build(bag: Path, map_dir: Path, config: Path) -> None:
    """Build a map with the builder node; what an interrupted build left is used."""
    # On a robot: ros2 launch nerf_reversal_ros build_map.launch.py
    with started(node('builder', bag=bag, map=map_dir, config=config, overwrite='true')) as child:
        if child.wait() != 0:
            raise DemoError('the builder node failed: see its last line above')


def localize(bag: Path, map_dir: Path, poses: Path) -> dict[int, Array | None]:
    """Localize a bag without ROS; return map_from_camera, or None, by the stamp [ns]."""
    nerf_reversal('localize', map_dir, bag, '--out', poses)
    answers: dict[int, Array | None] = {}
    for entry in json.loads(poses.read_text(encoding='utf-8'))['poses']:
        pose = entry.get('map_from_camera')
        answers[entry['stamp_ns']] = pose and pose_from_quaternion(
            pose['position'], pose['orientation_xyzw']
        )
    return answers


def nerf_reversal(*words: Any) -> None:
    """Run the command of that name."""
    command = Path(get_package_prefix('nerf_reversal_ros'), 'bin/nerf-reversal')
    with started([str(command), *map(str, words)]) as child:
        if child.wait() != 0:
            raise DemoError(f'nerf-reversal {words[0]} failed: see its last line above')


def demo() -> None:
    """Do all four steps, in the repository."""
    os.chdir(ROOT)
    OUT.mkdir(exist_ok=True)
    map_dir, metrics, report = OUT / 'map', OUT / 'metrics.json', OUT / 'report.html'
    began_s = time.monotonic()

    def say(sentence: str) -> None:
        print(f'\n[{time.monotonic() - began_s:.0f} s] {sentence}', flush=True)

    say(f'the builder node makes {map_dir} of {WALK}')
    build(WALK, map_dir, CONFIG)
    say(f'the player node shows the pictures of {TEST} to the localizer node')
    heard = play(TEST, map_dir, OUT)
    say('the same pictures without ROS')
    metres, degrees = differences(heard, localize(TEST, map_dir, OUT / 'poses.json'))
    say('judged by the true poses, beside the baselines')
    nerf_reversal(
        'evaluate', map_dir, TEST, '--reference', WALK, '--json', metrics, '--report', report
    )
    say(f'{len(heard.poses)} poses of {len(heard.statuses)} pictures came over DDS')
    if not len(metres):
        raise DemoError('no picture was localized: there is nothing to compare')
    told = f'{1e3 * metres.max():.3g} mm and {degrees.max():.3g} deg'
    if metres.max() > SAME_M or degrees.max() > SAME_DEG:
        raise DemoError(f'poses through ROS and without should be the same, and differ by {told}')
    print(f'they differ from the poses without ROS by {told} at most')
    print(f'look at the report: {report.resolve()}')


def main() -> int:
    """Run the demo and return its exit status."""
    # Nothing leaves the machine, and threads that wait leave the cores to those that work.
    os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
    os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
    os.environ.setdefault('RCUTILS_CONSOLE_OUTPUT_FORMAT', '[{name}] {message}')
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        demo()
    except DemoError as error:
        print(f'the demo failed: {error}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\ninterrupted: the next run goes on with an unfinished build', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
