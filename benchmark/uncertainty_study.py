"""
What the uncertainty of a field is good for: one command, three tables, and pictures to look at.

    python benchmark/uncertainty_study.py MAP BUILD_BAG JUDGED_BAG [...] [--pictures FOLDER]

Pixels: does it rank what renders of the field have wrong at the poses of other bags? Views: does
it find those that look wrong? Localization: are poses better when landmarks and surface are taken
only where it is small? Beside it stand simpler measures: opacity, distance, and how many pixels of
the walk end in the same cell of 5 cm. Errors of a pixel are the least within two pixels, so that
an edge at the pixel beside it is none. All limits of the gate are open.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from refinement_study import errors
from scipy.ndimage import maximum_filter
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture, DepthCorrection, Frame
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import AtlasConfig, CaptureConfig, SynthesisConfig
from nerf_reversal_ros.core.geometry import transform_points
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.field_metrics import channel_gains, compute_psnr
from nerf_reversal_ros.fields.pose_sampling import find_pose_rejections, sample_poses
from nerf_reversal_ros.fields.uncertainty import (
    estimate_uncertainty,
    UncertaintyGrid,
    VIEW_SIZE_PX,
)
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_uncertainty import DeformableVoxelField
from nerf_reversal_ros.localization.atlas import build_atlas, select_farthest_poses
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.localization.surface import build_surface
from nerf_reversal_ros.mapping.calibration_fitting import IDENTITY_CALIBRATION, PERMISSIVE_GATE
from nerf_reversal_ros.mapping.landmark_adjustment import refine_landmarks
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.synthesis.view_synthesis import find_view_rejection

SIZE_PX = 128
"""Longer side of the views that are judged."""
WITHIN_PX = 2
WRONG_M = 0.1
"""A pixel is wrong if its depth is off by more than this."""
MASKED = 0.1
"""Share of the pixels that landmarks and surface are not taken from."""
MEASURES = ('uncertainty', 'opacity', 'pixels of the walk', 'distance')


@dataclass(frozen=True)
class Room:
    """A field and what tells where it is to be believed."""

    field: VoxelField
    grid: UncertaintyGrid
    walked: NDArray[np.float32]
    """(X, Y, Z) pixels of the walk that end in each cell of the grid."""

    def measures(self, view: Rendering, pose: np.ndarray, camera: Camera) -> dict[str, np.ndarray]:
        """Return (H, W) by `MEASURES`: the larger, the less the view is to be believed."""
        known = view.depth > 0
        cells = _cells(self.grid, view, pose, camera)
        walked = np.where(known, self.walked[tuple(np.moveaxis(cells, -1, 0))], 0)
        std_m = self.grid.std_of_view_m(view, pose, camera)
        distance = np.where(known, view.depth, 100.0)
        return dict(zip(MEASURES, (std_m, -view.opacity, -walked, distance), strict=True))


@dataclass(frozen=True)
class Judged:
    """A picture, what the field shows at its pose, and how wrong that is."""

    rgb: np.ndarray
    view: Rendering
    measures: dict[str, np.ndarray]
    colour_error: np.ndarray
    depth_error_m: np.ndarray
    """NaN where the depth of the picture is not known."""
    psnr_db: float


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('build_bag', type=Path)
    parser.add_argument('judged_bags', type=Path, nargs='+')
    parser.add_argument('--every', type=int, default=1, help='take every so manyth picture')
    parser.add_argument('--pictures', type=Path, help='folder for pictures of the worst views')
    args = parser.parse_args()
    map_ = open_map(args.map)
    build = open_capture(args.build_bag, CaptureConfig(), convention=map_.convention)
    share = map_.manifest['built']['config']['field']['validation_share']
    training = np.flatnonzero(~held_out_mask(len(build), share))
    room = room_of(map_, build, training)
    correction = DepthCorrection(**map_.manifest['depth_correction'])
    bags = {}
    for bag in args.judged_bags:
        capture = open_capture(
            bag, CaptureConfig(), convention=map_.convention, select_frames=False
        )
        bags[bag.stem] = capture.with_depth_correction(correction)
    looks = {}
    for name, capture in bags.items():
        frames = tqdm(range(0, len(capture), args.every), desc=name, leave=False)
        looks[name] = [judged(room, capture.frame(i)) for i in frames]
    print_pixels(looks)
    print_views(looks)
    if args.pictures:
        args.pictures.mkdir(parents=True, exist_ok=True)
        for name, looked in looks.items():
            write_pictures(args.pictures, name, looked)
    print_localization(map_, room, build, training, bags, args.every)


def room_of(map_: Map, build: Capture, training: np.ndarray) -> Room:
    """Read the field, estimate its uncertainty, and count where the walk's pixels end."""
    field = VoxelField.load(map_.file('field.safetensors'))
    poses = build.map_from_camera[training]
    grid = estimate_uncertainty(DeformableVoxelField(field), poses, build.camera)
    walked = np.zeros(grid.information.shape[:3], np.float32)
    camera = build.camera.downscaled_to(VIEW_SIZE_PX)
    for pose, view in zip(poses, field.render(poses, camera), strict=True):
        cells = _cells(grid, view, pose, camera)[view.depth > 0]
        np.add.at(walked, tuple(cells.T), 1)
    return Room(field, grid, walked)


def _cells(
    grid: UncertaintyGrid, view: Rendering, pose: np.ndarray, camera: Camera
) -> NDArray[np.int64]:
    """Return (H, W, 3) the cell of the grid that each pixel of a view lies in."""
    points = transform_points(pose, (camera.rays() * view.depth[..., None]).reshape(-1, 3))
    cells = np.floor((points - grid.origin_m) / grid.cell_m).astype(np.int64)
    last = np.array(grid.information.shape[:3]) - 1
    return np.clip(cells, 0, last).reshape(*view.depth.shape, 3)


def judged(room: Room, frame: Frame) -> Judged:
    """Compare a frame with what the field shows at its pose."""
    camera = frame.camera.downscaled_to(SIZE_PX)
    size = camera.width, camera.height
    rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
    depth = cv2.resize(frame.depth, size, interpolation=cv2.INTER_NEAREST)
    (view,) = room.field.render(frame.map_from_camera[None], camera)
    matched = np.minimum(view.rgb * channel_gains(rgb, view), 255).astype(np.float32)
    colour = least(rgb.astype(np.float32), lambda there: np.abs(there - matched).mean(-1))
    off_m = least(
        np.where(depth > 0, depth, np.inf).astype(np.float32),
        lambda there: np.abs(there - view.depth),
    )
    measures = room.measures(view, frame.map_from_camera, camera)
    off_m = np.where((depth > 0) & np.isfinite(off_m), off_m, np.nan)
    return Judged(rgb, view, measures, colour, off_m, compute_psnr(rgb, view).psnr_db)


def least(picture: np.ndarray, error: Callable[[np.ndarray], np.ndarray]) -> NDArray[np.floating]:
    """Return the least error (H, W) against a picture shifted by up to `WITHIN_PX` each way."""
    shifts = range(-WITHIN_PX, WITHIN_PX + 1)
    return np.min([error(np.roll(picture, (v, u), (0, 1))) for v in shifts for u in shifts], 0)


def print_pixels(looks: dict[str, list[Judged]]) -> None:
    """Tell how well each measure ranks the errors of the pixels that the field covers."""
    print(f'\n| covered pixels | measure | rank correlation with colour error | with depth error |'
          f' AUROC, depth off by {WRONG_M * 100:.0f} cm |\n{"| --- " * 5}|')  # fmt: skip
    for name, looked in looks.items():
        covered = [look.view.depth > 0 for look in looked]
        colour = np.concatenate([x.colour_error[c] for x, c in zip(looked, covered, strict=True)])
        depth = np.concatenate([x.depth_error_m[c] for x, c in zip(looked, covered, strict=True)])
        known = np.isfinite(depth)
        wrong = depth[known] > WRONG_M
        for measure in MEASURES:
            value = np.concatenate(
                [x.measures[measure][c] for x, c in zip(looked, covered, strict=True)]
            )
            print(
                f'| {name}: {len(colour)}, {wrong.mean():.2%} wrong | {measure}'
                f' | {spearmanr(value, colour)[0]:.2f}'
                f' | {spearmanr(value[known], depth[known])[0]:.2f}'
                f' | {roc_auc_score(wrong, value[known]):.2f} |'
            )


def print_views(looks: dict[str, list[Judged]]) -> None:
    """Tell how well the mean of each measure finds the views that are least like the pictures."""
    print('\n| views | measure | rank correlation with -PSNR | AUROC, worst quarter'
          f' | of those that min_opacity keeps: the same | |\n{"| --- " * 6}|')  # fmt: skip
    for name, looked in looks.items():
        psnr_db = np.array([look.psnr_db for look in looked])
        least_opacity = SynthesisConfig().min_opacity
        kept = np.array([look.view.opacity.mean() >= least_opacity for look in looked])
        for measure in MEASURES[:3]:
            value = np.array([look.measures[measure].mean() for look in looked])
            cells = [cell for which in (kept >= 0, kept) for cell in found(value, psnr_db, which)]
            print(
                f'| {name}: {len(looked)}, {kept.sum()} kept | {measure} | {" | ".join(cells)} |'
            )


def found(value: np.ndarray, psnr_db: np.ndarray, which: np.ndarray) -> Iterator[str]:
    """Yield how a measure ranks some of the views, and finds the worst quarter of them."""
    bad = psnr_db[which] < np.percentile(psnr_db[which], 25)
    yield f'{spearmanr(value[which], -psnr_db[which])[0]:.2f}'
    yield f'{roc_auc_score(bad, value[which]):.2f}' if bad.any() else '-'


def print_localization(
    map_: Map, room: Room, build: Capture, training: np.ndarray, bags: dict[str, Capture],
    every: int,
) -> None:  # fmt: skip
    """Localize with landmarks and surface taken from all pixels, and from some of them."""
    camera = build.camera.downscaled_to(AtlasConfig().size)
    poses = atlas_poses(room.field, build, training)
    views = [room.field.render(pose[None], camera)[0] for pose in tqdm(poses, leave=False)]
    seen = [room.measures(view, pose, camera) for view, pose in zip(views, poses, strict=True)]
    opened, rng = open_localizer(map_, PERMISSIVE_GATE), np.random.default_rng(0)
    blocks = [rng.random((10, 10)) for _ in views]
    size = camera.width, camera.height
    drawn = [cv2.resize(block, size, interpolation=cv2.INTER_NEAREST) for block in blocks]
    rows = {
        'all pixels': [np.zeros(view.depth.shape) for view in views],
        'at random': drawn,
        **{name: [one[name] for one in seen] for name in ('uncertainty', 'pixels of the walk')},
    }
    header = ' | '.join(f'{name}, median | worst | ms' for name in bags)
    print(f'\n| left out: {MASKED:.0%} | landmarks | surface | {header} |')
    print('| --- ' * (3 + 3 * len(bags)) + '|')
    for name, values in rows.items():
        shown = [value[view.depth > 0] for value, view in zip(values, views, strict=True)]
        limit = np.quantile(np.concatenate(shown), 1 - MASKED)
        pairs = [
            (replace(view, depth=np.where(value > limit, 0, view.depth).astype(np.float32)), pose)
            for view, value, pose in zip(views, values, poses, strict=True)
        ]
        atlas = refine_landmarks(build_atlas(pairs, camera), build, training)
        surface = build_surface(pairs, camera)
        walked = build.map_from_camera[:, :3, 3]
        localizer = Localizer(
            atlas, surface, opened.regressor, walked, IDENTITY_CALIBRATION, PERMISSIVE_GATE
        )
        told = [errors(localizer, bag, np.arange(0, len(bag), every)) for bag in bags.values()]
        print(f'| {name} | {len(atlas)} | {len(surface)} | {" | ".join(told)} |', flush=True)


def atlas_poses(field: VoxelField, build: Capture, training: np.ndarray) -> np.ndarray:
    """Return poses far from each other, walked ones and drawn ones, as the build takes them."""
    walked, config = build.map_from_camera[training], SynthesisConfig()
    drawn = sample_poses(walked, 1000, config, np.random.default_rng(0))
    faults = find_pose_rejections(field, drawn, config.clearance_m)
    possible = drawn.map_from_camera[[fault is None for fault in faults]]
    previews = field.render(possible, build.camera.downscaled_to(24))
    usable = possible[[find_view_rejection(view, config) is None for view in previews]]
    everything = np.concatenate([walked, usable])
    return np.asarray(everything[select_farthest_poses(everything, AtlasConfig().views)])


def write_pictures(folder: Path, name: str, looked: list[Judged], count: int = 4) -> None:
    """Write, worst views first: picture, render, uncertainty (0 to 0.5 m), depth error (20 cm)."""
    rows = []
    for look in sorted(looked, key=lambda look: look.psnr_db)[:: max(1, len(looked) // count)]:
        wrong = maximum_filter(np.nan_to_num(look.depth_error_m), 2)
        scales = (look.measures['uncertainty'] / 0.5, wrong / 0.2)
        maps = [
            cv2.applyColorMap((255 * np.clip(x, 0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO)
            for x in scales
        ]
        rows.append(np.hstack([look.rgb[..., ::-1], look.view.rgb[..., ::-1], *maps]))
    cv2.imwrite(str(folder / f'{name}.png'), cv2.resize(np.vstack(rows), None, fx=2, fy=2))


if __name__ == '__main__':
    main()
