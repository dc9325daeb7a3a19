"""An image is localized in the room that it shows, in the frame of the building, or rejected."""

from dataclasses import replace
from pathlib import Path
import shutil

import numpy as np
import pytest
from rooms import render_box_room, walk
from small_map import CAMERA
from twin_rooms import join_rooms, other_map, render_without

import nerf_reversal_ros
from nerf_reversal_ros.building import building_localizer
from nerf_reversal_ros.building.building_localizer import BuildingLocalizer
from nerf_reversal_ros.building.seen_sides import render_seen_sides, seen_sides
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.geometry import FloatArray, inverse, pose_distance, rotate_covariance
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection
from nerf_reversal_ros.localization import image_queries
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.building_folder import Building, open_building
from nerf_reversal_ros.maps.map_folder import Map

CONFIG = LocalizerConfig(device='cpu')
POSES = walk(37)
SHOWN = {'east': 0, 'west': 1}
"""Box that is missing in each twin."""
TOLD_APART = 9
"""Image that shows the box in which the twins differ."""
ALIKE = 3
"""Image of what the twins have in common."""


def seen_sides_of(map_: Map) -> FloatArray:
    return seen_sides(Surface.of_map(map_), map_.mapping_poses, map_.camera)


def image(room: str, number: int) -> np.ndarray:
    return render_without(POSES[number], CAMERA, SHOWN[room])


@pytest.mark.parametrize(
    ('room', 'number'), [('east', TOLD_APART), ('west', TOLD_APART), ('east', 33), ('west', 15)]
)
def test_twin_rooms_are_told_apart_by_what_differs(
    flat_localizer: BuildingLocalizer, placement: FloatArray, room: str, number: int
) -> None:
    outcome = flat_localizer.localize(image(room, number), CAMERA)
    assert isinstance(outcome, PoseEstimate), outcome.detail
    assert outcome.diagnostics.room == room == flat_localizer.present_room
    assert outcome.diagnostics.frame == {'east': 'map', 'west': 'west'}[room]
    expected = {'east': placement, 'west': np.eye(4)}[room] @ POSES[number]
    assert pose_distance(outcome.map_from_camera, expected)[0] < 0.03
    assert outcome.diagnostics.scores['room_score'] > 0.1


def test_what_the_twins_have_in_common_is_ambiguous(flat_localizer: BuildingLocalizer) -> None:
    outcome = flat_localizer.localize(image('east', ALIKE), CAMERA)
    assert isinstance(outcome, Rejection) and outcome.reason == 'ambiguous view'
    assert 'east' in outcome.detail and 'west' in outcome.detail


def test_the_expected_pose_decides_between_twins(
    flat_localizer: BuildingLocalizer, placement: FloatArray
) -> None:
    for room, building_from_room in (('east', placement), ('west', np.eye(4))):
        first = flat_localizer.localize(image(room, TOLD_APART), CAMERA)
        assert first.diagnostics.room == room
        expected = building_from_room @ POSES[ALIKE]
        outcome = flat_localizer.localize(image(room, ALIKE), CAMERA, expected_pose=expected)
        assert isinstance(outcome, PoseEstimate), outcome
        assert outcome.diagnostics.room == room


def test_the_room_of_an_expected_pose_is_that_which_tracking_tells(
    flat_localizer: BuildingLocalizer, placement: FloatArray
) -> None:
    for told in ('east', 'west'):
        outcome = flat_localizer.localize(image('west', TOLD_APART), CAMERA)
        assert outcome.diagnostics.room == 'west' == flat_localizer.present_room
        expected = (placement if told == 'east' else np.eye(4)) @ POSES[ALIKE]
        outcome = flat_localizer.localize(
            image('west', ALIKE), CAMERA, expected_pose=expected, expected_room=told
        )
        assert isinstance(outcome, PoseEstimate) and outcome.diagnostics.room == told, outcome


def test_pose_and_covariance_are_those_of_the_room_in_the_frame_of_the_building(
    flat: Building, room_maps: dict[str, Map], placement: FloatArray
) -> None:
    alone = room_maps['east'].localizer(CONFIG).localize(image('east', 9), CAMERA)
    localizer = flat.localizer(CONFIG)  # has seen no other image
    placed = localizer.localize(image('east', 9), CAMERA)
    localizer.close()
    assert isinstance(alone, PoseEstimate) and isinstance(placed, PoseEstimate)
    np.testing.assert_allclose(placed.map_from_camera, placement @ alone.map_from_camera)
    rotated = rotate_covariance(alone.covariance, placement)
    np.testing.assert_allclose(placed.covariance, rotated, atol=1e-12)
    points = placed.diagnostics.inlier_points
    in_camera = inverse(placed.map_from_camera) @ np.column_stack([points, np.ones(len(points))]).T
    assert in_camera[2].min() > 0  # they are in front of the camera


def test_keypoints_are_detected_once_for_all_rooms(
    flat_localizer: BuildingLocalizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes, make_query = [], image_queries.make_query

    def count(rgb, camera, size, detector):
        sizes.append(size)
        return make_query(rgb, camera, size, detector)

    monkeypatch.setattr(image_queries, 'make_query', count)
    flat_localizer.localize(image('west', 9), CAMERA)
    flat_localizer.localize(render_box_room(POSES[9], CAMERA, paint=99)[0], CAMERA)
    assert sorted(sizes) == [320, 320, 640, 640]


def test_an_image_of_no_room_is_rejected(flat_localizer: BuildingLocalizer) -> None:
    outcome = flat_localizer.localize(render_box_room(POSES[9], CAMERA, paint=99)[0], CAMERA)
    assert isinstance(outcome, Rejection) and outcome.diagnostics.room is not None
    blank = np.full((CAMERA.height, CAMERA.width, 3), 90, np.uint8)
    assert flat_localizer.localize(blank, CAMERA).reason == 'low contrast'


def test_the_closest_rooms_are_tried_up_to_a_limit(
    flat_localizer: BuildingLocalizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(building_localizer, 'MAX_ROOMS', 1)
    outcome = flat_localizer.localize(image('east', 9), CAMERA)
    assert outcome.diagnostics.room == 'east'


def test_the_camera_of_an_image_without_intrinsics_is_found(
    flat_localizer: BuildingLocalizer,
) -> None:
    camera = CAMERA.scaled_to(640, 480)
    rgb = render_without(POSES[9], camera, SHOWN['west'])
    (found,) = flat_localizer.localize_all([rgb])
    assert found.outcome.diagnostics.room in SHOWN
    assert found.camera is not None and found.camera.fx == pytest.approx(camera.fx, rel=0.05)


def test_rooms_are_loaded_beside_the_images_that_do_not_wait(flat: Building) -> None:
    localizer = flat.localizer(replace(CONFIG, memory_limit_mb=1000), wait=False)
    localizer.rooms.localizer('east')
    first = localizer.localize(image('west', 9), CAMERA)
    assert isinstance(first, Rejection), first
    assert first.reason == 'room not loaded' and 'is being loaded' in first.detail
    for name in ('west', 'hall'):
        localizer.rooms.localizer(name)  # waits until the thread has loaded it
    assert localizer.localize(image('west', 9), CAMERA).diagnostics.room == 'west'
    localizer.close()


def test_memory_stays_within_the_limit_on_a_walk_through_the_rooms(flat: Building) -> None:
    one_mb = flat.localizer(CONFIG).rooms.nbytes / 1e6
    limit_mb = int(2.5 * one_mb)
    localizer = flat.localizer(replace(CONFIG, memory_limit_mb=limit_mb))
    for room in ('east', 'west', 'east'):
        assert localizer.localize(image(room, 9), CAMERA).diagnostics.room == room
        assert 0 < localizer.rooms.nbytes <= limit_mb * 1e6
    localizer.close()


def test_a_damaged_twin_makes_no_wrong_room(room_maps: dict[str, Map], tmp_path: Path) -> None:
    maps = {}
    for name in ('east', 'west'):
        shutil.copytree(room_maps[name].path, tmp_path / name)
        maps[name] = replace(room_maps[name], path=tmp_path / name)
    building = join_rooms(tmp_path / 'flat', maps)
    (tmp_path / 'west' / 'regressor.safetensors').unlink()
    localizer = open_building(building.path).localizer(CONFIG)
    outcome = localizer.localize(image('west', 9), CAMERA)
    assert isinstance(outcome, Rejection) and outcome.reason == 'room not loaded'
    assert 'west' in outcome.detail and 'cannot be opened' in outcome.detail
    localizer.close()


def test_a_building_without_a_usable_room_is_told(small_map: Map, tmp_path: Path) -> None:
    building = join_rooms(tmp_path / 'flat', {'a': other_map(small_map, tmp_path / 'a', 1)})
    (tmp_path / 'a' / 'atlas.safetensors').unlink()
    with pytest.raises(MapError, match=r'no room of the building .* lacks its file atlas'):
        building.localizer(CONFIG)


def test_the_public_function_opens_a_map_or_a_building(flat: Building, small_map: Map) -> None:
    opened = nerf_reversal_ros.open_map(flat.path)
    assert isinstance(opened, Building) and opened.frames == ['map', 'west']
    assert nerf_reversal_ros.open_map(str(small_map.path)) == small_map


def test_doubt_about_twins_is_not_settled_by_a_pose_that_tracking_does_not_expect(
    flat_localizer: BuildingLocalizer, placement: FloatArray
) -> None:
    first = flat_localizer.localize(image('east', TOLD_APART), CAMERA)
    assert first.diagnostics.room == 'east'
    expected = placement @ POSES[TOLD_APART]  # in east, and the image shows west
    outcome = flat_localizer.localize(image('west', TOLD_APART), CAMERA, expected_pose=expected)
    assert isinstance(outcome, Rejection), outcome.diagnostics.room
    assert outcome.reason == 'ambiguous view'


def test_a_surface_that_is_seen_from_behind_counts_as_not_covered(
    room_maps: dict[str, Map],
) -> None:
    east = room_maps['east'].localizer(CONFIG)
    surface, sides = east.surface, seen_sides_of(room_maps['east'])
    shown = render_seen_sides(surface, sides, POSES[9], CAMERA.downscaled_to(96))
    outside = POSES[9].copy()
    outside[:3, 3] += 6.0 * POSES[9][:3, :3] @ np.array([0.0, 0.0, -1.0])  # behind the wall
    hidden = render_seen_sides(surface, sides, outside, CAMERA.downscaled_to(96))
    through = surface.render(outside, CAMERA.downscaled_to(96))
    assert shown.opacity.mean() > 0.9
    assert through.opacity.sum() > 4 * hidden.opacity.sum() > 0  # gaps show far walls
