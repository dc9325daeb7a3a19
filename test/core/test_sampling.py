"""Indices are evenly spaced and unique."""

import numpy as np
import pytest

from nerf_reversal_ros.core.sampling import evenly_spaced_indices, middle_indices


@pytest.mark.parametrize(
    ('count', 'max_count', 'indices'),
    [(0, 5, []), (1, 5, [0]), (7, 0, []), (7, 1, [0]), (3, 5, [0, 1, 2]), (11, 3, [0, 5, 10])],
)
def test_all_of_few_and_evenly_spaced_ones_of_many_are_chosen(count, max_count, indices):
    assert evenly_spaced_indices(count, max_count).tolist() == indices
    assert np.arange(count)[evenly_spaced_indices(count, max_count)].tolist() == indices


def test_indices_are_unique_and_their_gaps_differ_by_at_most_one():
    for count in range(2, 200):
        for max_count in range(2, 50):
            indices = evenly_spaced_indices(count, max_count)
            gaps = np.diff(indices)
            assert len(indices) == min(count, max_count) and indices[-1] == count - 1
            assert gaps.min() >= 1 and np.ptp(gaps) <= 1


@pytest.mark.parametrize(
    ('count', 'max_count', 'indices'),
    [(0, 5, []), (1, 5, [0]), (7, 0, []), (7, 1, [3]), (3, 5, [0, 1, 2]), (12, 3, [2, 6, 10])],
)
def test_the_middles_of_equal_parts_are_chosen(count, max_count, indices):
    assert middle_indices(count, max_count).tolist() == indices
