"""
Tell AMCL or slam_toolbox once where the robot is: python3 examples/initial_pose.py.

Waits for a pose of the localizer that is sure enough, publishes it on initialpose, and ends when
somebody has heard it. For a robot in a namespace: --ros-args -r __ns:=/robot1.
"""

import math
import signal
import sys
import threading

from geometry_msgs.msg import PoseWithCovarianceStamped
import rclpy
from rclpy.duration import Duration
from rclpy.signals import SignalHandlerOptions

MAX_STD_M = 0.05
REMIND_S = 5.0


def main() -> None:
    """Wait for a pose, and pass it on."""
    rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node('initial_pose')
    found: list[PoseWithCovarianceStamped] = []

    def take(message: PoseWithCovarianceStamped) -> None:
        if math.sqrt(max(message.pose.covariance[0], message.pose.covariance[7])) <= MAX_STD_M:
            found[:] = [message]

    poses = node.create_subscription(
        PoseWithCovarianceStamped, 'nerf_pose_with_covariance', take, 1
    )
    publisher = node.create_publisher(PoseWithCovarianceStamped, 'initialpose', 1)

    def say() -> None:
        if not found:
            waits = f'waits for a pose surer than {MAX_STD_M} m on {poses.topic_name}'
            node.get_logger().info(waits)
        elif publisher.get_subscription_count() == 0:
            node.get_logger().info(f'has a pose; waits for somebody on {publisher.topic_name}')

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
        if not publisher.wait_for_all_acked(Duration(seconds=5)):
            sys.exit('a pose was sent, but not everybody acknowledged it within 5 s')
    finally:
        rclpy.try_shutdown()


if __name__ == '__main__':
    main()
