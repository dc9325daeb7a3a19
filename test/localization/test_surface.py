"""Points of the surface cloud lie on surfaces, and are splatted with occlusion."""

from dataclasses import replace

import numpy as np
import pytest
from rooms import walk
from small_room import distance_to_surface, SmallRoom

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.localization.gate import ncc_similarity
from nerf_reversal_ros.localization.surface import build_surface, Surface

CAMERA = Camera(240, 180, 200.0, 200.0, 119.5, 89.5)
SMALL = CAMERA.downscaled_to(96)
SPACING_M = 0.03


@pytest.fixture(scope='module')
def surface() -> Surface:
    poses = walk(16)
    renderings = zip(SmallRoom().render(poses, CAMERA), poses, strict=True)
    return build_surface(renderings, CAMERA, SPACING_M)


def square(color, distance_m):
    """Return a square of points, one square meter, in front of a camera at the origin."""
    x, y = np.meshgrid(np.arange(-0.5, 0.5, SPACING_M), np.arange(-0.5, 0.5, SPACING_M))
    points = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, distance_m)])
    return np.zeros(3), points.astype(np.float32), np.tile(np.array(color, np.uint8), (x.size, 1))


def test_points_lie_on_the_surfaces_one_to_a_cell(surface):
    assert len(surface) > 5000
    assert np.median(distance_to_surface(surface.origin_m + surface.points)) < 0.002
    cells = np.floor((surface.origin_m + surface.points) / SPACING_M)
    # Walls lie on cell borders: the mean of one cell may fall into the next.
    assert len(np.unique(cells, axis=0)) > 0.75 * len(surface)


def test_a_rendering_from_a_new_pose_resembles_the_room(surface):
    pose = walk(16)[3] @ make_pose(None, [0.1, 0.0, 0.1])
    rendered, exact = surface.render(pose, SMALL), SmallRoom().render(pose[None], SMALL)[0]
    assert rendered.opacity.mean() > 0.9
    known = rendered.depth > 0
    assert np.median(np.abs(rendered.depth - exact.depth)[known]) < 0.03
    assert ncc_similarity(exact.rgb, rendered) > 0.7
    other_view = surface.render(pose @ make_pose(None, [0.3, 0.0, 0.0]), SMALL)
    assert ncc_similarity(exact.rgb, other_view) < 0.4


def test_a_near_square_occludes_a_far_one():
    near, far = square((255, 0, 0), 1.0), square((0, 255, 0), 2.0)
    for order in ((near, far), (far, near)):
        _, points, colors = (np.concatenate(parts) for parts in zip(*order, strict=True))
        view = Surface(np.zeros(3), points, colors).render(np.eye(4), SMALL)
        row, column = SMALL.height // 2, SMALL.width // 2
        assert view.rgb[row, column].tolist() == [255, 0, 0]
        assert view.depth[row, column] == pytest.approx(1.0)
        assert view.opacity[row, column] == 1.0


def test_a_square_has_no_holes_and_a_sharp_outline():
    view = Surface(*square((9, 9, 9), 0.5)).render(np.eye(4), SMALL)
    assert view.opacity.all()
    view = Surface(*square((9, 9, 9), 4.0)).render(np.eye(4), SMALL)
    inside = np.abs(SMALL.rays()[..., :2]).max(axis=-1) < 0.10
    outside = np.abs(SMALL.rays()[..., :2]).max(axis=-1) > 0.16
    assert view.opacity[inside].all() and not view.opacity[outside].any()


def test_points_behind_the_camera_are_not_rendered():
    view = Surface(*square((9, 9, 9), -1.0)).render(np.eye(4), SMALL)
    assert not view.opacity.any() and not view.depth.any()


def test_the_rendering_does_not_depend_on_the_map_origin(surface):
    pose, move = walk(16)[3], make_pose(None, [4.5e5, 5.4e6, 100.0])
    moved = replace(surface, origin_m=surface.origin_m + move[:3, 3])
    rendered, rendered_moved = surface.render(pose, SMALL), moved.render(move @ pose, SMALL)
    assert np.mean(rendered.rgb != rendered_moved.rgb) < 0.01


def test_an_empty_surface_is_transparent():
    empty = build_surface([], CAMERA, SPACING_M)
    assert len(empty) == 0 and not empty.render(np.eye(4), SMALL).opacity.any()


def test_a_surface_is_equal_after_saving_and_loading(surface, tmp_path):
    surface.save(tmp_path / 'surface.safetensors')
    loaded = Surface.load(tmp_path / 'surface.safetensors')
    np.testing.assert_array_equal(loaded.points, surface.points)
    np.testing.assert_array_equal(loaded.colours, surface.colours)


def test_a_malformed_or_missing_surface_is_an_error(tmp_path):
    (tmp_path / 'surface.safetensors').write_bytes(b'12345678')
    with pytest.raises(MapError, match='surface'):
        Surface.load(tmp_path / 'surface.safetensors')
    with pytest.raises(MapError, match='surface'):
        Surface.load(tmp_path / 'missing.safetensors')
