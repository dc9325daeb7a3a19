"""Poses that do not fit the images: the cause is measured, and its remedy works."""

from copy import deepcopy
from dataclasses import replace
import re

from camera_infos import write_calibration
import cv2
import numpy as np
import pytest
from room_bags import (
    DEPTH,
    edit_topic,
    IMAGE,
    INFO,
    message,
    POSE,
    rewrite,
    smooth_walk,
    write_room_bag,
    Z_UP,
)
from rooms import phone_camera
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.geometry import inverse, make_pose, pose_errors


@pytest.fixture(scope='module')
def smooth_bag(tmp_path_factory):
    return write_room_bag(tmp_path_factory.mktemp('bags') / 'smooth', smooth_walk())


@pytest.fixture
def edit_smooth(smooth_bag, tmp_path):
    return lambda change: rewrite(smooth_bag, tmp_path / 'edited', change)


FRAME = 'camera_optical_frame'
TURN = make_pose(Rotation.from_euler('xyz', [100, 5, -80], degrees=True), (0.3, 0.2, -0.4))


def set_pose(item, pose):
    p, q = item.pose.position, item.pose.orientation
    p.x, p.y, p.z = pose[:3, 3]
    q.x, q.y, q.z, q.w = Rotation.from_matrix(pose[:3, :3]).as_quat()


def fixed(stamp, parent, child, pose):
    """Return the TFMessage of a static transform."""
    vector = message('geometry_msgs/msg/Vector3', *pose[:3, 3])
    turn = Rotation.from_matrix(pose[:3, :3]).as_quat()
    moved = message(
        'geometry_msgs/msg/Transform', vector, message('geometry_msgs/msg/Quaternion', *turn)
    )
    header = message('std_msgs/msg/Header', stamp, parent)
    transform = message('geometry_msgs/msg/TransformStamped', header, child, moved)
    return message('tf2_msgs/msg/TFMessage', [transform])


def poses(change):
    """Return an edit that sets pose i to ``change(true poses)[i]``."""
    changed = change(smooth_walk())
    return edit_topic(POSE, lambda item, number: set_pose(item, changed[number]))


def scaled(factor):
    def change(true):
        true[:, :3, 3] *= factor
        return true

    return poses(change)


def coarse_depth(factor):
    """Return an edit that multiplies depth in 16UC1 by a factor."""

    def change(item, _):
        depth = cv2.imdecode(item.data[12:], cv2.IMREAD_UNCHANGED)
        item.data = np.concatenate([item.data[:12], cv2.imencode('.png', depth * factor)[1]])

    return edit_topic(DEPTH, change)


def later(seconds):
    """Return an edit that moves the stamps of the images to a clock that is ahead."""

    def edit(topic, item, _):
        if topic != POSE:
            stamp = item.header.stamp
            total_ns = stamp.sec * 10**9 + stamp.nanosec + round(seconds * 1e9)
            stamp.sec, stamp.nanosec = divmod(total_ns, 10**9)
        return [(topic, item)]

    return edit


REMEDIES = {
    'camera_time_offset_s': remedies.CLOCK_OFFSET,
    'mounting': remedies.MEASURED_MOUNTING,
    'pose_unit_m': remedies.POSE_UNIT,
    'depth_unit_m': remedies.DEPTH_UNIT,
}


def refusal(bag, config=Z_UP):
    with pytest.raises(CaptureError) as caught:
        open_capture(bag, config)
    return str(caught.value)


def set_as_told(text, name):
    """Return the settings with the value that a message proposes in the words of its remedy."""
    start, end = re.split(r'\{.*\}', REMEDIES[name])
    value = re.search(f'{start}([^"]*?){end}(?:[,;]| if|$)', text)
    assert value, text
    return replace(Z_UP, **{name: value[1] if name == 'mounting' else float(value[1])})


@pytest.mark.parametrize(
    ('edit', 'cause', 'setting'),
    [
        (later(11777.0), 'clocks of images and poses differ by 11777', 'camera_time_offset_s'),
        (later(-0.25), 'clocks of images and poses differ by 0.25 s', 'camera_time_offset_s'),
        (poses(lambda true: true @ inverse(TURN)), 'of another frame of the robot', 'mounting'),
        (scaled(1000.0), r'lengths of the poses are \S+ times too large', 'pose_unit_m'),
        (coarse_depth(4), r'depths .* are (3\.9|4)\S* times too large for', 'depth_unit_m'),
    ],
    ids=[
        'hours',
        'quarter of a second',
        'mounting',
        'millimeters',
        'depth in quarters of a millimeter',
    ],
)
def test_the_cause_is_told_and_its_remedy_works(edit_smooth, edit, cause, setting):
    bag = edit_smooth(edit)
    text = refusal(bag)
    assert re.search(cause, text), text
    capture = open_capture(bag, set_as_told(text, setting))
    true = smooth_walk()[-len(capture) :] if setting == 'camera_time_offset_s' else smooth_walk()
    relative = inverse(capture.map_from_camera[:-1]) @ capture.map_from_camera[1:]
    errors = pose_errors(relative, inverse(true[:-1]) @ true[1:])
    assert np.median(errors.translation) < 0.02
    assert np.degrees(np.median(errors.rotation)) < 0.5


def test_clocks_that_differ_are_told_without_depth(tmp_path):
    bag = write_room_bag(tmp_path / 'flat', smooth_walk(), depth=False)
    bag = rewrite(bag, tmp_path / 'later', later(100.0))
    flat = replace(Z_UP, depth_topic='', pose_convention='optical')
    text = refusal(bag, flat)
    assert 'clocks of images and poses differ by 100.00 s, by the times of recording' in text
    offset_s = set_as_told(text, 'camera_time_offset_s').camera_time_offset_s
    capture = open_capture(bag, replace(flat, camera_time_offset_s=offset_s))
    assert np.allclose(capture.map_from_camera, smooth_walk(), atol=1e-3)


def test_the_frame_whose_mounting_tf_knows_is_told_and_its_remedy_works(edit_smooth):
    moved = poses(lambda true: true @ inverse(TURN))

    def edit(topic, item, number):
        if topic in (IMAGE, INFO):
            item.header.frame_id = FRAME
        out = moved(topic, item, number)
        if topic == POSE and number == 0:
            out.append(('/tf_static', fixed(item.header.stamp, 'base', FRAME, TURN)))
        return out

    bag = edit_smooth(edit)
    text = refusal(bag)
    assert text.endswith(f'known value, or {remedies.POSE_FRAME.format(frame="base")}'), text
    capture = open_capture(bag, replace(Z_UP, pose_frame='base'))
    assert np.allclose(capture.map_from_camera, smooth_walk(), atol=1e-3)


def test_poses_of_another_walk_are_told(edit_smooth):
    def change(true):
        turns = np.random.default_rng(0).normal(0, 0.2, (len(true), 3))
        for pose, turn in zip(true, Rotation.from_rotvec(turns).as_matrix(), strict=True):
            pose[:3, :3] = pose[:3, :3] @ turn
        return true

    turned = poses(change)

    def edit(topic, item, number):
        true = deepcopy(item)
        return [*turned(topic, item, number), *([('/true', true)] if topic == POSE else [])]

    bag = edit_smooth(edit)
    text = refusal(bag)
    assert 'poses and images turn by different angles' in text, text
    assert text.endswith(remedies.OTHER_POSES)
    capture = open_capture(bag, replace(Z_UP, pose_topic='/true'))
    assert np.allclose(capture.map_from_camera, smooth_walk(), atol=1e-3)


def test_a_wrong_focal_length_is_told_and_its_remedy_works(edit_smooth, tmp_path):
    def change(item, _):
        item.k = item.k * [1.4, 1, 1, 1, 1.4, 1, 1, 1, 1]

    bag = edit_smooth(edit_topic(INFO, change))
    (finding,) = open_capture(bag, Z_UP, compare_poses=True).findings
    told = re.search(r'about (\d+) px would fit', finding.text)
    assert abs(int(told[1]) / phone_camera().fx - 1) < 0.2
    assert finding.text.endswith(remedies.MEASURED_CALIBRATION)
    file = write_calibration(tmp_path / 'phone.yaml', phone_camera())
    config = replace(Z_UP, camera_info_file=file)
    assert open_capture(bag, config, compare_poses=True).findings == ()


def test_another_scale_of_the_poses_is_told_and_its_remedy_works(edit_smooth):
    bag = edit_smooth(scaled(0.4))
    (finding,) = open_capture(bag, Z_UP, compare_poses=True).findings
    config = set_as_told(finding.text, 'pose_unit_m')
    assert config.pose_unit_m == pytest.approx(2.5, rel=0.1)
    assert open_capture(bag, config, compare_poses=True).findings == ()


def test_lost_tracking_is_found_at_its_frame(edit_smooth):
    jump = make_pose(Rotation.from_euler('z', 25, degrees=True), (0.5, 0.2, 0.0))

    def change(true):
        true[24:] = jump @ true[24:]
        return true

    capture = open_capture(edit_smooth(poses(change)), Z_UP, compare_poses=True)
    (finding,) = capture.findings
    assert finding.cause == 'tracking'
    first, second = map(int, re.findall(r'frames (\d+) and (\d+)', finding.text)[0])
    assert first <= 23 < second


def test_positions_that_stay_are_told(edit_smooth):
    def change(true):
        true[:, :3, 3] = true[0, :3, 3]
        return true

    assert 'but their positions stay' in refusal(edit_smooth(poses(change)))


def test_poses_that_begin_late_are_no_lost_tracking(edit_smooth):
    bag = edit_smooth(lambda topic, item, n: [] if topic == POSE and n < 14 else [(topic, item)])
    capture = open_capture(bag, Z_UP, compare_poses=True)
    assert (len(capture), capture.findings) == (26, ())


def test_a_mounting_that_tf_has_is_named_by_its_frame_in_tf(edit_smooth):
    true = smooth_walk()

    def transform(item, frame, child, pose):
        header = message('std_msgs/msg/Header', item.header.stamp, frame)
        vector = message('geometry_msgs/msg/Vector3', *pose[:3, 3])
        rotation = Rotation.from_matrix(pose[:3, :3]).as_quat()
        moved = message(
            'geometry_msgs/msg/Transform',
            vector,
            message('geometry_msgs/msg/Quaternion', *rotation),
        )
        stamped = message('geometry_msgs/msg/TransformStamped', header, child, moved)
        return message('tf2_msgs/msg/TFMessage', [stamped])

    def edit(topic, item, number):
        if topic in (IMAGE, INFO, DEPTH):
            item.header.frame_id = 'camera'
        if topic != POSE:
            return [(topic, item)]
        moving = transform(item, 'world', 'base', true[number] @ inverse(TURN))
        static = [('/tf_static', transform(item, 'base', 'camera', TURN))] * (number == 0)
        return [*static, ('/tf', moving)]

    bag = edit_smooth(edit)
    config = replace(Z_UP, pose_topic='', tf_parent='world', tf_child='base')
    text = refusal(bag, config)
    assert text.endswith(remedies.TF_CHILD.format(frame='camera')), text
    assert len(open_capture(bag, replace(config, tf_child='camera'))) == 40


def test_nothing_is_found_in_a_good_bag(smooth_bag):
    assert open_capture(smooth_bag, Z_UP, compare_poses=True).findings == ()


def depth_of_another_camera(*, info=True, static=True, beside_m=0.06):
    """The depth is seen by a camera beside that of color, and TF knows where it is."""

    def edit(topic, item, number):
        if topic in (IMAGE, INFO):
            item.header.frame_id = 'color'
        out = [(topic, item)]
        if topic == DEPTH:
            item.header.frame_id = 'depth'
        if topic == INFO and number == 0 and info:
            header = message('std_msgs/msg/Header', item.header.stamp, '/depth')
            other = replace(item, header=header)
            out.append(('/camera/depth/camera_info', other))
        if topic == INFO and number == 0 and static:
            beside = make_pose(None, (beside_m, 0.0, 0.0))
            out.append(('/tf_static', fixed(item.header.stamp, 'color', 'depth', beside)))
        return out

    return edit


def test_depth_of_another_camera_is_registered_to_color(edit_bag, room_bag):
    capture = open_capture(edit_bag(depth_of_another_camera(beside_m=0.06)), Z_UP)
    aligned, moved = open_capture(room_bag, Z_UP).frame(3), capture.frame(3)
    assert moved.depth.shape == aligned.depth.shape
    # A camera 6 cm to the right sees each point farther left: back in color it moves right.
    shift_px = 0.06 * aligned.depth_camera.fx / np.median(aligned.depth[aligned.depth > 0])
    columns = np.arange(aligned.depth.shape[1])
    expected = [np.interp(columns - shift_px, columns, row) for row in aligned.depth]
    both = (moved.depth > 0) & (np.array(expected) > 0)
    assert both.mean() > 0.7
    assert np.median(np.abs(moved.depth - expected)[both]) < 0.03


def test_a_damaged_first_depth_image_of_another_camera_is_passed_over(
    edit_bag, room_bag, tmp_path
):
    place = depth_of_another_camera(beside_m=0.06)

    def edit(topic, item, number):
        if topic == DEPTH and number == 0:  # before the first image
            item.header.stamp.sec -= 1
            item.data = item.data[:40]
        return place(topic, item, number)

    capture = open_capture(edit_bag(edit), Z_UP)
    whole = open_capture(rewrite(room_bag, tmp_path / 'whole', place), Z_UP)
    frame, same = capture.frame(2), whole.frame(3)  # the first frame has no depth
    assert frame.stamp_ns == same.stamp_ns
    assert np.array_equal(frame.depth, same.depth)


@pytest.mark.parametrize(
    ('missing', 'told'),
    [
        ({'info': False}, 'a camera_info of the frame depth'),
        ({'static': False}, 'a transform from color to it'),
    ],
    ids=['camera_info', 'transform'],
)
def test_depth_that_may_be_of_another_camera_is_told(edit_bag, caplog, missing, told):
    open_capture(edit_bag(depth_of_another_camera(**missing)), Z_UP)
    assert told in caplog.text


def test_depth_of_another_frame_at_the_same_place_is_taken_as_aligned(edit_bag, room_bag):
    capture = open_capture(edit_bag(depth_of_another_camera(beside_m=0.0)), Z_UP)
    assert np.array_equal(capture.frame(3).depth, open_capture(room_bag, Z_UP).frame(3).depth)
