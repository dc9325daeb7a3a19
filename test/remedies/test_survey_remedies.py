"""Remedies of surveys: each fault is made, and its remedy followed to a building."""

from dataclasses import replace
import shutil
import signal
import sys

from command_line import run_command
import pytest
from survey_plans import write_survey_plan

from nerf_reversal_ros import __version__
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.jobs.ray_cluster import RayJob, run_job_on_worker
from nerf_reversal_ros.jobs.resources import Resources
from nerf_reversal_ros.survey import job
from nerf_reversal_ros.survey.plan import read_plan
from nerf_reversal_ros.survey.ray_jobs import ADVICE


def refused(path):
    with pytest.raises(ConfigError) as error:
        read_plan(path)
    return str(error.value)


def test_a_path_that_is_no_plan_becomes_one(tiny_bag, tmp_path):
    assert refused(tmp_path / 'none').endswith(remedies.GIVE_PLAN)
    assert refused(tiny_bag).endswith(remedies.GIVE_PLAN)
    assert [room.name for room in read_plan(tiny_bag.parent).rooms] == ['walk']  # the folder
    assert read_plan(write_survey_plan(tmp_path, {'hall': str(tiny_bag)})).rooms


def test_rooms_and_paths_are_written_as_told(tiny_bag, tmp_path):
    (tmp_path / 'plan.yaml').write_text('settings: {}\n')
    assert refused(tmp_path / 'plan.yaml').endswith(remedies.ROOMS_OF_PLAN)
    (tmp_path / 'plan.yaml').write_text('rooms:\n  hall: walk\n')
    assert refused(tmp_path / 'plan.yaml').endswith(remedies.PATHS_OF_PLAN)
    shutil.copytree(tiny_bag, tmp_path / 'walk')
    assert read_plan(tmp_path / 'plan.yaml').rooms[0].bags == (tmp_path / 'walk',)


def test_bags_that_cannot_be_one_room_are_two_and_failed_rooms_are_repeated(tiny_bag, tmp_path):
    shutil.copytree(tiny_bag, tmp_path / 'again')
    bags = {'hall': str(tiny_bag), 'lab': 'again'}
    plan = write_survey_plan(tmp_path, {'both': {'bags': [*bags.values()]}, 'hall': bags['hall']})
    text = plan.read_text()
    plan.write_text(text.replace(f'- {tiny_bag}\n', '- walk\n'))  # no bag is of two rooms
    shutil.copytree(tiny_bag, tmp_path / 'walk')
    failed = run_command('survey', plan, tmp_path / 'flat')
    assert failed.returncode == 1 and remedies.REPEAT_SURVEY in failed.stderr
    assert failed.stderr.endswith(f'{remedies.ROOM_OF_ITS_OWN}\n')
    assert 'wrote the building' in failed.stdout
    write_survey_plan(tmp_path, bags)
    mended = run_command('survey', plan, tmp_path / 'flat')
    assert mended.returncode == 0, mended.stderr
    assert 'hall  unchanged' in mended.stdout and 'lab   built' in mended.stdout


def test_a_building_that_is_damaged_is_surveyed_again(tiny_map, tmp_path):
    rooms = {'hall': {'map': str(tiny_map.path), 'placement': '0 0 0 0'}}
    plan, flat = write_survey_plan(tmp_path, rooms), tmp_path / 'flat'
    assert run_command('survey', plan, flat).returncode == 0
    next(flat.glob('views-*')).write_bytes(b'')
    damaged = run_command('info', flat)
    assert damaged.returncode == 1 and damaged.stderr.endswith(f'{remedies.SURVEY_AGAIN}\n')
    assert run_command('survey', plan, flat).returncode == 0
    assert run_command('info', flat).returncode == 0


def test_a_job_that_lacks_memory_or_lost_its_worker_gets_more(tiny_bag, tmp_path, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    (room,) = read_plan(write_survey_plan(tmp_path, {'hall': str(tiny_bag)})).rooms
    monkeypatch.setattr(job, 'build_map', exhausted)
    result = job.run_job(job.Job.of_room(room, tmp_path / 'hall.map'), lambda _: None)
    assert result.reason.endswith(remedies.JOB_RESOURCES)
    assert Resources(memory_gb=8.0, retries=5)  # the resources that the text names


def test_ray_that_is_missing_or_not_there(tiny_bag, tmp_path, monkeypatch):
    plan = write_survey_plan(tmp_path, {'hall': str(tiny_bag)})
    nothing = run_command('survey', plan, tmp_path / 'flat', '--ray', '127.0.0.1:9')
    assert nothing.returncode == 1 and nothing.stderr.endswith(f'{remedies.START_RAY}\n')
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, 'ray', None)
        missing = run_command('survey', plan, tmp_path / 'flat', '--ray', 'local')
    assert missing.stderr.endswith(f'{remedies.INSTALL_RAY}\n')


def test_ray_on_this_machine_takes_jobs_that_fit(tiny_bag, tmp_path, monkeypatch):
    pytest.importorskip('ray', reason='needs Ray: make test brings it')
    monkeypatch.setenv('RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER', '0')
    handler = signal.getsignal(signal.SIGTERM)
    large = {'cpus': 1024, 'memory_gb': 0.1}
    plan = write_survey_plan(tmp_path, {'hall': str(tiny_bag)}, resources=large)
    refusal = run_command('survey', plan, tmp_path / 'flat', '--ray', 'local')
    assert refusal.returncode == 1 and refusal.stderr.endswith(f'{remedies.SMALLER_JOBS}\n')
    plan = write_survey_plan(tmp_path, {'hall': str(tiny_bag)})
    done = run_command('survey', plan, tmp_path / 'flat', '--ray', 'local')
    signal.signal(signal.SIGTERM, handler)
    assert done.returncode == 0, done.stderr


def test_a_worker_of_another_version_or_without_the_bag_is_told(tiny_bag, tmp_path):
    """The same version and a bag that is there go on."""
    asked = RayJob(
        'hall', 'room', lambda report, worker: 'built', Resources(), ADVICE, (tiny_bag,)
    )
    other = run_job_on_worker(asked, '0.0.1', None)
    assert other.reason.endswith(remedies.SAME_VERSION)
    lost = run_job_on_worker(replace(asked, needs=(tmp_path / 'gone',)), __version__, None)
    assert lost.reason.endswith(remedies.SHARE_BAGS)
    assert run_job_on_worker(asked, __version__, None).value == 'built'
