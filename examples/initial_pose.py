#!/usr/bin/env python3
"""
Tell AMCL or slam_toolbox once where the robot is: ros2 run nerf_reversal_ros initial_pose.py.

Waits for a pose of the localizer that is sure enough, publishes it on initialpose, and ends when
somebody has heard it. For a robot in a namespace: --ros-args -r __ns:=/robot1. The frame of the
grid, if it is not called map: -p global_frame:=NAME, for the localizer too (map_frame).
"""

import math
import signal
import sys
import threading

from geometry_msgs.msg import PoseWithCovarianceStamped
import rclpy
from rclpy.duration import Duration
from rclpy.signals import SignalHandlerOptions

MAX_STD_M, MAX_STD_DEG = 0.05, 5.0
MAX_TILT_DEG = 45.0
REMIND_S = 5.0


def fault(message: PoseWithCovarianceStamped, global_frame: str) -> str:
    """Return why a pose is of no use for a localizer in the plane; empty if it is."""
    if message.header.frame_id != global_frame:
        return (
            f'is in the frame {message.header.frame_id}, not in {global_frame}: set map_frame of'
            ' the localizer or global_frame here'
        )
    q = message.pose.pose.orientation
    tilt_deg = math.degrees(math.acos(max(-1.0, min(1.0, 1.0 - 2.0 * (q.x**2 + q.y**2)))))
    if tilt_deg > MAX_TILT_DEG:
        return (
            f'is tilted by {tilt_deg:.0f} deg, as that of a camera is: set base_frame and mounting'
            ' of the localizer'
        )
    variances = message.pose.covariance
    std_m = math.sqrt(max(variances[0], variances[7], 0.0))
    std_deg = math.degrees(math.sqrt(max(variances[35], 0.0)))
    if not (std_m <= MAX_STD_M and std_deg <= MAX_STD_DEG):
        return f'is unsure by {std_m:.3f} m and {std_deg:.1f} deg'
    return ''


def main() -> None:
    """Wait for a pose, and pass it on."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('initial_pose')
    log = node.get_logger()
    global_frame = node.declare_parameter('global_frame', 'map').value
    found: list[PoseWithCovarianceStamped] = []

    def take(message: PoseWithCovarianceStamped) -> None:
        if why := fault(message, global_frame):
            log.warning(f'a pose {why}', throttle_duration_sec=REMIND_S)
        else:
            found[:] = [message]

    poses = node.create_subscription(
        PoseWithCovarianceStamped, 'nerf_pose_with_covariance', take, 1
    )
    publisher = node.create_publisher(PoseWithCovarianceStamped, 'initialpose', 1)

    def say() -> None:
        if not found:
            log.info(
                f'waits for a pose surer than {MAX_STD_M} m, {MAX_STD_DEG} deg on'
                f' {poses.topic_name}'
            )
        elif publisher.get_subscription_count() == 0:
            log.info(f'has a pose; waits for somebody on {publisher.topic_name}')

    node.create_timer(REMIND_S, say)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        say()
        while not found or publisher.get_subscription_count() == 0:
            rclpy.spin_once(node, timeout_sec=0.1)
            if ended.is_set():
                sys.exit('no pose was sent')
        publisher.publish(found[0])
        p, q = found[0].pose.pose.position, found[0].pose.pose.orientation
        yaw = math.atan2(2.0 * (q.w * q.z + q.x * q.y), 1.0 - 2.0 * (q.y**2 + q.z**2))
        log.info(f'sent x {p.x:.2f} m, y {p.y:.2f} m, yaw {math.degrees(yaw):.0f} deg')
        if not publisher.wait_for_all_acked(Duration(seconds=5)):
            sys.exit('a pose was sent, but not everybody acknowledged it within 5 s')
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
