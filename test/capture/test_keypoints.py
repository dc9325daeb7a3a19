"""Keypoints are located precisely and matched mutually with a ratio test."""

import numpy as np
import pytest

from nerf_reversal_ros.capture.keypoints import KeypointDetector, match_descriptors


def blobs(centers, sigma_px):
    v, u = np.mgrid[:200, :300]
    gray = np.full((200, 300), 60.0)
    for x, y in centers:
        gray += 140 * np.exp(-((u - x) ** 2 + (v - y) ** 2) / (2 * sigma_px**2))
    return np.repeat(gray[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


def descriptors(*similarities):
    """Return descriptors with given cosines to QUERY, otherwise mutually orthogonal."""
    rows = np.zeros((len(similarities), 128), np.float32)
    for row, cosine in enumerate(similarities):
        rows[row, 0], rows[row, row + 1] = cosine, np.sqrt(1 - cosine**2)
    return rows


QUERY = np.eye(1, 128, dtype=np.float32)


@pytest.mark.parametrize('sigma_px', [2.0, 4.0, 8.0])
def test_keypoints_are_where_the_blobs_are(sigma_px):
    centers = np.array([[60.0, 60.0], [150.3, 100.7], [230.0, 140.5]])
    pixels = KeypointDetector(100, 0.02)(blobs(centers, sigma_px)).pixels
    for center in centers:
        assert np.linalg.norm(pixels - center, axis=1).min() < 0.1


def test_descriptors_have_unit_length():
    keypoints = KeypointDetector(100, 0.02)(blobs([(100, 100)], 3.0))
    np.testing.assert_allclose(np.linalg.norm(keypoints.descriptors, axis=1), 1.0, atol=1e-5)


def test_a_uniform_image_has_no_keypoints():
    keypoints = KeypointDetector(100, 0.02)(np.full((50, 50, 3), 99, np.uint8))
    assert keypoints.pixels.shape == (0, 2) and keypoints.descriptors.shape == (0, 128)


def test_the_nearest_is_matched_if_it_passes_the_ratio_test():
    assert match_descriptors(QUERY, descriptors(0.2, 0.95, 0.3), 0.85).tolist() == [[0, 1]]
    assert len(match_descriptors(QUERY, descriptors(0.2, 0.95, 0.945), 0.85)) == 0


@pytest.mark.parametrize('count', [1, 2, 5])
def test_several_descriptors_of_one_point_do_not_compete(count):
    candidates = descriptors(0.95, *[0.945] * count, 0.2)
    positions = np.array([[0, 0, 0], *[[0.01, 0, 0]] * count, [5, 0, 0]], dtype=np.float64)
    reach = np.full(len(positions), 0.05)
    assert len(match_descriptors(QUERY, candidates, 0.85)) == 0
    assert match_descriptors(QUERY, candidates, 0.85, positions, reach).tolist() == [[0, 0]]


def test_a_match_is_mutual():
    better = np.concatenate([QUERY, descriptors(0.9)])
    assert match_descriptors(better, descriptors(0.99, 0.1, 0.1), 0.85).tolist() == [[0, 0]]


def test_too_few_descriptors_have_no_matches():
    assert match_descriptors(QUERY[:0], descriptors(0.9, 0.1, 0.1), 0.85).shape == (0, 2)
    assert match_descriptors(QUERY, descriptors(0.9), 0.85).shape == (0, 2)
