"""Training of the variational autoencoder (VAE) of one map's images."""

import torch
from torch import nn, Tensor

from nerf_reversal_ros.core.progress import no_progress, Progress, ProgressCallback
from nerf_reversal_ros.regressor.image_codec import Pca
from nerf_reversal_ros.regressor.one_cycle import one_cycle
from nerf_reversal_ros.regressor.vae import Vae, VaeNetwork

BATCH = 64
LEARNING_RATE = 1e-3
WARMUP = 0.1
"""Fraction of the steps in which the learning rate rises."""
MIN_VARIANCE = 0.01
"""Least variance of a latent, against 1 of its prior. Codes are divided by their standard
deviation, and a collapsed latent must not weigh as much as an informative one."""
MIN_DEVIATION = 1e-6
"""Least standard deviation of a PCA component: latents are codes divided by it."""


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
    Train a variational autoencoder of images, initialized as their PCA.

    The PCA is the optimal linear autoencoder; training adds a nonlinear part. The loss is the
    negative evidence lower bound. The decoder's variance, one number for all pixels, is at its
    optimum, so that the two terms of the bound need no weight.

    Parameters
    ----------
    pca : Pca
        Of the same images; the codes of the VAE are as long.
    centered : (N, D) tensor
        The images minus their mean.
    size : (int, int)
        Height and width of the images: D is 3 * height * width.
    epochs : int
        Passes over the images.
    device : str or torch.device
        Device of the training and of the result.
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
        _train(network, centered, epochs, device, progress)
    network.eval()
    vae = Vae(pca.mean.to(device), pca.variance, pca.retained, network)
    return _measure_codes(vae, centered)


def _init_from_pca(pca: Pca, size: tuple[int, int]) -> VaeNetwork:
    """Return the linear autoencoder that equals the PCA, with latents of variance 1."""
    network = VaeNetwork(*size, len(pca.variance))
    network.components.copy_(pca.components)
    network.deviation.copy_(pca.variance.sqrt().clamp(min=MIN_DEVIATION))
    retained = pca.retained[-1].clamp(max=0.9999)
    noise = pca.variance.sum() * (1.0 - retained) / retained / len(pca.mean)
    with torch.no_grad():
        network.log_variance.bias.copy_((noise / (pca.variance + noise)).log())
    return network


def _train(
    network: VaeNetwork,
    centered: Tensor,
    epochs: int,
    device: torch.device,
    progress: ProgressCallback,
) -> None:
    """Minimize the negative evidence lower bound by Adam with a one-cycle schedule."""
    steps = -(-len(centered) // BATCH)
    optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
    schedule = one_cycle(optimizer, LEARNING_RATE, epochs * steps, WARMUP)
    total = float(centered.square().mean())
    for epoch in range(epochs):
        lost = 0.0
        for batch in torch.randperm(len(centered)).tensor_split(steps):
            images = centered[batch].to(device)
            loss, error = _loss(network, images)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            lost += float(error.detach()) * len(batch)
        retained = 1.0 - lost / len(centered) / total
        note = f'{retained:.0%} of the variance retained in training'
        progress(Progress('compression', epoch + 1, epochs, note))


def _loss(network: VaeNetwork, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the negative bound per number of an image, and the mean squared error."""
    mean, log_variance = network.encode(images)
    sample = mean + (0.5 * log_variance).exp() * torch.randn_like(mean)
    error = (network.decode(sample) - images).square().mean()
    divergence = 0.5 * (mean.square() + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
    return 0.5 * error.log() + divergence / images.shape[1], error


@torch.no_grad()
def _measure_codes(vae: Vae, centered: Tensor) -> Vae:
    """Return the VAE with the variance of its codes and the fraction that they retain."""
    latents, lost = [], 0.0
    for images in centered.split(BATCH):
        images = images.to(vae.mean.device)
        latents.append(vae.network.encode(images)[0])
        lost += float((vae.network.decode(latents[-1]) - images).square().sum())
    retained = 1.0 - lost / float(centered.square().sum())
    variance = torch.cat(latents).var(0, unbiased=False).clamp(min=MIN_VARIANCE)
    variance *= vae.network.deviation.square()
    return Vae(vae.mean, variance, torch.tensor([retained], device=vae.mean.device), vae.network)
