"""Rows are summed by label, and grid cells have one key each."""

import numpy as np

from nerf_reversal_ros.core.grouping import cell_keys, cells_of_keys, sum_by_key, sum_by_label

CELLS = np.array([[0, 0, 0], [1, -2, 3], [-1, 2, -3], [2**20 - 1] * 3, [-(2**20)] * 3])


def test_keys_give_back_their_cells():
    np.testing.assert_array_equal(cells_of_keys(cell_keys(CELLS)), CELLS)


def test_keys_have_the_order_of_the_cells():
    order = np.lexsort(CELLS.T[::-1])
    np.testing.assert_array_equal(np.argsort(cell_keys(CELLS)), order)


def test_values_are_summed_by_label_whatever_their_shape():
    labels = np.array([2, 0, 2])
    values = np.arange(12.0).reshape(3, 2, 2)
    sums = sum_by_label(labels, values, 4)
    np.testing.assert_array_equal(
        sums, [values[1], 0 * values[0], values[0] + values[2], 0 * values[0]]
    )


def test_values_of_equal_keys_are_summed_in_ascending_order_of_the_keys():
    keys, sums = sum_by_key(np.array([7, -1, 7]), np.array([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]))
    assert keys.tolist() == [-1, 7]
    assert sums.tolist() == [[3.0, 4.0], [6.0, 8.0]]


def test_no_values_have_no_sums():
    keys, sums = sum_by_key(np.empty(0, np.int64), np.empty((0, 7)))
    assert keys.shape == (0,) and sums.shape == (0, 7)
