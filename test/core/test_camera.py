"""A pinhole camera projects, back-projects and scales."""

import numpy as np
import pytest

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ImageError

CAMERA = Camera(8, 6, fx=100.0, fy=50.0, cx=3.0, cy=2.0)
WIDE = Camera(160, 120, 100.0, 100.0, 79.5, 59.5)


def test_the_principal_point_back_projects_to_the_optical_axis():
    assert CAMERA.unproject(np.array([3.0, 2.0]), 2.0).tolist() == [0.0, 0.0, 2.0]


def test_a_pixel_back_projects_by_its_offset_over_the_focal_length_times_depth():
    assert CAMERA.unproject(np.array([103.0, 52.0]), 2.0).tolist() == [2.0, 2.0, 2.0]
    assert CAMERA.unproject(np.array([53.0, -23.0]), 4.0).tolist() == [2.0, -2.0, 4.0]


def test_unit_depth_gives_the_rays_of_the_pixel_centers():
    u, v = np.meshgrid(np.arange(8), np.arange(6))
    np.testing.assert_array_equal(CAMERA.unproject(np.stack([u, v], axis=-1)), CAMERA.rays())


def test_each_pixel_has_its_own_depth():
    pixels = np.array([[3.0, 2.0], [103.0, 2.0], [3.0, 52.0]])
    points = CAMERA.unproject(pixels, np.array([1.0, 2.0, 3.0]))
    assert points.tolist() == [[0.0, 0.0, 1.0], [2.0, 0.0, 2.0], [0.0, 3.0, 3.0]]


def test_unproject_is_the_inverse_of_project():
    rng = np.random.default_rng(0)
    pixels, depth = rng.uniform(-5.0, 12.0, (4, 5, 2)), rng.uniform(0.1, 9.0, (4, 5))
    points = CAMERA.unproject(pixels, depth)
    assert points.shape == (4, 5, 3)
    np.testing.assert_allclose(CAMERA.project(points), pixels, atol=1e-9)
    np.testing.assert_allclose(points[..., 2], depth)


def test_known_depth_is_back_projected_and_unknown_depth_is_not():
    depth = np.zeros((6, 8), np.float32)
    depth[2, 3], depth[2, 5] = 2.0, 4.0
    np.testing.assert_allclose(CAMERA.back_project(depth), [[0, 0, 2], [0.08, 0, 4]])


def test_a_camera_of_half_the_size_has_half_the_focal_length_and_the_same_corners():
    half = CAMERA.scaled_to(4, 3)
    assert (half.fx, half.fy, half.cx, half.cy) == (50.0, 25.0, 1.25, 0.75)
    corner, half_corner = np.array([-0.5, -0.5]), np.array([-0.5, -0.5])
    np.testing.assert_allclose(half.unproject(half_corner), CAMERA.unproject(corner))


def test_the_longer_side_is_limited_in_portrait_images_too():
    portrait = Camera(720, 960, 700.0, 700.0, 360.0, 480.0).downscaled_to(96)
    assert (portrait.width, portrait.height) == (72, 96)
    assert portrait.fx == pytest.approx(70.0)


def test_downscaling_never_enlarges_and_keeps_at_least_one_pixel():
    assert WIDE.downscaled_to(160) == WIDE.downscaled_to(1000) == WIDE
    strip = Camera(1000, 2, 700.0, 700.0, 500.0, 0.5).downscaled_to(96)
    assert (strip.width, strip.height) == (96, 1)


@pytest.mark.parametrize(
    ('size', 'fx', 'error'),
    [((0, 6), 100.0, 'has no image'), ((8, 6), 0.0, 'focal lengths'), ((8, 6), np.nan, 'finite')],
)
def test_intrinsics_of_no_camera_are_rejected(size, fx, error):
    with pytest.raises(ImageError, match=error):
        Camera(*size, fx, 50.0, 3.0, 2.0)
