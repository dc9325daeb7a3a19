"""Images are decoded as cv_bridge of ROS decodes them, where it is installed."""

from types import SimpleNamespace

import numpy as np
import pytest

from nerf_reversal_ros.bags.image_decoding import ENCODINGS, rgb_from_message

cv_bridge = pytest.importorskip('cv_bridge', reason='cv_bridge is no part of the ROS of PyPI')

CHANNELS = {'mono': 1, '8uc1': 1, '16uc1': 1, 'bayer': 1, 'yuv': 2, 'rgba': 4, 'bgra': 4}
NOT_IN_CV_BRIDGE = ('uyvy', 'yuyv', 'nv12', 'nv21', 'i420', 'yv12', 'nv24')
AS_COLOR = {'8uc1': 'mono8', '8uc3': 'bgr8', '8uc4': 'bgra8'}
AS_COLOR |= {'16uc1': 'mono16', '16uc3': 'bgr16', '16uc4': 'bgra16'}
"""Types of OpenCV, which cv_bridge does not take as color, and the encodings of their order."""


BYTE_ORDERS = [False] if np.lib.NumpyVersion(np.__version__) >= '2.0.0' else [False, True]
"""cv_bridge swaps bytes by a method that NumPy 2 has no more."""


@pytest.mark.parametrize('big', BYTE_ORDERS)
@pytest.mark.parametrize('encoding', sorted(set(ENCODINGS) - set(NOT_IN_CV_BRIDGE)))
def test_both_decoders_give_the_same_image(encoding, big):
    """16 bits are scaled to 8 by the same factor; each may round differently, by one."""
    bits = 16 if '16' in encoding else 8
    channels = next((n for name, n in CHANNELS.items() if encoding.startswith(name)), 3)
    channels = 4 if encoding.endswith('c4') else channels
    rng = np.random.default_rng(7)
    pixels = rng.integers(0, 2**bits, (12, 16, channels)).astype(f'{"><"[not big]}u{bits // 8}')
    step = 16 * channels * bits // 8
    data = bytearray(pixels.tobytes())
    message = SimpleNamespace(
        encoding=encoding, height=12, width=16, step=step, is_bigendian=big, data=data
    )
    ours = rgb_from_message(message)
    message.encoding = AS_COLOR.get(encoding, encoding)
    theirs = cv_bridge.CvBridge().imgmsg_to_cv2(message, 'rgb8')
    assert theirs.shape == ours.shape
    assert np.abs(theirs.astype(int) - ours).max() <= (1 if bits == 16 else 0)
