"""Ray marching through a row of occupied cells whose samples are known."""

import numpy as np
import pytest
import torch

from nerf_reversal_ros.fields.empty_space_skipping import DistanceMap
from nerf_reversal_ros.fields.ray_marching import (
    composite_samples,
    march_rays,
    MAX_CELLS_PER_RAY,
    pad_samples,
    SAMPLES_PER_CELL,
)

CELL_M = 0.5
ORIGIN, DIRECTION = torch.tensor([[-1.0, 0.25, 0.25]]), torch.tensor([[1.0, 0.0, 0.0]])


def row_of_cells(*occupied, count=20):
    """Return a grid of one row of cells along x, from x = 0 on."""
    cells = np.zeros((count, 1, 1), bool)
    cells[list(occupied)] = True
    return DistanceMap(cells, CELL_M, torch.device('cpu'))


def pad(distance_map, end=None):
    optical_depth = torch.zeros(1)
    cells = march_rays(distance_map, ORIGIN, DIRECTION, optical_depth)
    return pad_samples(cells, optical_depth, end)


def test_samples_are_the_middles_of_the_intervals_of_occupied_cells():
    samples = pad(row_of_cells(2, 5))
    times = samples.times[samples.filled].numpy()
    assert times == pytest.approx([2.125, 2.375, 3.625, 3.875], abs=1e-3)
    assert samples.steps[samples.filled].numpy() == pytest.approx([0.25] * 4, abs=1e-3)
    points = samples.points(ORIGIN, DIRECTION)
    assert points[:, 0].numpy() == pytest.approx(times - 1, abs=1e-6)


def test_a_ray_is_complete_after_the_maximum_number_of_cells():
    samples = pad(row_of_cells(*range(20)))
    assert samples.filled.sum() == MAX_CELLS_PER_RAY * SAMPLES_PER_CELL
    assert samples.times.max() < 1 + MAX_CELLS_PER_RAY * CELL_M


def test_a_ray_is_complete_with_the_cell_that_reaches_beyond_its_end():
    samples = pad(row_of_cells(*range(20)), end=torch.tensor([2.2]))
    assert samples.times.max().item() == pytest.approx(2.375, abs=1e-3)  # cell of x = 1 to 1.5 m


def test_half_of_the_light_passes_an_optical_depth_of_ln_2():
    samples = pad(row_of_cells(2))
    density = torch.full((2,), float(np.log(2)) / CELL_M, requires_grad=True)
    rgb, weights, transmittance = composite_samples(
        samples, torch.ones(1), density, torch.ones(2, 3)
    )
    assert transmittance.item() == pytest.approx(0.5, abs=1e-3)
    assert weights.sum().item() == pytest.approx(0.5, abs=1e-3)
    assert rgb.detach().numpy() == pytest.approx(0.5 * np.ones((1, 3)), abs=1e-3)
    rgb.sum().backward()
    assert (density.grad > 0).all()
