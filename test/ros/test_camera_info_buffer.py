"""Images get the CameraInfo of their frame and stamp from a bounded buffer."""

import time

from builtin_interfaces.msg import Time
from ros_rig import camera_info
from std_msgs.msg import Header

from nerf_reversal_ros.ros.camera_info_buffer import (
    CameraInfoBuffer,
    MAX_FRAMES,
    MAX_MESSAGES,
)


def header(frame='left', second=1):
    return Header(frame_id=frame, stamp=Time(sec=second))


def filled(*messages):
    buffer = CameraInfoBuffer()
    for message in messages:
        buffer.put(message)
    return buffer


def test_the_message_with_the_stamp_is_taken_or_else_the_latest_of_the_frame():
    buffer = filled(
        camera_info(focal=51.0, frame='left', second=1),
        camera_info(focal=52.0, frame='left', second=2),
        camera_info(focal=61.0, frame='right', second=1),
        camera_info(focal=62.0, frame='right', second=3),
    )
    assert [buffer.latest(header(second=s)).info.k[0] for s in (1, 2, 3)] == [51.0, 52.0, 52.0]
    assert buffer.latest(header('right', 1)).info.k[0] == 61.0


def test_a_camera_that_sends_once_is_kept_beside_one_that_sends_often():
    buffer = filled(camera_info(focal=51.0, frame='left', second=1))
    for second in range(3 * MAX_MESSAGES):
        buffer.put(camera_info(focal=61.0, frame='right', second=second))
    assert buffer.latest(header()).info.k[0] == 51.0
    assert buffer.latest(header('right', 0)).info.header.stamp.sec == 3 * MAX_MESSAGES - 1


def test_of_too_many_cameras_the_one_that_was_silent_longest_is_dropped():
    buffer = filled(*(camera_info(frame=f'c{n}') for n in range(MAX_FRAMES)))
    buffer.put(camera_info(frame='c0'))
    buffer.put(camera_info(frame='new'))
    assert buffer.latest(header('c0')).info.header.frame_id == 'c0'
    assert buffer.latest(header('c1')).info is None


def test_only_the_first_image_of_a_frame_without_camera_info_waits():
    buffer = filled(camera_info(frame='right'))
    first_s, second_s = (_wait_s(buffer, 'left') for _ in range(2))
    assert first_s > 0.2 > second_s
    buffer.put(camera_info(focal=51.0, frame='left'))
    match = buffer.wait_for(header('left'), 0.2)
    assert (match.info.k[0], match.note) == (51.0, '')


def _wait_s(buffer, frame):
    start_s = time.monotonic()
    match = buffer.wait_for(header(frame), 0.2)
    assert match.info.header.frame_id == 'right'
    assert 'camera_info is of right, and is used' in match.note
    return time.monotonic() - start_s
