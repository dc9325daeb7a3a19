"""Rendering, occupancy and storage of voxel fields with exact ground truth."""

import zlib

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
import torch
from voxel_walls import AHEAD, CAMERA, MIDDLE, ORIGIN, RED, VOXEL_M, wall_field, WALL_M

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.geometry import look_at
from nerf_reversal_ros.fields import voxel
from nerf_reversal_ros.fields.base import Occupancy
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_io import (
    BRICK,
    COLOR_STEP,
    EMPTY_LOG_DENSITY,
    LOG_DENSITY_STEP,
)

FIELD = wall_field()


def trace(origin, direction):
    """Render one ray from a point of the map: color, depth, opacity."""
    origins = torch.tensor(np.atleast_2d(origin - ORIGIN)).float()
    rgb, depth, opacity = FIELD.trace(origins, torch.tensor(np.atleast_2d(direction)).float())
    return rgb[0].numpy(), float(depth[0]), float(opacity[0])


@pytest.mark.parametrize('seed', range(8))
def test_a_wall_is_rendered_at_its_position_from_any_pose(seed):
    rng = np.random.default_rng(seed)
    eye = rng.uniform((-0.3, -0.8, -0.8), (1.6, 0.8, 0.8))
    pose = look_at(eye, np.array([WALL_M, *rng.uniform(-0.5, 0.5, 2)]))
    (view,) = FIELD.render(pose[None], CAMERA)
    points = (CAMERA.rays() * view.depth[..., None]) @ pose[:3, :3].T + pose[:3, 3]
    hit = CAMERA.rays() @ pose[:3, :3].T
    distance = (WALL_M - eye[0]) / hit[..., 0]
    on_wall = eye + distance[..., None] * hit
    facing = hit[..., 0] / np.linalg.norm(hit, axis=-1) > 0.5
    inner = facing & (distance > 0) & (np.abs(on_wall[..., 1:]) < 1.0).all(-1)
    assert inner.mean() > 0.1
    assert np.abs(points[inner][:, 0] - WALL_M).max() < VOXEL_M / 2
    assert view.opacity[inner].min() > 0.99
    assert np.abs(view.rgb[inner] - 255 * RED).max() <= 2


def test_a_painted_wall_is_rendered_in_its_colors():
    def stripes(points):
        return np.stack([0.5 + 0.25 * points[..., i] for i in (1, 2, 1)], axis=-1)

    pose = look_at(MIDDLE, MIDDLE + AHEAD)
    (view,) = wall_field(stripes).render(pose[None], CAMERA)
    on_wall = CAMERA.rays() @ pose[:3, :3].T * (WALL_M - MIDDLE[0])
    assert np.abs(view.rgb / 255 - stripes(on_wall)).max() < 0.25 * VOXEL_M / 2


def test_rays_through_empty_space_have_the_background_color():
    pose = look_at(MIDDLE, MIDDLE - AHEAD)
    (view,) = FIELD.render(pose[None], CAMERA)
    assert np.all(view.opacity == 0) and np.all(view.depth == 0)
    assert np.all(view.rgb == 64)


def test_an_empty_field_renders_as_background():
    empty = VoxelField(
        ORIGIN,
        VOXEL_M,
        torch.zeros(2, 2, 2, dtype=torch.int32),
        torch.zeros(1, BRICK, BRICK, BRICK, dtype=torch.int32),
        torch.tensor([[EMPTY_LOG_DENSITY, 0.5, 0.5, 0.5]]),
        torch.zeros(2, 2, 2, dtype=torch.bool),
    )
    (view,) = empty.render(np.eye(4)[None], CAMERA)
    assert np.all(view.opacity == 0) and np.all(view.rgb == 128)


def test_depth_of_some_pixels_is_that_of_the_whole_view():
    pose = look_at(MIDDLE, np.array([2.0, 0.1, 0.2]))
    (view,) = FIELD.render(pose[None], CAMERA)
    chosen = np.random.default_rng(0).random(view.depth.shape) < 0.3
    depth = FIELD.render_depth(pose, CAMERA, chosen)
    np.testing.assert_allclose(depth, np.where(chosen, view.depth, 0), atol=1e-5)
    assert (depth > 0).any() and not FIELD.render_depth(pose, CAMERA, chosen & False).any()


def test_views_do_not_depend_on_the_batch_size(monkeypatch):
    eyes = np.random.default_rng(0).uniform(-0.3, 0.9, (7, 3))
    poses = np.array([look_at(eye, np.array([2.0, 0.1, 0.2])) for eye in eyes])
    together = FIELD.render(poses, CAMERA)
    monkeypatch.setattr(voxel, 'RAYS_PER_BATCH', 2 * CAMERA.width * CAMERA.height)
    for batched, single in zip(together, FIELD.render(poses, CAMERA), strict=True):
        np.testing.assert_array_equal(batched.rgb, single.rgb)
        np.testing.assert_array_equal(batched.depth, single.depth)
    assert FIELD.render(np.empty((0, 4, 4)), CAMERA) == []


@pytest.mark.parametrize('zero', [0.0, -0.0])
def test_rays_parallel_to_the_axes_are_traced(zero):
    assert trace(MIDDLE, [1.0, zero, zero])[1] == pytest.approx(WALL_M - 1, abs=VOXEL_M / 2)
    for direction in ([-1, zero, zero], [zero, 1, zero], [zero, -1, zero], [zero, zero, 1]):
        rgb, depth, opacity = trace(MIDDLE, direction)
        assert (depth, opacity) == (0, 0)
        assert rgb == pytest.approx([0.25] * 3)


def test_a_ray_in_the_plane_between_two_voxels_hits_the_wall():
    on_corners = np.array([0.0, -1.2 + 4 * VOXEL_M * BRICK / 2, -1.2 + 8 * VOXEL_M])
    assert trace(on_corners, [1.0, 0.0, 0.0])[1] == pytest.approx(WALL_M, abs=VOXEL_M / 2)


def test_a_ray_from_outside_the_grid_enters_it():
    assert trace([-5.0, 0, 0], [1, 0, 0])[1] == pytest.approx(5 + WALL_M, abs=VOXEL_M / 2)
    assert trace([-5.0, 0, 0], [-1, 0, 0])[2] == 0
    assert trace([-5.0, 0, 0], [0, 1, 0])[2] == 0
    behind = trace([9.0, 0, 0], [-1, 0, 0])[1]
    assert behind == pytest.approx(9 - WALL_M - 0.5, abs=VOXEL_M / 2)


@pytest.mark.parametrize('far_m', [3e3, 1e5, 1e7])
def test_rendering_from_far_away_terminates(far_m):
    eye = np.array([-far_m, 0.31 * far_m, 0.17 * far_m])
    (view,) = FIELD.render(look_at(eye, np.zeros(3))[None], Camera(9, 9, 4e4, 4e4, 4, 4))
    assert np.all(np.isfinite(view.depth)) and view.opacity.max() <= 1


def test_rendering_at_a_nan_pose_terminates():
    nan_pose = np.eye(4)
    nan_pose[0, 3] = np.nan
    (view,) = FIELD.render(nan_pose[None], CAMERA)
    assert np.all(np.isfinite(view.depth))


def test_a_camera_inside_the_wall_renders_it_at_zero_distance():
    pose = look_at(np.array([WALL_M + 0.25, 0.0, 0.0]), np.array([5.0, 0.3, 0.2]))
    (view,) = FIELD.render(pose[None], CAMERA)
    assert view.opacity.min() > 0.99
    assert 0 < view.depth.min() and view.depth.max() < 2 * VOXEL_M
    assert np.abs(view.rgb - 255 * RED).max() <= 2


def test_depth_is_in_lengths_of_the_direction_and_along_the_optical_axis():
    assert trace(MIDDLE, [2.0, 0.0, 0.0])[1] == pytest.approx((WALL_M - 1) / 2, abs=VOXEL_M / 4)
    pose = look_at(MIDDLE, MIDDLE + AHEAD)
    (view,) = FIELD.render(pose[None], CAMERA)
    assert np.abs(view.depth - (WALL_M - 1)).max() < VOXEL_M / 2


def test_occupancy_is_occupied_free_or_unknown():
    points = np.array(
        [[WALL_M + 0.2, 0, 0], [0.5, 0.3, 0.2], [2.75, 0, 0], [0, 0, 5], [-9, 0, 0]], float
    )
    occupancy = FIELD.occupancy(points)
    expected = [
        Occupancy.OCCUPIED,
        Occupancy.FREE,
        Occupancy.UNKNOWN,
        Occupancy.UNKNOWN,
        Occupancy.UNKNOWN,
    ]
    assert [Occupancy(value) for value in occupancy] == expected
    assert FIELD.occupancy(np.empty((0, 3))).shape == (0,)


def test_a_saved_field_renders_the_same(tmp_path):
    FIELD.save(tmp_path / 'field')
    again = VoxelField.load(tmp_path / 'field')
    poses = np.array([look_at(MIDDLE, np.array([2.0, y, 0.2])) for y in (-1.0, 0.3)])
    for before, after in zip(
        FIELD.render(poses, CAMERA), again.render(poses, CAMERA), strict=True
    ):
        assert np.abs(before.rgb.astype(int) - after.rgb).max() <= 1
        assert np.abs(before.depth - after.depth).max() < 0.01 * VOXEL_M
        assert np.abs(before.opacity - after.opacity).max() < 0.01
    points = np.random.default_rng(0).uniform(-1.5, 3, (500, 3))
    np.testing.assert_array_equal(FIELD.occupancy(points), again.occupancy(points))
    assert (tmp_path / 'field').stat().st_size < 20 * len(FIELD.values)


@pytest.mark.parametrize('fraction', [0.0, 0.001, 0.3, 0.999])
def test_a_truncated_file_raises_a_map_error(tmp_path, fraction):
    file = tmp_path / 'field.safetensors'
    FIELD.save(file)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(MapError, match=r'field.safetensors .*build'):
        VoxelField.load(file)


def test_a_file_without_a_field_raises_a_map_error(tmp_path):
    with pytest.raises(MapError, match='no_such_file'):
        VoxelField.load(tmp_path / 'no_such_file')
    with pytest.raises(MapError, match=r'is not a voxel field'):
        VoxelField.load(tmp_path)
    save_file({'weights': torch.zeros(3)}, tmp_path / 'other')
    with pytest.raises(MapError, match=r'other is not a voxel field.*build it again'):
        VoxelField.load(tmp_path / 'other')


@pytest.mark.parametrize(
    'change',
    [
        {'values': torch.zeros(5, 4)},
        {'values': torch.zeros(0, 4)},
        {'values': torch.zeros(7)},
        {'grid': torch.tensor([3, 3])},
        {'grid': torch.tensor([1 << 40, 3, 3])},
        {'grid': torch.tensor([-8, 6, 6])},
        {'bricks': torch.zeros(4, dtype=torch.int64) - 1},
        {'corners': torch.zeros(3, dtype=torch.uint8)},
        {'seen_free': torch.zeros(1, dtype=torch.uint8)},
        {'background': torch.zeros(4)},
        {'origin_m': torch.zeros(2, dtype=torch.float64)},
        {'voxel_m': torch.tensor(0.0, dtype=torch.float64)},
    ],
    ids=lambda change: '{} {}'.format(*next(iter(change.items()))).split('\n')[0][:40],
)
def test_arrays_of_inconsistent_shapes_raise_a_map_error(tmp_path, change):
    file = tmp_path / 'field.safetensors'
    save_file({**arrays_of_older_versions(tmp_path), **change}, file)
    with pytest.raises(MapError, match=r'field.safetensors is damaged'):
        VoxelField.load(file)


def arrays_of_older_versions(tmp_path):
    """Return what older versions stored: corners uncompressed, values in half precision."""
    FIELD.save(tmp_path / 'new')
    stored = load_file(tmp_path / 'new')
    del stored['corners.zlib'], stored['codes.zlib']
    occupied = (FIELD.corner_index[1:] > 0).numpy()
    return {
        **stored,
        'corners': torch.from_numpy(np.packbits(occupied.reshape(-1))),
        'values': FIELD.values.half(),
    }


def test_a_field_of_an_older_version_renders_the_same(tmp_path):
    file = tmp_path / 'field.safetensors'
    save_file(arrays_of_older_versions(tmp_path), file)
    pose = look_at(MIDDLE, np.array([2.0, 0.3, 0.2]))[None]
    (original,), (loaded,) = (f.render(pose, CAMERA) for f in (FIELD, VoxelField.load(file)))
    assert np.abs(loaded.rgb.astype(int) - original.rgb).max() <= 1
    assert np.abs(loaded.depth - original.depth).max() < 0.1 * VOXEL_M


@pytest.mark.parametrize('name', ['corners.zlib', 'codes.zlib'])
def test_compressed_arrays_that_are_damaged_raise_a_map_error(tmp_path, name):
    file = tmp_path / 'field.safetensors'
    FIELD.save(file)
    stored = load_file(file)
    data = stored[name].numpy().tobytes()
    shorter, huge = zlib.compress(zlib.decompress(data)[1:]), zlib.compress(bytes(9**7))
    for damaged in (data[:1], data[:-9], data[::-1], shorter, huge):
        array = torch.frombuffer(bytearray(damaged), dtype=torch.uint8)
        save_file({**stored, name: array}, file)
        with pytest.raises(MapError, match=r'field.safetensors is not a voxel field'):
            VoxelField.load(file)


def test_values_have_8_bits_in_a_file(tmp_path):
    FIELD.save(tmp_path / 'field')
    loaded = VoxelField.load(tmp_path / 'field')
    difference = (loaded.values - FIELD.values).abs().amax(0)
    assert float(difference[0]) <= LOG_DENSITY_STEP / 2 + 1e-6
    assert float(difference[1:].max()) <= COLOR_STEP / 2 + 1e-6
    loaded.save(tmp_path / 'again')
    assert (tmp_path / 'again').read_bytes() == (tmp_path / 'field').read_bytes()


def test_a_copy_on_another_device_renders_the_same():
    pose = look_at(MIDDLE, np.array([2.0, 0.3, 0.2]))[None]
    copy = FIELD.to(torch.device('cpu'))
    (original,), (copied,) = (field.render(pose, CAMERA) for field in (FIELD, copy))
    np.testing.assert_array_equal(copied.rgb, original.rgb)
