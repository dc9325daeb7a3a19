"""
Evaluate a running localizer while a bag with known poses is played to it.

Ground truth is read from the bag. Results arrive over the graph and are matched by their stamps.
The evaluation therefore covers the running node with its settings, camera_info and odometry,
unlike the offline command. It ends when all images of the bag have a result, or when none has
arrived for a while; it then prints and writes what `nerf-reversal evaluate` does. Without any
result it ends with an error and writes nothing.

Each complete result is repeated on ``~/ack``, as soon as the localizer has discovered the
subscriptions of this node. A player in lockstep on ``~/ack`` loses no result, in whatever order
the nodes are started. A localizer of another name needs three remappings: of localizer/status,
localizer/sensor_pose and localizer/get_parameters. The last gives map_from_nerf, by which the
ground truth is transformed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
import json
import math
from pathlib import Path
import time

from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import compute_metrics, json_safe, results_from_outcomes
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.core.validated_config import read_yaml, setting, ValidatedConfig
from nerf_reversal_ros.evaluation.rigid_alignment import aligned_block, find_rigid_alignment
from nerf_reversal_ros.evaluation.summary import localizer_summary_text
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.connectivity import DiscoveryProbe
from nerf_reversal_ros.ros.conversions import matrix_from_pose, stamp_to_ns
from nerf_reversal_ros.ros.node_runner import (
    call_once,
    DONE,
    LAST_TEN_QOS,
    NodeFinished,
    run_node,
    STEADY_CLOCK,
)
from nerf_reversal_ros.ros.parameters import NodeParameters

GroundTruth = dict[int, FloatArray]
"""``map_from_camera`` (4, 4) by the stamp of the image [ns]."""
RESULT_QUEUE_DEPTH = 1000
"""Results that wait while a long bag is read; about half a minute at 30 Hz."""


@dataclass(frozen=True)
class EvaluatorConfig(ValidatedConfig):
    """Settings of the evaluator: bag, map and limits."""

    bag: str = setting('', 'rosbag2 folder that is played, with ground-truth poses of its images')
    map_dir: str = setting('', 'map folder that the localizer uses, of one room')
    image_topic: str = setting(
        '', 'image topic in the bag; empty: as in the bag that the map was built from'
    )
    camera_info_topic: str = setting(
        '', 'CameraInfo topic in the bag; empty: as in the bag that the map was built from'
    )
    config: str = setting(
        '', 'YAML file of settings; its section capture says how to read the bag'
    )
    json: str = setting('', 'file to write the metrics to; empty: print them only')
    startup_timeout_s: float = setting(
        120.0, 'end with an error if no result has arrived after this time [s]', low=0.1
    )
    idle_timeout_s: float = setting(
        30.0, 'end the evaluation this long after the last result [s]', low=0.1
    )
    min_recall: float = setting(
        0.0,
        'exit with status 1 if a smaller fraction of the images is within 5 cm and 5 degrees',
        low=0.0,
        high=1.0,
    )

    def __post_init__(self) -> None:
        """Reject a missing bag or map."""
        super().__post_init__()
        for name in ('bag', 'map_dir'):
            if not getattr(self, name):
                raise ConfigError(f'{name} is not set: {remedies.FOLDER.format(name=name)}')


def load_ground_truth(evaluator_config: EvaluatorConfig) -> GroundTruth:
    """Read the image poses of a bag, in the frame of a map; imports the heavy libraries."""
    from nerf_reversal_ros.capture.open_capture import open_capture
    from nerf_reversal_ros.maps.opening import open_room_map

    bag, map_ = Path(evaluator_config.bag), open_room_map(Path(evaluator_config.map_dir))
    settings = read_yaml(Path(evaluator_config.config)) if evaluator_config.config else {}
    topics = {
        name: getattr(evaluator_config, name) for name in ('image_topic', 'camera_info_topic')
    }
    overrides = {'capture': {name: topic for name, topic in topics.items() if topic}}
    config = map_.query_config(settings, overrides)
    capture = open_capture(bag, config.capture, convention=map_.convention, select_frames=False)
    stamps_ns = [int(stamp_ns) for stamp_ns in capture.stamps_ns]
    if not stamps_ns:
        raise CaptureError(f'{bag} has no image with a pose: give a bag with ground-truth poses')
    return dict(zip(stamps_ns, capture.map_from_camera, strict=True))


class EvaluatorNode(Node):
    """
    Collects the results of a localizer and computes the metrics.

    Parameters
    ----------
    read_ground_truth : callable
        Returns the ground truth for the settings.
    """

    interrupted_status = DONE

    def __init__(
        self, read_ground_truth: Callable[[EvaluatorConfig], GroundTruth] = load_ground_truth
    ) -> None:
        super().__init__('evaluator', automatically_declare_parameters_from_overrides=True)
        self._config = NodeParameters(self, EvaluatorConfig).get(EvaluatorConfig)
        self._statuses: dict[int, LocalizerStatus] = {}
        self._poses: dict[int, PoseWithCovarianceStamped] = {}
        self._last_status_s: float | None = None
        # Before a long bag is read: results that arrive meanwhile wait in these queues.
        for kind, topic, callback in (
            (LocalizerStatus, 'localizer/status', self._on_status),
            (PoseWithCovarianceStamped, 'localizer/sensor_pose', self._on_pose),
        ):
            self.create_subscription(kind, topic, callback, RESULT_QUEUE_DEPTH)
        self._localizer_probe = DiscoveryProbe(self, 'localizer', 'map_from_nerf')
        self._ack_publisher: Publisher | None = None
        self._ground_truth = read_ground_truth(self._config)
        self._start_s = time.monotonic()
        self._completion_timer = self.create_timer(0.2, self._check_completion, clock=STEADY_CLOCK)
        call_once(
            self, lambda: self.get_logger().info(f'evaluating {len(self._ground_truth)} images')
        )

    def close(self) -> bool:
        """Return that no thread is busy."""
        return True

    def _on_status(self, status: LocalizerStatus) -> None:
        self._last_status_s = time.monotonic()
        stamp_ns = stamp_to_ns(status.header.stamp)
        self._statuses[stamp_ns] = status
        self._acknowledge(stamp_ns)

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        stamp_ns = stamp_to_ns(message.header.stamp)
        self._poses[stamp_ns] = message
        self._acknowledge(stamp_ns)

    def _acknowledge(self, stamp_ns: int) -> None:
        if self._ack_publisher is not None and self._is_complete(stamp_ns):
            self._ack_publisher.publish(self._statuses[stamp_ns])

    def _is_complete(self, stamp_ns: int) -> bool:
        status = self._statuses.get(stamp_ns)
        return status is not None and (not status.accepted or stamp_ns in self._poses)

    def _check_completion(self) -> None:
        """Finish when all images have a result, or when no more results arrive."""
        if self._localizer_probe.poll() and self._ack_publisher is None:
            self._ack_publisher = self.create_publisher(LocalizerStatus, '~/ack', LAST_TEN_QOS)
        if self._last_status_s is None:
            if time.monotonic() > self._start_s + self._config.startup_timeout_s:
                self._completion_timer.cancel()
                raise CaptureError(self._no_result_message())
            return
        missing = [stamp_ns for stamp_ns in self._ground_truth if not self._is_complete(stamp_ns)]
        is_waiting = missing or self._ack_publisher is None
        if is_waiting and time.monotonic() < self._last_status_s + self._config.idle_timeout_s:
            return
        self._completion_timer.cancel()  # the executor may call it once more before it ends
        if missing:
            self.get_logger().warning(
                f'{len(missing)} images have no result: they count as dropped'
            )
        if self._ack_publisher is None:
            self.get_logger().warning(
                f'{self._localizer_probe.service} did not respond: map_from_nerf is assumed to be'
                ' empty'
            )
        raise NodeFinished(self._evaluate())

    def _no_result_message(self) -> str:
        within = f'within startup_timeout_s = {self._config.startup_timeout_s:g} s'
        service, topic = self._localizer_probe.service, self.resolve_topic_name('localizer/status')
        if not self._localizer_probe.available:
            return f'nobody offers {service} {within}: {remedies.LOCALIZER_NAME}'
        return (
            f'no result arrived on {topic} {within}: check the log of the localizer, which may'
            ' still be loading its map, and whether the player plays to its topics'
        )

    def _evaluate(self) -> int:
        """Print and write the metrics; return the exit status."""
        stamps_ns = self._stamps_with_camera_info()
        outcomes = [self._outcome(stamp_ns) for stamp_ns in stamps_ns]
        latencies_ms = [self._latency_ms(stamp_ns) for stamp_ns in stamps_ns]
        results = results_from_outcomes(outcomes, latencies_ms)
        map_from_camera_gt = np.stack([self._ground_truth[stamp_ns] for stamp_ns in stamps_ns])
        if placement := self._localizer_probe.parameter_text('map_from_nerf'):
            map_from_camera_gt = parse_map_from_nerf(placement) @ map_from_camera_gt
        alignment = find_rigid_alignment(results, map_from_camera_gt)
        compute = partial(compute_metrics, results)
        metrics = json_safe(
            {
                **compute(map_from_camera_gt),
                'aligned': aligned_block(alignment, compute, map_from_camera_gt),
            }
        )
        print(localizer_summary_text(metrics), flush=True)
        if self._config.json:
            from nerf_reversal_ros.core.files import write_output

            write_output(Path(self._config.json), json.dumps(metrics, indent=1) + '\n')
        return int(metrics['recall']['5cm_5deg'] < self._config.min_recall)

    def _stamps_with_camera_info(self) -> list[int]:
        """Return the stamps of all images, without those before the first camera_info."""
        stamps_ns = sorted(self._ground_truth)
        reasons = [getattr(self._statuses.get(stamp_ns), 'reason', '') for stamp_ns in stamps_ns]
        is_early = [reason == RejectionReason.NO_CAMERA_INFO for reason in reasons]
        if all(is_early) or not is_early[0]:
            return stamps_ns
        count = is_early.index(False)
        self.get_logger().warning(
            f'{count} images came before the first camera_info: they are left out of the figures'
        )
        return stamps_ns[count:]

    def _outcome(self, stamp_ns: int) -> Outcome:
        status = self._statuses.get(stamp_ns)
        if status is None:
            return Rejection(RejectionReason.DROPPED, 'no status arrived')
        if not status.accepted:
            return Rejection(status.reason, status.detail)
        if stamp_ns not in self._poses:
            return Rejection(RejectionReason.DROPPED, 'the pose of an accepted image is missing')
        pose = self._poses[stamp_ns].pose
        return PoseEstimate(matrix_from_pose(pose.pose), np.reshape(pose.covariance, (6, 6)))

    def _latency_ms(self, stamp_ns: int) -> float:
        status = self._statuses.get(stamp_ns)
        if status is None or 'total' not in status.latency_stages:
            return math.nan
        return float(status.latency_ms[list(status.latency_stages).index('total')])


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(EvaluatorNode, args)
