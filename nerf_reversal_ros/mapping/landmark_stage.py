"""The stage of a build that finds landmarks and surface in renderings and camera images."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from typing import NamedTuple

import numpy as np

from nerf_reversal_ros.capture.frame_selection import select_farthest_poses
from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.parallel import parallel_stream, start
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.surface import build_surface, SPACING, Surface
from nerf_reversal_ros.mapping.build_warnings import atlas_warnings
from nerf_reversal_ros.mapping.landmark_adjustment import refine_landmarks
from nerf_reversal_ros.mapping.landmark_building import (
    build_atlas,
    DepthView,
    IMAGE_SPACING,
    IMAGE_SPACING_DEG,
    rendered_views,
    VIEW_SPACING,
    VIEW_SPACING_DEG,
)
from nerf_reversal_ros.mapping.stage_context import Stage, StageContext
from nerf_reversal_ros.mapping.stages import ATLAS
from nerf_reversal_ros.synthesis.view_synthesis import synthesize_views

CANDIDATES, CANDIDATE_SIZE_PX = 1000, 48
"""Synthetic views whose poses are candidates for renderings, and their longer side."""


class LandmarkResult(NamedTuple):
    """Landmark map and surface cloud."""

    atlas: Atlas
    surface: Surface
    warnings: list[str]


def atlas_stage(context: StageContext, voxel_field: VoxelField) -> LandmarkResult:
    """Triangulate landmarks and surface from renderings, then refine landmarks with images."""
    atlas_path = context.writer.path('atlas.safetensors')
    surface_path = context.writer.path('surface.safetensors')
    with context.stage(ATLAS) as stage:
        if not stage.is_done:
            camera = context.mapping_data.camera.downscaled_to(context.config.atlas.size)
            renderings: list[tuple[Rendering, FloatArray]] = []

            def render() -> Iterator[tuple[Rendering, FloatArray]]:
                poses = _view_poses(context, voxel_field)
                for pose in poses:
                    renderings.append((voxel_field.render(pose[None], camera)[0], pose))
                    yield renderings[-1]
                    stage.report(len(renderings), len(poses))

            captured = _capture_views(context, voxel_field, stage)
            training = context.mapping_data.training_capture
            unrefined = build_atlas(chain(rendered_views(render(), camera), captured))
            spacing_m = SPACING * context.scene_depth_m
            surface_of = start(partial(build_surface, renderings, camera, spacing_m))
            atlas = refine_landmarks(
                unrefined, training.capture, training.training_frames, context.progress
            )
            atlas.save(atlas_path)
            surface_of().save(surface_path)
            stage.finish()
        atlas, surface = Atlas.load(atlas_path), Surface.load(surface_path)
        warnings = atlas_warnings(atlas)
        stage.warn(warnings)
    return LandmarkResult(atlas, surface, warnings)


def _view_poses(context: StageContext, voxel_field: VoxelField) -> FloatArray:
    """Select poses (K, 4, 4) to render, among mapping poses and poses of synthetic views."""
    data, config = context.mapping_data, context.config
    synthesis = replace(config.synthesis, views=min(config.synthesis.views, CANDIDATES))
    synthetic = synthesize_views(
        voxel_field,
        data.training_poses,
        data.camera.downscaled_to(CANDIDATE_SIZE_PX),
        synthesis,
        seed=context.seed,
        work_dir=context.work_dir(ATLAS),
        progress=no_progress,
    )
    candidates = np.concatenate([data.training_poses, synthetic.map_from_camera])
    spacing_m = VIEW_SPACING * context.scene_depth_m
    chosen = select_farthest_poses(candidates, config.atlas.views, spacing_m, VIEW_SPACING_DEG)
    return candidates[chosen]


def _capture_views(
    context: StageContext, voxel_field: VoxelField, stage: Stage
) -> Iterator[DepthView]:
    """Yield spread images of the camera, with depth that the field renders at their poses."""
    split, config = context.mapping_data.camera_capture, context.config.atlas
    if split is None:
        return
    frames = split.training_frames
    poses = split.capture.map_from_camera[frames]
    spacing_m = IMAGE_SPACING * context.scene_depth_m
    chosen = frames[select_farthest_poses(poses, config.images, spacing_m, IMAGE_SPACING_DEG)]

    def read(index: int) -> DepthView:
        frame = split.capture.frame(index)
        camera, pose = frame.camera.downscaled_to(config.image_size), frame.map_from_camera
        depth_camera = camera.downscaled_to(config.size)
        size = depth_camera.height, depth_camera.width
        depth = partial(voxel_field.render_depth, pose, depth_camera)
        return DepthView(downscale_image(frame.rgb, camera), camera, size, depth, pose)

    for done, view in enumerate(parallel_stream(read, np.sort(chosen).tolist()), start=1):
        yield view
        stage.report(done, len(chosen))
