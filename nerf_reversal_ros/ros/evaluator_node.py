"""
How good are the poses that a localizer publishes, while a bag with known poses is played to it.

The truth is read from the bag, the answers come over the graph and are matched by their stamps:
what is judged is the running node, with its settings, its camera_info and its odometry, and not
what the offline command would do. It ends when all pictures of the bag were answered, or when
none was for a while, and prints and writes what `nerf-reversal evaluate` does. Where no answer
comes at all it gives up, and writes nothing.

What it has heard it repeats on ``~/ack``, from when on the localizer knows its subscriptions: a
player in lockstep on that loses no answer, in whatever order the nodes are started. A localizer of
another name is told by three remaps: of localizer/status, localizer/sensor_pose and
localizer/get_parameters. The last one is asked for map_from_nerf, by which the poses are placed.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
import json
import math
from pathlib import Path
import time

from geometry_msgs.msg import PoseWithCovarianceStamped
import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher

from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import compute_metrics, json_safe, results_from_outcomes
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.core.validated_config import read_yaml, setting, ValidatedConfig
from nerf_reversal_ros.evaluation.summary import localizer_summary_text
from nerf_reversal_ros.localization.map_placement import parse_map_from_nerf
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.ros.connectivity import DiscoveryProbe
from nerf_reversal_ros.ros.conversions import matrix_from_pose
from nerf_reversal_ros.ros.node_runner import (
    call_once,
    DONE,
    LAST_TEN_QOS,
    NodeFinished,
    run_node,
    STEADY_CLOCK,
)
from nerf_reversal_ros.ros.odometry_monitor import stamp_to_ns
from nerf_reversal_ros.ros.parameters import NodeParameters

GroundTruth = dict[int, FloatArray]
"""``map_from_camera`` (4, 4) by the stamp of the picture [ns]."""


@dataclass(frozen=True)
class EvaluatorConfig(ValidatedConfig):
    """What is judged, and against what."""

    bag: str = setting('', 'rosbag2 folder that is played, with the true poses of its pictures')
    map_dir: str = setting('', 'map folder that the localizer uses')
    image_topic: str = setting(
        '', 'topic of the pictures in the bag; empty: as in the bag that the map was built from'
    )
    camera_info_topic: str = setting('', 'topic of their CameraInfo in the bag; empty: the same')
    config: str = setting('', 'YAML file of settings, in it capture: how the bag is to be read')
    json: str = setting('', 'file to write the metrics to; empty: print them only')
    startup_timeout_s: float = setting(
        120.0, 'give up when the first answer has not come within this [s]', low=0.1
    )
    idle_timeout_s: float = setting(
        30.0, 'end when no answer came for this long after the first [s]', low=0.1
    )
    min_recall: float = setting(
        0.0,
        'exit with status 1 when a smaller share of the pictures is within 5 cm and 5 degrees',
        low=0.0,
        high=1.0,
    )

    def __post_init__(self) -> None:
        """Refuse to judge nothing."""
        super().__post_init__()
        for name in ('bag', 'map_dir'):
            if not getattr(self, name):
                raise ConfigError(f'{name} is not set: give it with -p {name}:=FOLDER')


def load_ground_truth(evaluator_config: EvaluatorConfig) -> GroundTruth:
    """Read the poses of a bag's pictures, in the frame of a map; imports the heavy libraries."""
    from nerf_reversal_ros.capture.open_capture import open_capture
    from nerf_reversal_ros.maps.map_folder import open_map
    from nerf_reversal_ros.capture.capture import open_capture
    from nerf_reversal_ros.maps.map_folder import open_map

    bag, map_ = Path(evaluator_config.bag), open_map(Path(evaluator_config.map_dir))
    given = read_yaml(Path(evaluator_config.config)) if evaluator_config.config else {}
    topics = {
        name: getattr(evaluator_config, name) for name in ('image_topic', 'camera_info_topic')
    }
    over = {'capture': {name: topic for name, topic in topics.items() if topic}}
    config = map_.query_config(given, over)
    capture = open_capture(bag, config.capture, convention=map_.convention, select_frames=False)
    stamps = [int(stamp) for stamp in capture.stamps_ns]
    if not stamps:
        raise CaptureError(f'{bag} holds no picture with a pose: nothing to judge')
    return dict(zip(stamps, capture.map_from_camera, strict=True))


class EvaluatorNode(Node):
    """Collects answers, and finishes with a judgement."""

    interrupted_status = DONE

    def __init__(
        self, read_ground_truth: Callable[[EvaluatorConfig], GroundTruth] = load_ground_truth
    ) -> None:
        super().__init__('evaluator', automatically_declare_parameters_from_overrides=True)
        self._config = NodeParameters(self, EvaluatorConfig).get(EvaluatorConfig)
        self._statuses: dict[int, LocalizerStatus] = {}
        self._poses: dict[int, PoseWithCovarianceStamped] = {}
        self._last_status_s: float | None = None
        # Before a long bag is read: what comes meanwhile waits in these queues.
        for kind, topic, callback in (
            (LocalizerStatus, 'localizer/status', self._on_status),
            (PoseWithCovarianceStamped, 'localizer/sensor_pose', self._on_pose),
        ):
            self.create_subscription(kind, topic, callback, 1000)
        self._localizer_probe = DiscoveryProbe(self, 'localizer', 'map_from_nerf')
        self._ack_publisher: Publisher | None = None
        self._ground_truth = read_ground_truth(self._config)
        self._start_s = time.monotonic()
        self._completion_timer = self.create_timer(0.2, self._check_completion, clock=STEADY_CLOCK)
        call_once(
            self, lambda: self.get_logger().info(f'judges {len(self._ground_truth)} pictures')
        )

    def close(self) -> bool:
        """Nothing is to be ended."""
        return True

    def _on_status(self, status: LocalizerStatus) -> None:
        self._last_status_s = time.monotonic()
        stamp = stamp_to_ns(status.header.stamp)
        self._statuses[stamp] = status
        self._acknowledge(stamp)

    def _on_pose(self, message: PoseWithCovarianceStamped) -> None:
        stamp = stamp_to_ns(message.header.stamp)
        self._poses[stamp] = message
        self._acknowledge(stamp)

    def _acknowledge(self, stamp: int) -> None:
        if self._ack_publisher is not None and self._is_complete(stamp):
            self._ack_publisher.publish(self._statuses[stamp])

    def _check_completion(self) -> None:
        """Finish when all is answered, or nothing more seems to come."""
        if self._localizer_probe.poll() and self._ack_publisher is None:
            self._ack_publisher = self.create_publisher(LocalizerStatus, '~/ack', LAST_TEN_QOS)
        if self._last_status_s is None:
            if time.monotonic() > self._start_s + self._config.startup_timeout_s:
                self._completion_timer.cancel()
                raise CaptureError(self._no_result_message())
            return
        missing = [stamp for stamp in self._ground_truth if not self._is_complete(stamp)]
        waits = missing or self._ack_publisher is None
        if waits and time.monotonic() < self._last_status_s + self._config.idle_timeout_s:
            return
        self._completion_timer.cancel()  # the executor may call it once more before it ends
        if missing:
            self.get_logger().warning(f'{len(missing)} pictures were not answered: dropped')
        if self._ack_publisher is None:
            self.get_logger().warning(
                f'{self._localizer_probe.service} did not answer: map_from_nerf is taken to be empty'
            )
        raise NodeFinished(self._evaluate())

    def _no_result_message(self) -> str:
        within = f'within startup_timeout_s = {self._config.startup_timeout_s:g} s'
        service, topic = self._localizer_probe.service, self.resolve_topic_name('localizer/status')
        if not self._localizer_probe.available:
            return (
                f'nobody offers {service} {within}: start the localizer, or tell its name by'
                ' -r localizer/get_parameters:=NAME/get_parameters, and so for status and'
                ' sensor_pose'
            )
        return (
            f'no answer came on {topic} {within}: see in its log why the localizer is silent, it'
            ' may still be loading its map, and whether the player plays to its topics'
        )

    def _is_complete(self, stamp: int) -> bool:
        status = self._statuses.get(stamp)
        return status is not None and (not status.accepted or stamp in self._poses)

    def _evaluate(self) -> int:
        """Print, write, and return the exit status."""
        stamps = sorted(self._ground_truth)
        outcomes = [self._outcome(stamp) for stamp in stamps]
        answers = results_from_outcomes(outcomes, [self._latency_ms(stamp) for stamp in stamps])
        truth = np.stack([self._ground_truth[stamp] for stamp in stamps])
        if placement := self._localizer_probe.parameter_text('map_from_nerf'):
            truth = parse_map_from_nerf(placement) @ truth
        metrics = json_safe(compute_metrics(answers, truth))
        print(localizer_summary_text(metrics), flush=True)
        if self._config.json:
            from nerf_reversal_ros.core.files import write_output_text

            write_output_text(Path(self._config.json), json.dumps(metrics, indent=1) + '\n')
        return int(metrics['recall']['5cm_5deg'] < self._config.min_recall)

    def _outcome(self, stamp: int) -> Outcome:
        status = self._statuses.get(stamp)
        if status is None:
            return Rejection(
                RejectionReason.DROPPED, 'a newer picture came before it was worked on'
            )
        if not status.accepted:
            return Rejection(status.reason, status.detail)
        if stamp not in self._poses:
            return Rejection(RejectionReason.DROPPED, 'it was accepted, but its pose did not come')
        pose = self._poses[stamp].pose
        return PoseEstimate(matrix_from_pose(pose.pose), np.reshape(pose.covariance, (6, 6)))

    def _latency_ms(self, stamp: int) -> float:
        status = self._statuses.get(stamp)
        if status is None or 'total' not in status.latency_stages:
            return math.nan
        return float(status.latency_ms[list(status.latency_stages).index('total')])


def main(args: Sequence[str] | None = None) -> int:
    """Run the node."""
    return run_node(EvaluatorNode, args)
