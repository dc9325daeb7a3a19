#!/usr/bin/env python3
"""
Initialize AMCL or slam_toolbox by the localizer: ros2 run nerf_reversal_ros initial_pose.py.

Waits for a pose that is certain enough, publishes it on initialpose, and ends when a subscriber
has received it. For a robot in a namespace: --ros-args -r __ns:=/robot1. If the frame of the grid
is not called map: -p global_frame:=NAME, and map_frame of the localizer likewise.
"""

import math
import signal
import sys
import threading

from geometry_msgs.msg import PoseWithCovarianceStamped
import rclpy
from rclpy.duration import Duration
from rclpy.signals import SignalHandlerOptions

MAX_STD_M, MAX_STD_DEG = 0.05, 5.0  # of x and y, and of yaw
MAX_TILT_DEG = 45.0  # a robot on a floor is upright
LOG_PERIOD_S = 5.0
ACKNOWLEDGE_TIMEOUT_S = 5


def pose_problem(message: PoseWithCovarianceStamped, global_frame: str) -> str:
    """Return why a pose cannot initialize a 2-D localizer; empty if it can."""
    if message.header.frame_id != global_frame:
        return (
            f'is in the frame {message.header.frame_id}, not in {global_frame}: set map_frame of'
            ' the localizer or global_frame of this node'
        )
    q = message.pose.pose.orientation
    tilt_deg = math.degrees(math.acos(max(-1.0, min(1.0, 1.0 - 2.0 * (q.x**2 + q.y**2)))))
    if tilt_deg > MAX_TILT_DEG:
        return (
            f'is tilted by {tilt_deg:.0f} deg, like that of a camera: set base_frame and mounting'
            ' of the localizer'
        )
    variances = message.pose.covariance
    std_m = math.sqrt(max(variances[0], variances[7], 0.0))
    std_deg = math.degrees(math.sqrt(max(variances[35], 0.0)))
    if not (std_m <= MAX_STD_M and std_deg <= MAX_STD_DEG):
        return f'has a standard deviation of {std_m:.3f} m and {std_deg:.1f} deg'
    return ''


def main() -> None:
    """Wait for a pose and publish it."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('initial_pose')
    log = node.get_logger()
    global_frame = node.declare_parameter('global_frame', 'map').value
    accepted: list[PoseWithCovarianceStamped] = []

    def on_pose(message: PoseWithCovarianceStamped) -> None:
        if problem := pose_problem(message, global_frame):
            log.warning(f'a pose {problem}', throttle_duration_sec=LOG_PERIOD_S)
        else:
            accepted[:] = [message]

    subscription = node.create_subscription(
        PoseWithCovarianceStamped, 'nerf_pose_with_covariance', on_pose, 1
    )
    publisher = node.create_publisher(PoseWithCovarianceStamped, 'initialpose', 1)

    def log_state() -> None:
        if not accepted:
            log.info(
                f'waiting for a pose more certain than {MAX_STD_M} m, {MAX_STD_DEG} deg on'
                f' {subscription.topic_name}'
            )
        elif publisher.get_subscription_count() == 0:
            log.info(f'has a pose; waiting for a subscriber of {publisher.topic_name}')

    node.create_timer(LOG_PERIOD_S, log_state)
    interrupted = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: interrupted.set())
    try:
        log_state()
        while not accepted or publisher.get_subscription_count() == 0:
            rclpy.spin_once(node, timeout_sec=0.1)
            if interrupted.is_set():
                sys.exit('no pose was sent')
        publisher.publish(accepted[0])
        p, q = accepted[0].pose.pose.position, accepted[0].pose.pose.orientation
        yaw = math.atan2(2.0 * (q.w * q.z + q.x * q.y), 1.0 - 2.0 * (q.y**2 + q.z**2))
        log.info(f'sent x {p.x:.2f} m, y {p.y:.2f} m, yaw {math.degrees(yaw):.0f} deg')
        if not publisher.wait_for_all_acked(Duration(seconds=ACKNOWLEDGE_TIMEOUT_S)):
            sys.exit(
                'a pose was sent, but not every subscriber acknowledged it within'
                f' {ACKNOWLEDGE_TIMEOUT_S} s: check it, and run this again if it is missing'
            )
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
