"""
Compare variants of pose refinement: landmark adjustment, image size, keypoints, landmarks.

    python benchmark/refinement_study.py MAP BUILD_BAG TEST_BAG [--every N] [--out FILE.json]

The landmarks of the map are rebuilt from renderings of its field, as in a build. Each row changes
one thing: the images that adjust the landmarks, the size of the query with the same limits in
pixels, or the number of keypoints or landmarks. All limits of the gate are open, so every pose
counts.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from results import add_out_argument, Cell, Column, ResultTable, write_results
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.frame_selection import select_farthest_poses
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.keypoints import KeypointDetector
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.scene_scale import ROOM_DEPTH_M
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import AtlasConfig, BuildConfig
from nerf_reversal_ros.core.devices import resolve_device
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization import matching
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.mapping import landmark_adjustment
from nerf_reversal_ros.mapping.calibration_fitting import IDENTITY_CALIBRATION, PERMISSIVE_GATE
from nerf_reversal_ros.mapping.landmark_adjustment import refine_landmarks
from nerf_reversal_ros.mapping.landmark_building import (
    build_atlas,
    rendered_views,
    VIEW_SPACING,
    VIEW_SPACING_DEG,
)
from nerf_reversal_ros.maps.map_folder import open_map

SIZES = ((640, 1500), (320, 500), (288, 400), (matching.REFERENCE_SIZE_PX, 400), (224, 300))
"""Longer side of a query [px], and maximum number of keypoints."""
LANDMARK_LIMITS = (matching.MAX_LANDMARKS // 2, matching.MAX_LANDMARKS * 3 // 2)
ERROR_COLUMNS = (
    Column('median', 'cm', 2),
    Column('median', 'deg', 3),
    Column('worst', 'cm', 1),
    Column('p50', 'ms'),
)


def main() -> None:
    """Localize with each variant and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    for name in ('map', 'build_bag', 'test_bag'):
        parser.add_argument(name, type=Path)
    parser.add_argument('--every', type=int, default=2, help='localize every N-th test image')
    add_out_argument(parser)
    args = parser.parse_args()
    map_ = open_map(args.map)
    opened = open_localizer(map_, PERMISSIVE_GATE, IDENTITY_CALIBRATION)
    positions = map_.mapping_poses[:, :3, 3]
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    build = open_capture(args.build_bag, built.capture, convention=map_.convention)
    test = open_capture(
        args.test_bag, CaptureConfig(), convention=map_.convention, select_frames=False
    )
    held_out = held_out_mask(len(build), built.field.validation_share)
    field = VoxelField.load(map_.file('field.safetensors'), resolve_device('cpu'))
    candidates = np.concatenate([build.map_from_camera[~held_out], opened.regressor.index_poses])
    rendered = render_atlas(field, candidates, build.camera, built.atlas)
    table = ResultTable(
        'Variants of pose refinement',
        [
            'variant',
            *(c._replace(name=f'held-out: {c.name}') for c in ERROR_COLUMNS),
            *(c._replace(name=f'test: {c.name}') for c in ERROR_COLUMNS),
        ],
    )

    def add_row(name: str, atlas: Atlas) -> None:
        localizer = Localizer(
            atlas,
            opened.surface,
            opened.regressor,
            positions,
            IDENTITY_CALIBRATION,
            PERMISSIVE_GATE,
        )
        table.add_row(
            name,
            *error_cells(localizer, build, np.flatnonzero(held_out)),
            *error_cells(localizer, test, np.arange(0, len(test), args.every)),
        )

    add_row('map as it was built', opened.atlas)
    add_row('landmarks not adjusted', rendered)
    for count in (20, 80, landmark_adjustment.MAX_FRAMES):
        selected = np.flatnonzero(~held_out)
        selected = selected[evenly_spaced_indices(len(selected), count)]
        add_row(f'adjusted in {count} images', refine_landmarks(rendered, build, selected))
    for size, max_keypoints in SIZES:
        defaults = (size, KeypointDetector(max_keypoints, 0.02))
        with (
            set_attributes(matching.make_query, __defaults__=defaults),
            set_attributes(matching, REFERENCE_SIZE_PX=size),
        ):
            add_row(f'{size} px, {max_keypoints} keypoints', opened.atlas)
    for max_landmarks in LANDMARK_LIMITS:
        with set_attributes(matching, MAX_LANDMARKS=max_landmarks):
            add_row(f'at most {max_landmarks} landmarks', opened.atlas)
    write_results(args.out, 'Pose refinement', table)


def render_atlas(
    field: VoxelField, candidates: FloatArray, camera: Camera, config: AtlasConfig
) -> Atlas:
    """Build landmarks from renderings at some of the candidate poses, without adjustment."""
    camera = camera.downscaled_to(config.size)
    spacing_m = VIEW_SPACING * ROOM_DEPTH_M
    poses = candidates[
        select_farthest_poses(candidates, config.views, spacing_m, VIEW_SPACING_DEG)
    ]
    views = ((field.render(pose[None], camera)[0], pose) for pose in tqdm(poses, leave=False))
    return build_atlas(rendered_views(views, camera))


def error_cells(localizer: Localizer, capture: Capture, indices: np.ndarray) -> list[Cell]:
    """Localize frames; return median errors [cm, deg], worst [cm] and median latency [ms]."""
    error_m, error_deg, latency_ms = [], [], []
    for index in indices:
        frame = capture.frame(int(index))
        diagnostics = localizer.localize(frame.rgb, frame.camera).diagnostics
        latency_ms.append(diagnostics.latency_ms['total'])
        if diagnostics.refined_pose is None:
            error_m.append(np.inf)
            error_deg.append(180.0)
            continue
        error = pose_errors(diagnostics.refined_pose[None], frame.map_from_camera[None])
        error_m.append(float(error.translation[0]))
        error_deg.append(float(np.degrees(error.rotation[0])))
    return [
        100 * np.median(error_m),
        np.median(error_deg),
        100 * max(error_m),
        np.median(latency_ms),
    ]


@contextmanager
def set_attributes(owner: Any, **values: object) -> Iterator[None]:
    """Set attributes for the time of a ``with`` block."""
    before = {name: getattr(owner, name) for name in values}
    try:
        for name, value in values.items():
            setattr(owner, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(owner, name, value)


if __name__ == '__main__':
    main()
