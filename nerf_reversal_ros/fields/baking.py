"""
Baking: any radiance field as a voxel field, which is what a map holds and a robot renders.

The field is rendered, colours and depth, at walked poses and around them, and a voxel field is
fused from these views and trained on them as it would be on the pictures of a walk. Depth that the
field itself is not sure of is left out.
"""

from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import BuildConfig, NerfstudioConfig, SynthesisConfig
from nerf_reversal_ros.core.files import atomic_write_text, open_npy, write_npy_rows
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
"""Half of the views are taken at walked poses, the others are drawn so near them."""
MAX_HELD_OUT_VIEWS = 8
"""So many of the drawn views, at most, only measure how alike both fields are."""
MAX_COMPARED_IMAGES = 24
"""So many held-out pictures of the walk, at most, both fields are compared with."""
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
    Turn a field into a voxel field; what was rendered before a kill is not rendered again.

    Parameters
    ----------
    field : RadianceField
        What to bake.
    data : TrainingData
        The walk: where to render, and the held-out pictures that both fields are measured by.
    config : BuildConfig
        Of the voxel field, and how many views of which size are rendered.
    device : torch.device
        Where the voxel field is trained.
    work_dir : Path
        Folder of this stage alone.
    uncertainty : UncertaintyGrid, optional
        Of the field; where it exceeds ``nerfstudio.max_std_m``, depth is left out.

    Returns
    -------
    tuple
        The voxel field, and a report: what `measure_baking_loss` tells; and ``baked_alike_db``, the PSNR of
        the voxel field against renders of the original at new poses.
    """
    work_dir.mkdir(exist_ok=True)
    views, size = baking_budget(config.nerfstudio, device)
    camera = data.camera(0).downscaled_to(size)
    poses, drawn = _sample_view_poses(field, data, views, config.seed, work_dir / 'poses.npy')
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
    held_out[len(poses) - min(MAX_HELD_OUT_VIEWS, drawn) :] = True
    each = np.tile([camera.fx, camera.fy, camera.cx, camera.cy], (len(poses), 1))
    rendered = TrainingData(rgb, depth, each, poses, held_out)
    room, report = fit_voxel_field(
        rendered,
        config.field,
        device=device,
        seed=config.seed,
        work_dir=work_dir,
        stage='baking',
        progress=progress,
    )
    compared = measure_baking_loss(field, room, data, MAX_COMPARED_IMAGES, size)
    return room, {**compared, 'baked_alike_db': report.get('psnr_db')}


def measure_baking_loss(
    field: RadianceField,
    voxel_field: RadianceField,
    data: TrainingData,
    max_count: int,
    longer_side: int,
) -> dict[str, Any]:
    """
    Measure a field and the voxel field that it was baked into by held-out pictures.

    Returns
    -------
    dict
        What `measure_field` tells of the voxel field; the same of the field itself as
        ``original_psnr_db`` and ``original_depth_error_m``, over ``original_measured_frames``
        pictures, at most so many, at this size [px]; and ``baking_loss_db``, the difference of
        both over these at the same size.
    """
    original, baked = (
        measure_field(one, data, max_count, longer_side) for one in (field, voxel_field)
    )
    return {
        **measure_field(voxel_field, data),
        **{f'original_{name}': original.get(name) for name in COMPARED_METRICS},
        'baking_loss_db': _difference(original.get('psnr_db'), baked.get('psnr_db')),
    }


def baking_budget(config: NerfstudioConfig, device: torch.device) -> tuple[int, int]:
    """Return how many views are rendered, and their longer side [px]."""
    small = device.type == 'cpu'
    views, size = (150, 160) if small else (400, 480)
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
    Render a view a pose to memory-mapped files, or go on with those of a killed run.

    Returns
    -------
    tuple
        Colours (N, H, W, 3), and depth (N, H, W) in metres, 0 where it is unknown, at edges,
        beyond ``max_depth_m``, or by ``uncertainty`` further off than ``max_std_m``, if that is
        not 0.
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
            view = field.render(pose[None], camera)[0]
            depth = mask_depth_edges(np.where(view.depth <= max_depth_m, view.depth, 0))
            if uncertainty is not None:
                unsure = uncertainty.std_of_view_m(view, pose, camera) > (max_std_m or np.inf)
                depth[unsure] = 0
            write_npy_rows(rgb_file, index, view.rgb[None])
            write_npy_rows(depth_file, index, depth[None].astype(np.float16))
            atomic_write_text(marker, str(index + 1))
            left_min = (perf_counter() - start_s) * (count - index - 1) / 60
            note = f'rendering will take about {left_min:.0f} min' if index == first else ''
            progress(Progress('rendering', index + 1, count, note))
    return (
        np.load(work_dir / 'rgb.npy', mmap_mode='r'),
        np.load(work_dir / 'depth.npy', mmap_mode='r'),
    )


def _sample_view_poses(
    field: RadianceField, data: TrainingData, count: int, seed: int, path: Path
) -> tuple[FloatArray, int]:
    """Return the poses to render, walked ones first, and how many of them were drawn."""
    walked = data.map_from_camera[data.sample_indices(count - count // 2)]
    if not path.exists():
        rng = np.random.default_rng([seed, 1])
        around = sample_poses(walked, 2 * count, VIEW_SAMPLING, rng)
        faults = find_pose_rejections(field, around, 0.0)
        free = np.array([fault is None for fault in faults])
        drawn = around.map_from_camera[free][: count - len(walked)]
        temporary = path.with_name('.poses.npy')
        np.save(temporary, np.concatenate([walked, drawn]))
        temporary.replace(path)
    poses = np.load(path)
    return poses, len(poses) - len(walked)


def _difference(original: float | None, baked: float | None) -> float | None:
    return None if original is None or baked is None else original - baked
