"""The format is guessed, the arguments are checked, and a bag is written whole or not at all."""

import resource
import sqlite3

from exports import (
    CAMERA,
    write_r3d,
)
import numpy as np
import pytest
from rgbd_exports import (
    write_colmap,
    write_nerfcapture,
    write_rtabmap,
    write_stray_scanner,
    write_tum,
)

from nerf_reversal_ros.converters import convert, guess_format
from nerf_reversal_ros.converters.bag_writer import BagWriter
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import CaptureError


def test_the_format_is_guessed_from_the_files(tmp_path):
    (tmp_path / 'export').mkdir()
    (tmp_path / 'export' / 'metadata.json').touch()
    (tmp_path / 'seq').mkdir()
    (tmp_path / 'seq' / 'frame-000000.color.png').touch()
    assert guess_format(tmp_path / 'walk.r3d') == 'record3d'
    assert guess_format(tmp_path / 'export') == 'record3d'
    assert guess_format(tmp_path / 'transforms.json') == 'nerfstudio'
    assert guess_format(tmp_path / 'seq') == '7scenes'
    assert guess_format(write_rtabmap(tmp_path / 'walk', range(1))) == 'rtabmap'
    assert guess_format(write_colmap(tmp_path / 'text', range(1))) == 'colmap'
    assert guess_format(write_colmap(tmp_path / 'binary', range(1), binary=True)) == 'colmap'
    assert guess_format(write_tum(tmp_path / 'desk', range(1))) == 'tum'
    assert guess_format(write_stray_scanner(tmp_path / '71de12f9', range(1))) == 'stray-scanner'
    assert guess_format(write_nerfcapture(tmp_path / 'capture', range(1))) == 'nerfstudio'
    with pytest.raises(CaptureError, match='name its format, one of record3d, nerfstudio, poly'):
        guess_format(tmp_path)


def test_a_missing_source_or_an_unknown_format_is_rejected(tmp_path):
    with pytest.raises(CaptureError, match='there is no recording at'):
        convert(tmp_path / 'nothing', tmp_path / 'bag')
    with pytest.raises(CaptureError, match="format 'kinect' is unknown"):
        convert(tmp_path, tmp_path / 'bag', format='kinect')
    with pytest.raises(
        CaptureError, match='a pose file goes with the formats 7scenes and tum only'
    ):
        convert(tmp_path, tmp_path / 'bag', format='record3d', poses=tmp_path / 'poses.txt')
    with pytest.raises(CaptureError, match='a camera goes with the format tum only'):
        convert(tmp_path, tmp_path / 'bag', format='record3d', camera='1 1 1 1')


def test_an_existing_bag_is_not_overwritten(tmp_path):
    source = write_r3d(tmp_path / 'walk.r3d', range(3))
    (tmp_path / 'bag').mkdir()
    with pytest.raises(CaptureError, match='exists already: choose another name or remove it'):
        convert(source, tmp_path / 'bag')


def test_a_failed_bag_leaves_no_files(tmp_path):
    with pytest.raises(KeyboardInterrupt), BagWriter(tmp_path / 'bag') as writer:
        writer.write(1, np.zeros((4, 4, 3), np.uint8), None, Camera(4, 4, 4, 4, 2, 2), np.eye(4))
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize('storage', ['mcap', 'sqlite3'])
def test_a_full_disk_is_reported_and_leaves_no_files(tmp_path, storage):
    """A limit on the file size (RLIMIT_FSIZE) simulates a full disk."""
    noise = np.random.default_rng(0).integers(0, 256, (128, 96, 3), dtype=np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.raises(CaptureError, match=r'cannot write the bag .*/bag'):
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, before[1]))
        try:
            with BagWriter(tmp_path / 'bag', storage=storage) as writer:
                for stamp_ns in range(1, 100):
                    writer.write(stamp_ns, noise, None, CAMERA, np.eye(4))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_rejected(tmp_path):
    (tmp_path / 'file').touch()
    with pytest.raises(CaptureError, match='cannot write the bag'):
        BagWriter(tmp_path / 'file' / 'bag')


def test_the_names_of_files_alone_are_no_format(tmp_path):
    """What is named like a recording and holds something else is not taken for one."""
    (tmp_path / 'walk.db').write_bytes(b'SQLite format 3\0')
    with sqlite3.connect(tmp_path / 'words.db') as database:
        database.execute('CREATE TABLE Word (id INTEGER)')
    database.close()
    names = ('rgb.txt', 'rgb.mp4', 'odometry.csv', 'cameras.txt', 'images.txt', 'cameras.bin')
    for name in names:
        (tmp_path / name).write_text('hello')
    for source in (tmp_path / 'walk.db', tmp_path / 'words.db', tmp_path):
        with pytest.raises(CaptureError, match='cannot be guessed from its files'):
            guess_format(source)
