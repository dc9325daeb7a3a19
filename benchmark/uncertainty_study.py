"""
Measure what the uncertainty of a voxel field (Bayes' Rays) is worth, beside simpler measures.

    python benchmark/uncertainty_study.py MAP BUILD_BAG TEST_BAG [...] [--every N]
        [--images FOLDER] [--out FILE.json]

Pixels: rank correlation with the errors of renderings at the poses of the test bags. Renderings:
detection of those with low PSNR. Localization: pose errors with landmarks and surface cloud from
certain pixels alone. The simpler measures are opacity, distance, and the number of mapping pixels
that end in the same cell of 5 cm. The error of a pixel is the smallest within two pixels, so that
a shifted edge does not count. All limits of the gate are open.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from refinement_study import error_cells, ERROR_COLUMNS
from results import add_out_argument, Column, ResultTable, write_results
from scipy.ndimage import maximum_filter
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from nerf_reversal_ros.capture.capture import Capture, DepthCorrection, Frame
from nerf_reversal_ros.capture.frame_selection import select_farthest_poses
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.capture.scene_scale import estimate_scene_depth, settings_for_scene
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import AtlasConfig, BuildConfig, SynthesisConfig
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
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.localization.surface import build_surface, SPACING
from nerf_reversal_ros.mapping.calibration_fitting import IDENTITY_CALIBRATION, PERMISSIVE_GATE
from nerf_reversal_ros.mapping.landmark_adjustment import refine_landmarks
from nerf_reversal_ros.mapping.landmark_building import (
    build_atlas,
    rendered_views,
    VIEW_SPACING,
    VIEW_SPACING_DEG,
)
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.synthesis.view_synthesis import find_view_rejection

SIZE_PX = 128
"""Longer side of the renderings."""
MAX_SHIFT_PX = 2
INCORRECT_M = 0.1
"""The depth of a pixel is incorrect beyond this error."""
MASKED_FRACTION = 0.1
"""Fraction of the pixels that landmarks and surface are not taken from."""
MEASURES = ('uncertainty', 'opacity', 'mapping pixels', 'distance')


@dataclass(frozen=True)
class MeasuredField:
    """A field with measures of its reliability."""

    field: VoxelField
    grid: UncertaintyGrid
    pixel_counts: NDArray[np.float32]
    """(X, Y, Z) number of mapping pixels that end in each cell of the grid."""

    def measures(
        self, rendering: Rendering, pose: np.ndarray, camera: Camera
    ) -> dict[str, np.ndarray]:
        """Return (H, W) by `MEASURES`; larger is less reliable."""
        known = rendering.depth > 0
        cells = _cells(self.grid, rendering, pose, camera)
        counts = np.where(known, self.pixel_counts[tuple(np.moveaxis(cells, -1, 0))], 0)
        std_m = self.grid.std_of_view_m(rendering, pose, camera)
        distance = np.where(known, rendering.depth, 100.0)
        return dict(zip(MEASURES, (std_m, -rendering.opacity, -counts, distance), strict=True))


@dataclass(frozen=True)
class PixelComparison:
    """An image, the rendering at its pose, and their differences."""

    rgb: np.ndarray
    rendering: Rendering
    measures: dict[str, np.ndarray]
    color_error: np.ndarray
    depth_error_m: np.ndarray
    """NaN where the depth of the image is unknown."""
    psnr_db: float


def main() -> None:
    """Compare renderings, localize, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('map', type=Path)
    parser.add_argument('build_bag', type=Path)
    parser.add_argument('test_bags', type=Path, nargs='+')
    parser.add_argument('--every', type=int, default=1, help='compare every N-th image')
    parser.add_argument(
        *('--images', '--pictures'),  # the second name is an old one
        dest='images',
        type=Path,
        help='folder for images of the worst renderings',
    )
    add_out_argument(parser)
    args = parser.parse_args()
    map_ = open_map(args.map)
    build = open_capture(args.build_bag, CaptureConfig(), convention=map_.convention)
    share = map_.manifest['built']['config']['field']['validation_share']
    training = np.flatnonzero(~held_out_mask(len(build), share))
    measured = measure_field(map_, build, training)
    correction = DepthCorrection(**map_.manifest['depth_correction'])
    bags = {}
    for bag in args.test_bags:
        capture = open_capture(
            bag, CaptureConfig(), convention=map_.convention, select_frames=False
        )
        bags[bag.stem] = capture.with_depth_correction(correction)
    comparisons = {}
    for name, capture in bags.items():
        frames = tqdm(range(0, len(capture), args.every), desc=name, leave=False)
        comparisons[name] = [compare_with_field(measured, capture.frame(i)) for i in frames]
    tables = [pixel_table(comparisons), rendering_table(comparisons)]
    if args.images:
        args.images.mkdir(parents=True, exist_ok=True)
        for name, compared in comparisons.items():
            write_images(args.images, name, compared)
    tables.append(localization_table(map_, measured, build, training, bags, args.every))
    write_results(args.out, 'Uncertainty of the voxel field', *tables)


def measure_field(map_: Map, build: Capture, training: np.ndarray) -> MeasuredField:
    """Load the field, estimate its uncertainty, and count the mapping pixels in each cell."""
    field = VoxelField.load(map_.file('field.safetensors'))
    poses = build.map_from_camera[training]
    grid = estimate_uncertainty(DeformableVoxelField(field), poses, build.camera)
    pixel_counts = np.zeros(grid.information.shape[:3], np.float32)
    camera = build.camera.downscaled_to(VIEW_SIZE_PX)
    for pose, rendering in zip(poses, field.render(poses, camera), strict=True):
        cells = _cells(grid, rendering, pose, camera)[rendering.depth > 0]
        np.add.at(pixel_counts, tuple(cells.T), 1)
    return MeasuredField(field, grid, pixel_counts)


def _cells(
    grid: UncertaintyGrid, rendering: Rendering, pose: np.ndarray, camera: Camera
) -> NDArray[np.int64]:
    """Return (H, W, 3) the cell of the grid that each pixel of a rendering lies in."""
    points = transform_points(pose, (camera.rays() * rendering.depth[..., None]).reshape(-1, 3))
    cells = np.floor((points - grid.origin_m) / grid.cell_m).astype(np.int64)
    last = np.array(grid.information.shape[:3]) - 1
    return np.clip(cells, 0, last).reshape(*rendering.depth.shape, 3)


def compare_with_field(measured: MeasuredField, frame: Frame) -> PixelComparison:
    """Compare a frame with the rendering at its pose."""
    camera = frame.camera.downscaled_to(SIZE_PX)
    size = camera.width, camera.height
    rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA)
    depth = cv2.resize(frame.depth, size, interpolation=cv2.INTER_NEAREST)
    (rendering,) = measured.field.render(frame.map_from_camera[None], camera)
    matched = np.minimum(rendering.rgb * channel_gains(rgb, rendering), 255).astype(np.float32)
    color_error = min_shifted_error(
        rgb.astype(np.float32), lambda shifted: np.abs(shifted - matched).mean(-1)
    )
    depth_error_m = min_shifted_error(
        np.where(depth > 0, depth, np.inf).astype(np.float32),
        lambda shifted: np.abs(shifted - rendering.depth),
    )
    depth_error_m = np.where((depth > 0) & np.isfinite(depth_error_m), depth_error_m, np.nan)
    return PixelComparison(
        rgb,
        rendering,
        measured.measures(rendering, frame.map_from_camera, camera),
        color_error,
        depth_error_m,
        compute_psnr(rgb, rendering).psnr_db,
    )


def min_shifted_error(
    image: np.ndarray, error: Callable[[np.ndarray], np.ndarray]
) -> NDArray[np.floating]:
    """Return the smallest error (H, W) of an image shifted by up to `MAX_SHIFT_PX` each way."""
    shifts = range(-MAX_SHIFT_PX, MAX_SHIFT_PX + 1)
    return np.min([error(np.roll(image, (v, u), (0, 1))) for v in shifts for u in shifts], 0)


def pixel_table(comparisons: dict[str, list[PixelComparison]]) -> ResultTable:
    """Print how well each measure ranks the errors of the pixels that the field covers."""
    table = ResultTable(
        f'Covered pixels; depth is incorrect beyond {INCORRECT_M * 100:.0f} cm',
        [
            'poses',
            Column('pixels'),
            Column('incorrect', '%', 2),
            'measure',
            Column('rank correlation with color error', '', 2),
            Column('with depth error', '', 2),
            Column('AUROC of incorrect depth', '', 2),
        ],
    )
    for name, compared in comparisons.items():
        covered = [c.rendering.depth > 0 for c in compared]
        pairs = list(zip(compared, covered, strict=True))
        color = np.concatenate([c.color_error[mask] for c, mask in pairs])
        depth = np.concatenate([c.depth_error_m[mask] for c, mask in pairs])
        known = np.isfinite(depth)
        incorrect = depth[known] > INCORRECT_M
        for measure in MEASURES:
            value = np.concatenate([c.measures[measure][mask] for c, mask in pairs])
            table.add_row(
                name,
                len(color),
                100 * incorrect.mean(),
                measure,
                spearmanr(value, color)[0],
                spearmanr(value[known], depth[known])[0],
                roc_auc_score(incorrect, value[known]),
            )
    return table


def rendering_table(comparisons: dict[str, list[PixelComparison]]) -> ResultTable:
    """Print how well the mean of each measure finds the renderings with the lowest PSNR."""
    figures = (
        Column('rank correlation with -PSNR', '', 2),
        Column('AUROC of the worst quarter', '', 2),
    )
    table = ResultTable(
        'Renderings; kept are those with enough opacity',
        [
            'poses',
            Column('renderings'),
            Column('kept'),
            'measure',
            *figures,
            *(column._replace(name=f'kept: {column.name}') for column in figures),
        ],
    )
    for name, compared in comparisons.items():
        psnr_db = np.array([c.psnr_db for c in compared])
        min_opacity = SynthesisConfig().min_opacity
        kept = np.array([c.rendering.opacity.mean() >= min_opacity for c in compared])
        for measure in MEASURES[:3]:
            value = np.array([c.measures[measure].mean() for c in compared])
            table.add_row(
                name,
                len(compared),
                int(kept.sum()),
                measure,
                *ranking_cells(value, psnr_db),
                *ranking_cells(value[kept], psnr_db[kept]),
            )
    return table


def ranking_cells(value: np.ndarray, psnr_db: np.ndarray) -> tuple[float, float | None]:
    """Return rank correlation of a measure with -PSNR, and AUROC of the worst quarter."""
    is_worst = psnr_db < np.percentile(psnr_db, 25)
    auroc = roc_auc_score(is_worst, value) if is_worst.any() else None
    return spearmanr(value, -psnr_db)[0], auroc


def localization_table(
    map_: Map, measured: MeasuredField, build: Capture, training: np.ndarray,
    bags: dict[str, Capture], every: int,
) -> ResultTable:  # fmt: skip
    """Localize with landmarks and surface from all pixels, and from some of them."""
    camera = build.camera.downscaled_to(AtlasConfig().size)
    poses = select_atlas_poses(measured.field, build, training)
    renderings = [
        measured.field.render(pose[None], camera)[0] for pose in tqdm(poses, leave=False)
    ]
    measures = [
        measured.measures(rendering, pose, camera)
        for rendering, pose in zip(renderings, poses, strict=True)
    ]
    opened, rng = open_localizer(map_, PERMISSIVE_GATE), np.random.default_rng(0)
    blocks = [rng.random((10, 10)) for _ in renderings]
    size = camera.width, camera.height
    rows = {
        'none': [np.zeros(rendering.depth.shape) for rendering in renderings],
        'random': [cv2.resize(block, size, interpolation=cv2.INTER_NEAREST) for block in blocks],
        **{name: [one[name] for one in measures] for name in ('uncertainty', 'mapping pixels')},
    }
    table = ResultTable(
        f'Landmarks and surface without {MASKED_FRACTION:.0%} of the pixels',
        [
            'left out by',
            Column('landmarks'),
            Column('surface points'),
            *(c._replace(name=f'{name}: {c.name}') for name in bags for c in ERROR_COLUMNS),
        ],
    )
    for name, values in rows.items():
        covered = [
            value[rendering.depth > 0] for value, rendering in zip(values, renderings, strict=True)
        ]
        limit = np.quantile(np.concatenate(covered), 1 - MASKED_FRACTION)
        pairs = [
            (replace(one, depth=np.where(value > limit, 0, one.depth).astype(np.float32)), pose)
            for one, value, pose in zip(renderings, values, poses, strict=True)
        ]
        rendered = build_atlas(rendered_views(pairs, camera))
        atlas = refine_landmarks(rendered, build, training)
        surface = build_surface(pairs, camera, SPACING * estimate_scene_depth(build))
        positions = build.map_from_camera[:, :3, 3]
        localizer = Localizer(
            atlas, surface, opened.regressor, positions, IDENTITY_CALIBRATION, PERMISSIVE_GATE
        )
        errors = [
            error_cells(localizer, bag, np.arange(0, len(bag), every)) for bag in bags.values()
        ]
        table.add_row(name, len(atlas), len(surface), *(cell for one in errors for cell in one))
    return table


def select_atlas_poses(field: VoxelField, build: Capture, training: np.ndarray) -> np.ndarray:
    """Select mapping poses and sampled poses far from each other, as the build does."""
    mapping_poses = build.map_from_camera[training]
    scene_depth_m = estimate_scene_depth(build)
    config = settings_for_scene(BuildConfig(), scene_depth_m).synthesis
    sampled = sample_poses(mapping_poses, 1000, config, np.random.default_rng(0))
    rejections = find_pose_rejections(field, sampled, config.clearance_m)
    free = sampled.map_from_camera[[rejection is None for rejection in rejections]]
    previews = field.render(free, build.camera.downscaled_to(24))
    usable = free[[find_view_rejection(preview, config) is None for preview in previews]]
    candidates = np.concatenate([mapping_poses, usable])
    spacing_m = VIEW_SPACING * scene_depth_m
    chosen = select_farthest_poses(candidates, AtlasConfig().views, spacing_m, VIEW_SPACING_DEG)
    return np.asarray(candidates[chosen])


def write_images(folder: Path, name: str, compared: list[PixelComparison], count: int = 4) -> None:
    """Write image, rendering, uncertainty (to 0.5 m) and depth error (to 0.2 m), worst first."""
    rows = []
    by_psnr = sorted(compared, key=lambda comparison: comparison.psnr_db)
    for one in by_psnr[:: max(1, len(compared) // count)]:
        error_m = maximum_filter(np.nan_to_num(one.depth_error_m), 2)
        scales = (one.measures['uncertainty'] / 0.5, error_m / 0.2)
        maps = [
            cv2.applyColorMap((255 * np.clip(x, 0, 1)).astype(np.uint8), cv2.COLORMAP_INFERNO)
            for x in scales
        ]
        rows.append(np.hstack([one.rgb[..., ::-1], one.rendering.rgb[..., ::-1], *maps]))
    cv2.imwrite(str(folder / f'{name}.png'), cv2.resize(np.vstack(rows), None, fx=2, fy=2))


if __name__ == '__main__':
    main()
