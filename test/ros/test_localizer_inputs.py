"""Localizer node over DDS: how images, camera_info, odometry, rate and frames are handled."""

import contextlib
import time

from camera_infos import write_calibration
from diagnostic_msgs.msg import DiagnosticStatus
from localizer_rig import LocalizerRig
import numpy as np
import pytest
from ros_rig import camera_info, compressed_image, odometry, raw_image, wait_until
from sensor_msgs.msg import CameraInfo, Image
from std_srvs.srv import Trigger

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.srv import Localize


def test_only_the_newest_image_is_processed_and_the_others_are_counted(rig, start):
    start(duration_ms=150)
    rig.publish('camera_info', camera_info())
    for second in range(1, 31):
        rig.publish('image/compressed', compressed_image(second=second))
        time.sleep(0.01)
    assert wait_until(lambda: rig.statuses and rig.statuses[-1].header.stamp.sec == 30)
    processed = [status.header.stamp.sec for status in rig.statuses]
    last = rig.statuses[-1]
    assert last.dropped == last.received - len(processed)
    assert last.dropped >= 8
    assert len(processed) <= 12
    assert processed == sorted(set(processed))


def test_an_image_without_camera_info_is_rejected_after_the_timeout(rig, start):
    start(camera_info_timeout_s=0.2)
    status = rig.localize(compressed_image(second=1))
    assert (status.accepted, status.reason) == (False, 'no camera_info yet')
    assert 'camera_info' in status.detail
    rig.publish('camera_info', camera_info())
    assert wait_until(lambda: rig.statuses[-1].accepted), 'the rejected image has no second turn'
    assert rig.statuses[-1].header.stamp.sec == 1
    assert rig.localize(compressed_image(second=2)).accepted


def test_an_image_waits_for_a_camera_info_that_arrives_later(rig, start):
    start(camera_info_timeout_s=5.0)
    rig.publish('image/compressed', compressed_image(second=1))
    time.sleep(0.2)
    rig.publish('camera_info', camera_info())
    assert rig.received_poses(1)


def test_raw_images_are_localized_with_image_transport_raw(rig, start):
    start(image_transport='raw')
    rig.publish('camera_info', camera_info())
    assert rig.localize(raw_image((40, 50, 60)), 'image').accepted
    assert rig.received_poses(1)
    assert rig.poses[0].pose.position.z == pytest.approx(0.6)


def test_images_of_another_type_are_reported_with_the_remedy(rig, start):
    process = start()
    rig.node.create_publisher(Image, 'image/compressed', 1)
    rig.node.create_publisher(CameraInfo, 'camera_info', 1)
    process.wait_for_output(
        '/image/compressed is published as sensor_msgs/msg/Image, not as'
        f' sensor_msgs/msg/CompressedImage: {remedies.RAW_TRANSPORT}'
    )
    assert rig.wait_for_diagnostic(DiagnosticStatus.WARN, 'set image_transport')


def test_an_image_without_stamp_gets_the_time_of_its_arrival_and_it_is_said_once(rig, start):
    process = start()
    rig.publish('camera_info', camera_info())
    before_s = time.time()
    message = compressed_image()
    message.header.stamp.sec, message.header.stamp.nanosec = 0, 0
    status = rig.localize(message)
    assert status.accepted
    assert before_s - 1 < status.header.stamp.sec < time.time() + 1
    assert rig.received_poses(1)
    assert rig.poses[0].header.stamp == status.header.stamp
    process.wait_for_output('the stamps of images on /image/compressed are 0')
    assert rig.wait_for_diagnostic(DiagnosticStatus.WARN, 'the stamps of images')
    rig.localize(compressed_image(second=2))
    assert rig.wait_for_diagnostic(DiagnosticStatus.OK, '')


def test_max_rate_hz_limits_the_processed_images(rig, start):
    process = start(max_rate_hz=2.0)
    rig.publish('camera_info', camera_info())
    start_s = time.monotonic()
    for second in range(1, 101):
        rig.publish('image/compressed', compressed_image(second=second))
        time.sleep(0.01)
    assert wait_until(lambda: len(rig.poses) >= 2), process.output
    assert len(rig.statuses) <= (time.monotonic() - start_s) * 2.0 + 1
    assert rig.set_parameter('max_rate_hz', 0.0).successful
    processed = len(rig.statuses)
    rig.localize(compressed_image(second=200))
    assert wait_until(lambda: rig.statuses[-1].header.stamp.sec == 200)
    assert rig.statuses[-1].dropped > 90 - processed


def test_localize_does_not_wait_for_the_rate_limit(rig, start):
    start(max_rate_hz=0.01)
    rig.publish('camera_info', camera_info())
    rig.localize(compressed_image(second=1))
    rig.publish('image/compressed', compressed_image(second=2))
    future = rig.call_async(Localize, 'localizer/localize', timeout_s=30.0)
    assert wait_until(future.done)
    assert future.result().accepted


def test_mounting_gives_the_pose_of_the_base(rig, start):
    """The camera looks along the base's x axis from 1 m in front of its origin."""
    start(base_frame='base_link', mounting='1 0 0 -0.5 0.5 -0.5 0.5')
    rig.publish('camera_info', camera_info())
    assert rig.localize(compressed_image((10, 20, 30))).accepted
    assert rig.received_poses(1)
    p = rig.poses[0].pose.position
    # The small localizer returns an unrotated camera: its z axis, forward, is map's z axis, and
    # the base's origin is 1 m behind it.
    assert (p.x, p.y, p.z) == pytest.approx((0.1, 0.2, 0.3 - 1.0))
    variances = np.diag(rig.poses_with_covariance[0].pose.covariance.reshape(6, 6))
    assert variances == pytest.approx([1.01e-4, 1.01e-4, 1e-4, 1e-6, 1e-6, 1e-6])


def test_odometry_confirms_and_rejects_poses_and_is_overridden_by_consistent_ones(rig, start):
    """The camera looks along the base's x axis, and the base drives along odom's."""
    mounting = '0 0 0.3 -0.5 0.5 -0.5 0.5'
    parameters = {'base_frame': 'base_link', 'mounting': mounting, 'odometry_witnesses': 2}
    process = start(use_odometry=True, **parameters)
    rig.publish('camera_info', camera_info())

    def localize(second, odom_x_m, map_z_cm, green=250):
        """Publish odometry, and an image of a pose further along; return reason and accepted."""
        rig.publish('odom', odometry(second, odom_x_m))
        status = rig.localize(compressed_image((100, green, map_z_cm), second))
        return status.reason, status.accepted

    assert localize(1, 0.0, 20) == ('', True)
    assert localize(2, 0.5, 70) == ('', True)  # the camera's z axis in map is odom's x axis
    assert localize(3, 0.6, 80, green=255) == ('', True)  # too improbable by itself
    assert localize(4, 0.7, 180, green=255) == ('low probability', False)
    assert localize(5, 0.8, 190) == ('odometry disagrees', False)
    assert localize(6, 0.9, 200) == ('', True)
    assert rig.received_poses(4)
    assert rig.call(Trigger, 'localizer/reset').success
    assert localize(7, 1.0, 10) == ('', True)
    # Seconds after the last odometry.
    rig.publish('image/compressed', compressed_image((100, 250, 90), 9))
    assert rig.received_poses(6)
    process.wait_for_output(
        'no odometry within 0.1 s of an image, so that its pose is not checked'
    )


def test_unusable_odometry_is_ignored_with_a_warning(rig, start):
    process = start(use_odometry=True, base_frame='base_link', mounting='0 0 0 0 0 0 1')
    rig.publish('camera_info', camera_info())
    for second, warning, changes in (
        (
            1,
            'the child_frame_id of the odometry is base_footprint, but base_frame is base_link:'
            f' its messages are ignored; {remedies.ODOMETRY_CHILD}',
            {'child': 'base_footprint'},
        ),
        (3, 'a quaternion of length 0 instead of 1', {'w': 0.0}),
    ):
        rig.publish('odom', odometry(second, 0.0, **changes))
        process.wait_for_output(warning)
        assert rig.localize(compressed_image((10 * second, 20, 30), second)).accepted
    assert rig.received_poses(2)


def test_topics_are_in_the_namespace_of_the_node(start):
    with contextlib.closing(LocalizerRig('/robot1')) as rig:
        start('-r', '__ns:=/robot1')
        rig.publish('camera_info', camera_info())
        assert rig.localize(compressed_image()).accepted
        assert rig.received_poses(1)


def test_the_camera_info_of_the_frame_of_the_image_is_taken(rig, start):
    """Another camera on the same topic is not calibrated; both have the same stamps."""
    process = start(camera_info_timeout_s=0.5)
    for second in (1, 2):
        rig.publish('camera_info', camera_info(frame='left', second=second))
        rig.publish('camera_info', camera_info(focal=0.0, frame='right', second=second))
        image = compressed_image(second=second)
        image.header.frame_id = 'left'
        assert rig.localize(image).accepted
    image.header.frame_id, image.header.stamp.sec = 'right', 3
    status = rig.localize(image)
    assert (status.accepted, status.reason) == (False, 'invalid image')
    assert 'give the calibration of the camera by camera_info_file' in status.detail
    image.header.frame_id, image.header.stamp.sec = 'rear', 4
    status = rig.localize(image)
    assert (status.accepted, status.reason) == (False, 'no camera_info yet')
    assert 'of the frame rear, but camera_info has only left, right' in status.detail
    assert 'camera_info is of' not in process.output


def test_camera_info_of_another_frame_is_used_with_one_warning(rig, start):
    process = start(camera_info_timeout_s=0.2)
    rig.publish('camera_info', camera_info(frame='left'))
    for second in (1, 2, 3):
        image = compressed_image(second=second)
        image.header.frame_id = 'front'
        assert rig.localize(image).accepted
    process.wait_for_output('the frame front, but camera_info is of left, and is used')
    assert process.output.count('and is used') == 1


def test_camera_info_that_cannot_be_right_is_rejected_and_a_file_replaces_it(rig, start, tmp_path):
    wrong = camera_info(size=(64, 48))
    wrong.k[2], wrong.k[5] = 16.0, 12.0
    with start():
        rig.publish('camera_info', wrong)
        status = rig.localize(compressed_image(second=1))
        assert not status.accepted
        assert 'set camera_info_size to 32x24' in status.detail
    with start(camera_info_size='32x24'):
        rig.publish('camera_info', wrong)
        assert rig.localize(compressed_image(second=2)).accepted
    file = write_calibration(tmp_path / 'phone.yaml', Camera(64, 48, 50.0, 50.0, 31.5, 23.5))
    start(camera_info_file=file)
    assert rig.localize(compressed_image(second=3)).accepted


def test_rectified_images_need_the_parameter_rectified(rig, start):
    raw = camera_info()
    raw.d, raw.distortion_model = [-0.3, 0.1, 0.0, 0.0, 0.0], 'plumb_bob'
    raw.p = [50.0, 0.0, 32.0, 0.0, 0.0, 50.0, 24.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    remapping = ('--remap', 'image/compressed:=image_rect/compressed')
    with start(*remapping):
        rig.publish('camera_info', raw)
        status = rig.localize(compressed_image(second=1), 'image_rect/compressed')
        assert not status.accepted
        assert 'the topic /image_rect/compressed is one of rectified images' in status.detail
    start(*remapping, rectified=True)
    rig.publish('camera_info', raw)
    assert rig.localize(compressed_image(second=2), 'image_rect/compressed').accepted
