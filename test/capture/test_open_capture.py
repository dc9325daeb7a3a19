"""A bag opens as a capture: topics, synchronization and pose convention."""

from dataclasses import replace

import numpy as np
import pytest
from room_bags import (
    DEPTH,
    edit_topic,
    IMAGE,
    INFO,
    message,
    POSE,
    raw_image,
    rewrite,
    write_room_bag,
    Z_UP,
)
from rooms import phone_camera, walk

from nerf_reversal_ros.capture.open_capture import iter_images, MAX_GAP_S, open_capture
from nerf_reversal_ros.capture.pose_convention import POSE_CONVENTIONS
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig, RECORD3D_TOPICS
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import inverse, OPTICAL_FROM_OPENGL

NO_CONVENTION = 'no depth .*: ' + remedies.CONVENTION.format(
    conventions=', '.join(POSE_CONVENTIONS)
)


def test_images_are_read_without_depth_or_poses(edit_bag):
    bag = edit_bag(lambda topic, item, _: [(topic, item)] if topic in (IMAGE, INFO) else [])
    images = list(iter_images(bag, CaptureConfig()))
    assert len(images) == 24
    assert images[3].rgb.shape == (128, 96, 3)
    assert images[3].camera == phone_camera()


def test_the_topics_of_both_versions_of_the_record3d_driver_are_read(edit_bag, room_bag):
    bag = edit_bag(lambda topic, item, _: [(RECORD3D_TOPICS.get(topic, topic), item)])
    after, before = open_capture(bag, Z_UP), open_capture(room_bag, Z_UP)
    assert len(after) == len(list(after)) == 24
    assert np.array_equal(after.frame(5).rgb, before.frame(5).rgb)
    assert np.array_equal(after.frame(5).depth, before.frame(5).depth)
    assert len(list(iter_images(bag, CaptureConfig()))) == 24
    with pytest.raises(CaptureError, match=r'no topic /mine: set depth_topic'):
        open_capture(bag, CaptureConfig(depth_topic='/mine'))


def test_the_default_topics_are_preferred_if_a_bag_has_both_names():
    both = dict.fromkeys([*RECORD3D_TOPICS, *RECORD3D_TOPICS.values()], 3)
    assert CaptureConfig().with_topics_of(lambda topic: both.get(topic, 0)) == CaptureConfig()


def test_constant_poses_are_rejected(edit_bag):
    def still(item, _):
        item.pose = message(
            'geometry_msgs/msg/Pose',
            message('geometry_msgs/msg/Point', 0.0, 0.0, 0.0),
            message('geometry_msgs/msg/Quaternion', 0.0, 0.0, 0.0, 1.0),
        )

    with pytest.raises(CaptureError, match=r'all 24 poses of .* are the same.*FaceID'):
        open_capture(edit_bag(edit_topic(POSE, still)), Z_UP)


def test_depth_of_zeros_is_rejected(edit_bag):
    def dark(item, _):
        return raw_image(item.header, np.zeros((128, 96), np.float32), '32FC1')

    bag = edit_bag(edit_topic(DEPTH, dark))
    with pytest.raises(CaptureError, match=f'depth/img is 0 .*{remedies.NO_DEPTH_TOPIC}'):
        open_capture(bag, Z_UP)
    flat = replace(Z_UP, depth_topic='', pose_convention='optical')
    assert len(open_capture(bag, flat)) == 24


def late(seconds):
    def change(item, _):
        stamp = item.header.stamp
        total_ns = stamp.sec * 10**9 + stamp.nanosec + round(seconds * 1e9)
        stamp.sec, stamp.nanosec = divmod(total_ns, 10**9)

    return change


def test_unsynchronized_depth_is_rejected_and_a_larger_tolerance_works(edit_bag, room_bag):
    bag = edit_bag(edit_topic(DEPTH, late(0.03)))
    with pytest.raises(
        CaptureError, match=r'depth/img within sync_tolerance_s = 0.02 s'
    ) as caught:
        open_capture(bag, Z_UP)
    assert str(caught.value).endswith(f'difference is 0.030 s: {remedies.SYNC_TOLERANCE}')
    capture, before = (
        open_capture(bag, replace(Z_UP, sync_tolerance_s=0.031)),
        open_capture(room_bag, Z_UP),
    )
    assert np.array_equal(capture.frame(5).depth, before.frame(5).depth)


def test_depth_of_another_clock_is_told_without_a_tolerance_that_is_refused(edit_bag):
    with pytest.raises(CaptureError, match=r'is 97.700 s: they are of different clocks') as caught:
        open_capture(edit_bag(edit_topic(DEPTH, late(100))), Z_UP)
    assert remedies.SYNC_TOLERANCE not in str(caught.value)
    with pytest.raises(ConfigError):
        CaptureConfig(sync_tolerance_s=MAX_GAP_S + 0.001)
    assert CaptureConfig(sync_tolerance_s=MAX_GAP_S)


@pytest.mark.parametrize('axes', ['optical', 'opengl', 'optical_inverted', 'opengl_inverted'])
def test_poses_of_any_convention_give_the_same_map(tmp_path, axes):
    poses = walk(24)
    recorded = poses @ OPTICAL_FROM_OPENGL if axes.startswith('opengl') else poses
    recorded = inverse(recorded) if axes.endswith('inverted') else recorded
    bag = write_room_bag(tmp_path / 'bag', poses, world_from_camera=recorded)
    capture = open_capture(bag, Z_UP)
    assert capture.convention.axes == axes
    assert np.allclose(capture.map_from_camera, poses, atol=1e-6)


def test_poses_in_another_than_the_configured_convention_are_rejected_with_the_errors(room_bag):
    with pytest.raises(CaptureError) as caught:
        open_capture(room_bag, CaptureConfig(pose_convention='opengl'))
    message = str(caught.value)
    assert 'not in pose_convention opengl' in message
    assert message.endswith(remedies.RIGHT_CONVENTION.format(convention='optical'))
    for convention in ('optical', 'auto'):
        assert open_capture(room_bag, CaptureConfig(pose_convention=convention)).has_depth
    for axes in ('optical 0.', 'opengl ', 'optical_inverted ', 'opengl_inverted '):
        assert axes in message


def test_poses_that_fit_no_convention_are_rejected_with_the_errors(tmp_path):
    poses = walk(24)
    bag = write_room_bag(
        tmp_path / 'bag', poses, world_from_camera=np.roll(poses, 7, axis=0)[::-1]
    )
    with pytest.raises(CaptureError, match=r'do not fit the depth in any convention \(.*cm, .*cm'):
        open_capture(bag, CaptureConfig())


def test_a_given_convention_is_applied_unchanged(room_bag, tmp_path):
    built = open_capture(room_bag, CaptureConfig(up_axis='x')).convention
    again = open_capture(room_bag, CaptureConfig(), convention=built, select_frames=False)
    assert again.convention is built
    assert np.allclose(again.map_from_camera, built.map_from_world @ walk(24), atol=1e-6)


def test_the_convention_of_a_map_built_without_a_bag_is_rejected(room_bag):
    unknown = replace(open_capture(room_bag, CaptureConfig()).convention, of_bag=False)
    with pytest.raises(CaptureError, match=r'built without a bag, .*: build the map with a BAG'):
        open_capture(room_bag, CaptureConfig(), convention=unknown, select_frames=False)


def test_without_depth_the_convention_comes_from_metadata_or_settings(tmp_path):
    poses = walk(24)
    bag = write_room_bag(tmp_path / 'noted', poses, depth=False, up_axis='z')
    capture = open_capture(bag, CaptureConfig())
    assert not capture.has_depth
    assert capture.frame(3).depth is None
    assert capture.convention.depth_error_m == {}
    assert np.allclose(capture.map_from_camera, poses, atol=1e-6)
    foreign = rewrite(bag, tmp_path / 'foreign', lambda topic, item, _: [(topic, item)])
    without = CaptureConfig(depth_topic='')
    with pytest.raises(ConfigError, match=NO_CONVENTION):
        open_capture(foreign, without)
    configured = open_capture(foreign, CaptureConfig(depth_topic='', pose_convention='optical'))
    assert configured.convention.up_source == 'average camera up'
