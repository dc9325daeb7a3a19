"""
Pictures of a bag through the player node to the localizer node, and what is published of them.

The nodes are started as plain processes, for ``launch`` is not on PyPI. On a robot the same is
done by ``ros2 launch nerf_reversal_ros`` with ``localize.launch.py`` and ``play.launch.py``.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import json
from pathlib import Path
import signal
import subprocess
import time
from typing import Any

from ament_index_python.packages import get_package_prefix
from geometry_msgs.msg import PoseStamped, PoseWithCovarianceStamped
import numpy as np
import rclpy
from rclpy.signals import SignalHandlerOptions

from nerf_reversal_ros.core.geometry import FloatArray, pose_errors, pose_from_quaternion
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.connectivity import DiscoveryProbe

PATIENCE_S = 300.0
"""Longest time to load a map or to answer a picture, even on a busy machine."""
PICTURES = '/image/compressed'
RENAMED = {
    '/record3d/device_0/rgb/img': PICTURES,
    '/record3d/device_0/rgb/camera_info': '/camera_info',
}


class DemoError(Exception):
    """Something went wrong; the message is for the user."""


class Heard:
    """What the localizer node publishes, by the stamp of the picture [ns]."""

    def __init__(self, node: Any) -> None:
        self.poses: dict[int, PoseStamped] = {}
        self.poses_with_covariance: dict[int, PoseWithCovarianceStamped] = {}
        self.statuses: dict[int, LocalizerStatus] = {}

        def collect(kind: type, topic: str, kept: dict[int, Any]) -> None:
            node.create_subscription(
                kind, topic, lambda message: kept.update({_stamp_ns(message): message}), 10
            )

        collect(PoseStamped, '/nerf_pose', self.poses)
        collect(
            PoseWithCovarianceStamped, '/nerf_pose_with_covariance', self.poses_with_covariance
        )
        collect(LocalizerStatus, '/localizer/status', self.statuses)

    @property
    def complete(self) -> bool:
        """Whether both poses of each accepted picture, and no others, are here."""
        accepted = {stamp for stamp, status in self.statuses.items() if status.accepted}
        return accepted == self.poses.keys() == self.poses_with_covariance.keys()


def play(bag: Path, map_dir: Path, log_dir: Path) -> Heard:
    """
    Show the pictures of a bag to the localizer node.

    Raises
    ------
    DemoError
        If one of the nodes fails; their logs are in ``log_dir``.
    """
    localizer = node('localizer', map_dir=map_dir, autostart='true', reliability='reliable')
    player = node(
        'player',
        bag=bag,
        topics=f'"{" ".join(RENAMED)}"',
        lockstep_topic='/localizer/status',  # a picture waits for the answer to the one before it
        lockstep_timeout_s=PATIENCE_S,
        wait_timeout_s=PATIENCE_S,
    )
    player += [word for old, new in RENAMED.items() for word in ('-r', f'{old}:={new}')]
    logs = log_dir / 'localizer.log', log_dir / 'player.log'
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C is the caller's
    try:
        listener = rclpy.create_node('demo')
        heard = Heard(listener)
        with started(localizer, logs[0]) as localizing:

            def listen(goes_on: Callable[[], bool]) -> None:
                while goes_on():
                    rclpy.spin_once(listener, timeout_sec=0.2)
                    if localizing.poll() is not None:
                        raise DemoError(f'the localizer node has ended:\n{_last_lines(logs[0])}')

            known = DiscoveryProbe(listener, 'localizer')  # else its first answers were lost
            listen(within(PATIENCE_S, lambda: not known.poll()))
            with started(player, logs[1]) as playing:
                listen(lambda: playing.poll() is None)
            if playing.returncode != 0:
                raise DemoError(f'the player node failed:\n{_last_lines(logs[1])}')
            listen(within(1.0))  # the last messages may still be on their way
            listen(within(10.0, lambda: not heard.complete))
    finally:
        rclpy.shutdown()
    return heard


def within(seconds: float, still: Callable[[], bool] = lambda: True) -> Callable[[], bool]:
    """Return a condition that holds while ``still`` does, but no longer than some time."""
    end_s = time.monotonic() + seconds
    return lambda: time.monotonic() < end_s and still()


def read_poses(file: Path) -> dict[int, FloatArray | None]:
    """Read what nerf-reversal wrote: map_from_camera (4, 4) or None, by stamp [ns]."""
    poses: dict[int, FloatArray | None] = {}
    for entry in json.loads(file.read_text(encoding='utf-8'))['poses']:
        given = entry.get('map_from_camera')
        poses[entry['stamp_ns']] = given and pose_from_quaternion(
            given['position'], given['orientation_xyzw']
        )
    return poses


def differences(
    heard: Heard, offline: dict[int, FloatArray | None]
) -> tuple[FloatArray, FloatArray]:
    """
    Compare poses that came through ROS with those that were found without.

    Parameters
    ----------
    heard : Heard
        What the localizer node published.
    offline : dict
        From `read_poses`.

    Returns
    -------
    (N,) array, (N,) array
        By how much each pose differs, in metres and in degrees.

    Raises
    ------
    DemoError
        If not the same pictures were answered, or not the same were localized.
    """
    if heard.statuses.keys() != offline.keys():
        raise DemoError(f'of {len(offline)} pictures, {len(heard.statuses)} were answered by ROS')
    if not heard.complete:
        raise DemoError(f'{len(heard.poses)} poses came, not one for each accepted picture')
    found = {stamp: pose for stamp, pose in offline.items() if pose is not None}
    if differing := heard.poses.keys() ^ found.keys():
        raise DemoError(f'{len(differing)} pictures were localized only by ROS, or only without')
    errors = pose_errors(
        np.array([_matrix(heard.poses[stamp]) for stamp in found]).reshape(-1, 4, 4),
        np.array(list(found.values())).reshape(-1, 4, 4),
    )
    return errors.translation, np.degrees(errors.rotation)


def node(name: str, **parameters: Any) -> list[str]:
    """Return the command line of one of our nodes, as ``ros2 run`` would start it."""
    executable = Path(get_package_prefix('nerf_reversal_ros'), 'lib/nerf_reversal_ros', name)
    given = [word for key, value in parameters.items() for word in ('-p', f'{key}:={value}')]
    return [str(executable), '--ros-args', *given]


@contextmanager
def started(command: list[str], log: Path | None = None) -> Iterator['subprocess.Popen[bytes]']:
    """Run a process, its output on the terminal or in a file, and end it with the block."""
    output = log.open('wb') if log else None
    # In a session of its own it gets no Ctrl-C from the terminal but exactly one from here.
    process = subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(10.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _stamp_ns(message: Any) -> int:
    stamp = message.header.stamp
    return int(stamp.sec) * 1_000_000_000 + int(stamp.nanosec)


def _matrix(message: PoseStamped) -> FloatArray:
    p, q = message.pose.position, message.pose.orientation
    return pose_from_quaternion(np.array([p.x, p.y, p.z]), np.array([q.x, q.y, q.z, q.w]))


def _last_lines(log: Path, count: int = 10) -> str:
    return '\n'.join(log.read_text(encoding='utf-8', errors='replace').splitlines()[-count:])
