"""A survey builds what is missing, goes on where a room fails, and writes a building."""

import dataclasses
import os
import shutil

import pytest
from survey_plans import write_survey_plan

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.maps.building_folder import open_building
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.maps.map_writer import MapWriter
from nerf_reversal_ros.survey import job
from nerf_reversal_ros.survey.plan import read_plan
from nerf_reversal_ros.survey.record import only_survey
from nerf_reversal_ros.survey.survey import run_survey


@pytest.fixture(scope='module')
def surveyed(room_bags, tmp_path_factory):
    """Return a folder with copies of two bags, their plan, and the survey of it."""
    folder = tmp_path_factory.mktemp('surveyed')
    for name in ('hall', 'lab'):
        shutil.copytree(room_bags / name, folder / 'bags' / name)
    rooms = {'hall': 'bags/hall', 'lab': {'bag': 'bags/lab', 'placement': '2 0 0 90'}}
    write_survey_plan(folder, rooms)
    survey = run_survey(read_plan(folder / 'plan.yaml'), folder / 'flat')
    assert not survey.failed
    return folder


@pytest.fixture
def folder(surveyed, tmp_path):
    """Return a copy of the survey that a test may change."""
    return shutil.copytree(surveyed, tmp_path / 'copy')


def repeat(folder):
    """Repeat the survey; return it and the states of its jobs."""
    seen = {}

    def changed(states):
        seen.update({name: row.state for name, row in states.rows.items()})

    return run_survey(read_plan(folder / 'plan.yaml'), folder / 'flat', changed=changed), seen


def edit_plan(folder, old, new):
    file = folder / 'plan.yaml'
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_the_rooms_of_a_plan_become_a_building(surveyed):
    building = open_building(surveyed / 'flat')
    assert list(building.rooms) == ['hall', 'lab']
    maps = [room.open() for room in building.rooms.values()]
    assert [map_.path.name for map_ in maps] == ['hall.map', 'lab.map']
    assert building.rooms['lab'].building_from_room[0, 3] == 2.0
    assert [pair['rooms'] for pair in building.look_alikes] == [['hall', 'lab']]
    assert sorted(os.listdir(surveyed / 'flat' / 'rooms')) == ['hall.map', 'lab.map']


def test_a_repeated_survey_builds_nothing(folder):
    before = (folder / 'flat/building.json').read_bytes()
    survey, states = repeat(folder)
    assert states == {'hall': 'unchanged', 'lab': 'unchanged'}
    assert survey.notes == ['the building is up to date']
    assert (folder / 'flat/building.json').read_bytes() == before


def test_a_damaged_building_is_written_again(folder):
    file = folder / 'flat/building.json'
    file.write_text(file.read_text()[:100])
    with pytest.raises(MapError) as error:
        open_building(folder / 'flat')
    assert str(error.value).endswith(remedies.SURVEY_AGAIN)
    assert repeat(folder)[1] == {'hall': 'unchanged', 'lab': 'unchanged'}
    assert list(open_building(folder / 'flat').rooms) == ['hall', 'lab']


def test_a_bag_or_a_setting_that_changed_builds_its_room_alone(folder):
    lab = open_map(folder / 'flat/rooms/lab.map').identity
    os.utime(next((folder / 'bags/hall').glob('*.mcap')))
    survey, states = repeat(folder)
    assert states == {'hall': 'built', 'lab': 'unchanged'}
    assert survey.building.rooms['lab'].map_id == lab
    survey.building.rooms['hall'].open()
    edit_plan(folder, 'bag: bags/lab', 'bag: bags/lab\n    settings: {seed: 1}')
    assert repeat(folder)[1] == {'hall': 'unchanged', 'lab': 'built'}


def test_a_damaged_map_is_built_again(folder):
    (folder / 'flat/rooms/lab.map/atlas.safetensors').write_bytes(b'')
    survey, states = repeat(folder)
    assert states == {'hall': 'unchanged', 'lab': 'built'}
    survey.building.rooms['lab'].open()


def test_a_room_that_fails_stops_no_other_and_keeps_its_earlier_map(folder):
    earlier = open_map(folder / 'flat/rooms/hall.map').identity
    next((folder / 'bags/hall').glob('*.mcap')).write_bytes(b'damaged')
    os.utime(next((folder / 'bags/lab').glob('*.mcap')))
    survey, states = repeat(folder)
    assert states == {'hall': 'failed', 'lab': 'built'}
    assert list(survey.failed) == ['hall'] and 'bags/hall' in survey.failed['hall']
    assert survey.building.rooms['hall'].map_id == earlier
    assert any('the earlier map of hall stays' in note for note in survey.notes)


def test_a_defect_of_the_program_leaves_its_traceback(folder, monkeypatch):
    os.utime(next((folder / 'bags/hall').glob('*.mcap')))
    monkeypatch.setattr(job, 'build_map', lambda *_, **__: 1 / 0)
    survey, _ = repeat(folder)
    assert 'ZeroDivisionError, a defect of this program' in survey.failed['hall']
    assert 'Traceback' in (folder / 'flat/rooms/hall.log').read_text()


def test_a_room_without_any_map_is_not_in_the_building(folder):
    shutil.rmtree(folder / 'flat/rooms/hall.map')
    next((folder / 'bags/hall').glob('*.mcap')).write_bytes(b'damaged')
    survey, _ = repeat(folder)
    assert list(survey.failed) == ['hall'] and list(survey.building.rooms) == ['lab']
    edit_plan(folder, 'bags/lab', 'bags/hall2')
    shutil.move(folder / 'bags/hall', folder / 'bags/hall2')
    shutil.rmtree(folder / 'flat/rooms/lab.map')
    edit_plan(folder, '  hall: bags/hall\n', '')
    with pytest.raises(BuildError, match=r'no room of \S+plan.yaml has a map \(lab: '):
        repeat(folder)
    assert list(open_building(folder / 'flat').rooms) == ['lab']  # nothing is lost


def test_a_room_that_left_the_plan_leaves_the_building_and_keeps_its_map(folder):
    edit_plan(folder, '  hall: bags/hall\n', '')
    survey, _ = repeat(folder)
    (note,) = survey.notes
    assert note.startswith('the room hall is no longer part of the building, its map stays: ')
    assert list(survey.building.rooms) == ['lab']
    open_map(folder / 'flat/rooms/hall.map')


def test_a_map_becomes_a_room_without_a_copy(folder):
    shutil.move(folder / 'flat/rooms/hall.map', folder / 'old.map')
    edit_plan(folder, 'hall: bags/hall', 'hall: {map: old.map}')
    survey, states = repeat(folder)
    assert states == {'hall': 'given', 'lab': 'unchanged'}
    assert survey.building.rooms['hall'].map_dir == folder / 'old.map'
    assert any('gives maps, and no images, of hall: ' in note for note in survey.notes)


def test_an_interrupted_survey_resumes_in_the_middle_of_a_room(folder):
    for bag in ('hall', 'lab'):
        os.utime(next((folder / 'bags' / bag).glob('*.mcap')))

    def interrupt(states):
        if states.rows['lab'].stage == 'synthesis':
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_survey(read_plan(folder / 'plan.yaml'), folder / 'flat', changed=interrupt)
    notes = []

    def changed(states):
        notes.append(states.rows['lab'].note)
        assert states.rows['hall'].state in ('waiting', 'unchanged')

    run_survey(read_plan(folder / 'plan.yaml'), folder / 'flat', changed=changed)
    assert any('resuming an unfinished build (finished stages: adjust' in note for note in notes)
    for room in open_building(folder / 'flat').rooms.values():
        room.open()


def test_two_surveys_do_not_share_a_folder(folder):
    with only_survey(folder / 'flat'):
        with pytest.raises(BuildError, match='another survey is writing'):
            repeat(folder)


def test_a_folder_that_cannot_be_that_of_a_survey_is_refused(folder):
    plan = read_plan(folder / 'plan.yaml')
    with pytest.raises(BuildError, match=r'lab.map is a map, not a folder for a survey'):
        run_survey(plan, folder / 'flat/rooms/lab.map')
    (folder / 'file').touch()
    with pytest.raises(BuildError, match='cannot write the survey'):
        run_survey(plan, folder / 'file')


def test_a_job_waits_for_the_staging_folder_of_a_lost_worker(folder):
    (room, _) = read_plan(folder / 'plan.yaml').rooms
    map_dir = folder / 'hall.map'
    waiting = dataclasses.replace(job.Job.of_room(room, map_dir), lock_wait_s=300.0)
    notes = []
    with MapWriter(map_dir, {}) as of_lost_worker:

        def progress(report):
            notes.append(report.note)
            if report.note.startswith('waiting for the build'):
                of_lost_worker.close()

        result = job.run_job(waiting, progress)
    assert not result.reason and 'waiting for the build of a worker that was lost' in notes
    with MapWriter(folder / 'other.map', {}):
        refused = job.run_job(job.Job.of_room(room, folder / 'other.map'), progress)
    assert refused.reason.startswith('another build is writing')
