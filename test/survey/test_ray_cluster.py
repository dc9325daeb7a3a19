"""Jobs on a Ray cluster give the maps of this machine, whatever happens to workers."""

import contextlib
from functools import partial
import json
import os
from pathlib import Path
import resource
import signal
import sys
import time

import pytest
from survey_plans import write_survey_plan
from tiny_build import SETTINGS

from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.jobs import ray_cluster
from nerf_reversal_ros.jobs.shared_folder import SharedFolder
from nerf_reversal_ros.mapping.stages import SYNTHESIS
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.study.plan import StudyPlan
from nerf_reversal_ros.study.study import run_study
from nerf_reversal_ros.survey import ray_jobs
from nerf_reversal_ros.survey.job import Job, run_job
from nerf_reversal_ros.survey.plan import read_plan
from nerf_reversal_ros.survey.survey import run_survey

ray = pytest.importorskip('ray', reason='needs Ray: make test brings it')
cluster_utils = pytest.importorskip('ray.cluster_utils')
STORE_BYTES = 80 << 20


def add_node(cluster):
    return cluster.add_node(
        num_cpus=1, object_store_memory=STORE_BYTES, node_ip_address='127.0.0.1'
    )


@pytest.fixture(scope='module')
def cluster():
    """Start a cluster of a head without work and two workers, on this machine."""
    paths = os.environ.get('PYTHONPATH')
    os.environ['PYTHONPATH'] = os.pathsep.join([str(p) for p in sys.path if p])
    head = {
        'num_cpus': 0,
        'object_store_memory': STORE_BYTES,
        'include_dashboard': False,
        'node_ip_address': '127.0.0.1',
    }
    started = cluster_utils.Cluster(initialize_head=True, head_node_args=head)
    try:
        workers = [add_node(started) for _ in range(2)]
        yield started, workers
    finally:
        started.shutdown()
        os.environ.pop('PYTHONPATH')
        if paths is not None:
            os.environ['PYTHONPATH'] = paths


def arrays(out):
    """Return the checksums of all files of all maps that hold arrays."""
    return {
        (path.name, name): entry['sha256']
        for path in (out / 'rooms').glob('*.map')
        for name, entry in open_map(path).manifest['files'].items()
        if name != 'training.json'  # holds durations
    }


@pytest.fixture(scope='module')
def alone(room_bags, tmp_path_factory):
    """Return the folder of a survey without Ray, with one thread as the workers have."""
    folder = tmp_path_factory.mktemp('alone')
    run_survey(read_plan(plan_file(folder, room_bags)), folder / 'flat')
    return folder / 'flat'


def plan_file(folder, room_bags):
    rooms = {name: str(room_bags / name) for name in ('attic', 'hall', 'lab')}
    return write_survey_plan(folder, rooms)


@pytest.fixture
def sent_to_workers():
    """Send functions of this file to workers, which cannot import it."""
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


class HeldWork:
    """The work of a room, which lists its notes in a folder, and waits in it for ``go``."""

    def __init__(self, folder, *arguments):
        self.folder, self.arguments = folder, arguments

    def __call__(self, report, worker):
        work = ray_jobs.RoomWork(*self.arguments)
        notes = self.folder / f'{work.job.name}.{os.getpid()}'

        def hold(progress):
            report(progress)
            with notes.open('a') as file:
                file.write(progress.note + '\n')
            while progress.stage == SYNTHESIS and not (self.folder / 'go').exists():
                time.sleep(0.05)

        return work(hold, worker)


def take_away_machine(nodes, workers, worker):
    """Kill the node on which a worker runs, and the worker; start another node."""
    pid = int(worker.partition(':')[2])
    raylet = int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])
    (node,) = [n for n in workers if n.all_processes['raylet'][0].process.pid == raylet]
    workers.remove(node)
    nodes.remove_node(node, allow_graceful=False)
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    workers.append(add_node(nodes))


@pytest.mark.timeout(900)  # on a busy machine nodes and workers take long to start
def test_the_rooms_of_a_lost_machine_are_built_elsewhere_with_the_same_maps(
    cluster, alone, room_bags, tmp_path, monkeypatch, sent_to_workers
):
    nodes, workers = cluster
    held, lost = tmp_path / 'held', {}
    held.mkdir()
    monkeypatch.setattr(ray_jobs, 'RoomWork', partial(HeldWork, held))

    def changed(states):
        """Take a machine away while a build on it is in its middle."""
        for row in states.rows.values():
            if row.stage == SYNTHESIS and not lost:
                lost[row.name] = row.worker
                take_away_machine(nodes, workers, row.worker)
                (held / 'go').touch()

    plan = read_plan(plan_file(tmp_path, room_bags))
    survey = run_survey(plan, tmp_path / 'flat', ray=nodes.address, changed=changed)
    assert lost and not survey.failed, survey.failed
    ((room, worker),) = lost.items()
    elsewhere = set(held.glob(f'{room}.*')) - {held / f'{room}.{worker.partition(":")[2]}'}
    assert any('resuming an unfinished build' in notes.read_text() for notes in elsewhere)
    assert arrays(tmp_path / 'flat') == arrays(alone)
    assert sorted(os.listdir(tmp_path / 'flat/rooms')) == ['attic.map', 'hall.map', 'lab.map']


def test_maps_return_through_the_object_store_where_no_folder_is_shared(
    cluster, alone, room_bags, tmp_path, monkeypatch
):
    nodes, _ = cluster
    elsewhere = SharedFolder(tmp_path / 'not' / 'here', '')
    monkeypatch.setattr(ray_jobs, 'share', lambda _: contextlib.nullcontext(elsewhere))
    plan = read_plan(write_survey_plan(tmp_path, {'lab': str(room_bags / 'lab')}))
    survey = run_survey(plan, tmp_path / 'flat', ray=nodes.address)
    assert not survey.failed
    assert arrays(tmp_path / 'flat').items() <= arrays(alone).items()
    assert os.listdir(tmp_path / 'flat/rooms') == ['lab.map']


def without_times(value):
    """Return metrics without what no two runs share."""
    if not isinstance(value, dict):
        return value
    return {k: without_times(v) for k, v in value.items() if not k.startswith('latency')}


def test_bags_are_evaluated_on_workers_as_they_are_here(cluster, alone, room_bags, tmp_path):
    nodes, _ = cluster
    command = ['evaluate', alone / 'rooms/lab.map', room_bags / 'lab', room_bags / 'hall']
    command = [
        str(word) for word in (*command, '--baselines', 'none', '--device', 'cpu', '--json')
    ]
    assert main([*command, str(tmp_path / 'here.json')]) == 0
    assert main([*command, str(tmp_path / 'ray.json'), '--ray', nodes.address]) == 0
    here, there = (json.loads((tmp_path / f'{n}.json').read_text()) for n in ('here', 'ray'))
    assert list(here) == list(there) == [str(room_bags / name) for name in ('lab', 'hall')]
    assert here[str(room_bags / 'lab')]['images'] == 20
    assert without_times(there) == without_times(here)


def test_networks_of_a_study_are_trained_on_workers(cluster, room_bags, tmp_path):
    nodes, _ = cluster
    plan = StudyPlan(
        (20, 30), epochs=2, full_views=10, width=48, only=('MLP, raw', 'CNN, raw, 30')
    )
    arguments = room_bags / 'lab', tmp_path / 'work', SETTINGS, plan
    seen = set()

    def changed(states):
        seen.update((row.name, row.worker) for row in states.rows.values() if row.worker)

    there = run_study(*arguments, device='cpu', ray=nodes.address, changed=changed)
    names = [experiment.name for experiment in plan.experiments()]
    assert [row['name'] for row in there['rows']] == names and len(names) == 2
    assert {name for name, _ in seen} == set(names)
    assert not any(f':{os.getpid()}' in worker for _, worker in seen)
    assert len(os.listdir(tmp_path / 'work/rows')) == len(names)
    assert run_study(*arguments, device='cpu') == there  # nothing is left to train
    (tmp_path / 'work/rows').rename(tmp_path / 'work/of_workers')
    here = run_study(*arguments, device='cpu')
    for row, other in zip(here['rows'], there['rows'], strict=True):
        assert row['trivial'] == other['trivial']
        assert row['stretch']['median_translation_m'] == pytest.approx(
            other['stretch']['median_translation_m'], rel=0.02
        )


def test_a_full_disk_on_a_worker_is_one_sentence(cluster, room_bags, tmp_path, sent_to_workers):
    nodes, _ = cluster
    ray_module = ray_cluster.connect(nodes.address)
    job = Job.of_room(read_plan(plan_file(tmp_path, room_bags)).rooms[0], tmp_path / 'a.map')

    def work_on_a_full_disk(job):
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
        try:
            return run_job(job, lambda _: None)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    try:
        result = ray.get(ray.remote(num_cpus=1)(work_on_a_full_disk).remote(job))
    finally:
        ray_module.shutdown()
    assert result.reason.startswith('no space left for ') and 'free some' in result.reason
    assert not result.defect and not (tmp_path / 'a.map').exists()


def test_a_cluster_that_is_not_there_is_told_at_once(room_bags, tmp_path):
    plan = read_plan(plan_file(tmp_path, room_bags))
    for address in ('127.0.0.1:9', 'no address', 'ray://127.0.0.1:9'):
        with pytest.raises(ConfigError, match=r'there is no Ray cluster .*: start it with'):
            run_survey(plan, tmp_path / 'flat', ray=address)


def test_without_ray_the_installation_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'ray', None)
    with pytest.raises(ConfigError, match=r"--ray needs Ray, .*: pip install 'ray"):
        ray_cluster.connect('auto')
