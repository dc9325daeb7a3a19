"""How the variational autoencoder of a room's pictures is learned."""

import torch
from torch import nn, Tensor

from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.regressor.image_codec import Pca
from nerf_reversal_ros.regressor.vae import Vae, VaeNetwork

BATCH = 64
LEARNING_RATE = 1e-3
MIN_VARIANCE = 0.01
"""Of a latent, whose prior has 1: one that tells nothing must not count as much as the others when
codes are divided by their deviation."""


def fit_vae(
    pca: Pca,
    centered: Tensor,
    size: tuple[int, int],
    epochs: int,
    *,
    device: str | torch.device = 'cpu',
    seed: int = 0,
    progress: ProgressCallback = no_progress,
) -> Vae:
    """
    Learn a variational autoencoder of pictures.

    It begins as the PCA, the best linear one, and learns what is not linear. The loss is the
    negative evidence lower bound with the decoder's variance at its optimum, one number for all
    pixels, so that there is no weight to choose between its two terms.

    Parameters
    ----------
    pca : Pca
        Of the same pictures; the autoencoder's code has as many numbers.
    centered : (N, D) tensor
        The pictures without their mean.
    size : (int, int)
        Height and width of the pictures: D is 3 * height * width.
    epochs : int
        Passes over the pictures.
    seed : int
        Of weights, order and noise.

    References
    ----------
    Lucas et al., "Don't Blame the ELBO! A Linear VAE Perspective on Posterior Collapse", NeurIPS
    2019. Rybkin et al., "Simple and Effective VAE Training with Calibrated
    Decoders", ICML 2021.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[] if device.type == 'cpu' else None):
        torch.manual_seed(seed)
        network = _init_from_pca(pca, size).to(device)
        steps = -(-len(centered) // BATCH)
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.1
        )
        total = float(centered.square().mean())
        for epoch in range(epochs):
            lost = 0.0
            for batch in torch.randperm(len(centered)).tensor_split(steps):
                pictures = centered[batch].to(device)
                loss, error = _loss(network, pictures)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                lost += float(error.detach()) * len(batch)
            kept = 1.0 - lost / len(centered) / total
            note = f'{kept:.0%} of the variance kept while learning'
            progress(Progress('compression', epoch + 1, epochs, note))
    network.eval()
    vae = Vae(pca.mean.to(device), pca.variance, pca.retained, network)
    return _measure_codes(vae, centered)


def _init_from_pca(pca: Pca, size: tuple[int, int]) -> VaeNetwork:
    """Return the linear autoencoder that the PCA is; its latents have variance 1."""
    network = VaeNetwork(*size, len(pca.variance))
    network.components.copy_(pca.components)
    network.deviation.copy_(pca.variance.sqrt().clamp(min=1e-6))
    share = pca.retained[-1].clamp(max=0.9999)
    left = pca.variance.sum() * (1.0 - share) / share / len(pca.mean)
    with torch.no_grad():
        network.log_variance.bias.copy_((left / (pca.variance + left)).log())
    return network


def _loss(network: VaeNetwork, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the negative bound per number of a picture, and the mean squared error."""
    code, log_variance = network.encode(pictures)
    drawn = code + (0.5 * log_variance).exp() * torch.randn_like(code)
    error = (network.decode(drawn) - pictures).square().mean()
    divergence = 0.5 * (code.square() + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
    return 0.5 * error.log() + divergence / pictures.shape[1], error


@torch.no_grad()
def _measure_codes(vae: Vae, centred: Tensor) -> Vae:
    """Return the autoencoder with the variance of its codes, and what they retain."""
    latents, lost = [], 0.0
    for pictures in centred.split(BATCH):
        pictures = pictures.to(vae.mean.device)
        latents.append(vae.network.encode(pictures)[0])
        lost += float((vae.network.decode(latents[-1]) - pictures).square().sum())
    kept = 1.0 - lost / float(centred.square().sum())
    variance = torch.cat(latents).var(0, unbiased=False).clamp(min=MIN_VARIANCE)
    variance *= vae.network.deviation.square()
    return Vae(vae.mean, variance, torch.tensor([kept], device=vae.mean.device), vae.network)
