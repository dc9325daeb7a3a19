"""A building map: written at once, read checked, rooms left where they are."""

from collections.abc import Callable
import json
from pathlib import Path
import shutil

from map_folders import build
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.maps.building_folder import (
    Building,
    BUILDING_MANIFEST,
    is_building,
    is_room_name,
    open_building,
    Room,
    write_building,
)
from nerf_reversal_ros.maps.map_addition import add_file
from nerf_reversal_ros.maps.map_folder import COVERAGE_FILE, open_map

POSE = make_pose(Rotation.from_euler('z', 30, degrees=True), np.array([4.0, -1.0, 0.1]))


@pytest.fixture
def flat(tmp_path: Path) -> Building:
    """Return a building of a linked and an unlinked room, one in it and one beside it."""
    inside = build(tmp_path / 'flat' / 'rooms' / 'hall.map')
    beside = build(tmp_path / 'lab.map', content=b'other')
    rooms = [
        Room('hall', inside.path, inside.identity, POSE),
        Room('lab', beside.path, beside.identity),
    ]
    return write_building(tmp_path / 'flat', rooms, b'views', [{'from': 'hall'}], {'seed': 3})


def edit(flat: Building, change: Callable[[dict], None]) -> None:
    """Apply ``change`` to the manifest of a building."""
    file = flat.path / BUILDING_MANIFEST
    manifest = json.loads(file.read_text())
    change(manifest)
    file.write_text(json.dumps(manifest))


def test_a_building_is_read_as_it_was_written(flat: Building) -> None:
    read = open_building(flat.path)
    assert list(read.rooms) == ['hall', 'lab'] and read.links == [{'from': 'hall'}]
    assert read.manifest == flat.manifest and read.manifest['seed'] == 3
    assert read.views_file.read_bytes() == b'views'
    np.testing.assert_array_equal(read.rooms['hall'].building_from_room, POSE)
    assert [room.frame for room in read.rooms.values()] == ['map', 'lab']
    assert read.room('lab').open() == open_map(flat.path.parent / 'lab.map')
    entries = read.manifest['rooms']
    assert [entry['map'] for entry in entries] == ['rooms/hall.map', '../lab.map']
    assert is_building(flat.path) and not is_building(flat.path / 'rooms' / 'hall.map')


def test_a_building_of_the_first_version_is_read(flat: Building) -> None:
    def to_first_version(manifest: dict) -> None:
        manifest.update(format_version=1)
        manifest.pop('look_alikes')

    edit(flat, to_first_version)
    read = open_building(flat.path)
    assert list(read.rooms) == ['hall', 'lab'] and read.look_alikes == []


def test_a_moved_building_finds_its_rooms(flat: Building, tmp_path: Path) -> None:
    flat.path.parent.joinpath('moved').mkdir()
    shutil.move(flat.path, tmp_path / 'moved' / 'flat')
    shutil.move(tmp_path / 'lab.map', tmp_path / 'moved' / 'lab.map')
    for room in open_building(tmp_path / 'moved' / 'flat').rooms.values():
        room.open()


def test_a_room_is_added_and_removed_without_touching_the_others(flat: Building) -> None:
    files = [file for file in (flat.path / 'rooms').rglob('*') if file.is_file()]
    before = {file: file.read_bytes() for file in files}
    one = write_building(flat.path, [flat.rooms['lab']], b'fewer views')
    assert list(open_building(flat.path).rooms) == ['lab']
    assert [file.name for file in flat.path.glob('views-*')] == [one.views_file.name]
    assert before and before == {file: file.read_bytes() for file in files}


def test_a_map_that_was_built_anew_is_not_taken_for_the_room(flat: Building) -> None:
    room = flat.rooms['hall']
    add_file(room.open(), COVERAGE_FILE, b'green')
    assert room.open().coverage_file is not None  # added files make no other map
    build(room.map_dir, overwrite=True, content=b'newer')
    with pytest.raises(MapError, match=r'hall\.map of the room hall is not the one .* survey'):
        room.open()
    flat.rooms['lab'].open()
    shutil.rmtree(room.map_dir)
    with pytest.raises(MapError, match='does not exist'):
        open_building(flat.path).rooms['hall'].open()


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (lambda m: m.pop('rooms'), "'rooms' is missing"),
        (lambda m: m.update(format_version=9), 'format version 9, this program reads 2'),
        (lambda m: m['rooms'].clear(), 'no room, or two of one name'),
        (lambda m: m['rooms'].append(m['rooms'][0]), 'no room, or two of one name'),
        (lambda m: m['rooms'][0].update(name='../x'), 'the name .* of a room'),
        (lambda m: m['rooms'][0].update(map_id=3), 'map_id of hall is no text'),
        (lambda m: m['rooms'][0]['building_from_room'][0].pop(), 'corrupt'),
        (lambda m: m['rooms'][0].update(building_from_room=[[2, 0], [0, 1]]), 'is no pose'),
        (lambda m: m['views'].update(file='../views-1.safetensors'), 'views in'),
        (lambda m: m['views'].update(bytes='5'), 'views need bytes'),
        (lambda m: m.update(links=[3]), 'links need objects'),
        (lambda m: m.update(look_alikes=[{'rooms': ['hall', 'lab']}]), "'common' is missing"),
        (lambda m: m.update(look_alikes=[{'rooms': [], 'common': '5'}]), 'look_alikes need rooms'),
    ],
)
def test_an_edited_building_is_refused(
    flat: Building, change: Callable[[dict], None], message: str
) -> None:
    edit(flat, change)
    with pytest.raises(MapError, match=message):
        open_building(flat.path)


@pytest.mark.parametrize('content', [None, b'vIews', b'view'])
def test_a_damaged_file_of_views_is_refused(flat: Building, content: bytes | None) -> None:
    flat.views_file.unlink()
    if content is not None:
        flat.views_file.write_bytes(content)
    with pytest.raises(MapError, match=r'views-\S+ of the building \S+ is missing or was changed'):
        open_building(flat.path)


def test_a_folder_that_is_none_and_a_room_that_is_none_are_named(
    flat: Building, tmp_path: Path
) -> None:
    with pytest.raises(MapError, match='cannot read the building'):
        open_building(tmp_path / 'none')
    with pytest.raises(MapError, match="has no room 'attic': it has hall, lab"):
        flat.room('attic')


def test_a_building_that_cannot_be_written_stays_as_it_was(flat: Building) -> None:
    (flat.path.parent / 'file').touch()
    with pytest.raises(BuildError, match='cannot write the building'):
        write_building(flat.path.parent / 'file' / 'x', list(flat.rooms.values()), b'')
    assert open_building(flat.path).manifest == flat.manifest


@pytest.mark.parametrize('name', ['', 'a/b', '..', '.x', 'a b', '-x', 'ä'])
def test_names_that_are_unsafe_in_paths_are_none_of_rooms(name: str) -> None:
    assert not is_room_name(name)
    assert is_room_name('room_2.east-b')
