"""Run a node: command line, executor, exit status, and an end within two seconds of a signal."""

from collections.abc import Callable, Sequence
from contextlib import suppress
import ctypes
import os
from queue import SimpleQueue
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
from rclpy.executors import MultiThreadedExecutor
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from nerf_reversal_ros.core import remedies
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
CLOSE_TIMEOUT_S = 0.3
"""Time that the work of a node has to end when the node is closed [s]."""
EXIT_TIMEOUT_S = 0.8
"""Time after which the process exits even if native code still runs [s]; two are promised, and
the system needs about one to free the memory of a process while twelve others compute."""


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
    The signal handlers of rclpy would shut ROS down at once, below the callbacks that still run:
    those fail, and nothing more can be logged or published. Here the node is closed first.

    Once the node is closed and ROS is shut down, nothing is left to do. Python would unload
    PyTorch and rclpy for seconds on a busy machine, and ros2 launch would kill the process.
    """
    running = _RunningNode(make_node)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: running.interrupt())
    words = list(sys.argv if args is None else args)
    try:
        if unknown := remove_ros_args(words)[1:]:
            raise RuntimeError(f'unknown argument {unknown[0]}: {remedies.ROS_ARGUMENTS}')
        rclpy.init(args=words, signal_handler_options=SignalHandlerOptions.NO)
    except RuntimeError as error:
        print(f'cannot start: {" ".join(str(error).split())}', file=sys.stderr)
        return MISUSE
    status = running.spin()
    # A computation in native code cannot be interrupted: the process exits without it.
    _exit_after(EXIT_TIMEOUT_S, status)
    try:
        running.close()
    except Exception:  # a defect, told after all else is done
        traceback.print_exc()
        status = status or USER_ERROR
    _flush_and_exit(status)


class _RunningNode:
    """A node and its executor, which spins in a thread: the main one waits for signals."""

    def __init__(self, make_node: Callable[[], Any]) -> None:
        self._make_node = make_node
        self._node: Any = None
        self._executor: Any = None
        # Its put() may be called in a signal handler.
        self._end: SimpleQueue[Exception | None] = SimpleQueue()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._make_and_spin, daemon=True)

    def interrupt(self) -> None:
        """End `spin`; called by a signal handler."""
        self._end.put(None)

    def spin(self) -> int:
        """Make the node and spin it until it ends or is interrupted; return the exit status."""
        self._thread.start()
        reason = self._end.get()
        if reason is None:
            return int(self._node.interrupted_status) if self._node else DONE
        if isinstance(reason, NodeFinished):
            return reason.status
        if isinstance(reason, NerfReversalError):
            name = self._node.get_name() if self._node else 'nerf_reversal_ros'
            get_logger(name).fatal(str(reason))
        else:
            traceback.print_exception(reason)
        return USER_ERROR

    def close(self) -> None:
        """Close the node, end its callbacks, then leave the graph; a busy node does not wait."""
        if self._node is None or not self._node.close():
            return
        self._closing.set()
        if self._executor is not None:
            self._executor.create_task(lambda: None)  # ends its wait
            self._thread.join()
            self._executor._executor.shutdown()  # rclpy 7.1.5 gives no other way to wait
        self._node.destroy_node()
        rclpy.try_shutdown()

    def _make_and_spin(self) -> None:
        try:
            self._node = self._make_node()
            self._executor = MultiThreadedExecutor(num_threads=EXECUTOR_THREADS)
            self._executor.add_node(self._node)
            self._node.create_timer(WAKE_UP_PERIOD_S, lambda: None, clock=STEADY_CLOCK)
            while not self._closing.is_set():
                try:
                    self._executor.spin_once()
                except InvalidHandle:
                    # A callback has destroyed an entity that rclpy was about to wait for or call.
                    get_logger(self._node.get_name()).debug(printable_traceback())
        except Exception as error:  # spin() tells it
            self._end.put(error)


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
