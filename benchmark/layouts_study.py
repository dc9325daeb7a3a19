"""
What a capture loses in the layouts of others: one command, one table.

    python benchmark/layouts_study.py BAG WORK

The frames of BAG, which needs depth, are written to WORK in the layout of an extracted ScanNet
scene and of a raw Polycam export, as their parsers in nerfstudio want them: pictures without loss,
depth in millimetres, poses of the optical camera (ScanNet) or of ARKit with y up (Polycam). These
are converted (to WORK/scannet.bag and WORK/polycam.bag) and compared with BAG frame by frame; the
poses after one rigid transform, the one that brings the first frames together. Polycam's parser
turns ARKit's world back to z up, so that both bags can be judged in a map that BAG was made for.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.converters import convert, NERFSTUDIO_PREFIX
from nerf_reversal_ros.core.config import CaptureConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, OPTICAL_FROM_OPENGL, pose_errors

Y_UP: FloatArray = np.array([[0.0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""From a world with z up to one with y up."""


def main() -> None:
    """Write, convert, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('bag', type=Path)
    parser.add_argument('work', type=Path)
    args = parser.parse_args()

    capture = opened(args.bag)
    print('| layout | frames | position | rotation | focal length, centre | depth | colours |')
    print('|---|---|---|---|---|---|---|')
    for name, write in (('scannet', write_scannet_frame), ('polycam', write_polycam_frame)):
        folder, bag = args.work / name, args.work / f'{name}.bag'
        for frame in tqdm(capture, name, len(capture)):
            write(folder, frame)
        convert(folder, bag, format=NERFSTUDIO_PREFIX + name)
        print(compared(name, capture, opened(bag)))


def opened(bag: Path) -> Capture:
    """Open all frames of a bag whose poses are optical, in the world of the bag."""
    return open_capture(
        bag,
        CaptureConfig(),
        convention=PoseConvention('optical', np.eye(4), ''),
        select_frames=False,
    )


def write_scannet_frame(folder: Path, frame: Frame) -> None:
    """Write color/N.png, depth/N.png, pose/N.txt and intrinsic/intrinsic_color.txt."""
    write_picture(folder / f'color/{frame.index}.png', frame.rgb[..., ::-1])
    write_picture(folder / f'depth/{frame.index}.png', millimetres(frame))
    for name in ('pose', 'intrinsic'):
        (folder / name).mkdir(exist_ok=True)
    np.savetxt(folder / f'pose/{frame.index}.txt', frame.map_from_camera)
    matrix = np.eye(4)
    matrix[:3, :3] = frame.camera.matrix
    matrix[:2, 2] += 0.5
    np.savetxt(folder / 'intrinsic/intrinsic_color.txt', matrix)


def write_polycam_frame(folder: Path, frame: Frame) -> None:
    """Write images/STAMP.png, depth/STAMP.png and cameras/STAMP.json below keyframes."""
    keyframes, name = folder / 'keyframes', f'{frame.stamp_ns // 1_000_000:010d}'
    write_picture(keyframes / f'images/{name}.png', frame.rgb[..., ::-1])
    write_picture(keyframes / f'depth/{name}.png', millimetres(frame))
    arkit = Y_UP @ frame.map_from_camera @ OPTICAL_FROM_OPENGL
    told = {f't_{i}{j}': float(arkit[i, j]) for i in range(3) for j in range(4)}
    camera = frame.camera
    told |= {'fx': camera.fx, 'fy': camera.fy, 'cx': camera.cx + 0.5, 'cy': camera.cy + 0.5}
    told |= {'width': camera.width, 'height': camera.height}
    (keyframes / 'cameras').mkdir(exist_ok=True)
    (keyframes / f'cameras/{name}.json').write_text(json.dumps(told))


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """Write a PNG, in a folder that need not exist."""
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), pixels)


def millimetres(frame: Frame) -> np.ndarray:
    """Return the depth of a frame as both layouts keep it."""
    return np.rint(frame.depth * 1000).astype(np.uint16)


def compared(name: str, capture: Capture, other: Capture) -> str:
    """Return a row of the table: the largest difference of each thing."""
    if len(other) != len(capture):
        return f'| {name} | {len(other)} of {len(capture)} |  |  |  |  |  |'
    mine, theirs = capture.map_from_camera, other.map_from_camera
    errors = pose_errors(mine[0] @ inverse(theirs[0]) @ theirs, mine)
    worst = np.zeros(3)
    for one, two in zip(capture, other, strict=True):
        lenses = ([c.fx, c.fy, c.cx, c.cy] for c in (one.camera, two.camera))
        worst = np.maximum(
            worst,
            [
                np.abs(np.subtract(*lenses)).max(),
                np.abs(one.depth - two.depth).max(),
                np.abs(one.rgb.astype(int) - two.rgb).max(),
            ],
        )
    return (
        f'| {name} | {len(other)} of {len(capture)} | {1000 * errors.translation.max():.4f} mm'
        f' | {np.degrees(errors.rotation.max()):.5f} deg | {worst[0]:.5f} px'
        f' | {1000 * worst[1]:.3f} mm | {worst[2]:.0f} of 255 |'
    )


if __name__ == '__main__':
    main()
