"""One-cycle schedule of the learning rate, for any number of steps."""

import torch
from torch.optim.lr_scheduler import OneCycleLR


def one_cycle(
    optimizer: torch.optim.Optimizer, peak_rate: float, steps: int, warmup: float
) -> OneCycleLR:
    """
    Return a schedule that raises the rate for a fraction of the steps, then lowers it.

    PyTorch divides by the number of steps of the warm-up less one. A warm-up of one step is
    therefore made half a step longer.
    """
    if abs(warmup * steps - 1) < 1e-6:
        warmup = 1.5 / steps
    return OneCycleLR(optimizer, peak_rate, total_steps=steps, pct_start=warmup)
