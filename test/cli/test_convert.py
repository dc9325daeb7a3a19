"""``nerf-reversal convert``: the range of frames."""

import argparse

import pytest

from nerf_reversal_ros.cli.convert import frame_range


def test_a_frame_range_excludes_its_end() -> None:
    assert frame_range('450:850') == slice(450, 850)
    assert frame_range('450:') == slice(450, None)
    assert frame_range(':850') == slice(None, 850)
    for invalid in ('450', '1:2:3', '-5:3', 'a:b', '3:3'):
        with pytest.raises(argparse.ArgumentTypeError):
            frame_range(invalid)
