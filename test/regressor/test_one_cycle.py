"""The learning rate rises and falls, for any number of steps."""

import pytest
import torch

from nerf_reversal_ros.regressor.one_cycle import one_cycle


@pytest.mark.parametrize('warmup', [0.1, 0.2])
def test_the_rate_is_finite_and_reaches_its_peak_for_any_number_of_steps(warmup):
    for steps in range(1, 60):
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        schedule = one_cycle(optimizer, 0.01, steps, warmup)
        rates = []
        for _ in range(steps):
            rates.append(schedule.get_last_lr()[0])
            optimizer.step()
            schedule.step()
        assert all(0 < rate <= 0.0100001 for rate in rates), (steps, rates)
        if steps * warmup > 2:
            assert max(rates) > 0.008
