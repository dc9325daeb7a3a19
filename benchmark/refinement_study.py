"""
What the refinement's choices rest on: one command, one table.

    python benchmark/refinement_study.py MAP BUILD_BAG TEST_BAG [--every N]

The landmarks of the map are made again from renders of its field, as the build makes them, and
each row changes one thing: where landmarks are taken from, at which size pictures are matched
(with the same limits in pixels, which are finer angles then), how many keypoints and landmarks
take part. All limits of the gate are open, so that every pose counts.
"""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.keypoints import KeypointDetector
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import AtlasConfig, BuildConfig, CaptureConfig
from nerf_reversal_ros.core.devices import resolve_device
from nerf_reversal_ros.core.geometry import FloatArray, pose_errors
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization import matching
from nerf_reversal_ros.localization.atlas import Atlas, build_atlas, select_farthest_poses
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.mapping import landmark_adjustment
from nerf_reversal_ros.mapping.calibration_fitting import IDENTITY_CALIBRATION, PERMISSIVE_GATE
from nerf_reversal_ros.mapping.landmark_adjustment import refine_landmarks
from nerf_reversal_ros.maps.map_folder import open_map

SIZES = ((640, 1500), (320, 500), (288, 400), (256, 400), (224, 300))
"""Longer side of a query [px], and keypoints at most."""
LANDMARKS = (1000, 3000)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    for name in ('map', 'build_bag', 'test_bag'):
        parser.add_argument(name, type=Path)
    parser.add_argument('--every', type=int, default=2, help='take every so manyth picture')
    args = parser.parse_args()
    map_ = open_map(args.map)
    opened = open_localizer(map_, PERMISSIVE_GATE, IDENTITY_CALIBRATION)
    walked = map_.mapping_poses[:, :3, 3]
    built = config_from_dict(BuildConfig, map_.manifest['built']['config'])
    build = open_capture(args.build_bag, built.capture, convention=map_.convention)
    test = open_capture(
        args.test_bag, CaptureConfig(), convention=map_.convention, select_frames=False
    )
    held_out = held_out_mask(len(build), built.field.validation_share)
    field = VoxelField.load(map_.file('field.safetensors'), resolve_device('cpu'))
    seen = np.concatenate([build.map_from_camera[~held_out], opened.regressor.index_poses])
    rendered = rendered_atlas(field, seen, build.camera, built.atlas)

    def judged(name: str, atlas: Atlas) -> None:
        localizer = Localizer(
            atlas, opened.surface, opened.regressor, walked, IDENTITY_CALIBRATION, PERMISSIVE_GATE
        )
        inside = errors(localizer, build, np.flatnonzero(held_out))
        beside = errors(localizer, test, np.arange(0, len(test), args.every))
        print(f'| {name} | {inside} | {beside} |', flush=True)

    print('| | held-out frames | worst | ms | other walk | worst | ms |')
    print('| --- ' * 7 + '|')
    judged('as the map has it', opened.atlas)
    judged('landmarks where renders have them', rendered)
    for frames in (20, 80, landmark_adjustment.MAX_FRAMES):
        chosen = np.flatnonzero(~held_out)
        chosen = chosen[evenly_spaced_indices(len(chosen), frames)]
        judged(f'adjusted in {frames} pictures', refine_landmarks(rendered, build, chosen))
    for size, most in SIZES:
        default = (size, KeypointDetector(most, 0.02))
        with (
            changed(matching.make_query, __defaults__=default),
            changed(matching, QUERY_SIZE_PX=size),
        ):
            judged(f'{size} px, {most} keypoints', opened.atlas)
    for most in LANDMARKS:
        with changed(matching, MAX_LANDMARKS=most):
            judged(f'{most} landmarks at most', opened.atlas)


def rendered_atlas(
    room: VoxelField, possible: FloatArray, camera: Camera, config: AtlasConfig
) -> Atlas:
    """Build an atlas from renders at some of the possible poses, without what pictures add."""
    camera = camera.downscaled_to(config.size)
    poses = possible[select_farthest_poses(possible, config.views)]
    views = ((room.render(pose[None], camera)[0], pose) for pose in tqdm(poses, leave=False))
    return build_atlas(views, camera)


def errors(localizer: Localizer, capture: Capture, frames: np.ndarray) -> str:
    """Localize frames; tell medians, the worst, and what a picture takes."""
    off_m, off_deg, took_ms = [], [], []
    for index in frames:
        frame = capture.frame(int(index))
        told = localizer.localize(frame.rgb, frame.camera).diagnostics
        took_ms.append(told.latency_ms['total'])
        if told.refined_pose is None:
            off_m.append(np.inf)
            off_deg.append(180.0)
            continue
        error = pose_errors(told.refined_pose[None], frame.map_from_camera[None])
        off_m.append(float(error.translation[0]))
        off_deg.append(float(np.degrees(error.rotation[0])))
    return (
        f'{np.median(off_m) * 100:.2f} cm {np.median(off_deg):.3f} deg | {max(off_m) * 100:.1f} cm'
        f' | {np.median(took_ms):.0f} ms'
    )


@contextmanager
def changed(owner: Any, **values: object) -> Iterator[None]:
    """Set attributes for a while."""
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
