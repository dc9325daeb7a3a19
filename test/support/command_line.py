"""Run the command line in this process, and write small map folders for it."""

from collections.abc import Mapping
import contextlib
import io
import os
from pathlib import Path
import subprocess
import sys

import numpy as np
from small_room import CAMERA

from nerf_reversal_ros.capture.pose_convention import PoseConvention
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.maps.map_folder import Map
from nerf_reversal_ros.maps.map_writer import MapWriter

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, '-m', 'nerf_reversal_ros.cli.main']
ENVIRONMENT = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}


def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, like the installed ``nerf-reversal``."""
    argv = [str(argument) for argument in arguments]
    stdout, stderr = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        try:
            status = main(argv)
        except SystemExit as misuse:
            status = int(misuse.code or 0)
    return subprocess.CompletedProcess(argv, status, stdout.getvalue(), stderr.getvalue())


def user_error(*arguments: object) -> str:
    """Run a command that must fail because of its user; return its one line on stderr."""
    completed = run_command(*arguments)
    stderr = completed.stderr
    assert completed.returncode == 1, stderr
    assert completed.stdout == ''
    assert stderr.startswith('nerf-reversal: ') and stderr.count('\n') == 1, stderr
    return stderr


def write_map(path: Path, entries: Mapping[str, object] = {}, **built: object) -> Map:
    """Write a map of one file, with more entries of its manifest and of ``built``."""
    with MapWriter(path, {}) as writer:
        writer.path('field.bin').write_bytes(bytes(2_500_000))
        return writer.finish(
            {
                'camera': CAMERA.as_dict(),
                'capture_camera': CAMERA.as_dict(),
                'convention': PoseConvention('opengl', np.eye(4), 'floor plane').as_dict(),
                'capture': {'source': 'walk', 'counts': {'kept': 40, 'blurred': 2}},
                'built': {'date': '2026-01-01T00:00:00Z', 'device': 'cpu', **built},
                'metrics': {'psnr_db': 23.456},
                **entries,
            }
        )
