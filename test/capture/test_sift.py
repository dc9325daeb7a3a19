"""The compiled detector finds and describes what OpenCV's SIFT does."""

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

from nerf_reversal_ros.baselines.opencv_sift import OpencvSift
from nerf_reversal_ros.capture.keypoints import KeypointDetector


def texture(height, width, seed=0):
    """Return an image (H, W, 3) with structure of all sizes."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width))
    for size in (1, 2, 4, 8, 16, 32):
        coarse = rng.normal(size=(height // size + 2, width // size + 2))
        total += size**0.7 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    total = 128 + 45 * total / max(total.std(), 1e-9)
    return np.repeat(total.clip(0, 255).astype(np.uint8)[..., None], 3, axis=2)


def test_keypoints_are_those_of_opencv():
    image = texture(240, 320)
    ours, theirs = KeypointDetector(2000, 0.02)(image), OpencvSift(2000, 0.02)(image)
    assert len(theirs.pixels) > 500
    assert abs(len(ours.pixels) / len(theirs.pixels) - 1) < 0.03
    distance, near = cKDTree(ours.pixels).query(theirs.pixels, 4)  # several have two orientations
    similarity = np.einsum('ij,ikj->ik', theirs.descriptors, ours.descriptors[near])
    similarity[distance > 0.5] = -1
    best = similarity.argmax(1)
    rows = np.arange(len(best))
    found = similarity[rows, best] > 0.95
    assert found.mean() > 0.95
    assert np.median(distance[rows, best][found]) < 0.01
    assert np.median(similarity[rows, best][found]) > 0.998
    sizes = ours.sizes[near[rows, best]][found] / theirs.sizes[found]
    np.testing.assert_allclose(np.median(sizes), 1, atol=1e-3)


@pytest.mark.parametrize('size', [(101, 77), (64, 97), (50, 333)])
def test_images_of_any_size_have_keypoints_inside(size):
    keypoints = KeypointDetector(300, 0.01)(texture(*size))
    assert len(keypoints.pixels) > 20
    assert (keypoints.pixels >= 0).all() and (keypoints.pixels < size[::-1]).all()
    assert len(keypoints.sizes) == len(keypoints.descriptors) == len(keypoints.pixels)


@pytest.mark.parametrize('size', [(1, 1), (4, 300), (6, 6), (12, 9)])
def test_tiny_images_have_no_keypoints_or_few(size):
    assert len(KeypointDetector(300, 0.01)(texture(*size)).pixels) < 20


def test_the_keypoints_of_highest_contrast_are_kept():
    image = texture(120, 160)
    many, few = KeypointDetector(10_000, 0.01)(image), KeypointDetector(50, 0.01)(image)
    assert len(few.pixels) == 50
    np.testing.assert_array_equal(few.pixels, many.pixels[:50])
    np.testing.assert_array_equal(few.descriptors, many.descriptors[:50])


def test_a_turned_image_has_the_same_descriptors():
    image = texture(200, 200)
    upright = KeypointDetector(300, 0.02)(image)
    turned = KeypointDetector(300, 0.02)(np.ascontiguousarray(np.rot90(image)))
    similarity = (upright.descriptors @ turned.descriptors.T).max(1)
    assert np.median(similarity) > 0.98
