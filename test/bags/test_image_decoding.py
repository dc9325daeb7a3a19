"""Images of every encoding give the same colors, and defects are named."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from nerf_reversal_ros.bags.image_decoding import (
    encoded_image_size,
    rgb_from_bytes,
    rgb_from_message,
    thumbnail,
)
from nerf_reversal_ros.core.errors import ImageError

ORANGE = (255, 128, 0)


def raw(encoding, rows, *, step=None, big=False, width=None, height=None):
    """An Image whose rows are given as bytes, each padded to step."""
    step = len(rows[0]) if step is None else step
    data = b''.join(row + b'\xee' * (step - len(row)) for row in rows)
    width = 2 if width is None else width
    height = len(rows) if height is None else height
    return SimpleNamespace(
        encoding=encoding, data=data, step=step, is_bigendian=big, width=width, height=height
    )


def jpeg(rgb, extension='.jpg'):
    data = cv2.imencode(extension, np.ascontiguousarray(rgb[..., ::-1]))[1].tobytes()
    return SimpleNamespace(format=extension[1:], data=data)


def noise(height=48, width=64):
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ('encoding', 'pixel'),
    [
        ('rgb8', bytes(ORANGE)),
        ('bgr8', bytes(ORANGE[::-1])),
        ('rgba8', bytes([*ORANGE, 7])),
        ('bgra8', bytes([*ORANGE[::-1], 7])),
        ('rgb16', np.array([65535, 32896, 0], '<u2').tobytes()),
        ('bgr16', np.array([0, 32896, 65535], '<u2').tobytes()),
    ],
)
def test_colors_are_the_same_in_every_channel_order_with_and_without_padding(encoding, pixel):
    for step in (2 * len(pixel), 2 * len(pixel) + 5):
        rgb = rgb_from_message(raw(encoding, [2 * pixel] * 3, step=step))
        assert rgb.dtype == np.uint8
        assert rgb.tolist() == [[list(ORANGE)] * 2] * 3


@pytest.mark.parametrize(('big', 'order'), [(True, '>u2'), (False, '<u2')])
@pytest.mark.parametrize('encoding', ['mono16', '16UC1'])
def test_sixteen_bits_are_scaled_to_eight_in_either_byte_order(encoding, big, order):
    row = np.array([65535, 257 * 100], order).tobytes()
    rgb = rgb_from_message(raw(encoding, [row], big=big))
    assert rgb.tolist() == [[[255] * 3, [100] * 3]]


def test_gray_images_have_three_equal_channels():
    assert rgb_from_message(raw('mono8', [b'\x05\x09'])).tolist() == [[[5] * 3, [9] * 3]]


@pytest.mark.parametrize(
    'encoding', ['yuv422', 'uyvy', 'yuv422_yuy2', 'yuyv', 'nv12', 'nv21', 'i420']
)
def test_gray_in_yuv_is_gray_in_rgb(encoding):
    """Y 126 of 16..235 is 128 of 0..255; neutral chroma is 128."""
    rows = {
        'nv12': [b'\x7e\x7e', b'\x7e\x7e', b'\x80\x80'],
        'nv21': [b'\x7e\x7e', b'\x7e\x7e', b'\x80\x80'],
        'i420': [b'\x7e\x7e', b'\x7e\x7e', b'\x80\x80'],
        'yuyv': [b'\x7e\x80\x7e\x80'] * 2,
        'yuv422_yuy2': [b'\x7e\x80\x7e\x80'] * 2,
    }.get(encoding, [b'\x80\x7e\x80\x7e'] * 2)
    rgb = rgb_from_message(raw(encoding, rows, step=len(rows[0]) + 3, height=2))
    assert rgb.shape == (2, 2, 3)
    assert np.ptp(rgb) == 0
    assert abs(int(rgb[0, 0, 0]) - 128) <= 1


def test_red_in_yuv_is_red_in_rgb():
    """BT.601: red is Y 81, U 90, V 240."""
    y, u, v = b'\x51', b'\x5a', b'\xf0'
    for encoding, rows in {
        'uyvy': [u + y + v + y] * 2,
        'yuyv': [y + u + y + v] * 2,
        'nv12': [y + y, y + y, u + v],
        'nv21': [y + y, y + y, v + u],
    }.items():
        red = rgb_from_message(raw(encoding, rows, height=2))[0, 0]
        assert red[0] > 245, encoding
        assert max(red[1:]) < 10, encoding


def test_a_raw_color_image_is_a_view_of_the_message():
    message = raw('rgb8', [bytes(6)] * 4)
    assert np.shares_memory(rgb_from_message(message), np.frombuffer(message.data, np.uint8))


def test_compressed_images_keep_their_colors():
    rgb = noise()
    assert np.array_equal(rgb_from_message(jpeg(rgb, '.png')), rgb)
    smooth = cv2.GaussianBlur(rgb, (0, 0), 8)
    difference = rgb_from_message(jpeg(smooth)).astype(int) - smooth
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize('extension', ['.png', '.webp', '.tiff', '.bmp'])
def test_compressed_images_of_each_lossless_format_are_the_same(extension):
    rgb = noise()
    options = [cv2.IMWRITE_WEBP_QUALITY, 101] if extension == '.webp' else []
    data = cv2.imencode(extension, rgb[..., ::-1], options)[1].tobytes()
    message = SimpleNamespace(format=f'rgb8; {extension[1:]} compressed bgr8', data=data)
    assert np.array_equal(rgb_from_message(message), rgb)
    assert encoded_image_size(data, '') == (64, 48)
    assert thumbnail(message).shape == (24, 32)
    message.data = data[: len(data) // 2]
    with pytest.raises(ImageError, match=r'damaged|cut off'):
        rgb_from_message(message)


def test_sixteen_bit_images_of_color_and_gray_are_scaled_when_compressed():
    rgb = noise()
    wide = rgb.astype(np.uint16) * 257
    for extension in ('.png', '.tiff'):
        data = cv2.imencode(extension, wide[..., ::-1])[1].tobytes()
        assert np.array_equal(rgb_from_bytes(data), rgb)


PATTERNS = {'rggb': 'RGGB', 'bggr': 'BGGR', 'gbrg': 'GBRG', 'grbg': 'GRBG'}


def mosaic(rgb, pattern):
    """Keep one color of each pixel, as a sensor behind a Bayer filter does."""
    kept = np.zeros(rgb.shape[:2], rgb.dtype)
    for place, color in enumerate(PATTERNS[pattern]):
        rows, columns = np.s_[place // 2 :: 2], np.s_[place % 2 :: 2]
        kept[rows, columns] = rgb[rows, columns, 'RGB'.index(color)]
    return kept


@pytest.mark.parametrize('pattern', list(PATTERNS))
@pytest.mark.parametrize(('bits', 'big'), [(8, False), (16, False), (16, True)])
def test_every_bayer_pattern_gives_the_colors_of_the_scene(pattern, bits, big):
    """A plain color is interpolated exactly; 16 bits in either byte order."""
    pixels = mosaic(np.full((6, 8, 3), ORANGE, np.uint8), pattern)
    stored = (
        pixels if bits == 8 else (pixels.astype(np.uint16) * 257).astype('>u2' if big else '<u2')
    )
    rows = [row.tobytes() for row in stored]
    rgb = rgb_from_message(
        raw(f'bayer_{pattern}{bits}', rows, step=len(rows[0]) + 4, width=8, big=big)
    )
    assert np.array_equal(rgb, np.full((6, 8, 3), ORANGE))


def test_a_compressed_bayer_pattern_is_interpolated_by_its_format():
    pixels = mosaic(np.full((6, 8, 3), ORANGE, np.uint8), 'grbg')
    data = cv2.imencode('.png', pixels)[1].tobytes()
    message = SimpleNamespace(format='bayer_grbg8; png compressed ', data=data)
    assert np.array_equal(rgb_from_message(message), np.full((6, 8, 3), ORANGE))
    message.data = cv2.imencode('.tiff', np.ones((6, 8), np.float32))[1].tobytes()
    with pytest.raises(ImageError, match='cannot be decoded'):
        rgb_from_message(message)  # floats are no pattern


@pytest.mark.parametrize(('name', 'same'), [('8UC3', 'bgr8'), ('8UC4', 'bgra8'), ('RGB8', 'rgb8')])
def test_types_of_opencv_are_in_its_order_and_case_does_not_matter(name, same):
    rows = [bytes(range(24))] * 2
    assert np.array_equal(
        rgb_from_message(raw(name, rows, width=6)), rgb_from_message(raw(same, rows, width=6))
    )


def test_chroma_of_full_size_gives_the_colors_of_nv12():
    """BT.601: red is Y 81, U 90, V 240; odd sides are allowed."""
    rows = [b'\x51' * 3] * 3 + [b'\x5a\xf0' * 3] * 3
    data = b''.join(rows)
    message = SimpleNamespace(
        encoding='nv24', data=data, step=3, is_bigendian=0, width=3, height=3
    )
    rgb = rgb_from_message(message)
    assert rgb.shape == (3, 3, 3)
    assert (rgb[..., 0] > 245).all()
    assert (rgb[..., 1:] < 10).all()


def test_a_huge_image_is_rejected_by_its_header():
    message = raw('rgb8', [bytes(6)], width=100_000, height=100_000)
    with pytest.raises(ImageError, match='claims 100000x100000 pixels'):
        rgb_from_message(message)
    png = jpeg(noise(), '.png')
    png.data = png.data[:16] + b'\x00\x01\x86\xa0' * 2 + png.data[24:]
    with pytest.raises(ImageError, match='claims 100000x100000 pixels'):
        rgb_from_message(png)


@pytest.mark.parametrize(
    ('message', 'error'),
    [
        (raw('bayer_rggb12', [b'abcd']), 'bayer_rggb12 is no Bayer pattern of 8 or 16 bits'),
        (raw('bayer_rggb8', [b'ab']), '2x1 in bayer_rggb8 is no Bayer pattern'),
        (raw('h264', [b'ab']), "'h264', which is not one of rgb8"),
        (raw('rgb8', [bytes(6)], width=0), 'is empty: 0x1'),
        (raw('rgb8', [bytes(6)], width=3), 'needs rows of 9 bytes, but step is 6'),
        (raw('rgb8', [bytes(6)], height=2), 'needs 12 bytes, got 6: it was cut off'),
        (raw('yuyv', [bytes(6)], width=3), 'even width, got 3'),
        (SimpleNamespace(format='jpeg', data=b''), 'is not JPEG, PNG, WebP, TIFF or BMP'),
        (
            SimpleNamespace(format='jpeg', data=b'random bytes'),
            'is not JPEG, PNG, WebP, TIFF or BMP',
        ),
        (SimpleNamespace(format='', data=b'\xff\xd8\xff'), 'no format, 3 bytes.*cut off'),
    ],
)
def test_defects_of_an_image_are_named(message, error):
    with pytest.raises(ImageError, match=error):
        rgb_from_message(message)


@pytest.mark.parametrize('extension', ['.jpg', '.png'])
@pytest.mark.parametrize('fraction', [0.1, 0.5, 0.9])
def test_a_truncated_compressed_image_is_rejected(extension, fraction):
    message = jpeg(noise(240, 320), extension)
    message.data = message.data[: int(fraction * len(message.data))]
    with pytest.raises(ImageError, match=r'damaged|cut off'):
        rgb_from_message(message)


def test_random_damage_raises_image_errors_only():
    generator = np.random.default_rng(2)
    for extension in ('.jpg', '.png'):
        whole = jpeg(noise(), extension).data
        for _ in range(200):
            data = bytearray(whole)
            for offset in generator.integers(0, len(data), 5):
                data[offset] = generator.integers(0, 256)
            try:
                rgb = rgb_from_message(SimpleNamespace(format='', data=bytes(data)))
            except ImageError:
                continue
            assert rgb.ndim == 3
