"""A building is evaluated on a walk through its rooms: each pose in the room that it is in."""

from dataclasses import replace
import json
from pathlib import Path

import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import render_box_room, walk
from small_map import CAMERA
from twin_rooms import furniture_without

from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import ConfigError, MapError
from nerf_reversal_ros.core.geometry import FloatArray, inverse, make_pose
from nerf_reversal_ros.evaluation.building_evaluation import (
    BuildingEvaluation,
    evaluate_building,
    NOT_JUDGED,
)
from nerf_reversal_ros.jobs.ray_cluster import ONE_CORE_ADVICE
from nerf_reversal_ros.maps.building_folder import Building

ROOM_OF_IMAGE = ('east',) * 6 + ('west',) * 2
IMAGES = walk(37)[[6, 8, 10, 13, 25, 27, 9, 15]]
"""Images that something tells from the twin of their room."""
WEST_FROM_EAST = make_pose(translation=(40.0, 0.0, 0.0))
"""The walk states the poses of the images of ``west`` so, for nothing links that room."""


@pytest.fixture(scope='module')
def bag(tmp_path_factory: pytest.TempPathFactory, placement: FloatArray) -> Path:
    """Write a walk through two rooms, with poses in the frame of the building."""
    poses = placement @ IMAGES
    poses[6:] = placement @ WEST_FROM_EAST @ IMAGES[6:]
    in_room = {pose.tobytes(): number for number, pose in enumerate(poses)}

    def render(pose, camera):
        number = in_room[pose.tobytes()]
        furniture = furniture_without(0 if ROOM_OF_IMAGE[number] == 'east' else 1)
        return render_box_room(IMAGES[number], camera, furniture=furniture)

    folder = tmp_path_factory.mktemp('walk')
    return write_room_bag(folder / 'bag', poses, CAMERA, up_axis='z', render=render)


@pytest.fixture(scope='module')
def in_building(flat: Building, bag: Path) -> BuildingEvaluation:
    """Evaluate the walk without knowing in which room the images were taken."""
    return evaluate_building(flat, bag, frame='map', config=on_cpu(flat))


def on_cpu(flat: Building):
    return replace(flat.query_config({}), localizer=LocalizerConfig(device='cpu'))


def truth_file(path: Path, in_building: BuildingEvaluation, placement: FloatArray) -> Path:
    """Write where the rooms are, and in which one each image was taken."""
    rooms = {'east': inverse(placement), 'west': inverse(placement @ WEST_FROM_EAST)}
    stamps = in_building.evaluation.stamps_ns.tolist()
    frames = [
        {'stamp_ns': stamp, 'room': room}
        for stamp, room in zip(stamps, ROOM_OF_IMAGE, strict=True)
    ]
    truth = {
        'rooms': {name: {'world_from_flat': pose.tolist()} for name, pose in rooms.items()},
        'tests': {'bag': {'world_from_flat': np.eye(4).tolist(), 'frames': frames}},
    }
    path.write_text(json.dumps(truth))
    return path


def test_poses_are_judged_in_the_frame_of_the_building(in_building: BuildingEvaluation) -> None:
    metrics = in_building.metrics
    east = metrics['rooms']['east']
    assert metrics['published'] == east['published'] >= 4 and metrics['aligned'] is None
    assert east['median_translation_m'] < 0.05 and metrics['wrong_published'] == 0
    assert metrics['wrong_room'] is None and list(metrics['rooms']) == ['east', 'west']


def test_answers_whose_true_pose_is_unknown_are_told(in_building: BuildingEvaluation) -> None:
    assert in_building.metrics['not_judged'] == {'west': 2}
    assert in_building.metrics['rejected'][NOT_JUDGED] == 2
    assert 'unknown, and counted as rejected: 2 in west.' in in_building.summary()


def test_a_truth_of_rooms_judges_all_and_counts_wrong_rooms(
    flat: Building,
    bag: Path,
    in_building: BuildingEvaluation,
    placement: FloatArray,
    tmp_path: Path,
) -> None:
    truth = truth_file(tmp_path / 'truth.json', in_building, placement)
    metrics = evaluate_building(flat, bag, truth=truth, config=on_cpu(flat)).metrics
    assert metrics['rooms']['west']['published'] == 2 and not metrics['not_judged']
    assert metrics['worst_published_translation_m'] < 0.1 and metrics['wrong_room'] == 0
    content = json.loads(truth.read_text())
    content['rooms']['west']['world_from_flat'][0][3] += 1.0  # as if west were its twin
    for frame in content['tests']['bag']['frames']:
        frame['room'] = 'east'
    truth.write_text(json.dumps(content))
    result = evaluate_building(flat, bag, truth=truth, config=on_cpu(flat))
    assert result.metrics['wrong_room'] == result.metrics['rooms']['east']['wrong_room'] == 2
    assert '2 of' in result.summary() and 'are incorrect and in another room' in result.summary()


def test_a_walk_in_another_world_is_told_by_its_motion(
    flat: Building, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By default the poses are those of the first room that has a place: ``east``."""
    json_file, report = tmp_path / 'metrics.json', tmp_path / 'report.html'
    command = ['evaluate', str(flat.path), str(bag), '--device', 'cpu', '--json', str(json_file)]
    assert main([*command, '--report', str(report)]) == 0
    metrics = json.loads(json_file.read_text())
    assert metrics['aligned']['rotation_deg'] == pytest.approx(90, abs=1)
    assert metrics['aligned']['rooms']['east']['wrong_published'] == 0
    assert metrics['rooms']['east']['wrong_published'] >= 4
    assert 'incorrect' in capsys.readouterr().out
    text = report.read_text()
    assert '<th scope="row">east</th>' in text and 'flat evaluated on bag' in text


def test_a_truth_that_does_not_fit_is_refused(flat: Building, bag: Path, tmp_path: Path) -> None:
    truth = tmp_path / 'truth.json'
    for content, message in (
        ('{"rooms": {}, "tests": {"other": {}}}', r'says nothing of the bag bag: it has other'),
        ('{"rooms": {}}', 'has no rooms and tests as demo.flat writes them'),
        ('[', 'has no rooms and tests'),
    ):
        truth.write_text(content)
        with pytest.raises(ConfigError, match=message):
            evaluate_building(flat, bag, truth=truth)
    empty = {'world_from_flat': np.eye(4).tolist(), 'frames': []}
    truth.write_text(json.dumps({'rooms': {}, 'tests': {'bag': empty}}))
    with pytest.raises(ConfigError, match='has no room for 8 images of'):
        evaluate_building(flat, bag, truth=truth)
    with pytest.raises(ConfigError, match=r'cannot read .*none.json: No such file'):
        evaluate_building(flat, bag, truth=tmp_path / 'none.json')
    with pytest.raises(MapError, match="has no room 'north': it has east, west, hall"):
        evaluate_building(flat, bag, frame='north')


def test_options_of_one_map_and_of_a_building_are_told_apart(
    flat: Building, bag: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    east = flat.rooms['east'].map_dir
    assert main(['evaluate', str(flat.path), str(bag), '--baselines', 'mean_pose']) == 1
    assert capsys.readouterr().err.endswith(f'{remedies.MAP_OF_ROOM}\n')
    assert main(['evaluate', str(east), str(bag), '--frame', 'map']) == 1
    assert '--frame is for a building' in capsys.readouterr().err
    arguments = ['--baselines', 'mean_pose', '--device', 'cpu']
    assert main(['evaluate', str(east), str(bag), *arguments]) == 0  # the remedy


def test_of_many_bags_one_that_fails_stops_no_other_and_files_of_one_bag_are_refused(
    flat: Building, bag: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    east, gone, out = flat.rooms['east'].map_dir, tmp_path / 'gone', tmp_path / 'metrics.json'
    arguments = ['--baselines', 'none', '--device', 'cpu']
    assert main(['evaluate', str(east), str(gone), str(bag), *arguments, '--json', str(out)]) == 1
    assert f'1 of 2 bags failed: {gone}: there is no bag at {gone}' in capsys.readouterr().err
    metrics = json.loads(out.read_text())
    assert metrics[str(gone)] is None and metrics[str(bag)]['images'] == 8
    report = ['--report', str(tmp_path / 'report.html')]
    assert main(['evaluate', str(east), str(gone), str(bag), *arguments, *report]) == 1
    assert capsys.readouterr().err.endswith(f'{remedies.ONE_BAG_HERE}\n')
    assert main(['evaluate', str(east), str(bag), *arguments, *report]) == 0  # the remedy
    assert ONE_CORE_ADVICE.lost == remedies.SAME_COMMAND  # what has been done, here without Ray
