"""
Run a node with a small localizer or a small build: the arguments are NODE and those of ROS.

The small localizer decodes the pose from the image: its mean red, green and blue are x, y and z in
centimeters. A very green image is rejected as improbable, and a rather blue one is of a room that
nothing links. It prints where the image was expected.

The name of the map folder sets the behavior: ``slow200`` needs 200 ms for an image, ``waits`` is
loaded when it holds a file ``go``, ``slow7000`` runs out of memory on a GPU, and ``guess`` has a
warning.
"""

from dataclasses import replace
from importlib import import_module
from pathlib import Path
import re
import sys
import time

import numpy as np
from rclpy.node import Node
from std_msgs.msg import String

from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.ros.node_runner import NodeFinished, run_node


class SmallLocalizer:
    """Deterministic localizer: equal images have equal outcomes."""

    def __init__(self, map_dir):
        if not map_dir.is_dir():
            raise MapError(f'there is no map {map_dir}: build it first')
        print(f'loading the map {map_dir.name}')
        slow = re.search(r'slow(\d+)', map_dir.name)
        while map_dir.name == 'waits' and not (map_dir / 'go').exists():
            time.sleep(0.01)
        self.duration_s = int(slow[1]) / 1e3 if slow else 0.0
        self.device = 'cpu'

    def to(self, device):
        if self.duration_s == 7.0 and device != 'cpu':
            raise RuntimeError('CUDA out of memory')
        self.device = device
        print(f'device {device}')

    def localize(self, rgb, camera, config, expected_pose=None, time_limit_s=0.0):
        print('processing an image')
        place = 'nowhere' if expected_pose is None else expected_pose[:3, 3].round(3).tolist()
        print(f'expected {place}')
        time.sleep(self.duration_s)
        mean = rgb.reshape(-1, 3).mean(axis=0)
        scores = {'inliers': 40.0, 'inlier_ratio': 0.5, 'fx': camera.fx}
        latency_ms = {'regress': 1.0, 'refine': 2.0, 'total': 3.0}
        diagnostics = Diagnostics(scores=scores, latency_ms=latency_ms)
        if mean.max() < 5.0:
            return Rejection(
                RejectionReason.LOW_CONTRAST, f'mean brightness {mean.mean():.0f}', diagnostics
            )
        if config.min_inliers > 40:
            return Rejection(RejectionReason.TOO_FEW_INLIERS, '40', diagnostics)
        if mean[0] > 250.0:
            raise ZeroDivisionError('a defect of the localizer \udcff')
        if mean[2] > 250.0:
            return Rejection(
                RejectionReason.LOW_CONTRAST, '\udcff', diagnostics
            )  # not valid UTF-8: cannot be published
        if mean[2] > 200.0:
            diagnostics = replace(diagnostics, room='lab', frame='lab')
        covariance = np.diag([1e-4, 1e-4, 1e-4, 1e-6, 1e-6, 1e-6])
        if mean[1] > 250.0:
            pose = make_pose(None, np.minimum(mean, 250.0) / 100.0)
            diagnostics = replace(diagnostics, refined_pose=pose, refined_covariance=covariance)
            diagnostics.scores['probability'] = 0.95
            return Rejection(RejectionReason.LOW_PROBABILITY, '0.95', diagnostics)
        return PoseEstimate(make_pose(None, mean / 100.0), covariance, diagnostics)


def small_localizer(map_dir, config):
    """
    Open a map with three surface points and two mapping poses, or what is really there.

    A folder of the name ``room`` is covered at two places.
    """
    from nerf_reversal_ros.localization.coverage import Coverage, NO_COVERAGE
    from nerf_reversal_ros.localization.surface import Surface
    from nerf_reversal_ros.ros.map_display import MapDisplayData
    from nerf_reversal_ros.ros.map_loading import make_localizer

    if any((map_dir / name).exists() for name in ('manifest.json', 'building.json')):
        return make_localizer(map_dir, config)
    points = np.array([[0, 0, 0], [1, 0, 0], [0, 2, 3]], np.float32)
    colors = np.array([[255, 0, 0], [0, 255, 0], [1, 2, 3]], np.uint8)
    manifest = {
        'format_version': 3,
        'built': {'date': '2026-01-02T03:04:05+00:00', 'package_version': '9', 'field': 'voxel'},
        'metrics': {'landmarks': 7, 'psnr_db': None},
        'warnings': ['warning: lengths are a guess'] if 'guess' in map_dir.name else [],
    }
    mapping_poses = np.stack([make_pose(None, (x, 0.0, 1.0)) for x in (0.0, 0.5)])
    surface = Surface(np.array([10.0, 0.0, 0.0]), points, colors)
    places_m = np.array([[0.0, 0.0, 1.0], [0.5, 0.0, 1.0]])
    covered = Coverage(places_m, np.array([0.0, 1.0]), np.array([np.nan, 0.02]))
    coverage = covered if map_dir.name == 'room' else NO_COVERAGE
    return SmallLocalizer(map_dir), MapDisplayData(manifest, mapping_poses, surface, coverage)


def small_ground_truth(config):
    """Return the poses of three images, or of the bag ``four``: second n is n meters along x."""
    seconds = (1, 2, 3, 4) if config.bag == 'four' else (1, 2, 3)
    return {second * 1_000_000_000: make_pose(None, (second, 0.0, 0.0)) for second in seconds}


class SmallMap:
    """Map returned by the small build."""

    def __init__(self, path):
        self.path = path
        self.manifest = {'metrics': {'psnr_db': 25.5}}


def small_build(bag, map_dir, config, *, device, field, progress, overwrite):
    """Count to the number in the bag file, one step in 20 ms; resume an interrupted count."""
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


class InvalidHandleNode(Node):
    """Uses a destroyed publisher, as the executor may during a transition, and then finishes."""

    interrupted_status = 0

    def __init__(self):
        super().__init__('invalid_handle')
        self._destroyed = self.create_publisher(String, 'destroyed', 1)
        self.destroy_publisher(self._destroyed)
        self._count = 0
        self.create_timer(0.01, self._use_destroyed)

    def _use_destroyed(self):
        self._count += 1
        if self._count == 3:
            raise NodeFinished
        self._destroyed.publish(String())

    def close(self):
        return True


def main():
    """Run one of the nodes, importing its module alone."""
    name, arguments = sys.argv[1], [sys.argv[0], *sys.argv[2:]]
    if name == 'invalid_handle':
        return run_node(InvalidHandleNode, arguments)
    module = import_module(f'nerf_reversal_ros.ros.{name}_node')
    if name == 'localizer':
        return run_node(lambda: module.LocalizerNode(small_localizer), arguments)
    if name == 'builder':
        return run_node(lambda: module.BuilderNode(small_build), arguments)
    if name == 'evaluator':
        return run_node(lambda: module.EvaluatorNode(small_ground_truth), arguments)
    return module.main(arguments)
