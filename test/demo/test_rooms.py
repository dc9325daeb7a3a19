"""The rooms of the renderer: what is in them, and where the camera goes. No Mitsuba is needed."""

from functools import cache

import numpy as np
import pytest
from scipy.spatial import cKDTree

from demo.room import Room
from demo.rooms.table import LEFT_OUT, ROOMS
from demo.shapes import panel
from nerf_reversal_ros.core.geometry import pose_errors

NEW = [name for name in ROOMS if name != 'demo']
CLEARANCE_M = 0.15
"""A hand-held camera is not nearer to a thing: else it would see into it."""
SMALLEST_FREE_M = 0.25
"""From walls, floor and ceiling, except for a close-up."""


@cache
def filmed_poses(name: str, recording: str) -> np.ndarray:
    """Return room_from_camera (N, 4, 4) of a recording, computed once for all tests."""
    return ROOMS[name].recordings[recording].trajectory().room_from_camera


def view_deg(name: str) -> float:
    """Return the field of view along the longer side."""
    camera = ROOMS[name].camera
    return float(np.degrees(2 * np.arctan(max(camera.width, camera.height) / camera.fx / 2)))


@pytest.fixture(scope='module', params=NEW)
def furnished(request) -> tuple[str, Room]:
    return request.param, ROOMS[request.param].build()


def test_the_camera_keeps_clear_of_all_things(furnished):
    name, room = furnished
    things = cKDTree(np.concatenate([part.mesh.vertices for part in room.parts]))
    for recording in ROOMS[name].recordings:
        distance_m, _ = things.query(filmed_poses(name, recording)[:, :3, 3])
        assert distance_m.min() > CLEARANCE_M


def test_a_room_holds_everything_that_is_in_it(furnished):
    _, room = furnished
    vertices = np.concatenate([part.mesh.vertices for part in room.parts])
    assert (vertices > -0.05).all()
    assert (vertices < np.array(room.size_m) + 0.05).all()


def test_each_light_that_a_recording_names_is_in_the_room(furnished):
    name, room = furnished
    lights = {part.key.rsplit('_', 1)[0] for part in room.parts if part.is_light}
    for recording in ROOMS[name].recordings.values():
        assert recording.lighting.keys() == lights


@pytest.mark.parametrize('name', NEW)
def test_the_camera_stays_in_the_room(name):
    spec = ROOMS[name]
    for recording in spec.recordings:
        positions = filmed_poses(name, recording)[:, :3, 3]
        assert (positions > SMALLEST_FREE_M).all()
        assert (positions < np.array(spec.size_m) - SMALLEST_FREE_M).all()


@pytest.mark.parametrize('name', NEW)
def test_each_query_image_shows_what_the_mapping_capture_saw(name):
    """Half of the view of a query image, or more, is that of a mapping image near it."""
    spec = ROOMS[name]
    mapping, query = filmed_poses(name, 'walk'), filmed_poses(name, 'test')
    offset = query[:, None, :3, 3] - mapping[None, :, :3, 3]
    cosine = np.einsum('qi,mi->qm', query[:, :3, 2], mapping[:, :3, 2])
    near = np.linalg.norm(offset, axis=-1) < 0.2 * max(spec.size_m)
    overlap = near & (cosine > np.cos(np.radians(view_deg(name) / 2)))
    assert overlap.any(axis=1).all()


@pytest.mark.parametrize('name', NEW)
def test_a_query_pose_is_not_a_mapping_pose(name):
    mapping, query = filmed_poses(name, 'walk'), filmed_poses(name, 'test')
    same = 0
    for pose in query:
        errors = pose_errors(np.broadcast_to(pose, mapping.shape), mapping)
        same += bool(((errors.translation < 0.02) & (errors.rotation < np.radians(1))).any())
    assert same == 0


@pytest.mark.parametrize('name', NEW)
def test_light_and_camera_settings_differ_between_the_captures(name):
    walk, test = (ROOMS[name].recordings[key] for key in ('walk', 'test'))
    assert walk.lighting != test.lighting
    assert walk.color != test.color
    assert walk.tracker is not None and test.tracker is None  # the poses of queries are true
    assert 120 <= walk.frame_count <= 200 and 40 <= test.frame_count <= 60


def test_close_up_is_an_arm_s_length_from_the_boards():
    spec = ROOMS['close_up']
    for recording in spec.recordings:
        positions = filmed_poses('close_up', recording)[:, 1, 3]
        distance_m = spec.size_m[1] - 0.03 - positions  # the boards are 3 cm off the wall
        assert 0.2 < distance_m.min() and distance_m.max() < 0.5


def test_the_rooms_differ_in_camera_and_size():
    views = sorted(view_deg(name) for name in NEW)
    assert views[0] == pytest.approx(50) and views[-1] == pytest.approx(90)
    shapes = {(ROOMS[name].camera.width, ROOMS[name].camera.height) for name in NEW}
    assert {(424, 240), (640, 480), (360, 480)} <= shapes
    assert max(ROOMS[name].size_m[0] for name in NEW) == 15.0
    assert set(LEFT_OUT) < set(NEW)


def test_a_thing_hangs_on_the_inner_side_of_each_wall():
    room = Room((4.0, 3.0, 2.5), seed=1)
    for wall in ('south', 'north', 'west', 'east'):
        room.hang('sheet', panel(0.5, 0.5), (1, 1, 1), wall, 1.0, 1.2, gap=0.01)
    centers = [part.mesh.vertices.mean(axis=0) for part in room.parts]
    expected = [(1.0, 0.01, 1.2), (1.0, 2.99, 1.2), (0.01, 1.0, 1.2), (3.99, 1.0, 1.2)]
    assert np.array(centers) == pytest.approx(np.array(expected))


def test_what_is_placed_is_rotated_first_and_then_moved():
    room = Room((4.0, 3.0, 2.5), seed=1)
    with room.placed(2.0, 1.0, 90.0):
        room.add('sheet', panel(0.1, 0.1).translate(0.5, 0.0), (1, 1, 1))
    room.add('sheet', panel(0.1, 0.1), (1, 1, 1))
    assert room.parts[0].mesh.vertices.mean(axis=0) == pytest.approx([2.0, 1.5, 0.0])
    assert room.parts[1].mesh.vertices.mean(axis=0) == pytest.approx([0.0, 0.0, 0.0])
