"""
The coordinate network with NumPy: what a CPU needs of it, without PyTorch.

`coordinate_network` tells what the network is, trains it, and is what this is tested against.
Arrays have their channels last, so that each convolution is one product of matrices.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.geometry import FloatArray, nearest_rotations

CELL_PX = 8
"""Columns and rows of the image per cell."""
MAX_LOG_DEPTH, MAX_LOG_WEIGHT = 3.0, 4.0
"""Limits of the logarithms of a depth, over the typical depth, and of a weight."""
FACTOR_NUMBERS = 21
"""Numbers of an information factor: a lower triangle of 6 x 6."""
MAX_LOG_DIAGONAL = 4.0
"""Limit of the logarithms of its diagonal."""

Array = NDArray[np.float32]


class NumpyCoordinateNetwork:
    """
    Regresses poses from images of one camera.

    Parameters
    ----------
    camera : Camera
        Of the images.
    blocks : tuple of int
        Residual blocks of the cells, at the coarse level, and of the cells again.
    tensors : dict
        Weights by the names of `CoordinateNetwork`, its batch normalizations folded.

    Raises
    ------
    KeyError, ValueError
        If tensors are missing or left over; some of another shape fail at the first image.
    """

    def __init__(
        self, camera: Camera, blocks: tuple[int, int, int], tensors: dict[str, Array]
    ) -> None:
        layers = _Layers(dict(tensors))
        self._padding = (-camera.height % CELL_PX, -camera.width % CELL_PX)
        self._patches = layers.convolution('cells.0')
        self._pairs = layers.convolution('cells.3')
        self._fine_blocks = [layers.bottleneck(f'cells.{6 + k}') for k in range(blocks[0])]
        self._coarser = layers.convolution('coarse.0')
        self._coarse_blocks = [layers.bottleneck(f'coarse.{3 + k}') for k in range(blocks[1])]
        rows, columns = (-(-size // (2 * CELL_PX)) for size in (camera.height, camera.width))
        whole, whole_bias = layers.linear('whole.1')
        # Features come as (row, column, channel), and those of the file as (channel, row, column).
        per_place = whole.reshape(-1, rows, columns, whole.shape[1])
        self._whole = per_place.transpose(1, 2, 0, 3).reshape(whole.shape), whole_bias
        self._context = layers.linear('context')
        self._lateral = layers.convolution('lateral')
        self._last_blocks = [layers.bottleneck(f'fine.{k}') for k in range(blocks[2])]
        self._head = layers.convolution('head')
        self._factor = layers.linear('factor')
        self._center, self._scale = layers.take('center'), layers.take('scale')
        if self._center.shape != (3,):
            raise ValueError(f'a center of {self._center.shape}')
        self._typical_depth = layers.take('typical_depth')
        layers.check_all_taken()
        self._rays = _cell_rays(camera)

    def poses(self, images: Array) -> tuple[FloatArray, FloatArray, Array]:
        """
        Regress the poses of images (N, h, w, 3).

        Returns
        -------
        (N, 3) array, (N, 3, 3) array, (N, 21) array
            Positions [m] and rotations of ``map_from_camera``, numbers of information factors.
        """
        numbers, factors = self._forward(images)
        limited = np.clip(numbers[..., 3], -MAX_LOG_DEPTH, MAX_LOG_DEPTH)
        depth = self._typical_depth * np.exp(limited)
        log_weight = MAX_LOG_WEIGHT * np.tanh(numbers[..., 4] / MAX_LOG_WEIGHT)
        weight = np.exp(log_weight - log_weight.max(1, keepdims=True))
        weight /= weight.sum(1, keepdims=True)
        in_map = (numbers[..., :3] * self._scale + self._center).astype(np.float64)
        in_camera = (self._rays * depth[..., None]).astype(np.float64)
        position, rotation = _fit_pose(in_map, in_camera, weight.astype(np.float64))
        return position, rotation, factors

    def _forward(self, images: Array) -> tuple[Array, Array]:
        """Return the numbers of the cells (N, C, 5) and of the factors (N, 21)."""
        bottom, right = self._padding
        padded = np.pad(images, ((0, 0), (0, bottom), (0, right), (0, 0)))
        cells = _relu(_patch_convolution(padded, *self._patches))
        cells = _relu(_patch_convolution(cells, *self._pairs))
        cells = _residual(cells, self._fine_blocks)
        coarse = _relu(_convolution(cells, *self._coarser, stride=2))
        coarse = _residual(coarse, self._coarse_blocks)
        whole = _relu(_product(coarse.reshape(len(coarse), -1), *self._whole))
        context = _product(whole, *self._context)
        coarse = _convolution(coarse + context[:, None, None], *self._lateral)
        spread = coarse.repeat(2, 1).repeat(2, 2)[:, : cells.shape[1], : cells.shape[2]]
        fine = _residual(_relu(cells + spread), self._last_blocks)
        numbers = _convolution(fine, *self._head)
        return numbers.reshape(len(numbers), -1, 5), _product(whole, *self._factor)


Weights = tuple[Array, Array]
"""Matrix (inputs, outputs), for a kernel of several places (k, k, inputs, outputs), and bias."""


class _Layers:
    """Takes weights by their names, channels last."""

    def __init__(self, tensors: dict[str, Array]) -> None:
        self._tensors = tensors

    def take(self, name: str) -> Array:
        return self._tensors.pop(name)

    def convolution(self, name: str) -> Weights:
        kernel = self.take(f'{name}.weight').transpose(2, 3, 1, 0)
        return np.ascontiguousarray(kernel), self.take(f'{name}.bias')

    def linear(self, name: str) -> Weights:
        return np.ascontiguousarray(self.take(f'{name}.weight').T), self.take(f'{name}.bias')

    def bottleneck(self, name: str) -> list[Weights]:
        return [self.convolution(f'{name}.inner.{k}') for k in (0, 3, 6)]

    def check_all_taken(self) -> None:
        if self._tensors:
            raise ValueError(f'unexpected tensors {", ".join(sorted(self._tensors))}')


def _relu(x: Array) -> Array:
    return np.maximum(x, 0.0, out=x)


def _product(x: Array, matrix: Array, bias: Array) -> Array:
    product: Array = x @ matrix
    product += bias
    return product


def _residual(x: Array, blocks: list[list[Weights]]) -> Array:
    for reduce, convolve, expand in blocks:
        inner = _relu(_convolution(_relu(_convolution(x, *reduce)), *convolve))
        x = _relu(x + _convolution(inner, *expand))
    return x


def _patch_convolution(x: Array, kernel: Array, bias: Array) -> Array:
    """Convolve (N, h, w, K) with a stride that is the size of the kernel."""
    size = kernel.shape[0]
    count, height, width, channels = x.shape
    patches = x.reshape(count, height // size, size, width // size, size, channels)
    flat = patches.swapaxes(2, 3).reshape(count, height // size, width // size, -1)
    return _product(flat, kernel.reshape(flat.shape[-1], -1), bias)


def _convolution(x: Array, kernel: Array, bias: Array, stride: int = 1) -> Array:
    """Convolve (N, h, w, K) with zeros around."""
    size = kernel.shape[0]
    if size == 1:
        return _product(x, kernel[0, 0], bias)
    count, height, width, _ = x.shape
    half = size // 2
    padded = np.pad(x, ((0, 0), (half, half), (half, half), (0, 0)))
    rows, columns = -(-height // stride), -(-width // stride)
    windows = [
        padded[:, i : i + height : stride, j : j + width : stride]
        for i in range(size)
        for j in range(size)
    ]
    flat = np.concatenate(windows, axis=-1).reshape(count * rows * columns, -1)
    return _product(flat, kernel.reshape(flat.shape[-1], -1), bias).reshape(
        count, rows, columns, -1
    )


def _cell_rays(camera: Camera) -> Array:
    """Return directions (C, 3) to the centers of the cells, of depth 1."""
    rays = camera.rays()
    rows, columns = (
        np.minimum(np.stack([first, first + 1]), size - 1)
        for size in (camera.height, camera.width)
        for first in [np.arange(0, size, CELL_PX) + CELL_PX // 2 - 1]
    )
    centers = rays[rows][:, :, columns].mean((0, 2))
    return centers.reshape(-1, 3).astype(np.float32)


def _fit_pose(
    in_map: FloatArray, in_camera: FloatArray, weight: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return positions and rotations of the cameras that see points (N, C, 3) best (Kabsch)."""
    shares: NDArray[Any] = weight[..., None]
    map_mean = (shares * in_map).sum(1, keepdims=True)
    camera_mean = (shares * in_camera).sum(1, keepdims=True)
    covariance = (shares * (in_map - map_mean)).swapaxes(1, 2) @ (in_camera - camera_mean)
    rotation = nearest_rotations(np.nan_to_num(covariance))
    return (map_mean - camera_mean @ rotation.swapaxes(1, 2))[:, 0], rotation
