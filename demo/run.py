"""
Run the demo of ``make demo``: map the demo room, localize in it through ROS, evaluate.

1. The builder node builds a map from the mapping capture.
2. The player node plays the query capture, and the localizer node localizes it, through DDS.
3. The same images are localized from the bag without ROS, and the poses are compared with the
   ground truth: a table, metrics.json and report.html.
4. The poses with and without ROS must be equal.
5. Drifting odometry is corrected by these poses, some of them made false: loop_closure.png.
"""

from collections.abc import Sequence
import os
from pathlib import Path
import signal
import sys
import time

from ament_index_python.packages import get_package_prefix
from through_ros import DemoError, node_command, play, pose_differences, read_poses, running

from nerf_reversal_ros.core.geometry import FloatArray

ROOT = Path(__file__).resolve().parents[1]
MAPPING_BAG, QUERY_BAG = Path('demo/bags/walk'), Path('demo/bags/test')
CONFIG, OUT = Path('demo/build.yaml'), Path('demo_output')
BASELINES = 'mean_pose,nearest_reference,pca_retrieval,sift_pnp'
"""Baselines without training or gradient descent: the others take minutes."""
MAX_DIFFERENCE_M, MAX_DIFFERENCE_DEG = 0.001, 0.1
"""Between poses with and without ROS: far above rounding errors, far below the accuracy."""


def build(bag: Path, map_dir: Path, config: Path) -> None:
    """Build a map with the builder node; an interrupted build is resumed."""
    # On a robot: ros2 launch nerf_reversal_ros build_map.launch.py
    command = node_command('builder', bag=bag, map=map_dir, config=config, overwrite='true')
    _run(command, 'the builder node')


def evaluate(
    bag: Path, map_dir: Path, mapping_bag: Path, out: Path
) -> dict[int, FloatArray | None]:
    """Evaluate without ROS; return map_from_camera, or None, by the stamp of the image [ns]."""
    command = Path(get_package_prefix('nerf_reversal_ros'), 'bin/nerf-reversal')
    words = [command, 'evaluate', map_dir, bag, '--reference', mapping_bag]
    words += ['--baselines', BASELINES, '--out-poses', out / 'poses.json']
    words += ['--json', out / 'metrics.json', '--report', out / 'report.html']
    _run(words, 'nerf-reversal evaluate')
    return read_poses(out / 'poses.json')


def close_loops(bag: Path, map_dir: Path, out: Path) -> None:
    """Correct drifting odometry by the poses of ``poses.json``, and plot the trajectories."""
    # On a robot: ros2 launch nerf_reversal_ros close_loops.launch.py
    words = [sys.executable, 'benchmark/loop_closure.py', map_dir, bag]
    words += ['--poses', out / 'poses.json', '--plot', out / 'loop_closure.png']
    words += ['--every', 3, '--drift', 0.03, '--false', 0.05, '--seeds', 1]
    _run(words, 'benchmark/loop_closure.py')


def demo() -> None:
    """Run the five steps in the folder of the repository."""
    os.chdir(ROOT)
    OUT.mkdir(exist_ok=True)
    map_dir = OUT / 'map'
    start_s = time.monotonic()

    def print_step(sentence: str) -> None:
        print(f'\n[{time.monotonic() - start_s:.0f} s] {sentence}', flush=True)

    print_step(f'the builder node builds {map_dir} from {MAPPING_BAG}')
    build(MAPPING_BAG, map_dir, CONFIG)
    print_step(f'the player node plays {QUERY_BAG}, the localizer node localizes: some minutes')
    outputs = play(QUERY_BAG, map_dir, OUT)
    print_step('the same images without ROS, compared with the ground truth and with baselines')
    offline = evaluate(QUERY_BAG, map_dir, MAPPING_BAG, OUT)
    print_step(f'{len(outputs.poses)} poses of {len(outputs.statuses)} images came over DDS')
    _check_equal(*pose_differences(outputs, offline))
    print_step('every third of these poses, and 5 % false ones, correct odometry with 3 % drift')
    close_loops(QUERY_BAG, map_dir, OUT)
    print(f'look at the loops closed: {(OUT / "loop_closure.png").resolve()}')
    print(f'look at the report: {(OUT / "report.html").resolve()}')


def _check_equal(difference_m: FloatArray, difference_deg: FloatArray) -> None:
    """Print the largest difference of poses with and without ROS, or raise DemoError."""
    if not len(difference_m):
        raise DemoError('no image was localized: there is nothing to compare')
    largest = f'{1e3 * difference_m.max():.3g} mm and {difference_deg.max():.3g} deg'
    if difference_m.max() > MAX_DIFFERENCE_M or difference_deg.max() > MAX_DIFFERENCE_DEG:
        raise DemoError(f'poses with and without ROS should be equal, but differ by {largest}')
    print(f'poses with and without ROS differ by {largest} at most')


def _run(command: Sequence[object], name: str) -> None:
    """Run a process until it exits; raise DemoError if it fails."""
    with running([str(word) for word in command]) as process:
        if process.wait() != 0:
            raise DemoError(f'{name} failed: see its last line above')


def main() -> int:
    """Run the demo and return its exit status."""
    # No traffic leaves the machine, and waiting threads do not spin.
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
        print('\ninterrupted: the next run resumes an unfinished build', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
