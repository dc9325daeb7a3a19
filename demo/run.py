"""
The whole chain, as ``make demo`` runs it: a map of the demo room, and poses in it through ROS.

1. The builder node makes a map of one walk through the room.
2. The player node shows the pictures of another walk to the localizer node, through DDS.
3. The same pictures are localized from the bag, without ROS, and the answers are judged by the
   true poses: a table, metrics.json and report.html.
4. The poses with ROS and without must be the same.
5. An odometry that drifts is corrected by these poses, some of them made false: loop_closure.png.
"""

import os
from pathlib import Path
import signal
import sys
import time

from ament_index_python.packages import get_package_prefix
from through_ros import DemoError, differences, node, play, read_poses, started

from nerf_reversal_ros.core.geometry import FloatArray

ROOT = Path(__file__).resolve().parents[1]
WALK, TEST = Path('demo/bags/walk'), Path('demo/bags/test')
CONFIG, OUT = Path('demo/build.yaml'), Path('demo_output')
BASELINES = 'mean_pose,nearest_reference,pca_retrieval,sift_pnp'
"""Those that neither train nor descend: the others take minutes."""
SAME_M, SAME_DEG = 0.001, 0.1
"""Poses with ROS and without differ by no more."""


def build(bag: Path, map_dir: Path, config: Path) -> None:
    """Build a map with the builder node; what an interrupted build left is used."""
    # On a robot: ros2 launch nerf_reversal_ros build_map.launch.py
    with started(node('builder', bag=bag, map=map_dir, config=config, overwrite='true')) as child:
        if child.wait() != 0:
            raise DemoError('the builder node failed: see its last line above')


def evaluate(bag: Path, map_dir: Path, walk: Path, out: Path) -> dict[int, FloatArray | None]:
    """Judge without ROS; return map_from_camera, or None, by the stamp of the picture [ns]."""
    command = Path(get_package_prefix('nerf_reversal_ros'), 'bin/nerf-reversal')
    words = ['evaluate', map_dir, bag, '--reference', walk, '--out-poses', out / 'poses.json']
    words += ['--json', out / 'metrics.json', '--report', out / 'report.html']
    words += ['--baselines', BASELINES]
    with started([str(word) for word in (command, *words)]) as child:
        if child.wait() != 0:
            raise DemoError('nerf-reversal evaluate failed: see its last line above')
    return read_poses(out / 'poses.json')


def close_loops(bag: Path, map_dir: Path, out: Path) -> None:
    """Correct an odometry that drifts by the poses that were found, and draw it."""
    # On a robot: ros2 launch nerf_reversal_ros close_loops.launch.py
    words = [sys.executable, 'benchmark/loop_closure.py', map_dir, bag]
    words += ['--poses', out / 'poses.json', '--picture', out / 'loop_closure.png']
    words += ['--every', 3, '--drift', 0.03, '--false', 0.05, '--seeds', 1]
    with started([str(word) for word in words]) as child:
        if child.wait() != 0:
            raise DemoError('benchmark/loop_closure.py failed: see its last line above')


def demo() -> None:
    """Do all five steps, in the repository."""
    os.chdir(ROOT)
    OUT.mkdir(exist_ok=True)
    map_dir = OUT / 'map'
    began_s = time.monotonic()

    def say(sentence: str) -> None:
        print(f'\n[{time.monotonic() - began_s:.0f} s] {sentence}', flush=True)

    say(f'the builder node makes {map_dir} of {WALK}')
    build(WALK, map_dir, CONFIG)
    say(f'the player node shows the pictures of {TEST} to the localizer node, some minutes')
    heard = play(TEST, map_dir, OUT)
    say('the same pictures without ROS, judged by the true poses, beside the baselines')
    offline = evaluate(TEST, map_dir, WALK, OUT)
    say(f'{len(heard.poses)} poses of {len(heard.statuses)} pictures came over DDS')
    metres, degrees = differences(heard, offline)
    if not len(metres):
        raise DemoError('no picture was localized: there is nothing to compare')
    told = f'{1e3 * metres.max():.3g} mm and {degrees.max():.3g} deg'
    if metres.max() > SAME_M or degrees.max() > SAME_DEG:
        raise DemoError(f'poses with ROS and without should be the same, and differ by {told}')
    print(f'they differ from the poses without ROS by {told} at most')
    say('every third of these poses, and 5 % false ones, against an odometry that drifts by 3 %')
    close_loops(TEST, map_dir, OUT)
    print(f'look at the loops closed: {(OUT / "loop_closure.png").resolve()}')
    print(f'look at the report: {(OUT / "report.html").resolve()}')


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
