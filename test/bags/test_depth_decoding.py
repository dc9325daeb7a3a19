"""Depth of any encoding and unit is the same in meters, and defects are named."""

import re
import tracemalloc
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from room_bags import DEPTH, edit_topic, raw_image, Z_UP

from nerf_reversal_ros.bags.depth_decoding import depth_from_message
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError, ImageError


def millimetres(height=30, width=41):
    """Smooth depth with noise, and unknown pixels in spots and rows."""
    rng = np.random.default_rng(3)
    depth = 1500 + 400 * np.sin(np.arange(width) / 9) + rng.integers(-3, 4, (height, width))
    depth = np.rint(depth).astype(np.uint16)
    depth[rng.random(depth.shape) < 0.2] = 0
    depth[3:6] = 0
    depth[7, 7] = 65535
    return depth


def raw(depth, encoding, big=False):
    return SimpleNamespace(
        encoding=encoding,
        is_bigendian=big,
        height=depth.shape[0],
        width=depth.shape[1],
        step=depth.shape[1] * depth.itemsize,
        data=depth.astype(depth.dtype.newbyteorder('>' if big else '<')).tobytes(),
    )


def nibbles(value):
    """Write one value of RVL: 3 bits at a time, with a flag that more follow."""
    while value > 7:
        yield value & 7 | 8
        value >>= 3
    yield value


def rvl(depth):
    """Encode depth pixel by pixel, as in the paper."""
    stream, pixels, at, previous = [], depth.ravel().tolist(), 0, 0
    while at < len(pixels):
        for known in (False, True):
            start = at
            while at < len(pixels) and bool(pixels[at]) == known:
                at += 1
            stream += nibbles(at - start)
        for pixel in pixels[start:at]:
            delta = pixel - previous
            stream += nibbles(2 * delta if delta >= 0 else -2 * delta - 1)
            previous = pixel
    stream += [0] * (-len(stream) % 8)
    digits = ''.join(f'{nibble:x}' for nibble in stream)
    words = [int(digits[i : i + 8], 16) for i in range(0, len(digits), 8)]
    return np.array(words, '<u4').tobytes()


def compressed(data, kind, encoding='16UC1', a=0.0, b=0.0):
    config = np.array([0], '<i4').tobytes() + np.array([a, b], '<f4').tobytes()
    return SimpleNamespace(format=f'{encoding}; compressedDepth {kind}', data=config + data)


def rvl_message(depth, **options):
    size = np.array([depth.shape[1], depth.shape[0]], '<u4').tobytes()
    return compressed(size + rvl(depth), 'rvl', **options)


def test_depth_in_rvl_is_exact():
    for depth in (
        millimetres(),
        np.zeros((2, 3), np.uint16),
        np.full((5, 7), 65535, np.uint16),
        np.array([[1, 0, 65535, 1]], np.uint16),
    ):
        decoded = depth_from_message(rvl_message(depth))
        assert np.allclose(decoded, depth / 1000.0, atol=1e-5)


def test_no_more_of_rvl_is_expanded_than_the_claimed_pixels_need():
    """A small image with 32 MB behind it, which would expand to ten times as much."""
    message = rvl_message(np.array([[1, 0, 65535, 1]], np.uint16))
    message.data += bytes(32_000_000)
    tracemalloc.start()
    decoded = depth_from_message(message)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.allclose(decoded, [[0.001, 0.0, 65.535, 0.001]])
    assert peak_bytes < 4 * len(message.data)


def test_rvl_of_short_runs_is_exact():
    depth = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    depth[:, ::2] = 0
    assert np.allclose(depth_from_message(rvl_message(depth)), depth / 1000.0, atol=1e-5)


def test_quantized_depth_in_rvl_is_decoded():
    """Stored = a / depth + b."""
    a, b = 10100.0, -1009.0
    metres = np.linspace(0.5, 8.0, 60).reshape(6, 10)
    stored = np.rint(a / metres + b).astype(np.uint16)
    decoded = depth_from_message(rvl_message(stored, encoding='32FC1', a=a, b=b))
    assert np.allclose(decoded, metres, rtol=4e-3)


@pytest.mark.parametrize('fraction', [0.0, 0.2, 0.5, 0.95])
def test_rvl_that_was_cut_off_is_rejected(fraction):
    message = rvl_message(millimetres())
    message.data = message.data[: int(len(message.data) * fraction)]
    with pytest.raises(ImageError, match=r'cut off|damaged'):
        depth_from_message(message)


@pytest.mark.parametrize(
    ('size', 'words', 'error'),
    [
        ((2**31, 2**31), [0], 'claims 2147483648x2147483648 pixels'),
        ((0, 5), [0], 'claims 0x5 pixels'),
        ((4, 4), [0, 0, 0, 0], 'is damaged'),
        ((4, 4), [0x77777777], 'is damaged'),
        ((4, 4), [0xFFFFFFFF, 0xFFFFFFFF, 0], 'is damaged'),
        ((4, 4), [], 'ends after 0 pixels'),
    ],
)
def test_impossible_rvl_is_rejected_at_once(size, words, error):
    data = np.array([*size, *words], '<u4').tobytes()
    with pytest.raises(ImageError, match=error):
        depth_from_message(compressed(data, 'rvl'))


ENCODINGS = {
    '32FC1': lambda mm: mm.astype(np.float32) / 1000,
    '64FC1': lambda mm: mm / 1000.0,
    '16UC1': lambda mm: mm,
    'mono16': lambda mm: mm,
    '16SC1': lambda mm: mm.astype(np.int16),
    '32SC1': lambda mm: mm.astype(np.int32),
}


@pytest.mark.parametrize('big', [False, True])
@pytest.mark.parametrize('encoding', list(ENCODINGS))
def test_raw_depth_of_every_encoding_is_the_same(encoding, big):
    depth = millimetres()
    depth[depth == 65535] = 0  # no int16
    decoded = depth_from_message(raw(ENCODINGS[encoding](depth), encoding, big))
    assert decoded.dtype == np.float32
    assert np.allclose(decoded, depth / 1000.0, atol=1e-6)


def test_invalid_pixels_are_unknown():
    depth = np.array([[np.nan, np.inf, -np.inf, -1.0, 0.0, 2.0, 1e300]])
    assert depth_from_message(raw(depth, '64FC1')).tolist() == [[0, 0, 0, 0, 0, 2, 0]]
    assert depth_from_message(raw(np.array([[-5, 5]], np.int16), '16SC1')).max() < 0.006


@pytest.mark.parametrize('extension', ['.png', '.tiff'])
def test_depth_in_an_image_file_is_read(extension):
    depth = millimetres()
    data = cv2.imencode(extension, depth)[1].tobytes()
    message = SimpleNamespace(format=f'16UC1; {extension[1:]} compressed ', data=data)
    assert np.allclose(depth_from_message(message), depth / 1000.0)
    if extension == '.tiff':
        data = cv2.imencode(extension, depth / np.float32(1000))[1].tobytes()
        message = SimpleNamespace(format='32FC1; tiff compressed ', data=data)
        assert np.allclose(depth_from_message(message), depth / 1000.0)


@pytest.mark.parametrize(
    ('message', 'error'),
    [
        (raw(np.zeros((2, 2), np.uint8), '8UC1'), "encoding '8UC1' is unknown: use 32FC1"),
        (compressed(b'abc', 'zstd'), 'holds no PNG, nor RVL by its name'),
        (
            SimpleNamespace(
                format='16UC1; jpeg compressed mono8',
                data=cv2.imencode('.jpg', np.zeros((9, 9), np.uint8))[1].tobytes(),
            ),
            '1 channels of 8 bits, which hold no distances: publish it as compressedDepth',
        ),
    ],
)
def test_defects_of_depth_are_named(message, error):
    with pytest.raises(ImageError, match=error):
        depth_from_message(message)


UNITS = {  # pixels of depth in millimeters, encoding, and how the unit is reported
    'floats in mm': (
        lambda mm: mm.astype(np.float32), '32FC1', '1000 times too large', '0.001'
    ),
    'floats in cm': (
        lambda mm: mm.astype(np.float32) / 10, '32FC1', '100 times too large', '0.01'
    ),
    'whole meters': (
        lambda mm: np.ceil(mm / 1000).astype(np.uint16), '16UC1', '1000 times too small', '1'
    ),
    'kilometers': (
        lambda mm: mm.astype(np.float32) / 1e6, '32FC1', '1000 times too small', '1000'
    ),
}  # fmt: skip


@pytest.mark.parametrize('name', list(UNITS))
def test_an_impossible_unit_of_depth_is_named_and_its_remedy_works(edit_bag, room_bag, name):
    convert, encoding, size, unit = UNITS[name]

    def in_unit(item, _):
        depth = np.rint(depth_from_message(item) * 1000)
        return raw_image(item.header, convert(depth), encoding)

    bag = edit_bag(edit_topic(DEPTH, in_unit))
    with pytest.raises(CaptureError, match=f'looks {size}: ') as caught:
        open_capture(bag, Z_UP)
    assert str(caught.value).endswith(remedies.DEPTH_UNIT.format(unit_m=unit))
    config = CaptureConfig(up_axis='z', depth_unit_m=float(unit))
    if name == 'whole meters':  # too coarse for the reprojection, but of the right size
        depth = depth_from_message(raw(np.ones((2, 2), np.uint16), '16UC1'), config.depth_unit_m)
        assert depth.max() == 1.0
        return
    after, before = open_capture(bag, config).frame(5), open_capture(room_bag, Z_UP).frame(5)
    assert np.allclose(after.depth, before.depth, atol=1e-3)


def test_a_unit_of_a_quarter_millimeter_is_set(edit_bag, room_bag):
    def quarters(item, _):
        depth = np.rint(depth_from_message(item) * 4000).astype(np.uint16)
        return raw_image(item.header, depth, '16UC1')

    bag = edit_bag(edit_topic(DEPTH, quarters))
    config = CaptureConfig(up_axis='z', depth_unit_m=0.00025)
    after, before = open_capture(bag, config).frame(5), open_capture(room_bag, Z_UP).frame(5)
    assert np.allclose(after.depth, before.depth, atol=1e-3)


@pytest.mark.parametrize('factor', [10, 20])
def test_depth_beyond_the_limit_everywhere_is_named_and_its_remedies_work(
    edit_bag, room_bag, factor
):
    """Ten times too large is an impossible room, and twenty times may be a hall."""

    def far(item, _):
        return raw_image(item.header, depth_from_message(item) * np.float32(factor), '32FC1')

    bag = edit_bag(edit_topic(DEPTH, far))
    with pytest.raises(CaptureError, match=r'max_depth_m = 8\.0 m nearly everywhere') as caught:
        open_capture(bag, Z_UP)
    assert str(caught.value).endswith(remedies.FARTHER_DEPTH.format(unit_m=0.1))
    config = CaptureConfig(up_axis='z', depth_unit_m=1 / factor)
    before = open_capture(room_bag, Z_UP).frame(5).depth
    assert np.allclose(open_capture(bag, config).frame(5).depth, before, atol=1e-3)
    if factor > 10:  # the error of the reprojection grows with the room
        return
    median_m = float(re.search(r'median is (\S+) m', str(caught.value)).group(1))
    hall = CaptureConfig(up_axis='z', max_depth_m=median_m * 2, pose_unit_m=factor)
    assert open_capture(bag, hall).frame(5).depth.max() == pytest.approx(
        factor * before.max(), rel=1e-3
    )
