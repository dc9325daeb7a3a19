"""
Draw the figure of the README: an image, the NeRF at the estimated pose, and the trajectory.

    python demo/hero_image.py demo_output/map demo/bags/test docs/hero.png
"""

import argparse
from pathlib import Path

import cv2
from matplotlib.figure import Figure
import numpy as np

from nerf_reversal_ros.capture.capture import Frame
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.outcome import PoseEstimate
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.localizer import open_localizer
from nerf_reversal_ros.maps.map_folder import open_map

SIZE_IN, DPI = (12.0, 4.4), 88
RENDER_WIDTH_PX = 360


def draw(
    frame: Frame,
    pose: FloatArray,
    field: VoxelField,
    ground_truth: FloatArray,
    estimated: FloatArray,
    mapping: FloatArray,
) -> Figure:
    """Draw a frame with its estimated pose (4, 4), and positions (N, 3) from above."""
    camera = frame.camera.scaled_to_width(RENDER_WIDTH_PX)
    rendered = field.render(pose[None], camera)[0].rgb
    image = cv2.resize(frame.rgb, (camera.width, camera.height), interpolation=cv2.INTER_AREA)
    figure = Figure(figsize=SIZE_IN, dpi=DPI, layout='constrained')
    left, middle, right = figure.subplots(1, 3, width_ratios=[3, 3, 5])
    error_cm = 100 * np.linalg.norm(pose[:3, 3] - frame.map_from_camera[:3, 3])
    for axes, pixels, title in (
        (left, image, 'camera image'),
        (middle, rendered, f'NeRF at the estimated pose (error {error_cm:.1f} cm)'),
    ):
        axes.imshow(pixels)
        axes.set_title(title, fontsize=11)
        axes.axis('off')
    right.plot(*mapping[:, :2].T, 'o', color='#c5cad3', ms=4, mew=0, label='mapping capture')
    right.plot(*ground_truth[:, :2].T, color='#1f2430', lw=1.2, label='ground truth')
    right.plot(*estimated[:, :2].T, 'o', color='#2c6fbb', ms=4, mew=0, label='localized')
    right.plot(*pose[:2, 3], '*', color='#d1495b', ms=14, label='this image')
    right.set_aspect('equal', adjustable='datalim')
    right.set(xlabel='map x [m]', ylabel='map y [m]')
    right.set_title('positions from above', fontsize=11)
    right.legend(fontsize=9, frameon=False, loc='best')
    return figure


def main() -> None:
    """Localize every image of the bag and draw the one with the median error."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    for name in ('map', 'bag', 'out'):
        parser.add_argument(name, type=Path)
    arguments = parser.parse_args()
    map_ = open_map(arguments.map)
    config = map_.query_config({})
    localizer = open_localizer(map_, config.localizer)
    capture = open_capture(
        arguments.bag, config.capture, convention=map_.convention, select_frames=False
    )
    outcomes = [localizer.localize(frame.rgb, frame.camera) for frame in capture]
    accepted = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, PoseEstimate)]
    poses = np.stack([outcomes[i].map_from_camera for i in accepted])
    ground_truth = capture.map_from_camera
    errors = np.linalg.norm(poses[:, :3, 3] - ground_truth[accepted, :3, 3], axis=1)
    median = int(np.argsort(errors)[len(errors) // 2])
    figure = draw(
        capture.frame(accepted[median]),
        poses[median],
        VoxelField.load(map_.file('field.safetensors')),
        ground_truth[:, :3, 3],
        poses[:, :3, 3],
        map_.mapping_poses[:, :3, 3],
    )
    figure.savefig(arguments.out)
    print(f'wrote {arguments.out}: {len(accepted)} of {len(outcomes)} images localized')


if __name__ == '__main__':
    main()
