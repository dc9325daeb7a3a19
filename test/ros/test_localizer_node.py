"""Localizer node over DDS: outcomes, ~/localize, parameters and diagnostics of one process."""

import os
from pathlib import Path
import subprocess
import sys
import time

from diagnostic_msgs.msg import DiagnosticArray
import numpy as np
import pytest
from ros_rig import BLUE, camera_info, compressed_image, DARK, GRAY, PYTHONPATH, RED, wait_until
from std_srvs.srv import Trigger

from nerf_reversal_ros.core.outcome import RejectionReason
from nerf_reversal_ros.msg import LocalizerStatus
from nerf_reversal_ros.srv import LoadMap, Localize

ROOT = Path(__file__).resolve().parents[2]


def test_a_pose_has_the_stamp_of_its_image_and_the_frame_map(shared):
    status = shared.localize(compressed_image((10, 20, 30), second=7))
    assert shared.received_poses(1)
    pose, with_covariance = shared.poses[0], shared.poses_with_covariance[0]
    assert (pose.header.stamp.sec, pose.header.frame_id) == (7, 'map')
    assert with_covariance.header == pose.header
    p, q = pose.pose.position, pose.pose.orientation
    assert (p.x, p.y, p.z, q.x, q.y, q.z, q.w) == pytest.approx((0.1, 0.2, 0.3, 0, 0, 0, 1))
    assert with_covariance.pose.pose == pose.pose
    variances = np.diag(with_covariance.pose.covariance.reshape(6, 6))
    assert variances == pytest.approx([1e-4, 1e-4, 1e-4, 1e-6, 1e-6, 1e-6])
    assert (status.accepted, status.reason, status.stage) == (True, '', 'refine')
    assert (status.header.stamp.sec, status.header.frame_id) == (7, 'camera_optical')
    assert (status.inliers, status.inlier_ratio) == (40, 0.5)
    assert dict(zip(status.score_names, status.score_values, strict=True))['fx'] == 50.0
    assert list(status.latency_stages) == ['regress', 'refine', 'total']
    assert (status.received, status.dropped) == (1, 0)


def test_an_image_that_is_not_localized_gives_a_reason_and_no_pose(shared, shared_process):
    corrupt = compressed_image(second=2)
    corrupt.data = corrupt.data[:60]
    wrong_size = compressed_image(second=3, size=(64, 64))
    images = (
        compressed_image(DARK, 1),
        corrupt,
        wrong_size,
        compressed_image(RED, 4),
        compressed_image(GRAY, 5),
    )
    statuses = [shared.localize(image) for image in images]
    assert [(status.accepted, status.reason) for status in statuses] == [
        (False, 'low contrast'),
        (False, 'invalid image'),
        (False, 'invalid image'),
        (False, 'internal error'),
        (True, ''),
    ]
    assert shared.received_poses(1)
    assert shared.poses[0].header.stamp.sec == 5
    assert 'damaged' in statuses[1].detail
    assert '64x48 pixels, but the image is 64x64' in statuses[2].detail
    shared_process.wait_for_output('a defect of the localizer')


def test_the_services_load_a_map_localize_once_and_reset(shared, tmp_path):
    loaded = shared.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'missing'))
    assert (loaded.success, 'there is no map' in loaded.message) == (False, True)
    (tmp_path / 'slow1').mkdir()
    assert shared.call(LoadMap, 'localizer/load_map', map_dir=str(tmp_path / 'slow1')).success

    request = {'image': compressed_image((10, 20, 30), 9), 'camera_info': camera_info()}
    response = shared.call(Localize, 'localizer/localize', **request)
    assert (response.accepted, response.reason) == (True, '')
    assert response.pose.header.stamp.sec == 9
    assert response.pose.pose.pose.position.z == pytest.approx(0.3)
    request['image'] = compressed_image(DARK)
    response = shared.call(Localize, 'localizer/localize', **request)
    assert (response.accepted, response.reason) == (False, 'low contrast')
    assert shared.poses == []  # the pose is in the response only
    response = shared.call(Localize, 'localizer/localize', timeout_s=0.2)
    assert response.reason == 'no image arrived on /shared/image/compressed within 0.2 s'

    shared.localize(compressed_image(second=1))
    assert shared.call(Trigger, 'localizer/reset').success
    assert shared.localize(compressed_image(second=2)).received == 1


def test_the_example_asks_for_the_pose_of_a_photo(shared, tmp_path):
    photo = tmp_path / 'photo.jpg'
    photo.write_bytes(bytes(compressed_image((10, 20, 30)).data))
    words = [sys.executable, str(ROOT / 'examples/localize_photo.py'), str(photo)]
    environment = {**os.environ, 'PYTHONPATH': PYTHONPATH}

    def ask(*more):
        command = [*words, *more, '--ros-args', '-r', '__ns:=/shared']
        return subprocess.run(command, env=environment, capture_output=True, text=True)

    answered = ask('50', '50', '31.5', '23.5')
    assert answered.stdout == 'x 0.100 y 0.200 z 0.300 m in map\n', answered.stderr
    photo.write_bytes(bytes(compressed_image(DARK).data))
    assert ask('50', '50', '31.5', '23.5').stderr.startswith('not localized, low contrast')
    photo.write_bytes(b'no image')
    assert ask().stderr == f'{photo} is no image that OpenCV can read: convert it to JPEG\n'


def test_localize_waits_for_the_next_image(shared):
    future = shared.call_async(Localize, 'localizer/localize', timeout_s=5.0)
    while not future.done():
        shared.publish('image/compressed', compressed_image(second=3))
        time.sleep(0.05)
    assert future.result().accepted
    assert future.result().pose.header.stamp.sec == 3


def test_localize_with_an_invalid_image_returns_reason_and_detail(shared):
    corrupt = compressed_image()
    corrupt.data = corrupt.data[:60]
    response = shared.call(
        Localize, 'localizer/localize', image=corrupt, camera_info=camera_info()
    )
    assert response.reason == 'invalid image'
    assert 'damaged' in response.detail


@pytest.mark.parametrize('seconds', [float('inf'), float('nan'), -1.0, 1e300])
def test_localize_rejects_an_invalid_timeout(shared, seconds):
    response = shared.call(Localize, 'localizer/localize', timeout_s=seconds)
    assert response.reason == f'timeout_s is {seconds:g}: set it to 0 to 60 seconds'


def test_reset_does_not_wait_for_a_pending_localize(shared):
    future = shared.call_async(Localize, 'localizer/localize', timeout_s=30.0)
    assert shared.call(Trigger, 'localizer/reset').success
    assert not future.done()

    def has_responded():
        shared.localize(compressed_image())
        return wait_until(future.done, 0.5)

    assert wait_until(has_responded)  # the first image may precede the wait of the service


def test_a_result_that_cannot_be_published_does_not_end_the_worker(shared, shared_process):
    future = shared.call_async(Localize, 'localizer/localize', timeout_s=20.0)
    while not future.done():
        shared.publish('image/compressed', compressed_image(BLUE))
        time.sleep(0.05)
    assert future.result().reason == 'internal error'
    shared_process.wait_for_output('in publish_status')
    assert shared.localize(compressed_image(second=2)).accepted


def test_only_changeable_parameters_change_at_run_time(shared):
    set_parameter = shared.set_parameter
    assert shared.localize(compressed_image()).accepted
    assert set_parameter('min_inliers', 50).successful
    assert shared.localize(compressed_image()).reason == 'too few inliers'
    assert set_parameter('min_inliers', 30).successful
    assert not set_parameter('min_inliers', 2).successful
    rejected = set_parameter('map_dir', '/elsewhere')
    assert not rejected.successful
    assert 'map_dir cannot change while the node is configured' in rejected.reason
    assert set_parameter('min_inliners', 7).reason == (
        'unknown parameter min_inliners: did you mean min_inliers?'
    )


def test_diagnostics_count_outcomes(shared):
    messages = shared.collect(DiagnosticArray, '/diagnostics')
    shared.localize(compressed_image(DARK))
    shared.localize(compressed_image())

    def has_counts():
        values = {v.key: v.value for m in messages[-1:] for v in m.status[0].values}
        return values.get('accepted') == '1' and values.get('rejected: low contrast') == '1'

    assert wait_until(has_counts), messages[-1:]
    assert messages[-1].status[0].name == 'shared/localizer: localization'


def test_an_image_without_a_stamp_is_not_a_step_back_in_time(shared, shared_process):
    shared_process.lines.clear()
    for second in (50, 0, 51):
        assert shared.localize(compressed_image((10, 20, 30), second)).accepted
    assert 'went back' not in shared_process.output


def test_the_constants_of_the_status_message_equal_the_rejection_reasons():
    for reason in RejectionReason:
        if reason not in (RejectionReason.DROPPED, RejectionReason.NO_ANSWER):  # of evaluations
            assert getattr(LocalizerStatus, reason.name) == reason
