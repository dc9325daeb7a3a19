"""The pictures of a capture as arrays on disk, for rays drawn from all of them at once."""

from collections.abc import Iterator
from dataclasses import dataclass
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.files import atomic_write_text, open_npy, write_npy_rows
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.tsdf_fusion import mask_depth_edges, RgbdView

TRAINING_SIZE_PX = 640
"""Longer side of the pictures that the field is trained on."""


@dataclass(frozen=True)
class TrainingData:
    """Pictures on disk, as flat arrays for random access."""

    rgb: NDArray[np.uint8]
    """(N, H, W, 3) memory map."""
    depth: NDArray[np.float16]
    """(N, h, w) memory map, metres, 0 unknown, edges removed."""
    intrinsics: NDArray[np.float64]
    """(N, 4) fx, fy, cx, cy at the size of rgb."""
    map_from_camera: NDArray[np.float64]
    """(N, 4, 4)."""
    held_out: NDArray[np.bool_]
    """(N,) frames that only measure the result."""

    def camera(self, index: int) -> Camera:
        """Return the camera of one picture."""
        return Camera(self.rgb.shape[2], self.rgb.shape[1], *map(float, self.intrinsics[index]))

    def view(self, index: int) -> RgbdView:
        """Return one picture with its depth."""
        camera = self.camera(index)
        depth = self.depth[index].astype(np.float32)
        depth_camera = camera.scaled_to(depth.shape[1], depth.shape[0])
        return RgbdView(self.rgb[index], camera, depth, depth_camera, self.map_from_camera[index])

    def sample_indices(self, max_count: int, *, held_out: bool = False) -> list[int]:
        """Choose up to so many of the frames to train on (or those held out), evenly spread."""
        frames = np.flatnonzero(self.held_out == held_out)
        return [int(index) for index in frames[evenly_spaced_indices(len(frames), max_count)]]


class SampledViews:
    """Some of the views to train on, evenly spread; can be gone through again and again."""

    def __init__(self, data: TrainingData, max_count: int) -> None:
        self._data, self._frames = data, data.sample_indices(max_count)

    def __iter__(self) -> Iterator[RgbdView]:
        return (self._data.view(index) for index in self._frames)


def load_training_data(
    capture: Capture, validation_fraction: float, work_dir: Path, progress: ProgressCallback
) -> TrainingData:
    """Write the pictures to memory-mapped files, or take those that are there already."""
    count = len(capture)
    size, depth_size = _sizes(capture.camera, capture.frame(0))
    paths = work_dir / 'rgb.npy', work_dir / 'depth.npy', work_dir / 'intrinsics.json'
    if not paths[2].exists():
        intrinsics = np.zeros((count, 4))
        with (
            open_npy(paths[0], (count, *size[::-1], 3), np.uint8) as rgb_file,
            open_npy(paths[1], (count, *depth_size[::-1]), np.float16) as depth_file,
        ):
            for row, frame in enumerate(capture):
                rgb, depth, intrinsics[row] = _resize_frame(frame, size, depth_size)
                write_npy_rows(rgb_file, row, rgb[None])
                write_npy_rows(depth_file, row, depth[None])
                progress(Progress('pictures', row + 1, count))
        atomic_write_text(paths[2], json.dumps(intrinsics.tolist()))
    return TrainingData(
        np.load(paths[0], mmap_mode='r'),
        np.load(paths[1], mmap_mode='r'),
        np.array(json.loads(paths[2].read_text(encoding='utf-8'))),
        capture.map_from_camera,
        held_out_mask(count, validation_fraction),
    )


def load_held_out_data(
    capture: Capture, validation_fraction: float, max_count: int
) -> TrainingData:
    """Return up to so many of the held-out pictures (there must be one), spread, in memory."""
    frames = np.flatnonzero(held_out_mask(len(capture), validation_fraction))
    chosen = frames[evenly_spaced_indices(len(frames), max_count)]
    taken = [capture.frame(int(index)) for index in chosen]
    sizes = _sizes(capture.camera, taken[0])
    rgb, depth, intrinsics = zip(*(_resize_frame(frame, *sizes) for frame in taken), strict=True)
    return TrainingData(
        np.stack(rgb),
        np.stack(depth),
        np.array(intrinsics),
        capture.map_from_camera[chosen],
        np.ones(len(chosen), bool),
    )


def _sizes(whole: Camera, frame: Frame) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return width and height of the pictures, and of their depth, as they are kept [px]."""
    camera = whole.downscaled_to(TRAINING_SIZE_PX)
    depth_camera = (frame.depth_camera or camera).downscaled_to(TRAINING_SIZE_PX)
    return (camera.width, camera.height), (depth_camera.width, depth_camera.height)


def _resize_frame(
    frame: Frame, size: tuple[int, int], depth_size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float16], list[float]]:
    """Return colours, depth without edges, and fx, fy, cx, cy of a frame."""
    rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    depth = np.zeros(depth_size[::-1], np.float32)
    if frame.depth is not None:
        nearest = cv2.resize(frame.depth, depth_size, interpolation=cv2.INTER_NEAREST)
        depth = mask_depth_edges(nearest.astype(np.float32))
    camera = frame.camera.scaled_to(*size)
    return rgb, depth.astype(np.float16), [camera.fx, camera.fy, camera.cx, camera.cy]
