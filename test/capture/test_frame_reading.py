"""Images and depth of any encoding are decoded, undistorted and limited."""

import cv2
import numpy as np
import pytest
from room_bags import DEPTH, edit_topic, IMAGE, INFO, raw_image, rewrite, write_room_bag, Z_UP
from rooms import render_box_room, walk

from nerf_reversal_ros.bags.depth_decoding import depth_from_message
from nerf_reversal_ros.bags.image_decoding import rgb_from_message
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig


@pytest.mark.parametrize('encoding', ['rgb8', 'bgr8', 'mono8'])
@pytest.mark.parametrize('depth_encoding', ['16UC1', '32FC1'])
def test_raw_images_with_padded_rows_read_as_compressed_ones(
    edit_bag, room_bag, encoding, depth_encoding
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
        return raw_image(item.header, metres, '32FC1', big_endian=number % 2 == 1)

    bag = edit_bag(
        lambda topic, item, n: (
            edit_topic(IMAGE, raw)(topic, item, n)
            if topic == IMAGE
            else edit_topic(DEPTH, raw_depth)(topic, item, n)
        )
    )
    before, after = open_capture(room_bag, Z_UP).frame(5), open_capture(bag, Z_UP).frame(5)
    channel = after.rgb[..., 0]
    assert np.array_equal(channel, before.rgb[..., 0])
    assert encoding == 'mono8' or np.array_equal(after.rgb, before.rgb)
    assert np.allclose(after.depth[1:], before.depth[1:], atol=1e-6)
    assert depth_encoding == '16UC1' or after.depth[0, :3].tolist() == [0, 0, 0]


def test_quantized_inverse_depth_is_decoded(edit_bag, room_bag):
    """compressed_depth_image_transport: stored = a / depth + b, a = 100 * 101, b = 1 - a / 10."""

    def quantized(item, _):
        metres = depth_from_message(item)
        a, b = 100.0 * 101.0, 1.0 - 100.0 * 101.0 / 10.0
        stored = np.clip(a / metres + b, 0, 65535).astype(np.uint16)
        config = np.array([0], '<i4').tobytes() + np.array([a, b], '<f4').tobytes()
        png = cv2.imencode('.png', stored)[1].tobytes()
        item.format, item.data = '32FC1; compressedDepth png', np.frombuffer(config + png, 'u1')

    before = open_capture(room_bag, Z_UP).frame(5)
    after = open_capture(edit_bag(edit_topic(DEPTH, quantized)), Z_UP).frame(5)
    assert np.abs(after.depth / before.depth - 1.0).max() < 2e-3


def test_depth_beyond_the_limit_is_unknown(room_bag):
    frame = open_capture(room_bag, CaptureConfig(up_axis='z', max_depth_m=2.0)).frame(0)
    whole = open_capture(room_bag, Z_UP).frame(0)
    assert np.array_equal(frame.depth, np.where(whole.depth > 2.0, 0.0, whole.depth))


def test_distorted_images_and_depth_are_undistorted(tmp_path):
    """A distorted image of the room, undistorted, is the room as a pinhole camera sees it."""
    camera, k1 = Camera(160, 120, 150.0, 150.0, 80.0, 60.0), -0.1
    wide = Camera(240, 180, 150.0, 150.0, 120.0, 90.0)
    poses = walk(24)[:6]
    wide_views = [render_box_room(pose, wide) for pose in poses]
    bag = write_room_bag(tmp_path / 'pinhole', poses, camera)
    rays = camera.rays()
    undistorted = cv2.undistortPoints(
        np.stack(np.meshgrid(np.arange(160.0), np.arange(120.0)), -1).reshape(-1, 1, 2),
        camera.matrix,
        np.array([k1, 0.0, 0.0, 0.0]),
    ).reshape((*rays.shape[:2], 2))
    lookup = (undistorted * 150.0 + [120.0, 90.0]).astype(np.float32)

    def distort(topic, item, number):
        rgb, depth = wide_views[number]
        if topic == IMAGE:
            distorted = cv2.remap(rgb, lookup, None, cv2.INTER_LINEAR)
            return [(topic, raw_image(item.header, distorted, 'rgb8'))]
        if topic == DEPTH:
            distorted = cv2.remap(depth, lookup, None, cv2.INTER_NEAREST)
            return [(topic, raw_image(item.header, distorted, '32FC1'))]
        if topic == INFO:
            item.d = np.array([k1, 0.0, 0.0, 0.0, 0.0])
        return [(topic, item)]

    bag = rewrite(bag, tmp_path / 'distorted', distort)
    frame = open_capture(bag, Z_UP).frame(3)
    rgb, depth = render_box_room(poses[3], camera)
    inner = np.s_[20:-20, 25:-25]
    smooth = [cv2.GaussianBlur(image, (0, 0), 2)[inner] for image in (frame.rgb, rgb)]
    assert np.abs(smooth[0].astype(int) - smooth[1]).mean() < 5
    assert np.median(np.abs(frame.depth - depth)[inner]) < 0.01
