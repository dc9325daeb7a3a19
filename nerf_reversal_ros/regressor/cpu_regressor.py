"""
Pose regression and retrieval on a CPU without PyTorch, for the regressors that builds make.

`PoseRegressor` computes the same with PyTorch, for all kinds of regressors and on GPUs.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from nerf_reversal_ros.capture.image_resampling import MIN_VALID
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.geometry import FloatArray, nearest_rotations
from nerf_reversal_ros.core.parallel import one_blas_thread
from nerf_reversal_ros.regressor.copy_geometry import copy_geometry
from nerf_reversal_ros.regressor.numpy_network import MAX_LOG_DIAGONAL, NumpyCoordinateNetwork
from nerf_reversal_ros.regressor.regressed_pose import (
    make_regressed_pose,
    MIN_CONTRAST,
    RegressedPose,
    Regressor,
    resample_query,
    retrieve_poses,
    ROLL_GAIN,
    ROLL_NOVELTY,
    ROLLS_DEG,
    SMALL_TURNS_DEG,
    WHITENING_EXPONENT,
)
from nerf_reversal_ros.regressor.regressor_file import as_map_error, Groups, read_regressor

Array = NDArray[np.float32]


class CpuRegressor:
    """
    A regressor of map points from images, with the PCA of the views for retrieval.

    Parameters
    ----------
    header, groups : dict, Groups
        Of a file, see `read_regressor`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If they do not fit together.
    """

    device_type = 'cpu'

    def __init__(self, header: dict[str, Any], groups: Groups) -> None:
        self._header, self._groups = header, groups
        self.camera = camera = Camera(**header['camera'])
        numbers, codec, index = groups['numbers'], groups['pca'], groups['index']
        blocks = tuple(header['network']['blocks'])
        self._network = NumpyCoordinateNetwork(camera, blocks, groups['network'])
        self._mean, self._components = codec['mean'], codec['components']
        pixels = 3 * camera.width * camera.height
        if self._mean.shape != (pixels,) or self._components.shape[1:] != (pixels,):
            raise ValueError(f'a PCA of {self._components.shape} for {pixels} colors')
        variance = np.maximum(codec['variance'], np.float32(1e-12))
        self._code_weights = variance ** np.float32(-WHITENING_EXPONENT)
        self._index = index['codes'] * self._code_weights
        self._index_squared = np.square(self._index).sum(1)
        self.index_poses: FloatArray = index['poses']
        self._scale, self._mean_position = numbers['position_scale'], numbers['position_mean']
        if not self._mean_position.shape == self._scale.shape == (3,):
            raise ValueError(f'a mean of {self._mean_position.shape} of positions')
        self._covariance_scale = float(numbers['covariance_scale'])
        self._typical_distance = float(numbers['typical_distance'])
        self._copies = _TurnedCopies(camera, SMALL_TURNS_DEG)

    @one_blas_thread()
    def regress(self, rgb: NDArray[np.uint8], camera: Camera) -> RegressedPose:
        """Regress the pose of one image, see `Regressor.regress`."""
        image = self._resample(rgb, camera)
        standardized = _standardize(*self._copies.make(*image), self._mean_image)
        distances = self._distances(self._encode(standardized[:1]))[0]
        return self._regressed_pose(standardized, distances, np.eye(3))

    @one_blas_thread()
    def search_roll(
        self, rgb: NDArray[np.uint8], camera: Camera, upright: RegressedPose
    ) -> RegressedPose:
        """Regress the image rolled if that helps, see `Regressor.search_roll`."""
        if upright.novelty <= ROLL_NOVELTY:
            return upright
        rolled = _TurnedCopies(self.camera, ROLLS_DEG)
        copies, valid = rolled.make(*self._resample(rgb, camera))
        distances = self._distances(self._encode(_standardize(copies, valid, self._mean_image)))
        best = int(distances.min(1).argmin())
        if distances[best].min() >= ROLL_GAIN * upright.distances.min():
            return upright
        turned = _standardize(*self._copies.make(copies[best], valid[best]), self._mean_image)
        return self._regressed_pose(turned, distances[best], rolled.camera_from_copy[best])

    def retrieve(self, regression: RegressedPose, count: int) -> FloatArray:
        """Return poses of similar views, see `retrieve_poses`."""
        return retrieve_poses(self.index_poses, regression, count)

    def moved_to(self, device: str) -> Regressor:
        """Return the regressor on a device, ``cpu`` or ``cuda``; PyTorch runs it on the latter."""
        if device == self.device_type:
            return self
        from nerf_reversal_ros.regressor.regressor import PoseRegressor

        return PoseRegressor.from_groups(self._header, self._groups, device)

    @property
    def _mean_image(self) -> Array:
        """(h, w, 3)."""
        camera = self.camera
        return self._mean.reshape(3, camera.height, camera.width).transpose(1, 2, 0)

    def _resample(self, rgb: NDArray[np.uint8], camera: Camera) -> tuple[Array, NDArray[np.bool_]]:
        """Return colors in [0, 1] (h, w, 3) and valid mask (h, w) in the canonical camera."""
        image = resample_query(rgb, camera, self.camera)
        return image.rgb.astype(np.float32) / np.float32(255.0), image.valid

    def _encode(self, images: Array) -> Array:
        """Return the codes (N, K) of standardized images (N, h, w, 3)."""
        flat = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
        codes: Array = (flat - self._mean) @ self._components.T
        return codes

    def _distances(self, codes: Array) -> Array:
        """Return the distances (M, N) of M codes to those of the indexed views."""
        weighted = codes * self._code_weights
        squared = self._index_squared - 2 * (weighted @ self._index.T)
        squared += np.square(weighted).sum(1, keepdims=True)
        distances: Array = np.sqrt(np.maximum(squared, 0.0))
        return distances

    def _regressed_pose(
        self, copies: Array, distances: Array, camera_from_copy: FloatArray
    ) -> RegressedPose:
        """Return the pose of one image from its turned copies (C, h, w, 3), standardized."""
        position, rotation, factors = self._network.poses(copies)
        return make_regressed_pose(
            (position * self._scale + self._mean_position).mean(0),
            self._copies.mean_rotation(rotation),
            _information_factor(factors[0]),
            distances,
            camera_from_copy,
            covariance_scale=self._covariance_scale,
            typical_distance=self._typical_distance,
        )


class _TurnedCopies:
    """Makes copies of images of one camera by rotations, given as vectors in degrees."""

    def __init__(
        self, camera: Camera, rotations_deg: Sequence[tuple[float, float, float]]
    ) -> None:
        self.camera_from_copy, pixels, self._within = copy_geometry(camera, rotations_deg)
        last = np.array([camera.width - 1, camera.height - 1])
        self._weights = _bilinear_weights(np.clip(pixels, 0, last).reshape(-1, 2), camera)

    def make(self, rgb: Array, valid: NDArray[np.bool_]) -> tuple[Array, NDArray[np.bool_]]:
        """Return copies (C, h, w, 3) and their masks (C, h, w) of an image with its mask."""
        both = np.concatenate([rgb, valid[..., None].astype(np.float32)], axis=2)
        copies = (self._weights @ both.reshape(-1, 4)).reshape(*self._within.shape, 4)
        return copies[..., :3], (copies[..., 3] > MIN_VALID) & self._within

    def mean_rotation(self, rotations: FloatArray) -> FloatArray:
        """Average rotations (C, 3, 3) of the copies to that of the image."""
        turned = rotations @ self.camera_from_copy.swapaxes(1, 2)
        return nearest_rotations(np.nan_to_num(turned.sum(0)))


def _bilinear_weights(pixels: FloatArray, camera: Camera) -> sparse.csr_matrix:
    """Return the matrix that interpolates flat images at pixels (P, 2) inside of them."""
    low = np.minimum(
        np.floor(pixels).astype(np.int64), [max(camera.width - 2, 0), max(camera.height - 2, 0)]
    )
    part = (pixels - low).astype(np.float32)
    (x, y), (u, v) = low.T, part.T
    columns, shares = [], []
    for down in (0, 1):
        for right in (0, 1):
            rows = np.minimum(y + down, camera.height - 1)
            columns.append(rows * camera.width + np.minimum(x + right, camera.width - 1))
            shares.append((v if down else 1 - v) * (u if right else 1 - u))
    starts = np.arange(0, 4 * len(pixels) + 1, 4)
    shape = (len(pixels), camera.width * camera.height)
    parts = (np.stack(shares, 1).ravel(), np.stack(columns, 1).ravel(), starts)
    return sparse.csr_matrix(parts, shape)


def _standardize(rgb: Array, valid: NDArray[np.bool_], mean_image: Array) -> Array:
    """
    Normalize exposure, contrast and white balance of images (N, h, w, 3), as `ImageCodec` does.

    Each color channel of each image gets mean 0 and standard deviation 1 over its valid pixels.
    Invalid pixels get those of the mean image.
    """
    mask = valid[..., None]
    count = np.maximum(mask.sum((1, 2), keepdims=True), 1).astype(np.float32)
    mean = (rgb * mask).sum((1, 2), keepdims=True) / count
    square = (np.square(rgb) * mask).sum((1, 2), keepdims=True) / count
    variance = np.maximum(square - np.square(mean), np.float32(MIN_CONTRAST**2))
    standardized: Array = np.where(mask, (rgb - mean) / np.sqrt(variance), mean_image)
    return standardized


def _information_factor(numbers: Array) -> FloatArray:
    """Return the lower Cholesky factor (6, 6) of the numbers (21,) of a network."""
    factor = np.zeros((6, 6))
    factor[np.tril_indices(6)] = numbers
    limited = MAX_LOG_DIAGONAL * np.tanh(factor.diagonal() / MAX_LOG_DIAGONAL)
    np.fill_diagonal(factor, np.exp(limited))
    return factor


def load_regressor(path: Path, device: str) -> Regressor:
    """
    Read a regressor: with PyTorch only for a GPU, or if it is no regressor of points with a PCA.

    Raises
    ------
    MapError
        If the file is missing, damaged, of another format version, or inconsistent; or if it
        needs PyTorch, which is not installed.
    """
    header, groups = read_regressor(path)
    try:
        with as_map_error(path):
            if device == 'cpu' and _needs_no_torch(header, groups):
                regressor = CpuRegressor(header, groups)
                camera = regressor.camera
                regressor.regress(np.zeros((camera.height, camera.width, 3), np.uint8), camera)
                return regressor
            from nerf_reversal_ros.regressor.regressor import PoseRegressor

            return PoseRegressor.from_groups(header, groups, device)
    except ModuleNotFoundError as error:
        if error.name != 'torch':
            raise
        raise MapError(
            f'{path} is of a kind that needs PyTorch, which is not installed:'
            f' {remedies.INSTALL_TORCH}'
        ) from error


def _needs_no_torch(header: dict[str, Any], groups: Groups) -> bool:
    """Return whether `CpuRegressor` can use the file."""
    return header['regresses'] == 'points' and header['compression'] == 'none' and 'pca' in groups
