"""The commands localize and info take a building."""

import csv
import json
from pathlib import Path

import pytest
from room_bags import write_room_bag
from rooms import render_box_room, walk
from small_map import CAMERA
from twin_rooms import render_without

from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.maps.building_folder import Building


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a bag of three images of the room ``west``, two of which tell it from its twin."""

    def render(pose, camera):
        return render_without(pose, camera, 1), render_box_room(pose, camera)[1]

    folder = tmp_path_factory.mktemp('west')
    return write_room_bag(folder / 'bag', walk(37)[[3, 9, 15]], CAMERA, render=render)


def test_localize_names_the_room_and_the_frame(
    flat: Building, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ['localize', str(flat.path), str(bag), '--device', 'cpu']
    out, shown = tmp_path / 'poses.json', tmp_path / 'shown'
    assert main([*command, '--out', str(out), '--show', str(shown)]) == 0
    printed = capsys.readouterr().out
    assert 'west (a frame of its own): x ' in printed and '2 of 3 images' in printed
    written = json.loads(out.read_text())
    assert written['map'] == str(flat.path) and written['map_from_world'] is None
    ambiguous, *found = written['poses']
    assert ambiguous['rejected'] == 'ambiguous view' and 'room' not in ambiguous
    assert [(entry['room'], entry['frame']) for entry in found] == [('west', 'west')] * 2
    assert len(list(shown.glob('*.jpg'))) == 3


def test_a_file_of_one_frame_is_refused_and_one_that_names_frames_is_written(
    flat: Building, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ['localize', str(flat.path), str(bag), '--device', 'cpu', '--out']
    table = tmp_path / 'poses.csv'
    assert main([*command, str(tmp_path / 'poses.tum')]) == 1
    assert f'in map, west: {remedies.FILE_OF_FRAMES}' in capsys.readouterr().err
    assert table.suffix in remedies.FILE_OF_FRAMES and main([*command, str(table)]) == 0
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert [(row['room'], row['frame']) for row in rows] == [('', ''), *[('west', 'west')] * 2]


def test_info_describes_a_building(flat: Building, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['info', str(flat.path)]) == 0
    printed = capsys.readouterr().out
    assert 'is a building (format version 2) of 3 rooms' in printed
    assert 'east.map' in printed and 'in the frame map' in printed
    assert 'linked to no other' in printed and '1 of 2 links between rooms were taken' in printed
