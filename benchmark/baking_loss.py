"""
What baking somebody else's run into the voxel field loses in localization: one command, one table.

    python benchmark/baking_loss.py MAP CONFIG.yml BUILD_BAG TEST_BAG --views 60

MAP is one of the run, built with BUILD_BAG (see `run_study.py`). Landmarks and surface are made
again as the build makes them, at the same poses, from renders of the voxel field that the map
holds and from renders of the run itself, placed as the map has it. Regressor, calibration and
gate are the map's in every row, so the rows differ by the field alone; the first row is the map as
it was built, with its own number and size of views.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.mapping_data import is_near_any
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.config import BuildConfig, CaptureConfig, LocalizerConfig
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import compute_metrics, results_from_outcomes
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.evaluation.evaluation import localize_or_reject
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.fields.sim3 import transform_poses
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.atlas import Atlas, build_atlas, select_farthest_poses
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.localization.surface import build_surface, Surface
from nerf_reversal_ros.mapping.calibration_fitting import IDENTITY_CALIBRATION, PERMISSIVE_GATE
from nerf_reversal_ros.mapping.landmark_adjustment import refine_landmarks
from nerf_reversal_ros.mapping.sim3_alignment import fit_sim3_to_points
from nerf_reversal_ros.maps.map_folder import open_map

SAME_M = 1e-6
"""Cameras of the run and walked poses of the map fit each other to this, if they are the same."""


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    for name in ('map', 'config_yml', 'build_bag', 'test_bag'):
        parser.add_argument(name, type=Path)
    parser.add_argument('--views', type=int, default=60, help='rendered of each; default: 60')
    parser.add_argument('--size', type=int, default=240, help='longer side [px]; default: 240')
    parser.add_argument('--every', type=int, default=2, help='take every so manyth picture')
    args = parser.parse_args()
    map_ = open_map(args.map)
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    build = open_capture(args.build_bag, built.capture, convention=map_.convention)
    test = open_capture(
        args.test_bag, CaptureConfig(), convention=map_.convention, select_frames=False
    )
    opened = open_localizer(map_, LocalizerConfig(device='cpu'))
    calibration = Calibration.from_dict(map_.manifest['calibration'])
    walked = map_.mapping_poses
    cameras = walked[len(build) :]
    held_out = held_out_mask(len(build), built.field.validation_share)
    near = is_near_any(cameras, build.map_from_camera[held_out])
    learned = build.map_from_camera[~held_out]
    possible = np.concatenate([learned, cameras[~near], opened.regressor.index_poses])
    poses = possible[select_farthest_poses(possible, args.views)]
    camera = build.camera.downscaled_to(args.size)

    def made(name: str, field: RadianceField) -> tuple[Atlas, Surface]:
        """Find landmarks and surface in renders of a field, as `build_stages.atlas_stage` does."""
        views = [(field.render(at[None], camera)[0], at) for at in tqdm(poses, name, leave=False)]
        atlas = refine_landmarks(build_atlas(views, camera), build, np.flatnonzero(~held_out))
        return atlas, build_surface(views, camera)

    def judged(name: str, atlas: Atlas, surface: Surface) -> None:
        parts = atlas, surface, opened.regressor, walked[:, :3, 3]
        both = (
            Localizer(*parts, calibration, opened.config),
            Localizer(*parts, IDENTITY_CALIBRATION, PERMISSIVE_GATE),
        )
        figures = ' | '.join(measured(one, test, args.every) for one in both)
        print(f'| {name} | {len(atlas):,} | {figures} |', flush=True)

    judged_by = 'answered | median | worst'
    print(f'| | landmarks | {judged_by} | all limits open: {judged_by} |')
    print('| --- ' * 8 + '|')
    judged('the map as it is', opened.atlas, opened.surface)
    cpu = torch.device('cpu')
    baked = VoxelField.load(map_.file('field.safetensors'), cpu)
    judged(f'baked, {len(poses)} views', *made('baked', baked))
    judged(f'the run, {len(poses)} views', *made('run', field_of_run(args.config_yml, cameras)))


def field_of_run(config_yml: Path, map_from_camera: FloatArray) -> RadianceField:
    """Open a run and place it by those of its cameras that a map holds, at which it was baked."""
    require_nerfstudio()
    from nerf_reversal_ros.fields.nerfstudio.run import load_run

    run = load_run(config_yml, torch.device('cpu'))
    chosen = evenly_spaced_indices(len(run.names), len(map_from_camera))
    there = run.world_from_camera[chosen]
    map_from_world = fit_sim3_to_points(map_from_camera[:, :3, 3], there[:, :3, 3]).map_from_world
    if not np.allclose(
        transform_poses(map_from_world, there), map_from_camera, rtol=0, atol=SAME_M
    ):
        raise SystemExit(f'{config_yml} is not the run of the map, or BUILD_BAG not its bag')
    return run.field(map_from_world)


def measured(localizer: Localizer, capture: Capture, every: int) -> str:
    """Localize every so manyth picture; tell how many were answered, the median and the worst."""
    frames = [capture.frame(index) for index in range(0, len(capture), every)]
    outcomes = [localize_or_reject(localizer, frame.rgb, frame.camera) for frame in frames]
    answers = results_from_outcomes(outcomes, [0.0] * len(frames))
    block = compute_metrics(answers, np.stack([frame.map_from_camera for frame in frames]))
    told = f'{block["published"]} of {len(frames)}'
    for which in ('median', 'worst_published'):
        off_m, off_deg = block[f'{which}_translation_m'], block[f'{which}_rotation_deg']
        told += f' | {100 * off_m:.2f} cm / {off_deg:.2f} deg'
    return told


if __name__ == '__main__':
    main()
