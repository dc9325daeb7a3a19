"""Ctrl-C ends a command soon, whatever it is doing."""

import signal
import subprocess
import sys
import time

from command_line import ENVIRONMENT


def test_ctrl_c_ends_a_command_soon_while_native_code_runs() -> None:
    program = (
        'import hashlib, sys\n'
        'from nerf_reversal_ros.cli.interrupts import exit_soon_on_interrupt\n'
        'with exit_soon_on_interrupt(lambda: print("interrupted", file=sys.stderr)):\n'
        '    print("running", flush=True)\n'
        '    hashlib.pbkdf2_hmac("sha256", b"", b"", 2_000_000_000)\n'  # half an hour
    )
    command = [sys.executable, '-c', program]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=ENVIRONMENT) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == 'running\n'
        time.sleep(1.0)  # so that native code is running
        child.send_signal(signal.SIGINT)
        _, stderr = child.communicate(timeout=60)
    assert (child.returncode, stderr) == (130, 'interrupted\n')


def test_ctrl_c_in_a_weakref_callback_prints_no_traceback() -> None:
    program = (
        'import signal, weakref\n'
        'from nerf_reversal_ros.cli.interrupts import exit_soon_on_interrupt\n'
        'class Object: pass\n'
        'with exit_soon_on_interrupt(lambda: print("interrupted", flush=True)):\n'
        '    target = Object()\n'
        '    reference = weakref.ref(target, lambda _: signal.raise_signal(signal.SIGINT))\n'
        '    del target\n'
        '    while True: pass\n'
    )
    completed = subprocess.run(
        [sys.executable, '-c', program], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert (completed.returncode, completed.stdout, completed.stderr) == (130, 'interrupted\n', '')
