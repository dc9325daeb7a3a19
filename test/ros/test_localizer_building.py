"""Localizer node over DDS with a building: rooms, their frames, and swaps with a map."""

import contextlib
import shutil

import cv2
from diagnostic_msgs.msg import DiagnosticArray
from localizer_rig import ACTIVE, LocalizerRig
from nav_msgs.msg import Path as PathMessage
import numpy as np
import pytest
from rooms import walk
from ros_rig import camera_info, compressed_image, Process, wait_until
from sensor_msgs.msg import Image, PointCloud2
from small_map import CAMERA
from std_srvs.srv import Trigger
from twin_rooms import render_without

from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.geometry import make_pose, pose_distance, transform_points
from nerf_reversal_ros.core.outcome import Diagnostics
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.msg import MapDescription
from nerf_reversal_ros.ros.conversions import matrix_from_pose
from nerf_reversal_ros.ros.map_display import MapDisplayData
from nerf_reversal_ros.ros.node_runner import LATCHED_QOS
from nerf_reversal_ros.srv import LoadMap, Localize

POSES = walk(37)
LACKS = {'east': 0, 'west': 1}
"""Box that is missing in each twin."""
TOLD_APART, ALIKE = 9, 3
"""Images of what differs between the twins, and of what they have in common."""


@pytest.fixture(scope='module')
def running(flat_folder):
    """Return one localizer of the building for several tests."""
    parameters = {'map_dir': flat_folder / 'flat', 'autostart': True, 'reliability': 'reliable'}
    with Process('localizer', '-r', '__ns:=/flat', '-r', '/tf:=tf', **parameters) as process:
        process.wait_for_output(ACTIVE, timeout=60)
        yield process


@pytest.fixture
def rig(running):
    with contextlib.closing(LocalizerRig('/flat')) as rig:
        assert rig.call(Trigger, 'localizer/reset').success
        rig.publish('camera_info', info())
        yield rig


def info():
    message = camera_info((CAMERA.width, CAMERA.height), CAMERA.fx)
    message.k[2], message.k[5] = CAMERA.cx, CAMERA.cy
    return message


def image(room, number, second=1, nanosec=0):
    message = compressed_image(second=second)
    message.header.stamp.nanosec = nanosec
    bgr = render_without(POSES[number], CAMERA, LACKS[room])[..., ::-1]
    message.data = cv2.imencode('.png', bgr)[1].tobytes()
    return message


def localize(rig, room, number=TOLD_APART, second=1, nanosec=0):
    """Show an image until the rooms that it needs are loaded; return status and pose."""
    message = image(room, number, second, nanosec)

    def is_loaded():
        return rig.localize(message).reason != 'room not loaded'

    assert wait_until(is_loaded)
    status = rig.statuses[-1]
    if status.accepted:
        assert wait_until(lambda: rig.poses and rig.poses[-1].header.stamp == status.header.stamp)
    return status, rig.poses[-1] if rig.poses else None


def of_image(pose, messages):
    """Return the last of some messages, once it is that of the image of a pose."""
    assert wait_until(lambda: messages and messages[-1].header.stamp == pose.header.stamp)
    return messages[-1]


def latest(rig, kind, topic):
    messages = rig.collect(kind, topic, LATCHED_QOS)
    assert wait_until(lambda: messages), f'nothing on {topic}'
    return messages[-1]


def load(rig, folder):
    return rig.call(LoadMap, 'localizer/load_map', map_dir=str(folder))


def test_poses_of_a_placed_room_are_in_map_and_those_of_another_below_it(rig, placement):
    paths = rig.collect(PathMessage, 'localizer/path')
    debug_images = rig.collect(Image, 'localizer/debug_image')
    rig.wait_for_discovery_by('/flat/localizer')
    for second, room, building_from_room, frame in (
        (1, 'east', placement, 'map'),
        (9, 'west', np.eye(4), 'map/west'),
    ):
        status, pose = localize(rig, room, second=second)
        assert status.accepted and status.room == room, (status.reason, status.detail)
        assert pose.header.frame_id == frame
        expected = building_from_room @ POSES[TOLD_APART]
        assert pose_distance(matrix_from_pose(pose.pose), expected)[0] < 0.03
        path = of_image(pose, paths)
        assert [each.header.frame_id for each in path.poses] == [frame]
        debug_image = rgb_from_message(of_image(pose, debug_images)).astype(float)
        query, rendering = np.hsplit(debug_image, 2)
        assert np.corrcoef(query.ravel(), rendering.ravel())[0, 1] > 0.5


def test_tracking_decides_between_twins_in_a_frame_of_their_own(rig):
    for second, room in ((1, 'east'), (9, 'west')):
        assert localize(rig, room, second=second)[0].room == room
        for number in range(TOLD_APART - 1, ALIKE - 1, -1):
            nanosec = (TOLD_APART - number) * 100_000_000
            status, _ = localize(rig, room, number, second, nanosec)
        assert status.accepted and status.room == room, (status.reason, status.detail)
    status, _ = localize(rig, 'east', ALIKE, second=30)
    assert status.reason == 'ambiguous view'  # without an expected pose


def test_displays_show_the_placed_rooms_and_the_description_names_all(rig, flat, placement):
    description = latest(rig, MapDescription, 'localizer/map_description')
    assert description.path == str(flat.path) and description.header.frame_id == 'map'
    assert description.rooms == ['east', 'west', 'hall']
    assert description.room_frames == ['map', 'map/west', 'map']
    maps = {name: room.open() for name, room in flat.rooms.items()}
    assert description.landmarks == sum(m.manifest['metrics']['landmarks'] for m in maps.values())
    east, hall = (Surface.of_map(maps[name]) for name in ('east', 'hall'))
    points = [
        transform_points(placement, east.origin_m + east.points),
        hall.origin_m + hall.points,
    ]
    cloud = latest(rig, PointCloud2, 'localizer/surface')
    assert cloud.width == description.surface_points == sum(map(len, points))
    floats = np.frombuffer(cloud.data, '<f4').reshape(cloud.width, -1)[:, :3]
    np.testing.assert_allclose(floats, np.concatenate(points), atol=1e-4)
    lowest = [getattr(description.lowest, axis) for axis in 'xyz']
    np.testing.assert_allclose(lowest, np.concatenate(points).min(axis=0), atol=1e-4)
    walked = latest(rig, PathMessage, 'localizer/walk')
    assert len(walked.poses) == description.walked_pictures == 2 * len(maps['east'].mapping_poses)


def test_diagnostics_name_the_present_room_and_what_is_loaded(rig):
    diagnostics = rig.collect(DiagnosticArray, '/diagnostics')
    localize(rig, 'west')

    def values():
        last = [m.status[0] for m in diagnostics if m.status[0].name.startswith('flat/')][-1:]
        return {value.key: value.value for status in last for value in status.values}

    assert wait_until(lambda: values().get('present room') == 'west'), values()
    assert wait_until(lambda: values()['rooms loaded'] == '3 of 3: east, hall, west'), values()
    assert 0 < float(values()['memory of rooms [MB]']) < 1000
    assert 'rooms left out' not in values()


def test_an_image_of_a_request_has_its_room_and_the_frame_of_its_pose(rig):
    localize(rig, 'west')
    response = rig.call(
        Localize, 'localizer/localize', image=image('west', TOLD_APART), camera_info=info()
    )
    assert response.accepted and response.room == 'west'
    assert response.pose.header.frame_id == 'map/west'


def test_a_building_and_a_map_are_swapped_and_a_failure_keeps_the_present_one(
    rig, flat, flat_folder, running, tmp_path
):
    damaged = tmp_path / 'damaged'
    shutil.copytree(flat.path, damaged)
    next(damaged.glob('views-*')).write_bytes(b'')
    failed = load(rig, damaged)
    assert not failed.success and f'of the building {damaged} is missing' in failed.message
    assert remedies.SURVEY_AGAIN in failed.message
    assert failed.message.endswith('(the current map stays in use)')
    assert localize(rig, 'west')[0].room == 'west'
    assert load(rig, flat_folder / 'east.map').success
    status, pose = localize(rig, 'east')
    assert (status.room, pose.header.frame_id) == ('', 'map')
    assert pose_distance(matrix_from_pose(pose.pose), POSES[TOLD_APART])[0] < 0.03
    description = latest(rig, MapDescription, 'localizer/map_description')
    assert (description.rooms, description.room_frames) == ([], [])
    assert not load(rig, damaged).success
    assert localize(rig, 'east')[0].accepted
    assert load(rig, flat.path).success
    assert f'loaded the building {flat.path}: east, west, hall' in running.output
    assert localize(rig, 'east')[0].room == 'east'


def test_a_damaged_room_is_left_out_and_told(start, flat_folder, placement, tmp_path):
    building = tmp_path / 'flat'
    for name in ('flat', 'east.map', 'west.map', 'hall.map'):
        shutil.copytree(flat_folder / name, tmp_path / name)
    (tmp_path / 'hall.map/atlas.safetensors').unlink()
    with contextlib.closing(LocalizerRig()) as rig:
        process = start(map_dir=building, map_from_nerf='10 20 0 0')
        assert 'the room hall is left out: the map' in process.output
        rig.publish('camera_info', info())
        for second, room, frame in ((1, 'east', 'map'), (9, 'west', 'map/west')):
            status, pose = localize(rig, room, second=second)
            assert (status.room, pose.header.frame_id) == (room, frame)
        # map_from_nerf moves the rooms in map alone
        assert pose_distance(matrix_from_pose(pose.pose), POSES[TOLD_APART])[0] < 0.03
        moved = make_pose(None, (10.0, 20.0, 0.0)) @ placement @ POSES[TOLD_APART]
        assert pose_distance(matrix_from_pose(rig.poses[0].pose), moved)[0] < 0.03


def test_the_surface_of_a_placed_room_moves_with_the_map():
    rooms = {
        name: Surface(np.zeros(3), np.zeros((1, 3), np.float32), np.zeros((1, 3), np.uint8))
        for name in ('east', 'west')
    }
    display = MapDisplayData(
        {},
        np.empty((0, 4, 4)),
        rooms['east'],
        room_frames={'east': 'map', 'west': 'west'},
        room_surface=rooms.get,
    ).transform(make_pose(None, (1.0, 2.0, 3.0)))
    origins = [display.surface_of(Diagnostics(room=room)).origin_m for room in ('east', 'west')]
    np.testing.assert_allclose(origins, [(1, 2, 3), (0, 0, 0)])
    assert display.surface_of(Diagnostics(room='hall')) is None
