"""Some of many, evenly."""

import numpy as np
import pytest

from nerf_reversal_ros.core.sampling import evenly_spaced_indices


@pytest.mark.parametrize(
    ('count', 'most', 'chosen'),
    [(0, 5, []), (1, 5, [0]), (7, 0, []), (7, 1, [0]), (3, 5, [0, 1, 2]), (11, 3, [0, 5, 10])],
)
def test_few_are_all_and_many_are_thinned_out_from_the_first_to_the_last(count, most, chosen):
    assert evenly_spaced_indices(count, most).tolist() == chosen
    assert np.arange(count)[evenly_spaced_indices(count, most)].tolist() == chosen


def test_none_is_chosen_twice_and_the_gaps_differ_by_one_at_most():
    for count in range(2, 200):
        for most in range(2, 50):
            chosen = evenly_spaced_indices(count, most)
            gaps = np.diff(chosen)
            assert len(chosen) == min(count, most) and chosen[-1] == count - 1
            assert gaps.min() >= 1 and np.ptp(gaps) <= 1
