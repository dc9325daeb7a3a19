"""
Compare captures that were converted from the layouts of ScanNet and Polycam with their source.

    python benchmark/layouts_study.py BAG WORK [--out FILE.json]

The frames of BAG, which needs depth, are written to WORK in the layout of an extracted ScanNet
scene and of a raw Polycam export, as nerfstudio's parsers read them: lossless images, depth in
millimeters, poses of the optical camera (ScanNet) or of ARKit with y up (Polycam). Both are
converted to WORK/scannet.bag and WORK/polycam.bag and compared with BAG frame by frame. Poses are
compared after the one rigid transform that aligns the first frames. Polycam's parser rotates
ARKit's world to z up, so both bags can be localized in a map that was built from BAG.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from results import add_out_argument, Column, ResultTable, write_results
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.converters import convert, NERFSTUDIO_PREFIX
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, OPTICAL_FROM_OPENGL, pose_errors

Y_UP: FloatArray = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""From a world with z up to one with y up."""
COLUMNS = (
    'layout',
    Column('frames'),
    Column('converted'),
    Column('position', 'mm', 4),
    Column('rotation', 'deg', 5),
    Column('intrinsics', 'px', 5),
    Column('depth', 'mm', 3),
    Column('color', 'of 255'),
)


def main() -> None:
    """Write both layouts, convert and compare them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('bag', type=Path)
    parser.add_argument('work', type=Path)
    add_out_argument(parser)
    args = parser.parse_args()

    capture = open_frames(args.bag)
    table = ResultTable('Largest differences between a capture and its conversion', COLUMNS)
    for name, write in (('scannet', write_scannet_frame), ('polycam', write_polycam_frame)):
        folder, bag = args.work / name, args.work / f'{name}.bag'
        for frame in tqdm(capture, name, len(capture)):
            write(folder, frame)
        convert(folder, bag, format=NERFSTUDIO_PREFIX + name)
        table.add_row(name, *difference_cells(capture, open_frames(bag)))
    write_results(args.out, 'Captures in other layouts', table)


def open_frames(bag: Path) -> Capture:
    """Open all frames of a bag with optical poses, in the world of the bag."""
    return open_capture(
        bag,
        CaptureConfig(),
        convention=PoseConvention('optical', np.eye(4), ''),
        select_frames=False,
    )


def write_scannet_frame(folder: Path, frame: Frame) -> None:
    """Write color/N.png, depth/N.png, pose/N.txt and intrinsic/intrinsic_color.txt."""
    write_image(folder / f'color/{frame.index}.png', frame.rgb[..., ::-1])
    write_image(folder / f'depth/{frame.index}.png', depth_millimeters(frame))
    for name in ('pose', 'intrinsic'):
        (folder / name).mkdir(exist_ok=True)
    np.savetxt(folder / f'pose/{frame.index}.txt', frame.map_from_camera)
    matrix = np.eye(4)
    matrix[:3, :3] = frame.camera.matrix
    matrix[:2, 2] += 0.5
    np.savetxt(folder / 'intrinsic/intrinsic_color.txt', matrix)


def write_polycam_frame(folder: Path, frame: Frame) -> None:
    """Write images/STAMP.png, depth/STAMP.png and cameras/STAMP.json in keyframes."""
    keyframes, name = folder / 'keyframes', f'{frame.stamp_ns // 1_000_000:010d}'
    write_image(keyframes / f'images/{name}.png', frame.rgb[..., ::-1])
    write_image(keyframes / f'depth/{name}.png', depth_millimeters(frame))
    arkit = Y_UP @ frame.map_from_camera @ OPTICAL_FROM_OPENGL
    entry = {f't_{i}{j}': float(arkit[i, j]) for i in range(3) for j in range(4)}
    camera = frame.camera
    entry |= {'fx': camera.fx, 'fy': camera.fy, 'cx': camera.cx + 0.5, 'cy': camera.cy + 0.5}
    entry |= {'width': camera.width, 'height': camera.height}
    (keyframes / 'cameras').mkdir(exist_ok=True)
    (keyframes / f'cameras/{name}.json').write_text(json.dumps(entry))


def write_image(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG, and create its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def depth_millimeters(frame: Frame) -> np.ndarray:
    """Return the depth of a frame in millimeters, as both layouts store it."""
    return np.rint(frame.depth * 1000).astype(np.uint16)


def difference_cells(capture: Capture, converted: Capture) -> list[float | None]:
    """Return a row behind its name: frames, and the largest difference of each quantity."""
    counts: list[float | None] = [len(capture), len(converted)]
    if len(converted) != len(capture):
        return [*counts, *[None] * 5]
    first, second = capture.map_from_camera, converted.map_from_camera
    errors = pose_errors(first[0] @ inverse(second[0]) @ second, first)
    largest = np.zeros(3)
    for one, two in zip(capture, converted, strict=True):
        intrinsics = ([c.fx, c.fy, c.cx, c.cy] for c in (one.camera, two.camera))
        differences = [
            np.abs(np.subtract(*intrinsics)).max(),
            1000 * np.abs(one.depth - two.depth).max(),
            np.abs(one.rgb.astype(int) - two.rgb).max(),
        ]
        largest = np.maximum(largest, differences)
    return [
        *counts,
        1000 * errors.translation.max(),
        np.degrees(errors.rotation.max()),
        *largest,
    ]


if __name__ == '__main__':
    main()
