"""
Training images as arrays on disk, for random access to the pixels of all of them.

Frames of a capture are resized once. Held-out frames are stored as well, because they measure the
result.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.core.array_files import open_npy, write_npy_rows
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.files import atomic_write
from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.core.progress import Progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.fields.tsdf_fusion import mask_depth_edges, RgbdView

TRAINING_SIZE_PX = 640
"""Longer side of the training images."""
FRAMES_PER_WRITE = 16
"""Frames that are resized at once and written together."""


@dataclass(frozen=True)
class TrainingData:
    """Images with depth and poses, as flat arrays for random access."""

    rgb: NDArray[np.uint8]
    """(N, H, W, 3) memory map."""
    depth: NDArray[np.float16]
    """(N, h, w) memory map, meters, 0 is unknown, depth edges are 0."""
    intrinsics: NDArray[np.float64]
    """(N, 4) fx, fy, cx, cy [px] at the size of ``rgb``."""
    map_from_camera: NDArray[np.float64]
    """(N, 4, 4) poses of the optical camera frame in ``map``."""
    held_out: NDArray[np.bool_]
    """(N,) frames excluded from training; they measure the result."""
    valid: NDArray[np.bool_] | None = None
    """(N, H, W) memory map of the pixels of ``rgb`` that are not masked; None: all."""

    def camera(self, index: int) -> Camera:
        """Return the camera of an image."""
        return Camera(self.rgb.shape[2], self.rgb.shape[1], *map(float, self.intrinsics[index]))

    def view(self, index: int) -> RgbdView:
        """Return an image with its depth, each with its camera."""
        camera = self.camera(index)
        depth = self.depth[index].astype(np.float32)
        depth_camera = camera.scaled_to(depth.shape[1], depth.shape[0])
        return RgbdView(self.rgb[index], camera, depth, depth_camera, self.map_from_camera[index])

    def sample_pixels(
        self, rng: np.random.Generator, count: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Sample frame, column and row (count,) of training pixels that are not masked."""
        train_frames = np.flatnonzero(~self.held_out)
        _, height, width, _ = self.rgb.shape
        frame = np.sort(train_frames[rng.integers(0, len(train_frames), count)])
        u, v = rng.integers(0, width, count), rng.integers(0, height, count)
        if self.valid is None:
            return frame, u, v
        usable = np.flatnonzero(self.valid[frame, v, u])
        if len(usable) == 0:
            return frame, u, v
        chosen = np.sort(rng.choice(usable, count))
        return frame[chosen], u[chosen], v[chosen]

    def sample_indices(self, max_count: int, *, held_out: bool = False) -> list[int]:
        """Choose at most ``max_count`` evenly spaced frames, for training or held out."""
        frames = np.flatnonzero(self.held_out == held_out)
        return [int(index) for index in frames[evenly_spaced_indices(len(frames), max_count)]]


class SampledViews:
    """Evenly spaced training views, loaded on each iteration."""

    def __init__(self, data: TrainingData, max_count: int) -> None:
        self._data, self._frames = data, data.sample_indices(max_count)

    def __iter__(self) -> Iterator[RgbdView]:
        return (self._data.view(index) for index in self._frames)


def load_training_data(
    capture: Capture,
    held_out: NDArray[np.bool_],
    work_dir: Path,
    progress: ProgressCallback,
) -> TrainingData:
    """
    Write the images of a capture to memory-mapped files, unless ``work_dir`` holds them.

    Parameters
    ----------
    capture : Capture
        N frames.
    held_out : (N,) bool array
        Frames excluded from training.
    work_dir : Path
        Folder of the files; the caller removes it.
    progress : callable
        Called once per `FRAMES_PER_WRITE` frames.
    """
    count = len(capture)
    size, depth_size = _image_sizes(capture.camera, capture.frame(0))
    rgb_path, depth_path = work_dir / 'rgb.npy', work_dir / 'depth.npy'
    valid_path = work_dir / 'valid.npy'
    marker = work_dir / 'intrinsics.json'
    mask_count = count if capture.has_masks else 0
    if not marker.exists():
        intrinsics = np.zeros((count, 4))
        with (
            open_npy(rgb_path, (count, *size[::-1], 3), np.uint8) as rgb_file,
            open_npy(depth_path, (count, *depth_size[::-1]), np.float16) as depth_file,
            open_npy(valid_path, (mask_count, *size[::-1]), np.bool_) as valid_file,
        ):
            frames = iter(capture)
            for row in range(0, count, FRAMES_PER_WRITE):
                resized = parallel_map(
                    lambda frame: _resize_frame(frame, size, depth_size),
                    islice(frames, FRAMES_PER_WRITE),
                )
                arrays = (np.stack(items) for items in zip(*resized, strict=True))
                rgb, depth, lens, valid = arrays
                write_npy_rows(rgb_file, row, rgb)
                write_npy_rows(depth_file, row, depth)
                if mask_count:
                    write_npy_rows(valid_file, row, valid)
                intrinsics[row : row + len(lens)] = lens
                progress(Progress('pictures', row + len(lens), count))
        atomic_write(marker, json.dumps(intrinsics.tolist()))
    return TrainingData(
        np.load(rgb_path, mmap_mode='r'),
        np.load(depth_path, mmap_mode='r'),
        np.array(json.loads(marker.read_text(encoding='utf-8'))),
        capture.map_from_camera,
        held_out,
        np.load(valid_path, mmap_mode='r') if mask_count else None,
    )


def load_held_out_data(
    capture: Capture, held_out: NDArray[np.bool_], max_count: int
) -> TrainingData:
    """
    Load at most ``max_count`` evenly spaced held-out images into memory.

    ``held_out`` (N,) marks at least one of the N frames.
    """
    frames = np.flatnonzero(held_out)
    chosen = frames[evenly_spaced_indices(len(frames), max_count)]
    loaded = [capture.frame(int(index)) for index in chosen]
    sizes = _image_sizes(capture.camera, loaded[0])
    resized = (_resize_frame(frame, *sizes) for frame in loaded)
    rgb, depth, intrinsics, valid = zip(*resized, strict=True)
    return TrainingData(
        np.stack(rgb),
        np.stack(depth),
        np.array(intrinsics),
        capture.map_from_camera[chosen],
        np.ones(len(chosen), bool),
        np.stack(valid),
    )


def _image_sizes(full_size: Camera, frame: Frame) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return (width, height) of the training images and of their depth [px]."""
    camera = full_size.downscaled_to(TRAINING_SIZE_PX)
    depth_camera = (frame.depth_camera or camera).downscaled_to(TRAINING_SIZE_PX)
    return (camera.width, camera.height), (depth_camera.width, depth_camera.height)


def _resize_frame(
    frame: Frame, size: tuple[int, int], depth_size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float16], list[float], NDArray[np.bool_]]:
    """Return color, depth without its edges, fx, fy, cx, cy, and valid pixels of a frame."""
    rgb = cv2.resize(frame.rgb, size, interpolation=cv2.INTER_AREA).astype(np.uint8)
    depth = np.zeros(depth_size[::-1], np.float32)
    if frame.depth is not None:
        nearest = cv2.resize(frame.depth, depth_size, interpolation=cv2.INTER_NEAREST)
        depth = mask_depth_edges(nearest.astype(np.float32))
    camera = frame.camera.scaled_to(*size)
    valid = np.ones(size[::-1], bool)
    if frame.valid is not None:
        kept = cv2.resize(frame.valid.astype(np.float32), size, interpolation=cv2.INTER_AREA)
        valid = kept > 0.999
    return rgb, depth.astype(np.float16), [camera.fx, camera.fy, camera.cx, camera.cy], valid
