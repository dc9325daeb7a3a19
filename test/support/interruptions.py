"""
Interrupt programs of the package at random times, as real processes:

    python test/support/interruptions.py --tries 10 --kills 5

Ctrl-C and SIGTERM must end each within two seconds, without a traceback and without an incomplete
output. A build that was killed (SIGKILL) repeatedly must give the map of an uninterrupted build.
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

MAX_EXIT_S = 2.0
"""Time after a signal in which a program must have ended [s]."""
CLI = 'import sys; from nerf_reversal_ros.cli.main import main; sys.exit(main(sys.argv[1:]))'
NODE = 'import sys; from nerf_reversal_ros.ros.{}_node import main; sys.exit(main(sys.argv))'
SMALL = """\
field: {voxel_m: 0.025, steps: 30, rays_per_step: 2048, validation_share: 0.12}
synthesis: {views: 300, width: 48}
regressor: {components: 30, epochs: 6}
"""


def command(program: str, bag: Path, map_dir: Path, out: Path) -> list[str]:
    """Return the command line of a program that writes all its outputs to ``out``."""
    settings = out.parent / 'settings.yaml'
    settings.write_text(SMALL)
    cli = [sys.executable, '-c', CLI]
    parameters = ['-p', f'bag:={bag}', '-p', f'map:={out}/m', '-p', f'config:={settings}']
    return {
        'build': [*cli, 'build', str(bag), f'{out}/m', '--config', str(settings)],
        'localize': [*cli, 'localize', str(map_dir), str(bag), '--out', f'{out}/poses.json'],
        'evaluate': [*cli, 'evaluate', str(map_dir), str(bag), '--json', f'{out}/m.json'],
        'convert': [*cli, 'convert', str(bag.parent / 'scene'), f'{out}/bag'],
        'localizer': [
            *(sys.executable, '-c', NODE.format('localizer'), '--ros-args'),
            *('-p', f'map_dir:={map_dir}', '-p', 'autostart:=true'),
        ],
        'builder': [sys.executable, '-c', NODE.format('builder'), '--ros-args', *parameters],
    }[program]


PROGRAMS = ('build', 'localize', 'evaluate', 'convert', 'localizer', 'builder')


def is_complete(out: Path) -> bool:
    """Return whether all outputs in a folder are complete; staging files are ignored."""
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


def run_and_signal(words: list[str], after_s: float, number: int) -> tuple[float, int, str]:
    """Run a program and signal it; return the seconds until its end, its status and output."""
    with tempfile.TemporaryFile('w+') as output:
        process = subprocess.Popen(words, stdout=output, stderr=output)
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.send_signal(number)
        start_s = time.monotonic()
        status = process.wait(120)
        exit_s = time.monotonic() - start_s
        output.seek(0)
        return exit_s, status, output.read()


def try_signals(bag: Path, map_dir: Path, program: str, tries: int, rng: random.Random) -> dict:
    """Signal a program at random times of its run; return the counts of the results."""
    counts = {'tries': 0, 'in time': 0, 'clean': 0, 'slowest_s': 0.0, 'odd': []}
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / 'out'
        out.mkdir()
        words = command(program, bag, map_dir, out)
        start_s = time.monotonic()
        run_and_signal(words, 60.0, signal.SIGINT)
        span_s = time.monotonic() - start_s if program != 'localizer' else 10.0
        for i in range(tries):
            shutil.rmtree(out)
            out.mkdir()
            number = (signal.SIGINT, signal.SIGTERM)[i % 2]
            after_s = rng.uniform(0.05, span_s)
            exit_s, status, output = run_and_signal(words, after_s, number)
            is_clean = (
                'Traceback' not in output and status in (0, 1, 130, -number) and is_complete(out)
            )
            counts['tries'] += 1
            counts['in time'] += exit_s < MAX_EXIT_S
            counts['clean'] += is_clean
            counts['slowest_s'] = round(max(counts['slowest_s'], exit_s), 2)
            if not is_clean:
                counts['odd'].append([round(after_s, 2), number.name, status, output[-1500:]])
    return counts


def try_kills(bag: Path, kills: int, rng: random.Random) -> dict:
    """Build without and with SIGKILL at random times; compare the maps byte by byte."""
    with tempfile.TemporaryDirectory() as folder:
        uninterrupted, killed = Path(folder) / 'uninterrupted', Path(folder) / 'killed'
        uninterrupted.mkdir()
        killed.mkdir()
        start_s = time.monotonic()
        subprocess.run(
            command('build', bag, bag, uninterrupted),
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        span_s = time.monotonic() - start_s
        done, words = 0, command('build', bag, bag, killed)
        while done < kills and not (killed / 'm').exists():
            run_and_signal(words, rng.uniform(0.1, 0.5) * span_s, signal.SIGKILL)
            done += 1
        if not (killed / 'm').exists():
            subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        files = sorted(
            path.name for path in (uninterrupted / 'm').iterdir() if path.suffix != '.json'
        )
        same = [
            (uninterrupted / 'm' / name).read_bytes() == (killed / 'm' / name).read_bytes()
            for name in files
        ]
        return {'kills': done, 'files': len(files), 'same': sum(same)}


def main() -> int:
    parser = argparse.ArgumentParser(description='Interrupt programs at random times.')
    parser.add_argument('--tries', type=int, default=10, help='number of signals to each program')
    parser.add_argument('--kills', type=int, default=5, help='number of kills of one build')
    parser.add_argument('--only', default=','.join(PROGRAMS))
    parser.add_argument('--seed', type=int, default=0)
    arguments = parser.parse_args()
    # A background job of a shell ignores Ctrl-C, and its processes would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    from exports import write_nerfstudio
    from small_map import build_small_map

    rng, passed = random.Random(arguments.seed), True
    with tempfile.TemporaryDirectory() as folder:
        built = build_small_map(Path(folder)).path
        write_nerfstudio(Path(folder) / 'scene')
        bag = Path(folder) / 'walk'
        for program in filter(None, arguments.only.split(',')):
            counts = try_signals(bag, built, program, arguments.tries, rng)
            odd = counts.pop('odd')
            passed &= counts['in time'] == counts['clean'] == counts['tries']
            print(program, json.dumps(counts), flush=True)
            for case in odd:
                print('  odd:', *case, flush=True)
        if arguments.kills:
            counts = try_kills(bag, arguments.kills, rng)
            passed &= counts['same'] == counts['files']
            print('killed builds', json.dumps(counts), flush=True)
    return 0 if passed else 1


if __name__ == '__main__':
    sys.exit(main())
