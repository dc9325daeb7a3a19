"""Start a node, keep it going, and end it within two seconds of a signal."""

from collections.abc import Callable, Sequence
import os
import signal
import sys
import threading
import traceback
from typing import Any

import rclpy
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock, ClockType
from rclpy.event_handler import PublisherEventCallbacks
from rclpy.exceptions import InvalidHandle
from rclpy.executors import ExternalShutdownException, MultiThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.utilities import remove_ros_args

from nerf_reversal_ros.core.errors import NerfReversalError

DONE, USER_ERROR, MISUSE = 0, 1, 2

STEADY_CLOCK = Clock(clock_type=ClockType.STEADY_TIME)
"""For timers that run whether or not use_sim_time is set and somebody publishes /clock."""
LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Of a topic: who comes late gets the last message."""
LAST_TEN_QOS = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""Of a topic: who comes late, or is discovered late, gets the last ten, if it asks for them."""

NO_EVENT_CALLBACKS = PublisherEventCallbacks(use_default_callbacks=False)
"""Of a publisher that is destroyed while the node spins: rclpy's executor could fail on an event
of it, and would call nothing of its group any more."""

_EXIT_TIMEOUT_S = 1.2


class NodeFinished(Exception):  # noqa: N818  (it is none)
    """Raised by a callback of a node when it has done what it was started for."""

    def __init__(self, status: int = DONE) -> None:
        self.status = status


def call_once(
    node: Node, callback: Callable[[], None], group: CallbackGroup | None = None
) -> None:
    """Call ``callback`` in the executor, once, as soon as the node spins."""

    def fire() -> None:
        timer.cancel()
        callback()

    timer = node.create_timer(0.0, fire, callback_group=group, clock=STEADY_CLOCK)


def printable_traceback() -> str:
    """Return the traceback of the exception in hand, without characters that rclpy cannot log."""
    return traceback.format_exc().encode(errors='backslashreplace').decode()


def run_node(make_node: Callable[[], Any], args: Sequence[str] | None = None) -> int:
    """
    Run a node until it is finished or a signal comes.

    Parameters
    ----------
    make_node : callable
        Makes a Node with a method ``close()``, which ends all work and tells whether no thread
        is busy any more, and an int ``interrupted_status``, the exit status after a signal.
    args : sequence of str, optional
        The command line; default: that of the process.

    Returns
    -------
    int
        Exit status: 0 done, 1 a user's error (one sentence on stderr) or a defect (a traceback),
        2 misuse of the command line; after a signal, what the node says. The process is to end
        now: it ignores further signals.
    """
    words = list(sys.argv if args is None else args)
    try:
        if foreign := remove_ros_args(words)[1:]:
            raise RuntimeError(f'unknown argument {foreign[0]}: use --ros-args -p name:=value')
        rclpy.init(args=words)
    except RuntimeError as error:
        print(f'cannot start: {" ".join(str(error).split())}', file=sys.stderr)
        return MISUSE
    status, node, executor = DONE, None, None
    try:
        try:
            node = make_node()
            executor = MultiThreadedExecutor(num_threads=6)
            executor.add_node(node)
            # The executor notices that a callback has raised at the next event: let there be one.
            node.create_timer(0.2, lambda: None, clock=STEADY_CLOCK)
            while True:
                try:
                    executor.spin()
                    raise ExternalShutdownException  # some versions of rclpy return instead
                except InvalidHandle:
                    # What a transition destroys, rclpy may be about to wait for or to call.
                    get_logger(node.get_name()).debug(printable_traceback())
        finally:
            _ignore_signals()
    except (KeyboardInterrupt, ExternalShutdownException):
        status = node.interrupted_status if node else DONE
    except NodeFinished as finished:
        status = finished.status
    except NerfReversalError as error:
        get_logger(node.get_name() if node else 'nerf_reversal_ros').fatal(str(error))
        status = USER_ERROR
    except Exception:
        if rclpy.ok():
            traceback.print_exc()
            status = USER_ERROR
        else:  # rclpy stumbled over a signal
            status = node.interrupted_status if node else DONE
    _ignore_signals()  # again, for a signal may have interrupted that
    # A computation in native code cannot be interrupted: whatever still runs is left behind.
    _exit_after(_EXIT_TIMEOUT_S, status)
    if node is not None and not node.close():
        _exit_after(0.0, status).join()
    if executor is not None:
        executor.shutdown()  # else rclpy may stumble over it when Python ends
    rclpy.try_shutdown()
    return status


def _ignore_signals() -> None:
    """Let Ctrl-C, given again, not interrupt what ends the node."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _exit_after(seconds: float, status: int) -> threading.Thread:
    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)

    timer = threading.Timer(seconds, leave)
    timer.daemon = True
    timer.start()
    return timer
