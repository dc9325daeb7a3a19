"""
Run the localizer node for a long time under faults, with real processes on a real DDS:

    python test/support/soak.py --minutes 10

Half of the time images arrive at 30 Hz, half at 120 Hz; every twentieth is malformed. Memory must
stay constant and the age of the poses small. Then the publisher is killed and restarted, the map
is replaced, its folder is removed, the clock jumps back by an hour, and Ctrl-C ends the node.
After each fault the node must publish poses.
"""

import argparse
import json
import os
from pathlib import Path
import pickle
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = Path(__file__).resolve().parent
MALFORMED_EVERY = 20
"""Every image of this number is malformed."""
JUMP_S = 3600
"""Jump of the clock [s]."""
WARM_UP_FRACTION, MAX_GROWTH, MAX_AGE_S = 0.2, 0.02, 2.0
"""Part of a run that is not measured; largest growth of the memory [1] and age of a pose [s]."""


def record(path: Path) -> None:
    """Write what `publish` sends: the matrix of the camera, and views of the worker room."""
    import cv2
    from rooms import render_box_room, walk
    from small_map import CAMERA

    images = []
    for pose in walk(12):
        bgr = render_box_room(pose, CAMERA)[0][..., ::-1]
        images.append(cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
    path.write_bytes(pickle.dumps((CAMERA.width, CAMERA.height, CAMERA.fx, images)))


def publish(path: Path, hertz: float, jump_s: int) -> None:
    """Publish recorded images until killed, stamped with the time, ``jump_s`` off."""
    import rclpy
    from sensor_msgs.msg import CameraInfo, CompressedImage

    width, height, focal, images = pickle.loads(path.read_bytes())
    huge = bytearray(images[0])
    size_marker = huge.index(b'\xff\xc0')
    huge[size_marker + 5 : size_marker + 9] = b'\xff' * 4  # 65535 x 65535 pixels
    malformed = [b'', bytes(huge), images[0][:500], b'\xff\xd8' + os.urandom(2000)]
    rclpy.init()
    node = rclpy.create_node('camera')
    image_publisher = node.create_publisher(CompressedImage, 'image/compressed', 5)
    info_publisher = node.create_publisher(CameraInfo, 'camera_info', 5)
    info = CameraInfo(width=width, height=height)
    info.k = [focal, 0.0, width / 2, 0.0, focal, height / 2, 0.0, 0.0, 1.0]
    due_s, sent = time.monotonic(), 0
    while True:
        nanoseconds = time.time_ns() + jump_s * 1_000_000_000
        message = CompressedImage(format='jpeg', data=images[sent % len(images)])
        if sent % MALFORMED_EVERY == MALFORMED_EVERY - 1:
            message.data = malformed[sent // MALFORMED_EVERY % len(malformed)]
        stamp = message.header.stamp
        stamp.sec, stamp.nanosec = divmod(nanoseconds, 1_000_000_000)
        message.header.frame_id = str(jump_s)
        if sent % 10 == 0:
            info.header.stamp = stamp
            info_publisher.publish(info)
        image_publisher.publish(message)
        sent += 1
        due_s = max(due_s + 1.0 / hertz, time.monotonic() - 1.0)
        time.sleep(max(0.0, due_s - time.monotonic()))


class Publisher:
    """Camera as a process that can be killed."""

    def __init__(self, images: Path, hertz: float, jump_s: int = 0) -> None:
        command = [sys.executable, __file__, '--publish', str(images)]
        command += ['--hertz', str(hertz), '--jump', str(jump_s)]
        self._process = subprocess.Popen(command)

    def __enter__(self) -> 'Publisher':
        return self

    def __exit__(self, *_) -> None:
        self._process.kill()
        self._process.wait()


class Localizer:
    """Localizer node as a process whose memory is measured."""

    def __init__(self, map_dir: Path, log: Path) -> None:
        program = 'import sys; from nerf_reversal_ros.ros.localizer_node import main; '
        parameters = ['-p', f'map_dir:={map_dir}', '-p', 'autostart:=true', '-p', 'device:=cpu']
        self._log = log
        self._process = subprocess.Popen(
            [sys.executable, '-c', program + 'sys.exit(main())', '--ros-args', *parameters],
            stdout=log.open('w'),
            stderr=subprocess.STDOUT,
        )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def output(self) -> str:
        return self._log.read_text()

    @property
    def resident_mib(self) -> float:
        lines = Path(f'/proc/{self._process.pid}/status').read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith('VmRSS'))

    def interrupt(self) -> tuple[float, int]:
        """Send Ctrl-C; return the seconds until the end, and the exit status."""
        start_s = time.monotonic()
        self._process.send_signal(signal.SIGINT)
        status = self._process.wait(60)
        return time.monotonic() - start_s, status

    def end(self) -> None:
        if self.alive:
            self._process.kill()
            self._process.wait()


class Soak:
    """One localizer, a node that collects its outputs, and their statistics."""

    def __init__(self, map_dir: Path, folder: Path) -> None:
        from geometry_msgs.msg import PoseStamped
        from ros_rig import Rig

        from nerf_reversal_ros.msg import LocalizerStatus

        self.maps = [folder / 'one.map', folder / 'two.map']
        for path in self.maps:
            shutil.copytree(map_dir, path)
        self.images = folder / 'images'
        record(self.images)
        self.localizer = Localizer(self.maps[0], folder / 'log')
        self.rig = Rig()
        self.ages_s: list[float] = []
        self.poses = self.processed = self.received = self.dropped = 0
        self.reasons: dict[str, int] = {}
        subscribe = self.rig.node.create_subscription
        subscribe(LocalizerStatus, 'localizer/status', self._on_status, 100)
        subscribe(PoseStamped, 'nerf_pose', self._on_pose, 100)

    def _on_pose(self, _) -> None:
        self.poses += 1

    def _on_status(self, status) -> None:
        stamp = status.header.stamp
        now_s = time.time() + int(status.header.frame_id)
        self.ages_s.append(now_s - stamp.sec - stamp.nanosec * 1e-9)
        self.processed += 1
        self.received, self.dropped = status.received, status.dropped
        self.reasons[status.reason] = self.reasons.get(status.reason, 0) + 1

    def publishes_poses(self, within_s: float = 60.0) -> bool:
        """Return whether the node runs and publishes further poses in time."""
        count, end_s = self.poses, time.monotonic() + within_s
        while self.poses < count + 3 and time.monotonic() < end_s and self.localizer.alive:
            time.sleep(0.05)
        return self.localizer.alive and self.poses >= count + 3

    def run_at(self, hertz: float, seconds: float) -> dict[str, float]:
        """Publish images at a rate; return the figures."""
        with Publisher(self.images, hertz):
            assert self.publishes_poses(), self.localizer.output[-3000:]
            self.ages_s.clear()
            counts_before = self.received, self.processed, self.poses
            samples = []
            end_s = time.monotonic() + seconds
            while time.monotonic() < end_s:
                time.sleep(min(1.0, seconds / 20))
                samples.append(self.localizer.resident_mib)
            assert self.ages_s or self.publishes_poses(), self.localizer.output[-3000:]
        warm = samples[int(WARM_UP_FRACTION * len(samples)) :]
        tenth = max(1, len(warm) // 10)
        first, last = float(np.median(warm[:tenth])), float(np.median(warm[-tenth:]))
        counts = self.received, self.processed, self.poses
        received, processed, poses = (
            count - before for count, before in zip(counts, counts_before, strict=True)
        )
        return {
            'hertz': hertz,
            'seconds': seconds,
            'received': received,
            'answered': processed,
            'poses': poses,
            'memory_mib': round(last, 1),
            'growth': round(last / first - 1.0, 4),
            'growth_mib': round(last - first, 1),
            'age_p50_s': round(float(np.median(self.ages_s)), 3),
            'age_max_s': round(max(self.ages_s), 3),
        }

    def faults(self) -> dict[str, bool]:
        """Cause faults that the node must survive; return for each whether poses followed."""
        from nerf_reversal_ros.srv import LoadMap

        survived = {}
        with Publisher(self.images, 30):
            self.publishes_poses()
        with Publisher(self.images, 30):
            survived['publisher killed and back'] = self.publishes_poses()
            response = self.rig.call(LoadMap, 'localizer/load_map', map_dir=str(self.maps[1]))
            survived['map replaced'] = response.success and self.publishes_poses()
            for path in self.maps:
                shutil.rmtree(path)
            survived["map's folder removed"] = self.publishes_poses()
            response = self.rig.call(LoadMap, 'localizer/load_map', map_dir=str(self.maps[0]))
            survived['removed map refused'] = not response.success and self.publishes_poses()
        with Publisher(self.images, 30, -JUMP_S):
            survived['clock an hour back'] = self.publishes_poses()
        with Publisher(self.images, 30):
            survived['clock an hour on'] = self.publishes_poses()
            seconds, status = self.localizer.interrupt()
            survived[f'Ctrl-C ended it within 2 s ({seconds:.2f} s, status {status})'] = (
                seconds < 2.0 and status == 0
            )
        survived['no traceback'] = 'Traceback' not in self.localizer.output
        return survived

    def close(self) -> None:
        self.localizer.end()
        self.rig.close()


def soak(map_dir: Path, seconds: float) -> dict:
    """Run all rates and faults; return the figures of each rate, and the survived faults."""
    with tempfile.TemporaryDirectory() as folder:
        run = Soak(map_dir, Path(folder))
        try:
            rates = [run.run_at(hertz, seconds / 2) for hertz in (30, 120)]
            return {'rates': rates, 'reasons': run.reasons, 'survived': run.faults()}
        finally:
            run.close()


def main() -> int:
    parser = argparse.ArgumentParser(description='Run the localizer for a long time under faults.')
    parser.add_argument('--minutes', type=float, default=10.0)
    parser.add_argument('--map', type=Path, help='of the worker room (default: it is built)')
    parser.add_argument('--publish', type=Path, help=argparse.SUPPRESS)
    parser.add_argument('--hertz', type=float, help=argparse.SUPPRESS)
    parser.add_argument('--jump', type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.publish:
        publish(arguments.publish, arguments.hertz, arguments.jump)
    # A background job of a shell ignores Ctrl-C, and the node would inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.setdefault('ROS_DOMAIN_ID', str(1 + os.getpid() % 100))
    os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
    from small_map import build_small_map

    with tempfile.TemporaryDirectory() as folder:
        map_dir = arguments.map or build_small_map(Path(folder)).path
        results = soak(map_dir, 60.0 * arguments.minutes)
    print(json.dumps(results, indent=1))
    passed = all(results['survived'].values()) and all(
        rate['growth'] < MAX_GROWTH and rate['age_max_s'] < MAX_AGE_S for rate in results['rates']
    )
    print('survived' if passed else 'FAILED')
    return 0 if passed else 1


if __name__ == '__main__':
    sys.exit(main())
