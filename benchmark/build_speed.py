"""
Time the build of a map by stage, beside the map of hloc, in one run.

    python benchmark/build_speed.py WORK BAG... [--config FILE] [--older FOLDER] [--out FILE.json]

Each bag is built from nothing in a process of its own. The first map is ready when it can be
opened; it localizes while the build goes on. OLDER is a checkout of an older version, which builds
the same bags for comparison. hloc maps the same bag with SIFT, where pycolmap is installed.
"""

import argparse
import importlib.util
import json
import os
from pathlib import Path
import shutil
import subprocess
import sys
import time
from typing import Any, NamedTuple

from results import add_out_argument, Column, ResultTable, write_results

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig

ROOT = Path(__file__).resolve().parents[1]
POLL_S = 0.2
"""Time between two looks for the first map."""
BUILD = 'import sys; from nerf_reversal_ros.cli.main import main; sys.exit(main())'
BUILDS = (
    'bag',
    'version',
    Column('images'),
    Column('kept'),
    Column('first map', 's'),
    Column('whole build', 's'),
    Column("time / hloc's", '', 1),
    Column('memory', 'GB', 2),
    Column('map', 'MB', 1),
    Column('without field', 'MB', 1),
    Column('PSNR', 'dB', 1),
)


class Build(NamedTuple):
    """A finished build."""

    manifest: dict[str, Any]
    first_s: float | None
    """Until a map could be opened first; None if it was only the finished one."""
    whole_s: float
    memory_gb: float
    """Peak of the resident memory."""
    bytes_by_file: dict[str, int]


def main() -> None:
    """Build all bags, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[1])
    parser.add_argument('work', type=Path, help='folder for the maps')
    parser.add_argument('bags', type=Path, nargs='+')
    parser.add_argument('--config', type=Path, help='settings of the builds')
    parser.add_argument('--older', type=Path, help='checkout of a version to compare with')
    add_out_argument(parser)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    versions = {'this': ROOT} | ({'older': args.older.resolve()} if args.older else {})
    table = ResultTable('Builds', BUILDS)
    builds: dict[str, Build] = {}
    for bag in args.bags:
        hloc_s = hloc_seconds(bag)
        for version, tree in versions.items():
            name = f'{bag.stem} {version}'
            built = build(tree, bag, args.work / f'{name}.map', args.config)
            builds[name] = built
            whole = sum(built.bytes_by_file.values())
            counts = built.manifest['capture']['counts']
            table.add_row(
                bag.name,
                version,
                counts['pictures'],
                counts['kept'],
                built.first_s,
                built.whole_s,
                built.whole_s / hloc_s if hloc_s else None,
                built.memory_gb,
                whole / 1e6,
                (whole - built.bytes_by_file['field.safetensors']) / 1e6,
                built.manifest['metrics'].get('psnr_db'),
            )
    write_results(args.out, 'Time of a build', table, stage_table(builds))


def build(tree: Path, bag: Path, map_dir: Path, config: Path | None) -> Build:
    """Build a map from nothing with the package of a checkout; its messages go to a log."""
    shutil.rmtree(map_dir, ignore_errors=True)
    command = [sys.executable, '-c', BUILD, 'build', str(bag), str(map_dir), '--device', 'cpu']
    command += ['--config', str(config)] if config else []
    environment = {**os.environ, 'PYTHONPATH': str(tree)}
    start_s, first_s = time.monotonic(), None
    log = map_dir.with_suffix('.log')
    with open(log, 'w', encoding='utf-8') as log_file:
        process = subprocess.Popen(command, env=environment, stdout=log_file, stderr=log_file)
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            elapsed_s = time.monotonic() - start_s
            if pid:
                break
            if first_s is None and (map_dir / 'manifest.json').exists():
                first_s = elapsed_s
            time.sleep(POLL_S)
    if os.waitstatus_to_exitcode(status):
        raise SystemExit(f'the build of {bag} failed: see {log}')
    manifest = json.loads((map_dir / 'manifest.json').read_text(encoding='utf-8'))
    if first_s is not None and elapsed_s - first_s < 10 * POLL_S:
        first_s = None
    sizes = {file.name: file.stat().st_size for file in map_dir.iterdir() if file.is_file()}
    return Build(manifest, first_s, elapsed_s, usage.ru_maxrss * 1024 / 1e9, sizes)


def hloc_seconds(bag: Path) -> float | None:
    """Return how long hloc maps a bag with SIFT; None without pycolmap."""
    if importlib.util.find_spec('pycolmap') is None:
        return None
    from nerf_reversal_ros.baselines.hloc_sift import HlocSift

    start_s = time.monotonic()
    HlocSift(open_capture(bag, CaptureConfig()))
    return time.monotonic() - start_s


def stage_table(builds: dict[str, Build]) -> ResultTable:
    """Print the seconds of each stage, a line a build."""
    seconds = {name: built.manifest['built']['seconds'] for name, built in builds.items()}
    stages = list(dict.fromkeys(stage for each in seconds.values() for stage in each))
    table = ResultTable('Stages', ['build', *(Column(stage, 's') for stage in stages)])
    for name, each in seconds.items():
        table.add_row(name, *(each.get(stage) for stage in stages))
    return table


if __name__ == '__main__':
    main()
