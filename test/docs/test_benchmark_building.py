"""The benchmarks of buildings: made rooms are like real ones, and a search finds their views."""

from benchmark_scripts import imported_script
import numpy as np
import pytest

from nerf_reversal_ros.building.view_descriptors import ViewIndex


@pytest.fixture(scope='module')
def scale():
    """Return the script ``benchmark/building_scale.py``."""
    with imported_script('building_scale') as script:
        yield script


@pytest.fixture(scope='module')
def index():
    """Return an index of three rooms with 20 random views each, about a common mean."""
    rng = np.random.default_rng(1)
    vectors = rng.normal(size=(60, 32)).astype(np.float32)
    vectors[:, 0] += 4.0
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rooms = np.repeat(np.arange(3, dtype=np.int32), 20)
    nothing = np.empty((0, 128), np.uint8)
    empty = np.empty(0, np.int32)
    frames = np.zeros(60, np.int32)
    return ViewIndex(
        ('a', 'b', 'c'),
        np.eye(1, 128),
        np.zeros((128, 32)),
        vectors,
        rooms,
        frames,
        nothing,
        empty,
    )


def test_made_rooms_keep_how_views_lie_and_are_as_similar_as_different_rooms(scale, index):
    vectors, rooms = scale.add_made_rooms(index, 9, np.random.default_rng(0))
    assert vectors.shape == (180, 32) and rooms[-1] == 8
    np.testing.assert_array_equal(vectors[:60], index.vectors)
    real, made = vectors[rooms == 1], vectors[rooms == 4]  # the source of which is room 1
    np.testing.assert_allclose(made @ made.T, real @ real.T, atol=1e-6)
    different = np.median(real @ vectors[rooms == 2].T)
    assert np.median(real @ made.T) == pytest.approx(different, abs=0.1)


def test_the_exact_search_orders_rooms_by_their_most_similar_view(scale, index):
    search = scale.exact_search(index.vectors, index.rooms)
    for row in (0, 25, 59):
        assert search(index.vectors[row])[0] == index.rooms[row]
    assert sorted(search(index.vectors[0])) == [0, 1, 2]


def test_the_share_that_is_found_counts_rooms_over_all_images(scale):
    assert scale.share_found([[1, 2], [3]], [[2], [4]]) == 50
    assert scale.share_found([[1, 2], [3, 4]], [[1, 2, 5, 6], [3, 4, 7, 8]]) == 50
