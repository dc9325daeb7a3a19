"""
Measure what baking a nerfstudio run into the voxel field costs in localization.

    python benchmark/baking_loss.py MAP CONFIG.yml BUILD_BAG TEST_BAG --views 60 [--out FILE.json]

MAP was built from the nerfstudio run and BUILD_BAG, see ``run_study.py``. Landmarks and surface
cloud are rebuilt at the same poses, once from renderings of the map's voxel field and once from
renderings of the run, aligned as in the map. All rows use the regressor, calibration and gate of
the map, so they differ by the field alone. The first row is the map as it was built, with its own
number and size of views. The last three columns have all limits of the gate open.
"""

import argparse
from pathlib import Path

import numpy as np
from results import add_out_argument, Cell, Column, ResultTable, write_results
import torch
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.frame_selection import select_farthest_poses
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.mapping_data import is_near_any
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.scene_scale import estimate_scene_depth
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig, LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import compute_metrics, results_from_outcomes
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.fields.sim3 import transform_poses
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.localization.localizer_protocol import localize_or_reject
from nerf_reversal_ros.localization.surface import build_surface, SPACING, Surface
from nerf_reversal_ros.mapping.calibration_fitting import IDENTITY_CALIBRATION, PERMISSIVE_GATE
from nerf_reversal_ros.mapping.landmark_adjustment import refine_landmarks
from nerf_reversal_ros.mapping.landmark_building import (
    build_atlas,
    rendered_views,
    VIEW_SPACING,
    VIEW_SPACING_DEG,
)
from nerf_reversal_ros.mapping.sim3_alignment import fit_sim3_to_points
from nerf_reversal_ros.maps.map_folder import open_map

MAX_POSE_DIFFERENCE_M = 1e-6
"""Largest difference between cameras of the run and mapping poses that are the same."""
COLUMNS = (
    'landmarks and surface of',
    Column('landmarks'),
    Column('images'),
    Column('localized'),
    Column('median', 'cm', 2),
    Column('median', 'deg', 2),
    Column('worst', 'cm', 2),
    Column('worst', 'deg', 2),
    Column('gate open: localized'),
    Column('gate open: median', 'cm', 2),
    Column('gate open: worst', 'cm', 2),
)


def main() -> None:
    """Rebuild landmarks and surface, localize, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    for name in ('map', 'config_yml', 'build_bag', 'test_bag'):
        parser.add_argument(name, type=Path)
    parser.add_argument(
        '--views', type=int, default=60, help='to render of each field; default: 60'
    )
    parser.add_argument('--size', type=int, default=240, help='longer side [px]; default: 240')
    parser.add_argument('--every', type=int, default=2, help='localize every N-th image')
    add_out_argument(parser)
    args = parser.parse_args()
    map_ = open_map(args.map)
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    build = open_capture(args.build_bag, built.capture, convention=map_.convention)
    test = open_capture(
        args.test_bag, CaptureConfig(), convention=map_.convention, select_frames=False
    )
    opened = open_localizer(map_, LocalizerConfig(device='cpu'))
    calibration = Calibration.from_dict(map_.manifest['calibration'])
    mapping_poses = map_.mapping_poses
    run_poses = mapping_poses[len(build) :]
    held_out = held_out_mask(len(build), built.field.validation_share)
    is_near = is_near_any(run_poses, build.map_from_camera[held_out])
    training_poses = build.map_from_camera[~held_out]
    candidates = np.concatenate(
        [training_poses, run_poses[~is_near], opened.regressor.index_poses]
    )
    scene_depth_m = estimate_scene_depth(build)
    spacing_m = VIEW_SPACING * scene_depth_m
    poses = candidates[select_farthest_poses(candidates, args.views, spacing_m, VIEW_SPACING_DEG)]
    camera = build.camera.downscaled_to(args.size)

    def rebuild(name: str, field: RadianceField) -> tuple[Atlas, Surface]:
        """Build landmarks and surface from renderings, as `landmark_stage.atlas_stage` does."""
        views = [
            (field.render(pose[None], camera)[0], pose) for pose in tqdm(poses, name, leave=False)
        ]
        rendered = build_atlas(rendered_views(views, camera))
        atlas = refine_landmarks(rendered, build, np.flatnonzero(~held_out))
        return atlas, build_surface(views, camera, SPACING * scene_depth_m)

    table = ResultTable('Baked voxel field and nerfstudio run', COLUMNS)

    def add_row(name: str, atlas: Atlas, surface: Surface) -> None:
        parts = atlas, surface, opened.regressor, mapping_poses[:, :3, 3]
        gated = Localizer(*parts, calibration, opened.config)
        permissive = Localizer(*parts, IDENTITY_CALIBRATION, PERMISSIVE_GATE)
        _, localized, median_cm, _, worst_cm, _ = localize_every(permissive, test, args.every)
        table.add_row(
            name,
            len(atlas),
            *localize_every(gated, test, args.every),
            localized,
            median_cm,
            worst_cm,
        )

    add_row('map as it was built', opened.atlas, opened.surface)
    cpu = torch.device('cpu')
    baked = VoxelField.load(map_.file('field.safetensors'), cpu)
    add_row(f'baked, {len(poses)} views', *rebuild('baked', baked))
    run_field = load_aligned_run(args.config_yml, run_poses)
    add_row(f'nerfstudio run, {len(poses)} views', *rebuild('run', run_field))
    write_results(args.out, 'What baking costs in localization', table)


def load_aligned_run(config_yml: Path, map_from_camera: FloatArray) -> RadianceField:
    """Open a run and align it by the camera poses (N, 4, 4) in the map that it was baked at."""
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.run import load_run

    run = load_run(config_yml, torch.device('cpu'))
    selected = evenly_spaced_indices(len(run.names), len(map_from_camera))
    world_from_camera = run.world_from_camera[selected]
    map_from_world = fit_sim3_to_points(
        map_from_camera[:, :3, 3], world_from_camera[:, :3, 3]
    ).map_from_world
    aligned = transform_poses(map_from_world, world_from_camera)
    if not np.allclose(aligned, map_from_camera, rtol=0, atol=MAX_POSE_DIFFERENCE_M):
        raise SystemExit(f'{config_yml} is not the run of the map, or BUILD_BAG is not its bag')
    return run.field(map_from_world)


def localize_every(localizer: Localizer, capture: Capture, every: int) -> list[Cell]:
    """Localize every N-th image; return images, localized, median and worst error."""
    frames = [capture.frame(index) for index in range(0, len(capture), every)]
    outcomes = [localize_or_reject(localizer, frame.rgb, frame.camera) for frame in frames]
    results = results_from_outcomes(outcomes, [0.0] * len(frames))
    block = compute_metrics(results, np.stack([frame.map_from_camera for frame in frames]))
    cells: list[Cell] = [len(frames), block['published']]
    for which in ('median', 'worst_published'):
        cells += [100 * block[f'{which}_translation_m'], block[f'{which}_rotation_deg']]
    return cells


if __name__ == '__main__':
    main()
