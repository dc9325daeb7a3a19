"""
The real nodes around a small localizer and a small build, as a process: ros_small.py NODE ...

The small localizer reads the pose off the picture: its mean red, green and blue are x, y and z in
centimetres. What is very green it finds too improbable. The name of its map says how long it
takes: ``slow200`` takes 200 ms for a picture, ``waits`` is loaded when a file ``go`` is in it.
A map ``slow7000`` has no room on a GPU, and a ``guess`` has a warning.
"""

from dataclasses import replace
from pathlib import Path
import re
import sys
import time

import numpy as np
from rclpy.node import Node
from std_msgs.msg import String

from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.ros.node_runner import NodeFinished, run_node
from nerf_reversal_ros.ros.visualization import MapDisplayData


class SmallLocalizer:
    """Deterministic: the same picture, the same outcome."""

    def __init__(self, map_dir, config):
        if not map_dir.is_dir():
            raise MapError(f'there is no map {map_dir}: build it first')
        print(f'loads the map {map_dir.name}')
        seconds = {what: int(ms) / 1e3 for what, ms in re.findall(r'(\D+)(\d+)', map_dir.name)}
        while map_dir.name == 'waits' and not (map_dir / 'go').exists():
            time.sleep(0.01)
        self.config = config
        self.seconds = seconds.get('slow', 0.0)
        self.device = 'cpu'

    def to(self, device):
        if self.seconds == 7.0 and device != 'cpu':
            raise RuntimeError('CUDA out of memory')
        self.device = device
        print(f'computes on {device}')

    def localize(self, rgb, camera):
        print('works on a picture')
        time.sleep(self.seconds)
        mean = rgb.reshape(-1, 3).mean(axis=0)
        scores = {'inliers': 40.0, 'inlier_ratio': 0.5, 'fx': camera.fx}
        latency_ms = {'regress': 1.0, 'refine': 2.0, 'total': 3.0}
        found = Diagnostics(scores=scores, latency_ms=latency_ms)
        if mean.max() < 5.0:
            return Rejection('low contrast', f'mean brightness {mean.mean():.0f}', found)
        if self.config.min_inliers > 40:
            return Rejection('too few inliers', '40', found)
        if mean[0] > 250.0:
            raise ZeroDivisionError('a defect of the localizer \udcff')
        if mean[2] > 250.0:
            return Rejection('low contrast', '\udcff', found)  # no text that can be published
        covariance = np.diag([1e-4, 1e-4, 1e-4, 1e-6, 1e-6, 1e-6])
        if mean[1] > 250.0:
            at = make_pose(None, np.minimum(mean, 250.0) / 100.0)
            found = replace(found, refined_pose=at, refined_covariance=covariance)
            found.scores['probability'] = 0.95
            return Rejection('low probability', '0.95', found)
        return PoseEstimate(make_pose(None, mean / 100.0), covariance, found)


def small_localizer(map_dir, config):
    """Open a map of three points, walked along in two steps."""
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 3]], np.float32)
    colours = np.array([[255, 0, 0], [0, 255, 0], [1, 2, 3]], np.uint8)
    manifest = {
        'format_version': 3,
        'built': {'date': '2026-01-02T03:04:05+00:00', 'package_version': '9', 'field': 'voxel'},
        'metrics': {'landmarks': 7, 'psnr_db': None},
        'warnings': ['warning: lengths are a guess'] if 'guess' in map_dir.name else [],
    }
    walked = np.stack([make_pose(None, (0.0, 0.0, 1.0)), make_pose(None, (0.5, 0.0, 1.0))])
    shown = MapDisplayData(manifest, walked, Surface(np.array([10.0, 0.0, 0.0]), points, colours))
    return SmallLocalizer(map_dir, config), shown


def small_truth(config):
    """Know three pictures: that of second n was taken n metres along x."""
    return {second * 1_000_000_000: make_pose(None, (second, 0.0, 0.0)) for second in (1, 2, 3)}


class SmallMap:
    """What a build returns."""

    def __init__(self, path):
        self.path = path
        self.manifest = {'metrics': {'psnr_db': 25.5}}


def small_build(bag, map_dir, config, *, device, field, progress, overwrite):
    """Count to the number that is written in the bag, one step in 20 ms, resuming where it was."""
    if not bag.is_file():
        raise BuildError(f'there is no bag {bag}: record one')
    total, partial = int(bag.read_text()), Path(f'{map_dir}.partial')
    done = int(partial.read_text()) if partial.exists() else 0
    while done < total:
        progress(Progress('counting', done, total, f'{device} {field} seed {config.seed}'))
        time.sleep(0.02)
        done += 1
        partial.write_text(str(done))
    progress(Progress('counting', total, total))
    map_dir.mkdir(exist_ok=overwrite)
    partial.unlink()
    return SmallMap(map_dir)


class Stumbler(Node):
    """Uses what was destroyed, as an executor may during a transition, and goes on."""

    interrupted_status = 0

    def __init__(self):
        super().__init__('stumbler')
        self._gone = self.create_publisher(String, 'gone', 1)
        self.destroy_publisher(self._gone)
        self._times = 0
        self.create_timer(0.01, self._stumble)

    def _stumble(self):
        self._times += 1
        if self._times == 3:
            raise NodeFinished
        self._gone.publish(String())

    def close(self):
        return True


def main():
    """Run one of the nodes."""
    from nerf_reversal_ros.ros import (
        builder_node,
        evaluator_node,
        localizer_node,
        loop_closer_node,
        player_node,
    )

    name, arguments = sys.argv[1], [sys.argv[0], *sys.argv[2:]]
    if name == 'localizer':
        return run_node(lambda: localizer_node.LocalizerNode(small_localizer), arguments)
    if name == 'builder':
        return run_node(lambda: builder_node.BuilderNode(small_build), arguments)
    if name == 'evaluator':
        return run_node(lambda: evaluator_node.EvaluatorNode(small_truth), arguments)
    if name == 'stumbler':
        return run_node(Stumbler, arguments)
    if name == 'loop_closer':
        return loop_closer_node.main(arguments)
    return player_node.main(arguments)


if __name__ == '__main__':
    sys.exit(main())
