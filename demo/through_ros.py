"""
Play a bag to the localizer node over DDS, record its output, and compare it with ``poses.json``.

The nodes are started as plain processes, because ``launch`` is not on PyPI. On a robot,
``ros2 launch nerf_reversal_ros`` starts ``localize.launch.py`` and ``play.launch.py`` instead.
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

TIMEOUT_S = 300.0
"""Time to load a map or to localize an image [s], at most: enough for a busy machine."""
IMAGE_TOPIC = '/image/compressed'
REMAPPINGS = {
    '/record3d/device_0/rgb/img': IMAGE_TOPIC,
    '/record3d/device_0/rgb/camera_info': '/camera_info',
}


class DemoError(Exception):
    """A step of the demo failed; the message is for the user."""


class LocalizerOutputs:
    """Messages that the localizer node publishes, by the stamp of the image [ns]."""

    def __init__(self, node: Any) -> None:
        self.poses: dict[int, PoseStamped] = {}
        self.poses_with_covariance: dict[int, PoseWithCovarianceStamped] = {}
        self.statuses: dict[int, LocalizerStatus] = {}

        def collect(kind: type, topic: str, messages: dict[int, Any]) -> None:
            node.create_subscription(
                kind, topic, lambda message: messages.update({_stamp_ns(message): message}), 10
            )

        collect(PoseStamped, '/nerf_pose', self.poses)
        collect(
            PoseWithCovarianceStamped, '/nerf_pose_with_covariance', self.poses_with_covariance
        )
        collect(LocalizerStatus, '/localizer/status', self.statuses)

    @property
    def is_complete(self) -> bool:
        """Whether both poses of each accepted image, and no others, were received."""
        accepted = {stamp for stamp, status in self.statuses.items() if status.accepted}
        return accepted == self.poses.keys() == self.poses_with_covariance.keys()


def play(bag: Path, map_dir: Path, log_dir: Path, *, track: bool = False) -> LocalizerOutputs:
    """
    Play the images of a bag to the localizer node, and record what it publishes.

    Without ``track``, the node localizes each image by itself, as ``evaluate`` does.

    Raises
    ------
    DemoError
        If one of the nodes fails; their logs are in ``log_dir``.
    """
    localizer = node_command(
        'localizer',
        map_dir=map_dir,
        autostart='true',
        reliability='reliable',
        use_tracking=str(track).lower(),
    )
    player = node_command(
        'player',
        bag=bag,
        topics=f'"{" ".join(REMAPPINGS)}"',
        lockstep_topic='/localizer/status',  # the next image waits for this status
        lockstep_timeout_s=TIMEOUT_S,
        wait_timeout_s=TIMEOUT_S,
    )
    player += [word for old, new in REMAPPINGS.items() for word in ('-r', f'{old}:={new}')]
    logs = log_dir / 'localizer.log', log_dir / 'player.log'
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)  # Ctrl-C is the caller's
    try:
        listener = rclpy.create_node('demo')
        outputs = LocalizerOutputs(listener)
        with running(localizer, logs[0]) as localizer_process:

            def spin_while(condition: Callable[[], bool]) -> None:
                while condition():
                    rclpy.spin_once(listener, timeout_sec=0.2)
                    if localizer_process.poll() is not None:
                        raise DemoError(f'the localizer node has ended:\n{_last_lines(logs[0])}')

            probe = DiscoveryProbe(listener, 'localizer')  # before it, messages would be lost
            spin_while(within(TIMEOUT_S, lambda: not probe.poll()))
            with running(player, logs[1]) as player_process:
                spin_while(lambda: player_process.poll() is None)
            if player_process.returncode != 0:
                raise DemoError(f'the player node failed:\n{_last_lines(logs[1])}')
            spin_while(within(1.0))  # the last messages may not have arrived yet
            spin_while(within(10.0, lambda: not outputs.is_complete))
    finally:
        rclpy.shutdown()
    return outputs


def within(timeout_s: float, condition: Callable[[], bool] = lambda: True) -> Callable[[], bool]:
    """Return a condition that also becomes false after a timeout."""
    end_s = time.monotonic() + timeout_s
    return lambda: time.monotonic() < end_s and condition()


def read_poses(file: Path) -> dict[int, FloatArray | None]:
    """Read ``poses.json``: map_from_camera (4, 4), or None if rejected, by stamp [ns]."""
    poses: dict[int, FloatArray | None] = {}
    for entry in json.loads(file.read_text(encoding='utf-8'))['poses']:
        pose = entry.get('map_from_camera')
        poses[entry['stamp_ns']] = pose and pose_from_quaternion(
            pose['position'], pose['orientation_xyzw']
        )
    return poses


def pose_differences(
    outputs: LocalizerOutputs, offline: dict[int, FloatArray | None]
) -> tuple[FloatArray, FloatArray]:
    """
    Compare poses of the localizer node with poses that were computed without ROS.

    Parameters
    ----------
    outputs : LocalizerOutputs
        Messages of the localizer node.
    offline : dict
        From `read_poses`.

    Returns
    -------
    (N,) array, (N,) array
        Differences of position [m] and of rotation [deg].

    Raises
    ------
    DemoError
        If the images differ, or the images that were localized.
    """
    if outputs.statuses.keys() != offline.keys():
        raise DemoError(
            f'the localizer node processed {len(outputs.statuses)} of {len(offline)} images'
        )
    if not outputs.is_complete:
        raise DemoError(
            f'the localizer node published {len(outputs.poses)} poses, not one for each accepted'
            ' image'
        )
    localized = {stamp: pose for stamp, pose in offline.items() if pose is not None}
    if differing := outputs.poses.keys() ^ localized.keys():
        raise DemoError(f'{len(differing)} images were localized only with ROS, or only without')
    errors = pose_errors(
        np.array([_matrix(outputs.poses[stamp]) for stamp in localized]).reshape(-1, 4, 4),
        np.array(list(localized.values())).reshape(-1, 4, 4),
    )
    return errors.translation, np.degrees(errors.rotation)


def node_command(name: str, **parameters: Any) -> list[str]:
    """Return the command line of a node of this package, as ``ros2 run`` would start it."""
    executable = Path(get_package_prefix('nerf_reversal_ros'), 'lib/nerf_reversal_ros', name)
    options = [word for key, value in parameters.items() for word in ('-p', f'{key}:={value}')]
    return [str(executable), '--ros-args', *options]


@contextmanager
def running(command: list[str], log: Path | None = None) -> Iterator['subprocess.Popen[bytes]']:
    """Run a process with output on the terminal or in a file; stop it at the end of the block."""
    output = log.open('wb') if log else None
    # A new session: Ctrl-C on the terminal is not sent to the process, but once from here.
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
