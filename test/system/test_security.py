"""Untrusted input cannot name outside files, run code, or exhaust memory."""

from functools import partial
import hashlib
import json
import os
from pathlib import Path
import pickle
import shutil
import sqlite3
import struct
import sys
import zlib

from exports import write_export, write_nerfstudio, write_r3d, write_seven_scenes
import numpy as np
import pytest
from rgbd_exports import (
    edit_rtabmap,
    write_colmap,
    write_rtabmap,
    write_stray_scanner,
    write_tum,
)
from room_bags import write_room_bag
from rooms import phone_camera, walk
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import zstd
from rosbags.typesys import get_typestore, Stores

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.bags.bag_safety import MAX_UNPACKED_BYTES
from nerf_reversal_ros.converters import convert
from nerf_reversal_ros.core.errors import CaptureError, MapError
from nerf_reversal_ros.maps.map_folder import open_map

CAMERA = phone_camera(24, 32)


def small_bag(path, storage='mcap'):
    return write_room_bag(path, walk(24)[:2], CAMERA, storage=storage)


def read_all(path):
    with BagReader(path) as bag:
        return [bag.decode(raw) for raw in bag.messages(list(bag.topics))]


def assert_rejected(work, *words):
    with pytest.raises((CaptureError, MapError)) as caught:
        work()
    assert all(word in str(caught.value) for word in words), str(caught.value)


# ---- bags


@pytest.mark.parametrize('name', ['{other}', '../other/other.mcap', 'a/../../other/other.mcap'])
def test_metadata_of_a_bag_cannot_name_files_outside_of_it(tmp_path, name):
    """Only the files in the folder of the bag are read."""
    other = small_bag(tmp_path / 'other') / 'other.mcap'
    bag = small_bag(tmp_path / 'bag')
    metadata = bag / 'metadata.yaml'
    metadata.write_text(metadata.read_text().replace('bag.mcap', name.format(other=other)))
    assert len(read_all(bag)) == 8
    (bag / 'bag.mcap').unlink()
    assert_rejected(lambda: read_all(bag), 'holds no storage file', 'other.mcap: copy them')
    shutil.copy(other, bag)
    assert len(read_all(bag)) == 8


@pytest.mark.parametrize('has_metadata', [True, False], ids=['with metadata', 'without'])
def test_a_link_in_a_bag_cannot_lead_outside_of_it(tmp_path, has_metadata):
    bag, other = small_bag(tmp_path / 'bag'), small_bag(tmp_path / 'other')
    (bag / 'bag.mcap').unlink()
    (bag / 'bag.mcap').symlink_to(other / 'other.mcap')
    if not has_metadata:
        (bag / 'metadata.yaml').unlink()
    assert_rejected(lambda: read_all(bag), str(bag / 'bag.mcap'), 'outside of itself')
    (bag / 'bag.mcap').unlink()
    shutil.copy(other / 'other.mcap', bag)  # the remedy
    assert len(read_all(bag)) == 8


def test_a_link_to_a_whole_bag_is_read(tmp_path):
    small_bag(tmp_path / 'bag')
    (tmp_path / 'link').symlink_to(tmp_path / 'bag')
    assert len(read_all(tmp_path / 'link')) == 8


ENDLESS = 'WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)'


@pytest.mark.parametrize(
    'table',
    [
        f"CREATE VIEW messages AS {ENDLESS} SELECT i AS id, 1 AS topic_id, i AS timestamp, '' AS"
        ' data FROM n',
        'CREATE TABLE messages(id, topic_id, timestamp, data GENERATED ALWAYS AS'
        ' (zeroblob(1000000000)))',
    ],
    ids=['an endless view', 'a computed gigabyte'],
)
def test_a_bag_with_a_computed_table_is_rejected(tmp_path, table):
    bag = small_bag(tmp_path / 'bag', 'sqlite3')
    with sqlite3.connect(bag / 'bag.db3') as database:
        database.execute('DROP TABLE messages')
        database.execute(table)
    for path in (bag, bag / 'bag.db3'):
        assert_rejected(lambda path=path: read_all(path), 'messages, which is no plain table')


def test_no_code_is_made_of_the_message_definitions_of_a_bag(tmp_path):
    """The definitions are not used: a bag with invalid ones is read."""
    bag = small_bag(tmp_path / 'bag')
    data = (bag / 'bag.mcap').read_bytes()
    for word in (b'string format', b'uint8[] data', b'float64 x\n'):
        assert word in data
        data = data.replace(word, b'#' + word[1:])
    (bag / 'bag.mcap').write_bytes(data)
    sys.modules.pop('rosbags.usertypes', None)
    assert len(read_all(bag)) == 8
    assert 'rosbags.usertypes' not in sys.modules


def packed_bag(path, mode, size):
    """Write a bag of one message that decompresses to ``size`` bytes of zeros."""
    store = get_typestore(Stores.ROS2_HUMBLE)
    plugin = StoragePlugin.SQLITE3 if mode != CompressionMode.STORAGE else StoragePlugin.MCAP
    writer = Writer(path, version=8, storage_plugin=plugin)
    writer.set_compression(mode, CompressionFormat.ZSTD)
    with writer:
        topic = writer.add_connection('/a', 'std_msgs/msg/String', typestore=store)
        writer.write(topic, 1, struct.pack('<IQ', 256, size) + bytes(size))
    return path


@pytest.mark.parametrize('mode', [CompressionMode.MESSAGE, CompressionMode.STORAGE])
def test_the_decompressed_size_of_a_message_is_limited(tmp_path, mode, monkeypatch):
    bag = packed_bag(tmp_path / 'bag', mode, 5_000_000)
    with BagReader(bag) as opened:
        assert [len(raw.data) for raw in opened.messages(['/a'])] == [5_000_012]
    assert sum(file.stat().st_size for file in bag.iterdir()) < 50_000
    assert MAX_UNPACKED_BYTES == 2**30
    monkeypatch.setattr('nerf_reversal_ros.bags.bag_safety.MAX_UNPACKED_BYTES', 1_000_000)
    with BagReader(bag) as opened:
        too_large = 'unpacks to more than 1000000 bytes'
        if mode == CompressionMode.MESSAGE:
            assert_rejected(lambda: list(opened.messages(['/a'])), too_large)
        else:
            assert not list(opened.messages(['/a']))
            assert too_large in opened.warnings[0]


def test_the_decompressed_size_of_a_file_is_limited(tmp_path, monkeypatch):
    """5 MB of zeros have few kB in zstd; the temporary copy is cut at the limit and removed."""
    monkeypatch.setattr('nerf_reversal_ros.bags.bag_safety.MAX_UNPACKED_BYTES', 4_000_000)
    monkeypatch.setattr('tempfile.tempdir', str(tmp_path / 'temporary'))
    (tmp_path / 'temporary').mkdir()
    bag = packed_bag(tmp_path / 'bag', CompressionMode.FILE, 5_000_000)
    assert_rejected(lambda: read_all(bag), 'unpacks to more than 4000000 bytes', 'zstd -d')
    assert not list((tmp_path / 'temporary').iterdir())
    packed = bag / 'bag.db3.zstd'
    (bag / 'bag.db3').write_bytes(zstd.decompress(packed.read_bytes()))  # the remedy
    with BagReader(bag) as opened:
        assert [len(raw.data) for raw in opened.messages(['/a'])] == [5_000_012]


# ---- recordings


@pytest.mark.parametrize('name', ['../secret.jpg', '{folder}/secret.jpg', 'link.jpg'])
@pytest.mark.parametrize('key', ['file_path', 'depth_file_path'])
def test_a_scene_of_nerfstudio_cannot_name_files_outside_of_it(tmp_path, key, name):
    scene = write_nerfstudio(tmp_path / 'scene', order=range(2))
    (tmp_path / 'secret.jpg').write_bytes((scene / 'frame_0.jpg').read_bytes())
    (scene / 'link.jpg').symlink_to(tmp_path / 'secret.jpg')
    transforms = json.loads((scene / 'transforms.json').read_text())
    name = name.format(folder=tmp_path)
    transforms['frames'][0][key] = name
    (scene / 'transforms.json').write_text(json.dumps(transforms))
    assert_rejected(
        lambda: convert(scene, tmp_path / 'bag'), name, 'outside of', 'do not trust it'
    )
    assert not (tmp_path / 'bag').exists()


@pytest.mark.parametrize('file', ['rgb/0.jpg', 'depth/0.exr'])
def test_a_link_in_an_export_of_record3d_cannot_lead_outside_of_it(tmp_path, file):
    export = write_export(tmp_path / 'walk', range(2))
    (export / file).rename(tmp_path / 'secret')
    (export / file).symlink_to(tmp_path / 'secret')
    assert_rejected(lambda: convert(export, tmp_path / 'bag'), file, 'leads outside of')


@pytest.mark.parametrize('kind', ['color.jpg', 'depth.png', 'pose.txt'])
def test_a_link_in_a_sequence_of_seven_scenes_cannot_lead_outside_of_it(tmp_path, kind):
    source = write_seven_scenes(tmp_path / 'seq-01', range(1))
    file = source / f'frame-000000.{kind}'
    file.rename(tmp_path / 'secret')
    file.symlink_to(tmp_path / 'secret')
    assert_rejected(
        lambda: convert(source, tmp_path / 'bag', format='7scenes'), kind, 'leads outside of'
    )


@pytest.mark.parametrize(
    ('write', 'file'),
    [
        (partial(write_tum, numbers=range(1)), 'rgb/1305031102.000000.png'),
        (partial(write_tum, numbers=range(1)), 'depth/1305031102.004000.png'),
        (partial(write_colmap, numbers=range(1)), 'images/view_0.jpg'),
        (partial(write_stray_scanner, numbers=range(1)), 'rgb.mp4'),
        (partial(write_stray_scanner, numbers=range(1)), 'depth/000000.png'),
    ],
)
def test_a_link_in_another_recording_cannot_lead_outside_of_it(tmp_path, write, file):
    source = write(tmp_path / 'recording')
    (source / file).rename(tmp_path / 'secret')
    (source / file).symlink_to(tmp_path / 'secret')
    camera = {'camera': '86.4 86.4 49.92 60.16'} if (source / 'rgb.txt').exists() else {}
    assert_rejected(
        lambda: convert(source, tmp_path / 'bag', **camera), Path(file).name, 'outside of'
    )


def test_a_computed_table_of_a_database_is_not_read(tmp_path):
    database = write_rtabmap(tmp_path / 'walk.db', range(1))
    edit_rtabmap(database, 'ALTER TABLE Node RENAME TO Kept')
    edit_rtabmap(database, 'CREATE VIEW Node AS SELECT * FROM Kept')
    with pytest.raises(CaptureError, match='is no database of RTAB-Map'):
        convert(database, tmp_path / 'bag', format='rtabmap')


def test_optimized_poses_that_unpack_without_end_are_rejected(tmp_path):
    database = write_rtabmap(tmp_path / 'walk.db', range(1))
    bomb = zlib.compress(bytes(10_000_000)) + struct.pack('<3i', 1, 12, 5)
    edit_rtabmap(database, 'UPDATE Admin SET opt_poses = ?', bomb)
    with pytest.raises(CaptureError, match='49 bytes instead of 48'):
        convert(database, tmp_path / 'bag')


def test_depth_of_an_r3d_with_unlimited_decompressed_size_is_rejected(tmp_path):
    """An LZFSE block of 32 bytes can claim ten thousand repetitions of 2,359 bytes."""
    metadata = {'dw': 100_000, 'dh': 100_000}
    path = write_r3d(tmp_path / 'walk.r3d', range(2), **metadata)
    assert_rejected(lambda: convert(path, tmp_path / 'bag'), 'claim a depth of (100000, 100000)')


# ---- maps


def test_a_map_cannot_hold_a_program(small_map, tmp_path):
    """An array of objects would be a pickle, which runs code when it is loaded."""

    class Program:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / 'ran'),)

    map_dir = shutil.copytree(small_map.path, tmp_path / 'copy.map')
    objects = np.empty(1, dtype=object)
    objects[0] = Program()
    with (map_dir / 'walked_poses.npz').open('wb') as file:
        np.savez(file, map_from_camera=objects)
    assert not (tmp_path / 'ran').exists()
    assert_rejected(lambda: open_map(map_dir), 'walked_poses.npz', 'bytes instead of')
    manifest = json.loads((map_dir / 'manifest.json').read_text())
    data = (map_dir / 'walked_poses.npz').read_bytes()
    entry = {'bytes': len(data), 'sha256': hashlib.sha256(data).hexdigest()}
    manifest['files']['walked_poses.npz'] = entry
    (map_dir / 'manifest.json').write_text(json.dumps(manifest))
    assert_rejected(lambda: open_map(map_dir).mapping_poses, 'walked_poses.npz is corrupt')
    assert not (tmp_path / 'ran').exists()
    pickle.loads(pickle.dumps(objects))
    assert (tmp_path / 'ran').exists()  # loading the pickle runs the program
