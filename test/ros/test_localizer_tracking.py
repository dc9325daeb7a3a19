"""Localizer node over DDS: where an image is expected, by constant velocity or by odometry."""

import pytest
from ros_rig import camera_info, compressed_image, odometry, wait_until
from std_srvs.srv import Trigger

from nerf_reversal_ros.srv import LoadMap, Localize

CENTIMETERS = (40, 20, 30)
"""Color of an image: x, y and z of its pose [cm]."""


def expectations(process):
    """Return what the small localizer has printed about expected poses, a line for each image."""
    return [line.strip() for line in process.lines if line.startswith('expected')]


@pytest.fixture
def expected(rig):
    """Return a function that localizes an image and returns where its camera was expected."""

    def localize(process, second, color=CENTIMETERS):
        count = len(expectations(process))
        assert rig.localize(compressed_image(color, second)).accepted
        assert wait_until(lambda: len(expectations(process)) > count), process.output
        return expectations(process)[-1]

    return localize


def test_an_image_is_expected_where_the_last_two_poses_lead(rig, start, expected, tmp_path):
    """The small localizer prints its expected pose, in the frame of the map folder."""
    process = start(map_from_nerf='"5 0 0 90"', tracking_timeout_s=2.0)
    rig.publish('camera_info', camera_info())
    assert expected(process, 11) == 'expected nowhere'
    assert expected(process, 12) == 'expected [0.4, 0.2, 0.3]'
    assert expected(process, 13, (50, 20, 30)) == 'expected [0.4, 0.2, 0.3]'
    assert expected(process, 14, (60, 20, 30)) == 'expected [0.6, 0.2, 0.3]'
    single = compressed_image((200, 20, 30), 14)  # not of the sequence
    future = rig.call_async(Localize, 'localizer/localize', image=single)
    assert wait_until(future.done) and future.result().accepted
    assert wait_until(lambda: len(expectations(process)) == 5)
    assert expected(process, 15) == 'expected [0.7, 0.2, 0.3]'
    assert expected(process, 18) == 'expected nowhere'  # beyond the timeout
    assert rig.call(Trigger, 'localizer/reset').success
    assert expected(process, 19) == 'expected nowhere'
    assert expected(process, 20) == 'expected [0.4, 0.2, 0.3]'
    folder = str(tmp_path / 'slow0')
    assert rig.call(LoadMap, 'localizer/load_map', map_dir=folder).success
    assert expected(process, 21) == 'expected nowhere'
    assert expected(process, 5) == 'expected nowhere'  # the bag is played again
    assert expected(process, 6) == 'expected [0.4, 0.2, 0.3]'
    assert rig.set_parameter('tracking_timeout_s', 0.0).successful
    assert expected(process, 7) == 'expected nowhere'


def test_odometry_moves_the_pose_at_which_an_image_is_expected(rig, start, expected):
    """The camera looks along the base's x axis, and the base drives along odom's."""
    mounting = '0 0 0.3 -0.5 0.5 -0.5 0.5'
    process = start(
        use_odometry=True, base_frame='base_link', mounting=mounting, tracking_timeout_s=2.0
    )
    rig.publish('camera_info', camera_info())
    rig.publish('odom', odometry(1, 0.0))
    assert expected(process, 1) == 'expected nowhere'
    rig.publish('odom', odometry(2, 0.5))
    # The small localizer returns an unrotated camera: its z axis, forward, is map's z axis.
    assert expected(process, 2, (40, 20, 80)) == 'expected [0.4, 0.2, 0.8]'


def test_each_image_is_localized_by_itself_without_use_tracking(rig, start, expected):
    process = start(use_tracking=False)
    rig.publish('camera_info', camera_info())
    assert {expected(process, 1), expected(process, 2)} == {'expected nowhere'}
