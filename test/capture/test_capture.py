"""A bag becomes frames in the map's frame, and what is wrong with a bag is named."""

from dataclasses import replace
import logging

import cv2
import numpy as np
import pytest
from room_bags import (
    DEPTH,
    IMAGE,
    INFO,
    message,
    POSE,
    raw_image,
    rewrite,
    write_room_bag,
)
from rooms import phone_camera, render_box_room, walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.bags.depth_decoding import depth_from_message
from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.capture.capture import iter_images, open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.config import CaptureConfig, RECORD3D_TOPICS
from nerf_reversal_ros.core.errors import CaptureError, ConfigError
from nerf_reversal_ros.core.geometry import inverse, make_pose, OPTICAL_FROM_OPENGL, pose_errors

Z_UP = CaptureConfig(up_axis='z')


@pytest.fixture(scope='module')
def room(tmp_path_factory):
    """A bag of 24 frames of the room, whose world is the room itself."""
    return write_room_bag(tmp_path_factory.mktemp('bags') / 'room')


@pytest.fixture
def edited(room, tmp_path):
    """Make a copy of the room's bag with some messages changed."""

    def edit(change, **how):
        return rewrite(room, tmp_path / 'edited', change, **how)

    return edit


def on(wanted, change):
    """An edit of one topic's messages; what ``change`` returns (if not None) replaces them."""

    def edit(topic, message, number):
        if topic != wanted:
            return [(topic, message)]
        changed = change(message, number)
        return [(topic, message if changed is None else changed)]

    return edit


# ---- what comes out


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
@pytest.mark.parametrize('raw_depth', [False, True])
def test_a_bag_gives_back_the_pictures_depths_and_poses_written_to_it(
    tmp_path, storage, raw_depth
):
    poses = walk(24)[:12]
    bag = write_room_bag(tmp_path / 'bag', poses, storage=storage, raw_depth=raw_depth)
    capture = open_capture(bag, Z_UP)
    assert len(capture) == len(list(capture)) == 12
    assert capture.has_depth
    for frame in capture:
        rgb, depth = render_box_room(poses[frame.index], phone_camera())
        assert np.abs(frame.depth - depth).max() < (1e-6 if raw_depth else 6e-4)
        assert np.abs(frame.rgb.mean(axis=2) - rgb.mean(axis=2)).mean() < 6
        assert frame.camera == frame.depth_camera == phone_camera()
        assert np.allclose(frame.map_from_camera, poses[frame.index], atol=1e-6)
    assert np.all(np.diff(capture.stamps_ns) == 100_000_000)


def test_one_frame_read_alone_is_the_frame_of_the_sequence(room):
    capture = open_capture(room, CaptureConfig())
    frames = list(capture)
    for index in (7, 0, 23):
        alone = capture.frame(index)
        assert np.array_equal(alone.rgb, frames[index].rgb)
        assert np.array_equal(alone.depth, frames[index].depth)
        assert alone.stamp_ns == frames[index].stamp_ns == capture.stamps_ns[index]
    with pytest.raises(IndexError, match='frame 24 of a capture of 24'):
        capture.frame(24)


def test_pictures_can_be_read_without_depth_or_poses(edited):
    bag = edited(lambda topic, item, _: [(topic, item)] if topic in (IMAGE, INFO) else [])
    pictures = list(iter_images(bag, CaptureConfig()))
    assert len(pictures) == 24
    assert pictures[3].rgb.shape == (128, 96, 3)
    assert pictures[3].camera == phone_camera()


def test_the_record3d_driver_may_name_its_topics_as_either_of_its_versions_does(edited, room):
    bag = edited(lambda topic, item, _: [(RECORD3D_TOPICS.get(topic, topic), item)])
    after, before = open_capture(bag, Z_UP), open_capture(room, Z_UP)
    assert len(after) == len(list(after)) == 24
    assert np.array_equal(after.frame(5).rgb, before.frame(5).rgb)
    assert np.array_equal(after.frame(5).depth, before.frame(5).depth)
    assert len(list(iter_images(bag, CaptureConfig()))) == 24
    with pytest.raises(CaptureError, match=r'no topic /mine: set depth_topic'):
        open_capture(bag, CaptureConfig(depth_topic='/mine'))


def test_of_both_names_the_default_one_is_read():
    both = dict.fromkeys([*RECORD3D_TOPICS, *RECORD3D_TOPICS.values()], 3)
    assert CaptureConfig().with_topics_of(lambda topic: both.get(topic, 0)) == CaptureConfig()


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'mono8'])
@pytest.mark.parametrize('depth_encoding', ['16UC1', '32FC1'])
def test_raw_pictures_with_padded_rows_read_as_compressed_ones(
    edited, room, encoding, depth_encoding
):
    def raw(item, _):
        rgb = rgb_from_message(item)
        pixels = {'rgb8': rgb, 'bgr8': rgb[..., ::-1], 'mono8': rgb[..., 0]}[encoding]
        return raw_image(item.header, pixels, encoding, padding=5)

    def raw_depth(item, number):
        metres = depth_from_message(item)
        if depth_encoding == '16UC1':
            return raw_image(
                item.header, np.rint(metres * 1000).astype(np.uint16), '16UC1', padding=6
            )
        metres[0, :3] = np.nan, np.inf, -1.0
        return raw_image(item.header, metres, '32FC1', big=number % 2 == 1)

    bag = edited(
        lambda topic, item, n: (
            on(IMAGE, raw)(topic, item, n)
            if topic == IMAGE
            else on(DEPTH, raw_depth)(topic, item, n)
        )
    )
    before, after = open_capture(room, Z_UP).frame(5), open_capture(bag, Z_UP).frame(5)
    channel = after.rgb[..., 0]
    assert np.array_equal(channel, before.rgb[..., 0])
    assert encoding == 'mono8' or np.array_equal(after.rgb, before.rgb)
    assert np.allclose(after.depth[1:], before.depth[1:], atol=1e-6)
    assert depth_encoding == '16UC1' or after.depth[0, :3].tolist() == [0, 0, 0]


def test_quantised_inverse_depth_is_undone(edited, room):
    """compressed_depth_image_transport: stored = a / depth + b, a = 100 * 101, b = 1 - a / 10."""

    def quantised(item, _):
        metres = depth_from_message(item)
        a, b = 100.0 * 101.0, 1.0 - 100.0 * 101.0 / 10.0
        stored = np.clip(a / metres + b, 0, 65535).astype(np.uint16)
        config = np.array([0], '<i4').tobytes() + np.array([a, b], '<f4').tobytes()
        png = cv2.imencode('.png', stored)[1].tobytes()
        item.format, item.data = '32FC1; compressedDepth png', np.frombuffer(config + png, 'u1')

    before = open_capture(room, Z_UP).frame(5)
    after = open_capture(edited(on(DEPTH, quantised)), Z_UP).frame(5)
    assert np.abs(after.depth / before.depth - 1.0).max() < 2e-3


def test_depth_beyond_the_limit_is_unknown(room):
    frame = open_capture(room, CaptureConfig(up_axis='z', max_depth_m=2.0)).frame(0)
    whole = open_capture(room, Z_UP).frame(0)
    assert np.array_equal(frame.depth, np.where(whole.depth > 2.0, 0.0, whole.depth))


# ---- where poses come from


def test_odometry_of_the_camera_is_a_pose(edited):
    kind = 'nav_msgs/msg/Odometry'
    twist = message(
        'geometry_msgs/msg/TwistWithCovariance',
        message(
            'geometry_msgs/msg/Twist',
            message('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0),
            message('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0),
        ),
        np.zeros(36),
    )

    def odometry(child):
        def change(item, _):
            posed = message('geometry_msgs/msg/PoseWithCovariance', item.pose, np.zeros(36))
            return message(kind, item.header, child, posed, twist)

        return on(POSE, change)

    bag = edited(odometry('camera_optical_frame'))
    assert np.allclose(open_capture(bag, Z_UP).map_from_camera, walk(24), atol=1e-6)


def test_odometry_of_another_frame_is_refused_and_tf_named(edited):
    def change(item, _):
        zero = message('geometry_msgs/msg/Vector3', 0.0, 0.0, 0.0)
        twist = message('geometry_msgs/msg/Twist', zero, zero)
        return message(
            'nav_msgs/msg/Odometry',
            item.header,
            'base_link',
            message('geometry_msgs/msg/PoseWithCovariance', item.pose, np.zeros(36)),
            message('geometry_msgs/msg/TwistWithCovariance', twist, np.zeros(36)),
        )

    with pytest.raises(CaptureError, match=r'is of the frame base_link.*pose_topic to nothing'):
        open_capture(edited(on(POSE, change)), Z_UP)


def transform(header, child, matrix):
    x, y, z = matrix[:3, 3]
    turn = Rotation.from_matrix(matrix[:3, :3]).as_quat()
    return message(
        'geometry_msgs/msg/TransformStamped',
        header,
        child,
        message(
            'geometry_msgs/msg/Transform',
            message('geometry_msgs/msg/Vector3', x, y, z),
            message('geometry_msgs/msg/Quaternion', *turn),
        ),
    )


BASE_FROM_CAMERA = make_pose(
    Rotation.from_euler('xyz', [100, 5, -80], degrees=True), (0.1, 0.2, 0.3)
)


def tf_instead_of_poses(topic, item, number):
    """The base moves in the world, the camera is fixed on the base."""
    if topic != POSE:
        return [(topic, item)]
    out = []
    if number == 0:
        header = message('std_msgs/msg/Header', item.header.stamp, 'base')
        static = transform(header, 'camera', BASE_FROM_CAMERA)
        out.append(('/tf_static', message('tf2_msgs/msg/TFMessage', [static])))
    world_from_base = walk(24)[number] @ inverse(BASE_FROM_CAMERA)
    moving = transform(item.header, 'base', world_from_base)
    return [*out, ('/tf', message('tf2_msgs/msg/TFMessage', [moving]))]


def test_a_chain_of_tf_between_two_frames_is_a_pose(edited):
    config = CaptureConfig(pose_topic='', tf_parent='world', tf_child='camera', up_axis='z')
    capture = open_capture(edited(tf_instead_of_poses), config)
    assert np.allclose(capture.map_from_camera, walk(24), atol=1e-6)


def test_tf_that_does_not_connect_names_the_frames_there_are(edited):
    config = CaptureConfig(pose_topic='', tf_parent='world', tf_child='hand')
    with pytest.raises(CaptureError, match=r'world with tf_child hand: .* base, camera, world'):
        open_capture(edited(tf_instead_of_poses), config)


def test_without_a_pose_topic_tf_frames_must_be_set(room):
    with pytest.raises(ConfigError, match='set tf_parent and tf_child'):
        open_capture(room, CaptureConfig(pose_topic=''))


def test_a_pose_between_two_others_is_interpolated(tmp_path, edited):
    """Poses 15 ms later than the pictures, of a camera that moves 1 m/s along x."""
    poses = np.repeat(walk(24)[:1], 20, axis=0)
    poses[:, 0, 3] += np.arange(20) * 0.1 - 1.0
    bag = write_room_bag(tmp_path / 'straight', poses)

    def later(item, _):
        item.pose.position.x += 0.015
        item.header.stamp.nanosec += 15_000_000

    capture = open_capture(rewrite(bag, tmp_path / 'later', on(POSE, later)), Z_UP)
    assert np.allclose(capture.map_from_camera[1:, 0, 3], poses[1:, 0, 3], atol=1e-6)


# ---- intrinsics


def test_intrinsics_may_come_every_tenth_frame(edited):
    def every_tenth(topic, item, number):
        if topic == INFO:
            item.k = item.k + np.eye(1, 9, 0)[0] * number
        return [] if topic == INFO and number % 10 else [(topic, item)]

    capture = open_capture(edited(every_tenth), Z_UP)
    focal = [capture.frame(i).camera.fx - phone_camera().fx for i in (0, 4, 6, 14, 16, 23)]
    assert focal == pytest.approx([0, 0, 10, 10, 20, 20])


def test_intrinsics_of_another_size_are_scaled_if_the_shape_agrees(edited):
    def doubled(item, _):
        twice = phone_camera().scaled_to(192, 256)
        item.width, item.height, item.k = 192, 256, twice.matrix.ravel()

    frame = open_capture(edited(on(INFO, doubled)), Z_UP).frame(0)
    assert frame.camera.as_dict() == pytest.approx(phone_camera().as_dict())


def test_intrinsics_of_another_shape_are_refused(edited):
    def wide(item, _):
        item.width, item.height = 128, 96

    with pytest.raises(CaptureError, match=r'camera_info is of 128x96.*the picture is\s96x128'):
        open_capture(edited(on(INFO, wide)), Z_UP)


def test_distortion_is_undone(tmp_path):
    """A distorted picture of the room, undistorted, is the room as a pinhole camera sees it."""
    camera, k1 = Camera(160, 120, 150.0, 150.0, 80.0, 60.0), -0.1
    wide = Camera(240, 180, 150.0, 150.0, 120.0, 90.0)
    poses = walk(24)[:6]
    wide_views = [render_box_room(pose, wide) for pose in poses]
    bag = write_room_bag(tmp_path / 'pinhole', poses, camera)
    rays = camera.rays()
    bent = cv2.undistortPoints(
        np.stack(np.meshgrid(np.arange(160.0), np.arange(120.0)), -1).reshape(-1, 1, 2),
        camera.matrix,
        np.array([k1, 0.0, 0.0, 0.0]),
    ).reshape((*rays.shape[:2], 2))
    lookup = (bent * 150.0 + [120.0, 90.0]).astype(np.float32)

    def distort(topic, item, number):
        rgb, depth = wide_views[number]
        if topic == IMAGE:
            seen = cv2.remap(rgb, lookup, None, cv2.INTER_LINEAR)
            return [(topic, raw_image(item.header, seen, 'rgb8'))]
        if topic == DEPTH:
            seen = cv2.remap(depth, lookup, None, cv2.INTER_NEAREST)
            return [(topic, raw_image(item.header, seen, '32FC1'))]
        if topic == INFO:
            item.d = np.array([k1, 0.0, 0.0, 0.0, 0.0])
        return [(topic, item)]

    bag = rewrite(bag, tmp_path / 'distorted', distort)
    frame = open_capture(bag, Z_UP).frame(3)
    rgb, depth = render_box_room(poses[3], camera)
    inner = np.s_[20:-20, 25:-25]
    smooth = [cv2.GaussianBlur(picture, (0, 0), 2)[inner] for picture in (frame.rgb, rgb)]
    assert np.abs(smooth[0].astype(int) - smooth[1]).mean() < 5
    assert np.median(np.abs(frame.depth - depth)[inner]) < 0.01


def test_an_unknown_distortion_is_refused_with_the_remedy(edited):
    def strange(item, _):
        item.distortion_model, item.d = 'banana', np.array([0.1])

    with pytest.raises(CaptureError, match=r"model 'banana'.*rectify the pictures first"):
        open_capture(edited(on(INFO, strange)), Z_UP)


# ---- what is left out


def test_blurred_frames_are_left_out_and_counted(edited):
    def blur(item, number):
        if number in (5, 12):
            blurred = cv2.GaussianBlur(rgb_from_message(item), (0, 0), 4)
            return raw_image(item.header, blurred, 'rgb8')
        return raw_image(item.header, rgb_from_message(item), 'rgb8')

    bag = edited(on(IMAGE, blur))
    capture = open_capture(bag, Z_UP)
    assert capture.counts['dropped as blurred'] == 2
    assert capture.counts['kept'] == len(capture) == 22
    assert len(open_capture(bag, Z_UP, select_frames=False)) == 24


def test_frames_that_did_not_move_are_left_out_and_counted(tmp_path):
    poses = np.repeat(walk(24)[:10], 3, axis=0)
    bag = write_room_bag(tmp_path / 'slow', poses)
    capture = open_capture(bag, Z_UP)
    assert capture.counts['dropped as duplicate'] == 20
    assert np.allclose(capture.map_from_camera, walk(24)[:10], atol=1e-6)
    assert len(open_capture(bag, Z_UP, select_frames=False)) == 30


def test_frames_without_depth_are_no_use_for_building_but_for_evaluation(edited):
    bag = edited(lambda topic, item, n: [] if (topic, n) == (DEPTH, 4) else [(topic, item)])
    assert open_capture(bag, Z_UP).counts['dropped without depth'] == 1
    whole = list(open_capture(bag, Z_UP, select_frames=False))
    assert [frame.index for frame in whole if frame.depth is None] == [4]


def test_damaged_pictures_are_left_out_with_a_warning(edited, caplog):
    def cut(item, number):
        if number < 3:
            item.data = item.data[: len(item.data) // 2]

    with caplog.at_level(logging.WARNING):
        capture = open_capture(edited(on(IMAGE, cut)), Z_UP)
    assert capture.counts['pictures damaged'] == 3
    assert len(capture) == 21
    assert caplog.text.count('left out a picture') == 3


def test_a_few_broken_poses_are_left_out_and_counted(edited):
    def lost(item, number):
        if number == 6:
            item.pose.position.x = float('nan')
        if number == 7:
            item.pose.orientation = message('geometry_msgs/msg/Quaternion', 0.0, 0.0, 0.0, 0.0)

    capture = open_capture(edited(on(POSE, lost)), Z_UP)
    assert capture.counts['poses broken'] == 2
    assert len(capture) == 22


# ---- what is refused


def test_most_pictures_damaged_is_refused(edited):
    def cut(item, number):
        if number > 5:
            item.data = item.data[:100]

    with pytest.raises(CaptureError, match=r'18 of 24 pictures.*cannot be decoded'):
        open_capture(edited(on(IMAGE, cut)), Z_UP)


def test_nan_poses_are_refused(edited):
    def lost(item, _):
        item.pose.position.z = float('nan')

    with pytest.raises(CaptureError, match=r'24 of 24 poses on .*camera_pose are NaN'):
        open_capture(edited(on(POSE, lost)), Z_UP)


def test_poses_that_never_change_are_refused(edited):
    def still(item, _):
        item.pose = message(
            'geometry_msgs/msg/Pose',
            message('geometry_msgs/msg/Point', 0.0, 0.0, 0.0),
            message('geometry_msgs/msg/Quaternion', 0.0, 0.0, 0.0, 1.0),
        )

    with pytest.raises(CaptureError, match=r'all 24 poses of .* are the same.*FaceID'):
        open_capture(edited(on(POSE, still)), Z_UP)


def test_depth_of_zeros_is_refused(edited):
    def dark(item, _):
        return raw_image(item.header, np.zeros((128, 96), np.float32), '32FC1')

    with pytest.raises(CaptureError, match=r'depth on .*depth/img is 0 .*set depth_topic'):
        open_capture(edited(on(DEPTH, dark)), Z_UP)


def test_pictures_of_another_size_half_way_are_refused_with_stamp_and_sizes(edited):
    def grow(item, number):
        if number >= 12:
            return raw_image(item.header, np.zeros((90, 160, 3), np.uint8), 'rgb8')
        return raw_image(item.header, rgb_from_message(item), 'rgb8')

    with pytest.raises(
        CaptureError, match=r'at 1700000001200000000 ns .* is 160x90, those before it are 96x128'
    ):
        open_capture(edited(on(IMAGE, grow)), Z_UP)


@pytest.mark.parametrize(
    'setting', ['image_topic', 'depth_topic', 'camera_info_topic', 'pose_topic']
)
def test_a_missing_topic_is_named_with_those_there_are(room, setting):
    with pytest.raises(CaptureError) as caught:
        open_capture(room, CaptureConfig(**{setting: '/nowhere'}))
    sentence = str(caught.value)
    assert f'no topic /nowhere: set {setting} to one of' in sentence
    assert ('to nothing, to go without depth' in sentence) == (setting == 'depth_topic')
    assert f'{IMAGE} (CompressedImage)' in sentence
    assert f'{POSE} (PoseStamped)' in sentence


def test_a_topic_of_another_type_is_refused(room):
    with pytest.raises(CaptureError, match='holds CameraInfo, but must hold PoseStamped or Odom'):
        open_capture(room, CaptureConfig(pose_topic=INFO))


@pytest.mark.parametrize(('topic', 'name'), [(POSE, 'camera_pose'), (DEPTH, 'depth/img')])
def test_stamps_that_do_not_match_are_refused_with_the_smallest_difference(edited, topic, name):
    def late(item, _):
        item.header.stamp.sec += 100

    with pytest.raises(
        CaptureError, match=rf'{name} within sync_tolerance_s = 0.02 s.* is 97.700 s'
    ):
        open_capture(edited(on(topic, late)), Z_UP)


def test_an_empty_bag_is_refused(edited):
    with pytest.raises(CaptureError, match='is empty'):
        open_capture(edited(lambda *_: []), Z_UP)


@pytest.mark.parametrize('share', [0.0, 0.01, 0.5, 0.9])
@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_bag_that_was_cut_off_is_refused_with_the_remedy(tmp_path, storage, share):
    bag = write_room_bag(tmp_path / 'bag', walk(24)[:6], storage=storage)
    file = next(file for file in bag.iterdir() if file.suffix in ('.mcap', '.db3'))
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(CaptureError, match=r'damaged or was cut off .*mcap recover'):
        open_capture(bag, Z_UP)


def test_random_damage_to_a_bag_never_escapes_as_another_error(tmp_path, room):
    data = next(room.glob('*.mcap')).read_bytes()
    file = tmp_path / 'damaged.mcap'
    generator = np.random.default_rng(5)
    for _ in range(12):
        damaged = bytearray(data)
        for at in generator.integers(0, len(data), 20):
            damaged[at] = generator.integers(0, 256)
        file.write_bytes(damaged)
        try:
            assert len(list(open_capture(file, Z_UP))) <= 24
        except CaptureError:
            pass


@pytest.mark.parametrize('name', ['nothing', 'text.txt', 'folder'])
def test_what_is_no_bag_is_refused(tmp_path, name):
    (tmp_path / 'text.txt').write_text('hello')
    (tmp_path / 'folder').mkdir()
    with pytest.raises(CaptureError, match=r'there is no bag at|is not a bag'):
        open_capture(tmp_path / name, Z_UP)


def test_a_folder_without_metadata_is_read_by_its_files(room, tmp_path):
    """ros2 bag writes metadata.yaml last, so that a killed recording has none."""
    file = next(room.glob('*.mcap'))
    (tmp_path / 'killed').mkdir()
    (tmp_path / 'killed' / file.name).write_bytes(file.read_bytes())
    assert len(open_capture(tmp_path / 'killed', Z_UP)) == 24
    assert len(open_capture(file, Z_UP)) == 24


# ---- conventions and the way up, through a bag


@pytest.mark.parametrize('axes', ['optical', 'opengl', 'optical_inverted', 'opengl_inverted'])
def test_poses_of_any_convention_give_the_same_map(tmp_path, axes):
    poses = walk(24)
    said = poses @ OPTICAL_FROM_OPENGL if axes.startswith('opengl') else poses
    said = inverse(said) if axes.endswith('inverted') else said
    bag = write_room_bag(tmp_path / 'bag', poses, world_from_camera=said)
    capture = open_capture(bag, Z_UP)
    assert capture.convention.axes == axes
    assert np.allclose(capture.map_from_camera, poses, atol=1e-6)


def test_poses_in_another_convention_than_the_set_one_are_refused_with_the_table(room):
    with pytest.raises(CaptureError) as caught:
        open_capture(room, CaptureConfig(pose_convention='opengl'))
    sentence = str(caught.value)
    assert 'not in pose_convention opengl' in sentence
    assert 'set pose_convention to optical or auto' in sentence
    for axes in ('optical 0.', 'opengl ', 'optical_inverted ', 'opengl_inverted '):
        assert axes in sentence


def test_poses_that_fit_in_no_convention_are_refused_with_the_table(tmp_path):
    poses = walk(24)
    bag = write_room_bag(
        tmp_path / 'bag', poses, world_from_camera=np.roll(poses, 7, axis=0)[::-1]
    )
    with pytest.raises(CaptureError, match=r'do not fit the depth in any convention \(.*cm, .*cm'):
        open_capture(bag, CaptureConfig())


def test_a_given_convention_is_applied_as_it_is(room, tmp_path):
    built = open_capture(room, CaptureConfig(up_axis='x')).convention
    again = open_capture(room, CaptureConfig(), convention=built, select_frames=False)
    assert again.convention is built
    assert np.allclose(again.map_from_camera, built.map_from_world @ walk(24), atol=1e-6)


def test_poses_are_not_read_as_those_of_a_map_that_was_built_without_a_bag(room):
    unknown = replace(open_capture(room, CaptureConfig()).convention, of_bag=False)
    with pytest.raises(CaptureError, match=r'built without a bag, .*: build the map with a BAG'):
        open_capture(room, CaptureConfig(), convention=unknown, select_frames=False)


def test_without_depth_the_bag_or_the_settings_must_tell_the_convention(tmp_path):
    poses = walk(24)
    bag = write_room_bag(tmp_path / 'noted', poses, depth=False, up_axis='z')
    capture = open_capture(bag, CaptureConfig())
    assert not capture.has_depth
    assert capture.frame(3).depth is None
    assert capture.convention.depth_error_m == {}
    assert np.allclose(capture.map_from_camera, poses, atol=1e-6)
    foreign = rewrite(bag, tmp_path / 'foreign', lambda topic, item, _: [(topic, item)])
    without = CaptureConfig(depth_topic='')
    with pytest.raises(ConfigError, match='no depth that tells what its poses mean'):
        open_capture(foreign, without)
    told = open_capture(foreign, CaptureConfig(depth_topic='', pose_convention='optical'))
    assert told.convention.up_source == 'average camera up'


def test_a_y_up_world_with_opengl_axes_becomes_z_up(tmp_path):
    """ARKit: the floor at y = 0."""
    poses = walk(24)
    y_up_from_z_up = make_pose(Rotation.from_euler('x', -90, degrees=True))
    said = y_up_from_z_up @ poses @ OPTICAL_FROM_OPENGL
    capture = open_capture(
        write_room_bag(tmp_path / 'bag', poses, world_from_camera=said), CaptureConfig()
    )
    assert capture.convention.up_source == 'pose convention: y is up'
    assert pose_errors(capture.map_from_camera, poses).rotation.max() < 1e-6


def test_the_floor_tells_the_way_up_in_a_tilted_world(tmp_path):
    poses = walk(24)
    tilt = make_pose(Rotation.from_euler('xyz', [40, -25, 10], degrees=True), (3.0, 1.0, -2.0))
    bag = write_room_bag(tmp_path / 'bag', poses, world_from_camera=tilt @ poses)
    capture = open_capture(bag, CaptureConfig())
    assert capture.convention.up_source == 'floor plane'
    up_of_room = (capture.convention.map_from_world @ tilt)[:3, 2]
    assert np.degrees(np.arccos(up_of_room[2])) < 0.3
    assert np.array_equal(capture.convention.map_from_world[:3, 3], [0, 0, 0])
    again = open_capture(bag, CaptureConfig())
    assert np.array_equal(capture.map_from_camera, again.map_from_camera)


def test_a_folder_named_like_a_bag_of_ros_1_is_read(tmp_path):
    """``nerf-reversal convert SOURCE kitchen.bag`` writes such a folder."""
    write_room_bag(tmp_path / 'walk.bag')
    assert len(open_capture(tmp_path / 'walk.bag', CaptureConfig())) > 0
