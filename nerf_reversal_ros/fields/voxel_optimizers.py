"""
Optimizers of a voxel field: steps of Adam on the values and on an exposure per image.

Both minimize one loss. `CompiledOptimizer` serves a CPU; `TorchOptimizer` serves CUDA, and is what
the kernels are compared with.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from nerf_reversal_ros.core.parallel import parallel_map
from nerf_reversal_ros.fields.ray_marching import composite_samples, march_rays, pad_samples
from nerf_reversal_ros.fields.voxel import density_from_log, VoxelField
from nerf_reversal_ros.fields.voxel_loss import (
    BETAS,
    DENSITY_SCALE,
    EPSILON,
    HUBER_COLOR,
    MAX_DEPTH_ERROR_M,
    Rays,
)

PARTS = 2
"""The rays of a step are sampled and differentiated in this many parts, one per core."""
GAIN_RATE = 0.5
"""Learning rate of the log gains over that of the values."""


class FieldOptimizer(Protocol):
    """Steps of the training of a field."""

    def step(self, number: int, sample: Callable[[int], Rays], rate: float) -> float:
        """Take step ``number``, from 1, with the rays of ``sample(part)``; return the loss."""

    def values(self) -> Tensor:
        """Return the values (V + 1, 4) so far, unlimited."""

    def state(self) -> dict[str, Tensor]:
        """Return all that `load` needs to go on."""

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over the result of `state`."""


class CompiledOptimizer:
    """
    Adam in compiled kernels, on a CPU.

    Parameters
    ----------
    field : VoxelField
        On the CPU. Its distance map determines the samples, its values are the initial ones.
    log_gain : (N, 3) tensor
        Initial log exposures of the images.
    depth_weight : float
        Weight of the depth loss relative to the color loss.
    """

    def __init__(self, field: VoxelField, log_gain: Tensor, depth_weight: float) -> None:
        self._field, self._depth_weight = field, depth_weight
        theta = field.values / _scale(field)
        moments = [torch.zeros_like(x) for x in (theta, theta, log_gain, log_gain)]
        self._tensors = dict(zip(_STATE, (theta, log_gain.clone(), *moments), strict=True))
        self._gradients: Any = None

    def step(self, number: int, sample: Callable[[int], Rays], rate: float) -> float:
        """See `FieldOptimizer`."""
        from nerf_reversal_ros.fields.training_kernels import step_rows

        loss = self._add_gradients(number, sample)
        theta, _, *moments = (tensor.numpy() for tensor in list(self._tensors.values())[:4])
        correction = 1 - BETAS[0] ** number, np.sqrt(1 - BETAS[1] ** number)
        rates = np.float32(rate / correction[0]), np.float32(1 / correction[1])
        rows_per_part = -(-len(theta) // PARTS)

        def step_part(first: int) -> None:
            last = min(first + rows_per_part, len(theta))
            stamp = np.int32(number)
            step_rows(max(first, 1), last, self._gradients, stamp, rates, theta, tuple(moments))

        parallel_map(step_part, range(0, len(theta), rows_per_part))
        self._step_gains(number, self._gradients.log_gains.sum(0), rate * GAIN_RATE)
        return loss

    def _add_gradients(self, number: int, sample: Callable[[int], Rays]) -> float:
        """Write the gradients of step ``number``, and return the loss."""
        from nerf_reversal_ros.fields.training_kernels import Gradients, ray_gradients

        theta, log_gain = (self._tensors[name].numpy() for name in ('theta', 'log_gain'))
        if self._gradients is None:
            self._gradients = Gradients(
                np.empty((PARTS, *theta.shape), np.float32),
                np.zeros((PARTS, len(theta)), np.int32),
                np.empty((PARTS, *log_gain.shape), np.float32),
            )
        gradients, grid, gains = self._gradients, self._field.grid, np.exp(log_gain)
        gradients.log_gains[:] = 0

        def add_part(part: int) -> float:
            rays = sample(part)
            share = 1.0 / (PARTS * len(rays.origins))
            shares = np.float32(share / 3), np.float32(share * self._depth_weight)
            own = Gradients(*(array[part] for array in gradients))
            return float(ray_gradients(grid, theta, gains, rays, shares, np.int32(number), own))

        return sum(parallel_map(add_part, range(PARTS)))

    def _step_gains(self, number: int, gradient: Any, rate: float) -> None:
        log_gain, first, second = (
            self._tensors[name].numpy() for name in _STATE if name.startswith('log_gain')
        )
        first += (1 - BETAS[0]) * (gradient - first)
        second += (1 - BETAS[1]) * (gradient**2 - second)
        spread = np.sqrt(second / (1 - BETAS[1] ** number)) + EPSILON
        log_gain -= rate / (1 - BETAS[0] ** number) * first / spread
        log_gain -= log_gain.mean(0)

    def values(self) -> Tensor:
        """See `FieldOptimizer`."""
        return self._tensors['theta'] * _scale(self._field)

    def state(self) -> dict[str, Tensor]:
        """See `FieldOptimizer`."""
        return self._tensors

    def load(self, state: dict[str, Tensor]) -> None:
        """See `FieldOptimizer`."""
        self._tensors = {name: state[name] for name in _STATE}


_STATE = (
    'theta',
    'log_gain',
    'theta.exp_avg',
    'theta.exp_avg_sq',
    'log_gain.exp_avg',
    'log_gain.exp_avg_sq',
)


class TorchOptimizer:
    """Adam by PyTorch, on any device; see `CompiledOptimizer` for the parameters."""

    def __init__(self, field: VoxelField, log_gain: Tensor, depth_weight: float) -> None:
        self._field, self._depth_weight = field, depth_weight
        self._theta = torch.nn.Parameter(field.values / _scale(field))
        self._log_gain = torch.nn.Parameter(log_gain.clone())
        self._adam = torch.optim.Adam(
            [{'params': [self._theta]}, {'params': [self._log_gain]}],
            betas=BETAS,
            eps=EPSILON,
            fused=field.device.type in ('cpu', 'cuda'),
        )

    def step(self, number: int, sample: Callable[[int], Rays], rate: float) -> float:
        """See `FieldOptimizer`."""
        for group, factor in zip(self._adam.param_groups, (1.0, GAIN_RATE), strict=True):
            group['lr'] = rate * factor
        loss, *gradients = self.gradients(sample)
        self._theta.grad, self._log_gain.grad = gradients
        self._adam.step()
        with torch.no_grad():
            self._log_gain.sub_(self._log_gain.mean(0))
        return float(loss)

    def gradients(self, sample: Callable[[int], Rays]) -> tuple[Tensor, ...]:
        """Return the loss of rays, and its gradients by scaled values and log gains."""
        parameters = self._theta, self._log_gain

        def part(number: int) -> tuple[Tensor, ...]:
            loss = self._loss(Rays(*(self._to_device(item) for item in sample(number)))) / PARTS
            return loss.detach(), *torch.autograd.grad(loss, parameters)

        loss, theta, log_gain = (
            torch.stack(tensors).sum(0)
            for tensors in zip(*parallel_map(part, range(PARTS)), strict=True)
        )
        theta[0] = 0  # row 0 stays empty space
        return loss, theta, log_gain

    def _to_device(self, array: Any) -> Tensor:
        return torch.from_numpy(array).to(self._field.device)

    def _loss(self, rays: Rays) -> Tensor:
        """Composite rays differentiably; compare color and depth with the images."""
        ended = torch.zeros(len(rays.origins), device=self._field.device)
        cells = march_rays(self._field.distance_map, rays.origins, rays.directions, ended)
        samples = pad_samples(cells, ended, rays.ends)
        middle_to_sample = samples.steps * (rays.offsets - 0.5)
        samples = samples._replace(times=samples.times + middle_to_sample)
        rows, corner_weights = self._field.trilinear_corners(
            samples.points(rays.origins, rays.directions)
        )
        values = _Interpolate.apply(self._theta, rows, corner_weights)
        density = density_from_log(values[:, 0] * DENSITY_SCALE)
        length = rays.directions.norm(dim=1) / self._field.voxel_m
        rgb, weights, transmittance = composite_samples(samples, length, density, values[:, 1:])
        # Light that passes all samples costs no color loss: only depth makes the field opaque.
        passed = transmittance.detach() * rays.colors
        rgb = rgb * self._log_gain[rays.frames].exp() + passed
        color_loss = torch.nn.functional.smooth_l1_loss(rgb, rays.colors, beta=HUBER_COLOR)
        known = rays.depths > 0
        depth_error = (samples.times - rays.depths[:, None]).abs().clamp(max=MAX_DEPTH_ERROR_M)
        expected_error = (weights * depth_error).sum(1) + transmittance[:, 0] * MAX_DEPTH_ERROR_M
        depth_loss = expected_error[known].sum() / len(known)
        return color_loss + self._depth_weight * depth_loss

    def values(self) -> Tensor:
        """See `FieldOptimizer`."""
        return self._theta.detach() * _scale(self._field)

    def state(self) -> dict[str, Tensor]:
        """See `FieldOptimizer`."""
        state = {'theta': self._theta.detach(), 'log_gain': self._log_gain.detach()}
        for name, parameter in (('theta', self._theta), ('log_gain', self._log_gain)):
            for key, value in self._adam.state[parameter].items():
                state[f'{name}.{key}'] = value
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        """See `FieldOptimizer`."""
        for name, parameter in (('theta', self._theta), ('log_gain', self._log_gain)):
            with torch.no_grad():
                parameter.copy_(state[name])
            prefix = f'{name}.'
            self._adam.state[parameter] = {
                key.removeprefix(prefix): value
                for key, value in state.items()
                if key.startswith(prefix)
            }


class _Interpolate(torch.autograd.Function):
    """Trilinear interpolation with a sparse backward pass: gradients of the rows read alone."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
        ctx.save_for_backward(rows, weights)
        ctx.shape = values.shape
        return torch.nn.functional.embedding_bag(
            rows, values, per_sample_weights=weights, mode='sum'
        )

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        rows, weights = ctx.saved_tensors
        gradient = grads[0]
        by_corner = (weights[..., None] * gradient[:, None]).reshape(-1, gradient.shape[1])
        out = torch.zeros(ctx.shape, device=gradient.device)
        out.index_add_(0, rows.reshape(-1), by_corner)
        return out, None, None


def _scale(field: VoxelField) -> Tensor:
    return torch.tensor([DENSITY_SCALE, 1, 1, 1], device=field.device)
