"""Run a node: command line, executor, exit status, and an end within two seconds of a signal."""

from collections.abc import Callable, Sequence
from contextlib import suppress
import ctypes
import os
import signal
import sys
import threading
import traceback
from typing import Any, NoReturn

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
"""Exit statuses: done, error of the user or defect, misuse of the command line."""

STEADY_CLOCK = Clock(clock_type=ClockType.STEADY_TIME)
"""Clock of timers that must run with use_sim_time even while nobody publishes /clock."""
LATCHED_QOS = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""QoS of a topic whose last message is sent to late subscribers."""
LAST_TEN_QOS = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
"""QoS of a topic whose last ten messages are sent to late subscribers of the same durability."""

NO_EVENT_CALLBACKS = PublisherEventCallbacks(use_default_callbacks=False)
"""For publishers destroyed while the node spins: rclpy's executor can fail at an event of one,
and would then call no callback of its group any more."""

EXECUTOR_THREADS = 6
"""A transition, the services that wait, the inputs and the timers run side by side."""
WAKE_UP_PERIOD_S = 0.2
"""Period of an empty timer [s]: the executor raises the error of a callback at the next event."""
EXIT_TIMEOUT_S = 1.2
"""Time after which the process exits even if native code still runs [s]; two are promised."""


class NodeFinished(Exception):  # noqa: N818  (ends a node; not an error)
    """Raised by a callback to end the node when its task is done."""

    def __init__(self, status: int = DONE) -> None:
        self.status = status


def call_once(
    node: Node, callback: Callable[[], None], group: CallbackGroup | None = None
) -> None:
    """Call ``callback`` once in the executor, as soon as the node spins."""

    def fire() -> None:
        timer.cancel()
        callback()

    timer = node.create_timer(0.0, fire, callback_group=group, clock=STEADY_CLOCK)


def printable_traceback() -> str:
    """Return the traceback of the present exception, escaped where rclpy could not log it."""
    return traceback.format_exc().encode(errors='backslashreplace').decode()


def run_node(make_node: Callable[[], Any], args: Sequence[str] | None = None) -> int:
    """
    Run a node until it finishes or a signal arrives.

    Parameters
    ----------
    make_node : callable
        Makes a Node with a method ``close()`` and an int ``interrupted_status``. ``close()`` ends
        all work and returns whether no thread is busy any more; the int is the exit status after
        a signal.
    args : sequence of str, optional
        The command line; default: that of the process.

    Returns
    -------
    int
        2 for misuse of the command line. Otherwise the process ends here with its exit status:
        0 done, 1 an error of the user (one sentence on stderr) or a defect (a traceback); after a
        signal, ``interrupted_status``.

    Notes
    -----
    Once the node is closed and ROS is shut down, nothing is left to do. Python would unload
    PyTorch and rclpy for seconds on a busy machine, and ros2 launch would kill the process.
    """
    words = list(sys.argv if args is None else args)
    try:
        if unknown := remove_ros_args(words)[1:]:
            raise RuntimeError(f'unknown argument {unknown[0]}: use --ros-args -p name:=value')
        rclpy.init(args=words)
    except RuntimeError as error:
        print(f'cannot start: {" ".join(str(error).split())}', file=sys.stderr)
        return MISUSE
    running = _RunningNode()
    status = running.spin(make_node)
    _ignore_signals()  # again: a signal may have interrupted the first call
    # A computation in native code cannot be interrupted: the process exits without it.
    _exit_after(EXIT_TIMEOUT_S, status)
    try:
        if running.close():
            rclpy.try_shutdown()
    except Exception:  # a defect, told after all else is done
        traceback.print_exc()
        status = status or USER_ERROR
    _flush_and_exit(status)


class _RunningNode:
    """A node and its executor, each None before it is made."""

    def __init__(self) -> None:
        self._node: Any = None
        self._executor: MultiThreadedExecutor | None = None

    def spin(self, make_node: Callable[[], Any]) -> int:
        """Make the node and spin it to its end; return the exit status."""
        try:
            try:
                self._make_and_spin(make_node)
            finally:
                _ignore_signals()
        except (KeyboardInterrupt, ExternalShutdownException):
            return self._interrupted_status
        except NodeFinished as finished:
            return finished.status
        except NerfReversalError as error:
            name = self._node.get_name() if self._node else 'nerf_reversal_ros'
            get_logger(name).fatal(str(error))
            return USER_ERROR
        except Exception:
            if not rclpy.ok():  # a signal has shut ROS down, and rclpy failed on it
                return self._interrupted_status
            traceback.print_exc()
            return USER_ERROR
        return DONE

    def close(self) -> bool:
        """Close the node, then the executor; return whether no thread of the node is busy."""
        if self._node is not None and not self._node.close():
            return False
        if self._executor is not None:
            self._executor.shutdown()  # otherwise rclpy may fail on it when Python ends
        return True

    @property
    def _interrupted_status(self) -> int:
        return int(self._node.interrupted_status) if self._node else DONE

    def _make_and_spin(self, make_node: Callable[[], Any]) -> None:
        self._node = make_node()
        self._executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
        self._executor.add_node(self._node)
        self._node.create_timer(WAKE_UP_PERIOD_S, lambda: None, clock=STEADY_CLOCK)
        while True:
            try:
                self._executor.spin()
                raise ExternalShutdownException  # some versions of rclpy return instead
            except InvalidHandle:
                # A transition has destroyed an entity that rclpy was about to wait for or call.
                get_logger(self._node.get_name()).debug(printable_traceback())


def _ignore_signals() -> None:
    """Ignore further signals, so that a second Ctrl-C does not interrupt the end of the node."""
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _exit_after(seconds: float, status: int) -> None:
    timer = threading.Timer(seconds, _flush_and_exit, [status])
    timer.daemon = True
    timer.start()


def _flush_and_exit(status: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    ctypes.CDLL(None).fflush(None)  # the log file of ROS
    os._exit(status)
