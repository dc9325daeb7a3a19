"""Training of the image codec of one map; the only module that needs scikit-learn."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
import torch

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import RegressorConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.regressor.image_codec import ImageCodec, Pca, standardize, to_tensors
from nerf_reversal_ros.regressor.rounding import round_to_8_bit
from nerf_reversal_ros.regressor.vae_training import fit_vae
from nerf_reversal_ros.synthesis.view_synthesis import Views

MAX_VIEWS = 6000
"""Views that a codec is fitted to, at most: more change the codec little and cost memory."""
MIN_DIFFERENCE = 1e-3
"""Least deviation of a standardized pixel from its mean for views that are not all equal."""
BATCH = 256


def check_component_count(components: int, views: int, values: int) -> None:
    """Raise BuildError if ``views`` images of ``values`` numbers have too few components."""
    if components >= views:
        raise BuildError(
            f'regressor.components is {components} but there are only {views} views: '
            + remedies.FEWER_COMPONENTS_OR_MORE_VIEWS.format(most=views - 1)
        )
    if components > values:
        raise BuildError(
            f'regressor.components is {components} but an image has only {values} values: '
            + remedies.FEWER_COMPONENTS_OR_LARGER_VIEWS.format(most=values)
        )


def fit_codec(
    views: list[Views],
    config: RegressorConfig,
    *,
    device: str | torch.device = 'cpu',
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> ImageCodec:
    """
    Fit a PCA or VAE to standardized images, evenly chosen from the views.

    With ``compression: none`` the codec is a PCA as well: image retrieval needs a code, although
    the pose network takes the images themselves.

    Parameters
    ----------
    views : list of Views
        All of one image size.
    config : RegressorConfig
        Kind of the codec and length of its codes.
    device : str or torch.device
        Device of the result, and of the training of a VAE.
    seed : int
        Of every random choice.

    Raises
    ------
    BuildError
        If there are no more views than components, if the images have fewer values than
        components, or if all images are equal.
    """
    mean, centered = _training_images(views, config.components)
    is_vae = config.compression == 'vae'
    pca = _fit_pca(mean, centered.copy() if is_vae else centered, config.components, seed)
    if is_vae:
        centered -= pca.mean.numpy() - mean
        height, width = views[0].valid.shape[1:]
        return fit_vae(
            pca,
            torch.from_numpy(centered),
            (height, width),
            config.vae_epochs,
            device=device,
            seed=seed,
            progress=progress,
        )
    rounded = replace(pca, components=round_to_8_bit(pca.components, 1))  # as the file holds it
    return Pca(**{name: value.to(device) for name, value in rounded.tensors().items()})


def _training_images(
    views: list[Views], components: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean image (D,) and evenly chosen images (N, D) minus that mean."""
    chosen = []
    total = sum(len(part) for part in views)
    for part in views:
        count = min(len(part), max(1, len(part) * MAX_VIEWS // total))
        chosen += [(part, i) for i in evenly_spaced_indices(len(part), count)]
    pixels = 3 * views[0].valid[0].size
    check_component_count(components, len(chosen), pixels)
    data = np.empty((len(chosen), pixels), dtype=np.float32)
    invalid = np.empty((len(chosen), pixels), dtype=np.bool_)
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        rgb, valid = to_tensors(
            np.stack([part.rgb[i] for part, i in batch]),
            np.stack([part.valid[i] for part, i in batch]),
            'cpu',
        )
        data[start : start + BATCH] = standardize(rgb, valid).flatten(1).numpy()
        invalid[start : start + BATCH] = (valid.expand_as(rgb) == 0.0).flatten(1).numpy()
    mean = data.sum(0) / np.maximum(len(data) - invalid.sum(0), 1).astype(np.float32)
    data -= mean
    data[invalid] = 0.0
    if not np.any(np.abs(data) > MIN_DIFFERENCE):
        raise BuildError(
            f'all {len(data)} views look the same: check that the capture shows a textured room'
            ' and that the field was trained'
        )
    return mean, data


def _fit_pca(
    mean: NDArray[np.float32], centered: NDArray[np.float32], components: int, seed: int
) -> Pca:
    """Fit a PCA by randomized SVD to images (N, D) minus their mean; overwrites them."""
    model = PCA(
        components, svd_solver='randomized', iterated_power=2, copy=False, random_state=seed
    ).fit(centered)
    return Pca(
        mean=torch.from_numpy(mean + model.mean_.astype(np.float32)),
        variance=torch.from_numpy(model.explained_variance_.astype(np.float32)),
        retained=torch.from_numpy(np.cumsum(model.explained_variance_ratio_).astype(np.float32)),
        components=torch.from_numpy(np.ascontiguousarray(model.components_, dtype=np.float32)),
    )
