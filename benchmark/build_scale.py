"""
Measure time and memory of a build against the number of frames.

    python benchmark/build_scale.py BAG [--frames 250,500,1000,2000] [--size 960x720]
        [--config FILE.yaml] [--work FOLDER] [--out FILE.json] [--figure FILE.png]

The captures are made of BAG: its images are enlarged, and its walk is repeated forth and back.
Each repetition is turned by up to a few degrees, images, depth and poses alike, so that no two
images are equal. Bags and maps are written to a folder for temporary files. Each build is a
process of its own: its time by stages is that of the manifest, its peak memory that of the system.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
import shutil
import tempfile

from build_speed import build, ROOT
import cv2
import numpy as np
from results import add_out_argument, Column, ResultTable, writable_file, write_results
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import FloatArray, make_pose
from nerf_reversal_ros.mapping.stages import BUILD_STAGES

TURN_DEG = 1.5
"""Largest turn of a repetition about each axis."""
ZOOM = 1.12
"""Focal length over that of an enlarged image: what is cut off leaves room to turn the camera."""
STEP_NS = 100_000_000
"""Time between two frames."""


def main() -> None:
    """Build captures of all sizes, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('bag', type=Path, help='mapping bag to repeat')
    parser.add_argument('--frames', default='250,500,1000,2000', help='numbers of frames')
    parser.add_argument('--size', default='960x720', help='size of the images [px]')
    parser.add_argument('--config', type=Path, help='build settings, as YAML')
    parser.add_argument('--work', type=Path, help='folder for bags and maps')
    parser.add_argument('--figure', type=writable_file, help='also draw the table as PNG')
    add_out_argument(parser)
    args = parser.parse_args()
    width, height = (int(side) for side in args.size.split('x'))
    columns = [Column(stage, 's', 1) for stage in BUILD_STAGES]
    table = ResultTable(
        f'Builds from images of {width}x{height}',
        [Column('frames'), *columns, Column('in all', 's', 1), Column('peak memory', 'GB', 2)],
    )
    source = open_capture(args.bag, CaptureConfig())
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        for count in (int(text) for text in args.frames.split(',')):
            bag, map_dir = (Path(folder, f'{count}_frames{end}') for end in ('', '.map'))
            write_capture(source, count, (width, height), bag)
            built = build(ROOT, bag, map_dir, args.config)
            for path in (bag, map_dir):
                shutil.rmtree(path)
            seconds = built.manifest['built']['seconds']
            stages = [seconds.get(stage, 0.0) for stage in BUILD_STAGES]
            table.add_row(count, *stages, sum(stages), built.memory_gb)
    note = (
        f'The frames are those of {args.bag.name}, which has {len(source)}, enlarged and turned.'
    )
    write_results(args.out, 'Time and memory of a build', table, notes=[note])
    if args.figure:
        draw(table, args.figure)


def write_capture(source: Capture, count: int, size: tuple[int, int], bag: Path) -> None:
    """Write a bag of ``count`` frames of a capture, forth and back, each time turned."""
    rng = np.random.default_rng(0)
    with BagWriter(bag, pose_convention='optical', up_axis='z') as writer:
        turn = np.eye(3)
        for number, index in enumerate(forth_and_back(len(source), count)):
            if number % len(source) == 0 and number:
                degrees = rng.uniform(-TURN_DEG, TURN_DEG, 3)
                turn = Rotation.from_euler('xyz', degrees, degrees=True).as_matrix()
            rgb, depth, camera, pose = turned(source.frame(index), turn, size)
            writer.write(10**18 + number * STEP_NS, rgb, depth, camera, pose)


def forth_and_back(length: int, count: int) -> Iterator[int]:
    """Yield ``count`` indices below ``length``: up, down, and so on."""
    for number in range(count):
        repetition, step = divmod(number, length)
        yield step if repetition % 2 == 0 else length - 1 - step


def turned(
    frame: Frame, turn: FloatArray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray | None, Camera, FloatArray]:
    """
    Enlarge a frame and turn its camera.

    Returns
    -------
    (H, W, 3) array, (h, w) array or None, Camera, (4, 4) array
        Color, depth at its own size, intrinsics of the color, map_from_camera.
    """
    old = frame.camera
    scale = ZOOM * size[0] / old.width
    center = (size[0] - 1) / 2, (size[1] - 1) / 2
    camera = Camera(*size, old.fx * scale, old.fy * scale, *center)
    source_from_target = old.matrix @ turn @ np.linalg.inv(camera.matrix)
    rgb = cv2.warpPerspective(
        frame.rgb, source_from_target, size, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    )
    pose = frame.map_from_camera @ make_pose(Rotation.from_matrix(turn), np.zeros(3))
    if frame.depth is None or frame.depth_camera is None:
        return rgb, None, camera, pose
    height, width = frame.depth.shape
    small = camera.scaled_to(width, height)
    source_from_small = frame.depth_camera.matrix @ turn @ np.linalg.inv(small.matrix)
    depth = cv2.warpPerspective(
        frame.depth,
        source_from_small,
        (width, height),
        flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
    )
    # Depth is along the optical axis, which is turned: a ray of depth 1 had this depth before.
    before = (small.rays() @ turn.T)[..., 2]
    return rgb, (depth / before).astype(np.float32), camera, pose


def draw(table: ResultTable, file: Path) -> None:
    """Draw time and memory against the number of frames."""
    import matplotlib as mpl

    mpl.use('Agg')
    import matplotlib.pyplot as plt

    rows = np.array(table.rows, float)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    left.stackplot(rows[:, 0], rows[:, 1:-2].T, labels=BUILD_STAGES)
    handles, labels = left.get_legend_handles_labels()
    left.legend(handles[::-1], labels[::-1], loc='center left', bbox_to_anchor=(1, 0.5))
    left.set(xlabel='frames', ylabel='time [s]', xlim=(0, None), ylim=(0, None))
    right.plot(rows[:, 0], rows[:, -1], 'o-', clip_on=False)
    right.set(xlabel='frames', ylabel='peak memory [GB]', xlim=(0, None), ylim=(0, None))
    figure.tight_layout()
    figure.savefig(file, dpi=80)


if __name__ == '__main__':
    main()
