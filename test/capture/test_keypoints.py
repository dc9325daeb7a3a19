"""Where keypoints are, and which are taken for the same."""

import numpy as np
import pytest

from nerf_reversal_ros.capture.keypoints import KeypointDetector, match_descriptors


def blobs(places, sigma_px):
    v, u = np.mgrid[:200, :300]
    grey = np.full((200, 300), 60.0)
    for x, y in places:
        grey += 140 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma_px**2))
    return np.repeat(grey[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


def looks(*similarities):
    """Descriptors of such cosines with (1, 0, 0, ...), each in a direction of its own."""
    found = np.zeros((len(similarities), 128), np.float32)
    for row, cosine in enumerate(similarities):
        found[row, 0], found[row, row + 1] = cosine, np.sqrt(1 - cosine**2)
    return found


ASKED = np.eye(1, 128, dtype=np.float32)


@pytest.mark.parametrize('sigma_px', [2.0, 4.0, 8.0])
def test_keypoints_are_where_the_blobs_are(sigma_px):
    places = np.array([[60.0, 60.0], [150.3, 100.7], [230.0, 140.5]])
    found = KeypointDetector(100, 0.02)(blobs(places, sigma_px)).pixels
    for place in places:
        assert np.linalg.norm(found - place, axis=1).min() < 0.1


def test_descriptors_have_length_one():
    found = KeypointDetector(100, 0.02)(blobs([(100, 100)], 3.0))
    np.testing.assert_allclose(np.linalg.norm(found.descriptors, axis=1), 1.0, atol=1e-5)


def test_a_flat_picture_has_no_keypoints():
    found = KeypointDetector(100, 0.02)(np.full((50, 50, 3), 99, np.uint8))
    assert found.pixels.shape == (0, 2) and found.descriptors.shape == (0, 128)


def test_the_best_is_taken_when_it_is_clearly_better():
    assert match_descriptors(ASKED, looks(0.2, 0.95, 0.3), 0.85).tolist() == [[0, 1]]
    assert len(match_descriptors(ASKED, looks(0.2, 0.95, 0.945), 0.85)) == 0


@pytest.mark.parametrize('rivals', [1, 2, 5])
def test_several_looks_of_one_place_are_no_rivals(rivals):
    descriptors = looks(0.95, *[0.945] * rivals, 0.2)
    places = np.array([[0, 0, 0], *[[0.01, 0, 0]] * rivals, [5, 0, 0]], dtype=np.float64)
    assert len(match_descriptors(ASKED, descriptors, 0.85)) == 0
    assert match_descriptors(ASKED, descriptors, 0.85, places, 0.05).tolist() == [[0, 0]]


def test_a_match_is_mutual():
    better = np.concatenate([ASKED, looks(0.9)])
    assert match_descriptors(better, looks(0.99, 0.1, 0.1), 0.85).tolist() == [[0, 0]]


def test_next_to_nothing_has_no_matches():
    assert match_descriptors(ASKED[:0], looks(0.9, 0.1, 0.1), 0.85).shape == (0, 2)
    assert match_descriptors(ASKED, looks(0.9), 0.85).shape == (0, 2)
