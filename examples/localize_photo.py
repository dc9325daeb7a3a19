#!/usr/bin/env python3
"""
Ask a running localizer where a photo was taken.

    ros2 run nerf_reversal_ros localize_photo.py photo.jpg
    ros2 run nerf_reversal_ros localize_photo.py photo.jpg 1450.2 1451.0 959.5 539.5

The numbers are fx, fy, cx and cy of the photo in pixels. Without them, the localizer takes the
intrinsics of its camera, and the photo has to be of that. For a robot in a namespace:
--ros-args -r __ns:=/robot1.
"""

from pathlib import Path
import sys

import cv2
import numpy as np
import rclpy
from rclpy.utilities import remove_ros_args

from nerf_reversal_ros.srv import Localize

SERVICE = 'localizer/localize'
DISCOVERY_TIMEOUT_S, TIMEOUT_S = 10.0, 30.0


def make_request(photo: Path, intrinsics: list[float]) -> Localize.Request:
    """Return the request for a photo; without intrinsics it leaves them to the localizer."""
    data = photo.read_bytes()
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        sys.exit(f'{photo} is no image that OpenCV can read: convert it to JPEG')
    request = Localize.Request()
    request.image.data, request.image.format = data, photo.suffix[1:]
    if intrinsics:
        fx, fy, cx, cy = intrinsics
        info = request.camera_info
        info.height, info.width = image.shape[:2]
        info.distortion_model, info.d = 'plumb_bob', [0.0] * 5
        info.k = [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]
    return request


def main() -> None:
    """Send the photo, and print the answer."""
    words = remove_ros_args(sys.argv)[1:]
    if len(words) not in (1, 5):
        sys.exit('give a photo, or a photo and fx fy cx cy')
    request = make_request(Path(words[0]), [float(word) for word in words[1:]])
    rclpy.init()
    node = rclpy.create_node('localize_photo')
    client = node.create_client(Localize, SERVICE)
    if not client.wait_for_service(DISCOVERY_TIMEOUT_S):
        sys.exit(f'{client.srv_name} is not there: start the localizer, or set its namespace')
    future = client.call_async(request)
    rclpy.spin_until_future_complete(node, future, timeout_sec=TIMEOUT_S)
    if not future.done():
        sys.exit(f'{client.srv_name} gave no answer within {TIMEOUT_S:.0f} s')
    answer = future.result()
    if not answer.accepted:
        sys.exit(f'not localized, {answer.reason}: {answer.detail}')
    p = answer.pose.pose.pose.position
    print(f'x {p.x:.3f} y {p.y:.3f} z {p.z:.3f} m in {answer.pose.header.frame_id}')


if __name__ == '__main__':
    main()
