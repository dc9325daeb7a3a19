"""
Survey a building on this machine alone and on Ray clusters, and compare maps and costs.

    python benchmark/survey_cluster.py PLAN OUT [--workers N ...] [--killed N] [--out FILE.json]

The first survey builds one room after the other in this process. The others run on clusters of
so many nodes of one core each, on this machine. In the survey of ``--killed`` nodes one of them
is killed with its build when half of the rooms are done; no other takes its place. PLAN should
give its rooms ``resources: {cpus: 1}``: with other threads the arrays are rounded otherwise.

The CPU time is that of the whole machine, so nothing else should run on it. ``other arrays``
counts the files of arrays whose checksum is not that of the first survey.
"""

import argparse
from collections.abc import Callable, Iterator
import contextlib
import os
from pathlib import Path
import signal
import time
from typing import Any

from results import add_out_argument, Column, ResultTable, write_results

from nerf_reversal_ros.jobs.job_states import BUILDING, ENDED, JobStates
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.survey.plan import read_plan, SurveyPlan
from nerf_reversal_ros.survey.survey import map_dir_of, run_survey

STORE_BYTES = 200 << 20
WITH_TIMES = 'training.json'
"""File of a map that holds durations: it differs in each build."""


class LocalCluster:
    """
    Nodes of one core each on this machine, and a head that runs no job.

    Parameters
    ----------
    nodes : int
        Number of nodes.
    """

    def __init__(self, nodes: int) -> None:
        os.environ['RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER'] = '0'  # all of it is on 127.0.0.1
        from ray.cluster_utils import Cluster

        head = {'num_cpus': 0, 'include_dashboard': False, **self._node()}
        self._cluster = Cluster(initialize_head=True, head_node_args=head)
        self._nodes = [self._cluster.add_node(num_cpus=1, **self._node()) for _ in range(nodes)]
        self.address = self._cluster.address
        self.killed = ''
        """Room whose build was killed, and how far it was; empty before."""

    @staticmethod
    def _node() -> dict[str, Any]:
        return {'object_store_memory': STORE_BYTES, 'node_ip_address': '127.0.0.1'}

    def kill_at_half(self, states: JobStates) -> None:
        """Kill the node of a running job, and the job, once half of all jobs have ended."""
        rows = list(states.rows.values())
        running = [row for row in rows if row.state == BUILDING and row.worker]
        if self.killed or not running or 2 * sum(r.state in ENDED for r in rows) < len(rows):
            return
        row = running[0]
        self.killed = f'{row.name} at {row.fraction:.0%}'
        pid = int(row.worker.rpartition(':')[2])
        parent = int(Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[1])
        (node,) = [n for n in self._nodes if n.all_processes['raylet'][0].process.pid == parent]
        self._cluster.remove_node(node, allow_graceful=False)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def stop(self) -> None:
        """End all nodes."""
        self._cluster.shutdown()


@contextlib.contextmanager
def local_cluster(nodes: int) -> Iterator[LocalCluster]:
    """Start a cluster, and stop it."""
    cluster = LocalCluster(nodes)
    try:
        yield cluster
    finally:
        cluster.stop()


def arrays_of(plan: SurveyPlan, out: Path) -> dict[tuple[str, str], str]:
    """Return the checksums of the files of all maps that the survey built."""
    return {
        (room.name, name): entry['sha256']
        for room in plan.rooms
        if room.map_dir is None
        for name, entry in open_map(map_dir_of(out, room)).manifest['files'].items()
        if name != WITH_TIMES
    }


def cpu_seconds() -> float:
    """Return the CPU time of all processes of this machine since its start [s]."""
    user, nice, system, *_ = (int(n) for n in Path('/proc/stat').read_text().split()[1:8])
    return (user + nice + system) / os.sysconf('SC_CLK_TCK')


def main() -> None:
    """Run the surveys, each in a folder of its own, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('plan', type=Path)
    parser.add_argument('folder', type=Path, metavar='OUT', help='for the surveys; new or empty')
    parser.add_argument('--workers', type=int, nargs='*', default=[1, 2, 4], metavar='N')
    parser.add_argument('--killed', type=int, default=3, metavar='N', help='0: no such survey')
    add_out_argument(parser)
    arguments = parser.parse_args()
    if arguments.folder.exists() and any(arguments.folder.iterdir()):
        parser.error(f'{arguments.folder} is not empty: its surveys would be found finished')
    plan = read_plan(arguments.plan)
    columns = [
        'survey',
        Column('rooms'),
        Column('wall', 's'),
        Column('CPU', 's'),
        Column('files of arrays'),
        Column('other arrays'),
        'killed',
    ]
    table = ResultTable('One survey, here and on clusters of one machine', columns)
    expected = dict[tuple[str, str], str]()

    def run(name: str, killed: Callable[[], str] = str, **options: Any) -> None:
        out = arguments.folder / name.replace(' ', '_').replace(',', '')
        begin_s, begin_cpu_s = time.monotonic(), cpu_seconds()
        survey = run_survey(plan, out, **options)
        wall_s, cpu_s = time.monotonic() - begin_s, cpu_seconds() - begin_cpu_s
        if survey.failed:
            raise SystemExit(f'{name}: {survey.failed}')
        found = arrays_of(plan, out)
        expected.update({} if expected else found)
        other = sum(found.get(key) != checksum for key, checksum in expected.items())
        table.add_row(name, len(plan.rooms), wall_s, cpu_s, len(found), other, killed())

    run('alone')
    for nodes in arguments.workers:
        with local_cluster(nodes) as cluster:
            run(f'{nodes} workers', ray=cluster.address)
    if arguments.killed:
        with local_cluster(arguments.killed) as cluster:
            run(
                f'{arguments.killed} workers, one killed',
                lambda: cluster.killed,
                ray=cluster.address,
                changed=cluster.kill_at_half,
            )
    write_results(arguments.out, 'A survey on Ray', table)


if __name__ == '__main__':
    main()
