"""How the variational autoencoder of a room's pictures is learned."""

import torch
from torch import nn, Tensor

from nerf_reversal_ros.progress import Progress, ProgressCallback, silent
from nerf_reversal_ros.vae import Vae, VaeNetwork

BATCH = 64
LEARNING_RATE = 2e-3
LEAST_VARIANCE = 0.01
"""Of a latent number, whose prior has 1: one that tells nothing must not count as much as others
once codes are divided by their deviation."""


def fit_vae(
    mean: Tensor,
    centred: Tensor,
    size: tuple[int, int],
    latents: int,
    epochs: int,
    *,
    device: str | torch.device = 'cpu',
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> Vae:
    """
    Learn a variational autoencoder of pictures.

    The loss is the negative evidence lower bound with the decoder's variance at its optimum, one
    number for all pixels, so that there is no weight to choose between its two terms.

    Parameters
    ----------
    mean, centred : (D,) and (N, D) tensors
        Mean of the pictures, and the pictures without it.
    size : (int, int)
        Height and width of the pictures: D is 3 * height * width.
    latents : int
        Numbers of a code.
    epochs : int
        Passes over the pictures.
    seed : int
        Of weights, order and noise.

    References
    ----------
    Rybkin et al., "Simple and Effective VAE Training with Calibrated Decoders", ICML 2021.
    """
    device = torch.device(device)
    with torch.random.fork_rng(devices=[] if device.type == 'cpu' else None):
        torch.manual_seed(seed)
        network = VaeNetwork(*size, latents).to(device)
        steps = -(-len(centred) // BATCH)
        optimizer = torch.optim.Adam(network.parameters(), LEARNING_RATE)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, LEARNING_RATE, total_steps=epochs * steps, pct_start=0.1
        )
        total = float(centred.square().mean())
        for epoch in range(epochs):
            lost = 0.0
            for batch in torch.randperm(len(centred)).tensor_split(steps):
                pictures = centred[batch].to(device)
                loss, error = _loss(network, pictures)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                nn.utils.clip_grad_norm_(network.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                lost += float(error.detach()) * len(batch)
            kept = 1.0 - lost / len(centred) / total
            note = f'{kept:.0%} of the variance kept while learning'
            progress(Progress('compression', epoch + 1, epochs, note))
    network.eval()
    vae = Vae(mean.to(device), torch.ones(latents), torch.ones(1), network)
    return _measured(vae, centred)


def _loss(network: VaeNetwork, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return the negative bound per number of a picture, and the mean squared error."""
    features = network.encoded(pictures)
    code, log_variance = network.code(features), network.log_variance(features)
    drawn = code + (0.5 * log_variance).exp() * torch.randn_like(code)
    error = (network.decoded(drawn) - pictures).square().mean()
    divergence = 0.5 * (code.square() + log_variance.exp() - 1.0 - log_variance).sum(1).mean()
    return 0.5 * error.log() + divergence / pictures.shape[1], error


@torch.no_grad()
def _measured(vae: Vae, centred: Tensor) -> Vae:
    """Return the autoencoder with the variance of its codes, and what they retain."""
    codes, lost = [], 0.0
    for pictures in centred.split(BATCH):
        pictures = pictures.to(vae.mean.device)
        codes.append(vae.network.code(vae.network.encoded(pictures)))
        lost += float((vae.network.decoded(codes[-1]) - pictures).square().sum())
    kept = 1.0 - lost / float(centred.square().sum())
    variance = torch.cat(codes).var(0, unbiased=False).clamp(min=LEAST_VARIANCE)
    return Vae(vae.mean, variance, torch.tensor([kept], device=vae.mean.device), vae.network)
