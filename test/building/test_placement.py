"""Rooms cut from one map are put together again by their images, and a twin is refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from cropped_maps import crop_map
import numpy as np
from numpy.typing import NDArray
import pytest
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
from small_map import CAMERA

from nerf_reversal_ros.building import link_search
from nerf_reversal_ros.building.link_search import search_walk
from nerf_reversal_ros.building.placement import place_rooms, Placement, RoomOverlaps
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose, pose_distance
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.localization.localizer import Localizer
from nerf_reversal_ros.maps.map_folder import Map

FROM_MAP = {
    'west': make_pose(Rotation.from_euler('z', 35, degrees=True), np.array([1.0, 2.0, 0.1])),
    'east': make_pose(Rotation.from_euler('z', -100, degrees=True), np.array([-3.0, 1.0, 0.0])),
    'twin': make_pose(Rotation.from_euler('z', 90, degrees=True), np.array([0.0, 9.0, 0.0])),
}
"""Frames of the rooms, as poses of the map that they are cut from."""


class Scored(NamedTuple):
    name: str
    score: float


class NoRanking:
    """Finds all rooms equally likely."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = names

    def rank(self, descriptors: NDArray[np.float32], /) -> list[Scored]:
        assert descriptors.shape[1] == 128
        return [Scored(name, 1.0) for name in self.names]


def is_west(points: FloatArray) -> NDArray[np.bool_]:
    return np.asarray(points[:, 1] < 0.5)


def is_east(points: FloatArray) -> NDArray[np.bool_]:
    return np.asarray(points[:, 1] > -0.5)


def is_anywhere(points: FloatArray) -> NDArray[np.bool_]:
    return np.ones(len(points), bool)


SELECTIONS = {'west': is_west, 'east': is_east, 'twin': is_anywhere}


@pytest.fixture(scope='module')
def rooms(small_map: Map, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Map]:
    folder = tmp_path_factory.mktemp('rooms')
    return {
        name: crop_map(small_map, folder / f'{name}.map', FROM_MAP[name], select)
        for name, select in SELECTIONS.items()
    }


@pytest.fixture(scope='module')
def captures(small_map: Map, rooms: dict[str, Map]) -> dict[str, Capture]:
    """Return the part of the walk in each room, in the frame of its map."""
    walks = {}
    for name, map_ in rooms.items():
        config = map_.query_config({}).capture
        capture = open_capture(
            small_map.path.parent / 'walk', config, convention=map_.convention, select_frames=False
        )
        places = (inverse(FROM_MAP[name]) @ capture.map_from_camera)[:, :3, 3]
        frames = np.flatnonzero(SELECTIONS[name](places))
        walks[name] = capture.with_poses(frames, capture.map_from_camera[frames])
    return walks


@pytest.fixture(scope='module')
def halves(
    rooms: dict[str, Map], captures: dict[str, Capture]
) -> tuple[Placement, list[Progress]]:
    reports: list[Progress] = []
    pair = {name: rooms[name] for name in ('west', 'east')}
    ranking = NoRanking(['east', 'west', 'elsewhere'])
    return place_rooms(pair, captures, ranking, {}, progress=reports.append), reports


def test_overlapping_rooms_are_put_together(halves: tuple[Placement, list[Progress]]) -> None:
    placement, reports = halves
    west, east = placement.building_from_room['west'], placement.building_from_room['east']
    assert west is not None and east is not None
    np.testing.assert_allclose(west, np.eye(4), atol=1e-9)
    expected = FROM_MAP['west'] @ inverse(FROM_MAP['east'])
    middle = make_pose(None, FROM_MAP['east'][:3, 3])
    distance_m, angle_deg = pose_distance(east @ middle, expected @ middle)
    assert distance_m < 0.03 and angle_deg < 1.0
    (link,) = placement.links
    assert link['rooms'] == ['west', 'east'] and link['taken'] and min(link['agreeing']) >= 4
    assert link['contradicting'] == [0.0, 0.0] and link['tilt_deg'] < 1.0
    assert placement.sentences[-1] == '2 rooms lie in one frame: west, east'
    assert 'localized images agree' in placement.sentences[0]
    assert [report.done for report in reports] == [1, 2, 3, 4, 5, 6]
    assert {report.total for report in reports} == {6}


def test_known_placements_are_kept(
    rooms: dict[str, Map], captures: dict[str, Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_search, 'ENOUGH_VIEWS', 5)
    pair = {name: rooms[name] for name in ('west', 'east')}
    building_from_east = make_pose(Rotation.from_euler('z', 10, degrees=True), (50.0, 0.0, 0.0))
    only_west = {'west': captures['west']}
    placement = place_rooms(
        pair, only_west, NoRanking(['west', 'east']), {'east': building_from_east}
    )
    west, east = placement.building_from_room['west'], placement.building_from_room['east']
    assert west is not None and east is building_from_east
    assert placement.links[0]['accepted'][1] == 0 and placement.links[0]['taken']
    expected = building_from_east @ FROM_MAP['east'] @ inverse(FROM_MAP['west'])
    assert pose_distance(west, expected)[0] < 0.1


def test_a_twin_in_which_a_whole_walk_is_localized_is_refused(
    rooms: dict[str, Map], captures: dict[str, Capture], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All images agree on one relative pose: only space tells that two rooms are no one place."""
    monkeypatch.setattr(link_search, 'ENOUGH_VIEWS', 5)
    twins = {'room': rooms['twin'], 'twin': rooms['twin']}
    walks = {'room': captures['twin']}
    placement = place_rooms(twins, walks, NoRanking(['room', 'twin']), {})
    (link,) = placement.links
    assert link['agreeing'][0] >= 4 and not link['taken']
    assert 'the rooms would be one place' in link['reason']
    assert placement.building_from_room == {'room': None, 'twin': None}
    assert placement.sentences[1:] == [
        'room is not linked: its poses stay in its own frame',
        'twin is not linked: its poses stay in its own frame',
    ]


@pytest.mark.parametrize(
    ('shift', 'yaw_deg', 'is_possible'),
    [
        ((0.0, 0.0, 0.0), 0.0, True),
        ((0.04, 0.0, 0.01), 0.5, True),  # within the error of a link
        ((0.0, 1.2, 0.0), 0.0, False),
        ((1.0, 1.0, 0.0), 60.0, False),
        ((9.0, 0.0, 0.0), 60.0, True),  # nothing is seen of the other
    ],
)
def test_no_room_stands_in_the_free_space_of_another(
    rooms: dict[str, Map], shift: tuple[float, float, float], yaw_deg: float, is_possible: bool
) -> None:
    moved = make_pose(Rotation.from_euler('z', yaw_deg, degrees=True), shift)
    east_from_west = FROM_MAP['east'] @ moved @ inverse(FROM_MAP['west'])
    fault, figures = RoomOverlaps(rooms)('west', 'east', east_from_west)
    assert (not fault) == is_possible, (fault, figures)
    assert is_possible or 'free space' in fault


def test_a_walk_that_never_shows_a_room_is_given_up(
    small_localizer: Localizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_search, 'GIVE_UP_AFTER', 3)
    poses = walk(12)
    with BagWriter(tmp_path / 'walk', up_axis='z') as writer:
        for number, pose in enumerate(poses):
            rgb, depth = render_box_room(pose, CAMERA, paint=3)
            writer.write(10**18 + number * 10**8, rgb, depth, CAMERA, pose)
    capture = open_capture(tmp_path / 'walk', CaptureConfig(), select_frames=False)
    found = search_walk(small_localizer, capture, range(12))
    assert found.tried == 3 == found.reasons.total() and not found.views
