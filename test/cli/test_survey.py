"""``nerf-reversal survey``: what it prints, its status, and Ctrl-C."""

from dataclasses import asdict
import signal
import subprocess

from command_line import COMMAND, ENVIRONMENT, run_command, user_error
from survey_plans import write_survey_plan
from tiny_build import SETTINGS, write_tiny_bag

from nerf_reversal_ros.maps.building_folder import open_building


def test_a_defect_of_a_plan_is_one_line_and_nothing_is_written(tmp_path, bag):
    plan = write_survey_plan(tmp_path, {'hall': str(bag), 'lab': 'gone'})
    assert 'gone of rooms.lab does not exist' in user_error('survey', plan, tmp_path / 'flat')
    assert not (tmp_path / 'flat').exists()


def test_ctrl_c_ends_a_survey_soon_and_says_how_to_go_on(tmp_path):
    write_tiny_bag(tmp_path / 'walk')
    settings = {**asdict(SETTINGS), 'field': {**asdict(SETTINGS.field), 'steps': 10_000_000}}
    plan = write_survey_plan(tmp_path, {'hall': 'walk'}, settings=settings)
    command = [*COMMAND, 'survey', str(plan), str(tmp_path / 'flat')]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stderr=pipe, text=True, env=ENVIRONMENT) as child:
        line = ''
        while 'field' not in line:
            line = child.stderr.readline()
            assert line, 'the survey ended before the training of its field'
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=60)
    assert child.returncode == 130
    assert stderr.endswith('interrupted; the same command resumes the survey\n'), stderr
    assert 'Traceback' not in stderr


def test_a_survey_of_finished_maps_prints_its_rooms(tmp_path, small_map):
    placed = {'map': str(small_map.path), 'placement': '0 0 0 0'}
    plan = write_survey_plan(tmp_path, {'box': placed})
    done = run_command('survey', plan, tmp_path / 'flat')
    assert done.returncode == 0, done.stderr
    assert 'box  given' in done.stdout
    assert done.stdout.endswith(f'wrote the building {tmp_path / "flat"}: 1 rooms\n')
    assert list(open_building(tmp_path / 'flat').rooms) == ['box']
