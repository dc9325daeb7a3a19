"""
Programs of the package, ended at random moments of their work, as real processes:

    python test/interruptions.py --tries 10 --kills 5

Ctrl-C and SIGTERM must end each within two seconds, without a traceback and with nothing half
written. A build that was killed (SIGKILL) again and again must give the map that an undisturbed
one gives.
"""

import argparse
import json
import os
from pathlib import Path
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

WITHIN_S = 2.0
CLI = 'import sys; from nerf_reversal_ros.cli.main import main; sys.exit(main(sys.argv[1:]))'
NODE = 'import sys; from nerf_reversal_ros.ros.{}_node import main; sys.exit(main(sys.argv))'
SMALL = """\
field: {voxel_m: 0.025, steps: 30, rays_per_step: 2048, validation_share: 0.12}
synthesis: {views: 300, width: 48}
regressor: {components: 30, epochs: 6}
"""


def command(program: str, walk: Path, map_dir: Path, out: Path) -> list[str]:
    """Return what runs one of the programs; all that it writes goes into ``out``."""
    settings = out.parent / 'settings.yaml'
    settings.write_text(SMALL)
    cli = [sys.executable, '-c', CLI]
    built = ['-p', f'bag:={walk}', '-p', f'map:={out}/m', '-p', f'config:={settings}']
    return {
        'build': [*cli, 'build', str(walk), f'{out}/m', '--config', str(settings)],
        'localize': [*cli, 'localize', str(map_dir), str(walk), '--out', f'{out}/poses.json'],
        'evaluate': [*cli, 'evaluate', str(map_dir), str(walk), '--json', f'{out}/m.json'],
        'convert': [*cli, 'convert', str(walk.parent / 'scene'), f'{out}/bag'],
        'localizer': [
            *(sys.executable, '-c', NODE.format('localizer'), '--ros-args'),
            *('-p', f'map_dir:={map_dir}', '-p', 'autostart:=true'),
        ],
        'builder': [sys.executable, '-c', NODE.format('builder'), '--ros-args', *built],
    }[program]


PROGRAMS = ('build', 'localize', 'evaluate', 'convert', 'localizer', 'builder')


def whole(out: Path) -> bool:
    """Tell whether all that a user sees in a folder is complete; staging may be there."""
    from nerf_reversal_ros.bags.bag_reader import BagReader
    from nerf_reversal_ros.maps.map_folder import open_map

    for path in out.iterdir():
        if path.name.endswith(('.partial', '.tmp')):
            continue
        if path.name == 'm':
            open_map(path)
        elif path.name == 'bag':
            BagReader(path).close()
        else:
            json.loads(path.read_text())
    return True


def interrupted(words: list[str], after_s: float, number: int) -> tuple[float, int, str]:
    """Run a program and signal it; return the seconds until its end, its status, its words."""
    with tempfile.TemporaryFile('w+') as said:
        process = subprocess.Popen(words, stdout=said, stderr=said)
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        began_s = time.monotonic()
        status = process.wait(120)
        took_s = time.monotonic() - began_s
        said.seek(0)
        return took_s, status, said.read()


def try_signals(walk: Path, map_dir: Path, program: str, tries: int, rng: random.Random) -> dict:
    """Signal a program at random moments of its first seconds; return what came of it."""
    counts = {'tries': 0, 'in time': 0, 'clean': 0, 'slowest_s': 0.0, 'odd': []}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'out'
        out.mkdir()
        words = command(program, walk, map_dir, out)
        began_s = time.monotonic()
        interrupted(words, 60.0, signal.SIGINT)
        span_s = time.monotonic() - began_s if program != 'localizer' else 10.0
        for i in range(tries):
            shutil.rmtree(out)
            out.mkdir()
            number = (signal.SIGINT, signal.SIGTERM)[i % 2]
            after_s = rng.uniform(0.05, span_s)
            took_s, status, said = interrupted(words, after_s, number)
            fine = 'Traceback' not in said and status in (0, 1, 130, -number) and whole(out)
            counts['tries'] += 1
            counts['in time'] += took_s < WITHIN_S
            counts['clean'] += fine
            counts['slowest_s'] = round(max(counts['slowest_s'], took_s), 2)
            if not fine:
                counts['odd'].append([round(after_s, 2), number.name, status, said[-1500:]])
    return counts


def try_kills(walk: Path, kills: int, rng: random.Random) -> dict:
    """Build undisturbed and with SIGKILL at random moments; compare the maps byte by byte."""
    with tempfile.TemporaryDirectory() as folder:
        plain, killed = Path(folder) / 'plain', Path(folder) / 'killed'
        plain.mkdir(), killed.mkdir()
        began_s = time.monotonic()
        subprocess.run(
            command('build', walk, walk, plain),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        span_s = time.monotonic() - began_s
        done, words = 0, command('build', walk, walk, killed)
        while done < kills and not (killed / 'm').exists():
            interrupted(words, rng.uniform(0.1, 0.5) * span_s, signal.SIGKILL)
            done += 1
        if not (killed / 'm').exists():
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        files = sorted(path.name for path in (plain / 'm').iterdir() if path.suffix != '.json')
        same = [
            (plain / 'm' / name).read_bytes() == (killed / 'm' / name).read_bytes()
            for name in files
        ]
        return {'kills': done, 'files': len(files), 'same': sum(same)}


def main() -> int:
    parser = argparse.ArgumentParser(description='End programs at random moments.')
    parser.add_argument('--tries', type=int, default=10, help='signals to each program')
    parser.add_argument('--kills', type=int, default=5, help='of one build')
    parser.add_argument('--only', default=','.join(PROGRAMS))
    parser.add_argument('--seed', type=int, default=0)
    given = parser.parse_args()
    # A shell's background job ignores Ctrl-C, and so would what it starts.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    from exports import write_nerfstudio
    from small_map import build_small_map

    rng, good = random.Random(given.seed), True
    with tempfile.TemporaryDirectory() as folder:
        built = build_small_map(Path(folder)).path
        write_nerfstudio(Path(folder) / 'scene')
        walk = Path(folder) / 'walk'
        for program in filter(None, given.only.split(',')):
            found = try_signals(walk, built, program, given.tries, rng)
            odd = found.pop('odd')
            good &= found['in time'] == found['clean'] == found['tries']
            print(program, json.dumps(found), flush=True)
            for case in odd:
                print('  odd:', *case, flush=True)
        if given.kills:
            found = try_kills(walk, given.kills, rng)
            good &= found['same'] == found['files']
            print('killed builds', json.dumps(found), flush=True)
    return 0 if good else 1


if __name__ == '__main__':
    sys.exit(main())
