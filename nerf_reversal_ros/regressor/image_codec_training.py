"""How the code of a room's pictures is learned; the only file that needs scikit-learn."""

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
import torch

from nerf_reversal_ros.core.config import RegressorConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.regressor.image_codec import ImageCodec, Pca, standardize, to_tensors
from nerf_reversal_ros.regressor.vae_training import fit_vae
from nerf_reversal_ros.synthesis.view_synthesis import Views

MAX_VIEWS = 6000
"""A code is learned from at most this many views: more change it little and cost memory."""
BATCH = 256


def check_component_count(components: int, views: int, values: int) -> None:
    """Raise BuildError if so many views of so many values each have not that many components."""
    if components >= views:
        raise BuildError(
            f'regressor.components is {components} but there are only {views} views: take fewer'
            ' components or more views (synthesis.views, or --views of a study)'
        )
    if components > values:
        raise BuildError(
            f'regressor.components is {components} but a picture has only {values} values: take'
            ' fewer components or larger pictures (synthesis.width, or --width of a study)'
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
    Learn the code of standardized pictures from an even choice of the views.

    It is a PCA also if the network sees pictures as they are, for similar views are found by it.

    Parameters
    ----------
    views : list of Views
        All of one size.
    config : RegressorConfig
        Which code, of how many numbers.
    device : str or torch.device
        Where the result is, and where an autoencoder is learned.
    seed : int
        Of every random choice.

    Raises
    ------
    BuildError
        If there are not more views than components, they are too small, or do not differ.
    """
    mean, centred = _training_images(views, config.components)
    is_vae = config.compression == 'vae'
    pca = _fit_pca(mean, centred.copy() if is_vae else centred, config.components, seed)
    if is_vae:
        centred -= pca.mean.numpy() - mean
        height, width = views[0].valid.shape[1:]
        return fit_vae(
            pca,
            torch.from_numpy(centred),
            (height, width),
            config.vae_epochs,
            device=device,
            seed=seed,
            progress=progress,
        )
    return Pca(**{name: value.to(device) for name, value in pca.tensors().items()})


def _training_images(
    views: list[Views], components: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the mean (D,) and, without it, an even choice of the pictures (N, D)."""
    chosen = []
    total = sum(len(part) for part in views)
    for part in views:
        count = min(len(part), max(1, len(part) * MAX_VIEWS // total))
        chosen += [(part, i) for i in evenly_spaced_indices(len(part), count)]
    pixels = 3 * views[0].valid[0].size
    check_component_count(components, len(chosen), pixels)
    data = np.empty((len(chosen), pixels), dtype=np.float32)
    hidden = np.empty((len(chosen), pixels), dtype=np.bool_)
    for start in range(0, len(chosen), BATCH):
        batch = chosen[start : start + BATCH]
        rgb, seen = to_tensors(
            np.stack([part.rgb[i] for part, i in batch]),
            np.stack([part.valid[i] for part, i in batch]),
            'cpu',
        )
        data[start : start + BATCH] = standardize(rgb, seen).flatten(1).numpy()
        hidden[start : start + BATCH] = (seen.expand_as(rgb) == 0.0).flatten(1).numpy()
    mean = data.sum(0) / np.maximum(len(data) - hidden.sum(0), 1).astype(np.float32)
    data -= mean
    data[hidden] = 0.0
    if not np.any(np.abs(data) > 1e-3):
        raise BuildError(
            f'all {len(data)} views look the same: check that the capture shows a textured room'
            ' and that the field was trained'
        )
    return mean, data


def _fit_pca(
    mean: NDArray[np.float32], centred: NDArray[np.float32], components: int, seed: int
) -> Pca:
    """Learn the PCA of pictures (N, D), which are overwritten."""
    learned = PCA(
        components, svd_solver='randomized', iterated_power=2, copy=False, random_state=seed
    ).fit(centred)
    return Pca(
        mean=torch.from_numpy(mean + learned.mean_.astype(np.float32)),
        variance=torch.from_numpy(learned.explained_variance_.astype(np.float32)),
        retained=torch.from_numpy(np.cumsum(learned.explained_variance_ratio_).astype(np.float32)),
        components=torch.from_numpy(np.ascontiguousarray(learned.components_, dtype=np.float32)),
    )
