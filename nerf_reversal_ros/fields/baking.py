"""
Baking: fit a voxel field to renderings of another radiance field.

A map holds a voxel field, which a robot renders. The source field is rendered, color and depth,
at mapping poses and around them. A voxel field is then fused from these views and trained on
them, as it would be on captured images. Uncertain depth of the source field is left out.
"""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.array_files import open_npy, write_npy_rows
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import BuildConfig, NerfstudioConfig, SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.files import atomic_write
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.fields.field_metrics import measure_field
from nerf_reversal_ros.fields.pose_sampling import find_pose_rejections, sample_poses
from nerf_reversal_ros.fields.training_data import TrainingData
from nerf_reversal_ros.fields.tsdf_fusion import mask_depth_edges
from nerf_reversal_ros.fields.uncertainty import UncertaintyGrid
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_training import fit_voxel_field

VIEW_SAMPLING = SynthesisConfig(translation_m=0.25, rotation_deg=10.0)
"""Half of the views are rendered at mapping poses, the others at poses sampled so near them."""
MAX_HELD_OUT_VIEWS = 8
"""Maximum number of sampled views that are held out to compare both fields."""
MAX_COMPARED_IMAGES = 24
"""Maximum number of held-out images that both fields are compared with."""
COMPARED_METRICS = 'psnr_db', 'depth_error_m', 'measured_frames'


def bake(
    field: RadianceField,
    data: TrainingData,
    config: BuildConfig,
    *,
    device: torch.device,
    work_dir: Path,
    uncertainty: UncertaintyGrid | None = None,
    progress: ProgressCallback = no_progress,
) -> tuple[VoxelField, dict[str, Any]]:
    """
    Bake a field into a voxel field; an interrupted call resumes after the last rendered view.

    Parameters
    ----------
    field : RadianceField
        Source field.
    data : TrainingData
        Mapping images: poses to render at, and held-out images to compare both fields with.
    config : BuildConfig
        Settings of the voxel field, number and size of the views.
    device : torch.device
        Device of the training.
    work_dir : Path
        Folder of this stage alone.
    uncertainty : UncertaintyGrid, optional
        Uncertainty of the source field; depth is left out where it exceeds
        ``nerfstudio.max_std_m``.
    progress : callable
        Called per rendered view and at every tenth training step.

    Returns
    -------
    tuple
        The voxel field, and a report: the results of `measure_baking_loss`, and
        ``baked_alike_db``, the PSNR of the voxel field against renderings of the source field at
        held-out poses.
    """
    work_dir.mkdir(exist_ok=True)
    size = baking_budget(config.nerfstudio, device)[1]
    rendered = _render_training_data(field, data, config, device, work_dir, uncertainty, progress)
    if not np.any(rendered.depth):
        is_limited = config.nerfstudio.max_std_m > 0
        remedy = remedies.CERTAIN_DEPTH if is_limited else remedies.RENDERED_DEPTH
        raise BuildError(
            'the renderings of the trained field have no depth: '
            + remedy.format(**vars(config.nerfstudio))
        )
    voxel_field, report = fit_voxel_field(
        rendered,
        config.field,
        device=device,
        seed=config.seed,
        work_dir=work_dir,
        stage='baking',
        progress=progress,
    )
    compared = measure_baking_loss(field, voxel_field, data, MAX_COMPARED_IMAGES, size)
    return voxel_field, {**compared, 'baked_alike_db': report.get('psnr_db')}


def _render_training_data(
    field: RadianceField,
    data: TrainingData,
    config: BuildConfig,
    device: torch.device,
    work_dir: Path,
    uncertainty: UncertaintyGrid | None,
    progress: ProgressCallback,
) -> TrainingData:
    """Render the training views of `bake`; the last sampled ones are held out."""
    views, size = baking_budget(config.nerfstudio, device)
    camera = data.camera(0).downscaled_to(size)
    poses, sampled = _sample_view_poses(field, data, views, config.seed, work_dir / 'poses.npy')
    rgb, depth = render_views(
        field,
        poses,
        camera,
        work_dir,
        max_depth_m=config.capture.max_depth_m,
        uncertainty=uncertainty,
        max_std_m=config.nerfstudio.max_std_m,
        progress=progress,
    )
    held_out = np.zeros(len(poses), bool)
    held_out[len(poses) - min(MAX_HELD_OUT_VIEWS, sampled) :] = True
    intrinsics = np.tile([camera.fx, camera.fy, camera.cx, camera.cy], (len(poses), 1))
    return TrainingData(rgb, depth, intrinsics, poses, held_out)


def measure_baking_loss(
    field: RadianceField,
    voxel_field: RadianceField,
    data: TrainingData,
    max_count: int,
    longer_side: int,
) -> dict[str, Any]:
    """
    Compare a field, and the voxel field that it was baked into, with held-out images.

    Parameters
    ----------
    field, voxel_field : RadianceField
        Source field, and the baked one.
    data : TrainingData
        Held-out images.
    max_count : int
        Maximum number of images that the source field is compared with.
    longer_side : int
        Size of that comparison [px].

    Returns
    -------
    dict
        Results of `measure_field` for the voxel field. ``original_psnr_db`` and
        ``original_depth_error_m`` are those of the source field, over
        ``original_measured_frames`` images. ``baking_loss_db`` is the difference of the PSNR of
        both over the same images at the same size.
    """
    original, baked = (
        measure_field(compared, data, max_count, longer_side) for compared in (field, voxel_field)
    )
    return {
        **measure_field(voxel_field, data),
        **{f'original_{name}': original.get(name) for name in COMPARED_METRICS},
        'baking_loss_db': _difference(original.get('psnr_db'), baked.get('psnr_db')),
    }


def baking_budget(config: NerfstudioConfig, device: torch.device) -> tuple[int, int]:
    """Return the number of views to render, and their longer side [px]."""
    views, size = (150, 160) if device.type == 'cpu' else (400, 480)
    return config.bake_views or views, config.bake_size or size


def render_views(
    field: RadianceField,
    map_from_camera: FloatArray,
    camera: Camera,
    work_dir: Path,
    *,
    max_depth_m: float,
    uncertainty: UncertaintyGrid | None = None,
    max_std_m: float = 0.0,
    progress: ProgressCallback = no_progress,
) -> tuple[NDArray[np.uint8], NDArray[np.float16]]:
    """
    Render one view per pose to memory-mapped files; resume those of an interrupted call.

    Parameters
    ----------
    field : RadianceField
        Field to render.
    map_from_camera : (N, 4, 4) array
        Poses.
    camera : Camera
        Camera of all views.
    work_dir : Path
        Folder of the files.
    max_depth_m : float
        Depth beyond this becomes 0.
    uncertainty : UncertaintyGrid, optional
        Uncertainty of the field.
    max_std_m : float
        Depth whose standard deviation exceeds this [m] becomes 0; 0: no limit.
    progress : callable
        Called once per view.

    Returns
    -------
    tuple
        Colors (N, H, W, 3); depth (N, H, W) [m], 0 where unknown or left out, and at depth edges.
    """
    count, shape = len(map_from_camera), (camera.height, camera.width)
    marker = work_dir / 'rendered.txt'
    first = int(marker.read_text()) if marker.exists() else 0
    with (
        open_npy(work_dir / 'rgb.npy', (count, *shape, 3), np.uint8) as rgb_file,
        open_npy(work_dir / 'depth.npy', (count, *shape), np.float16) as depth_file,
    ):
        for index in range(first, count):
            start_s = perf_counter()
            pose = map_from_camera[index]
            (view,) = field.render(pose[None], camera)
            depth = mask_depth_edges(np.where(view.depth <= max_depth_m, view.depth, 0))
            if uncertainty is not None and max_std_m > 0:
                depth[uncertainty.std_of_view_m(view, pose, camera) > max_std_m] = 0
            write_npy_rows(rgb_file, index, view.rgb[None])
            write_npy_rows(depth_file, index, depth[None].astype(np.float16))
            atomic_write(marker, str(index + 1))
            remaining_min = (perf_counter() - start_s) * (count - index - 1) / 60
            note = f'rendering will take about {remaining_min:.0f} min' if index == first else ''
            progress(Progress('rendering', index + 1, count, note))
    rgb, depth = (np.load(work_dir / f'{name}.npy', mmap_mode='r') for name in ('rgb', 'depth'))
    return rgb, depth


def _sample_view_poses(
    field: RadianceField, data: TrainingData, count: int, seed: int, path: Path
) -> tuple[FloatArray, int]:
    """Return the poses to render, mapping poses first, and the number of sampled ones."""
    mapping_poses = data.map_from_camera[data.sample_indices(count - count // 2)]
    if not path.exists():
        rng = np.random.default_rng([seed, 1])
        candidates = sample_poses(mapping_poses, 2 * count, VIEW_SAMPLING, rng)
        rejections = find_pose_rejections(field, candidates, 0.0)
        possible = np.array([rejection is None for rejection in rejections])
        sampled = candidates.map_from_camera[possible][: count - len(mapping_poses)]
        temporary = path.with_name('.poses.npy')
        np.save(temporary, np.concatenate([mapping_poses, sampled]))
        temporary.replace(path)
    poses = np.load(path)
    return poses, len(poses) - len(mapping_poses)


def _difference(original: float | None, baked: float | None) -> float | None:
    return None if original is None or baked is None else original - baked
