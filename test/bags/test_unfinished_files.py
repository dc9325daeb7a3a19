"""Unfinished and damaged files of a bag are read as far as they go; bags of ROS 1, too."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from room_bags import DEPTH, IMAGE, STORE, write_ros1_bag, Z_UP
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import StoragePlugin, Writer
from stored_bags import contents, FRAMES, storage_file, storages

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.errors import CaptureError


def cut(file, fraction):
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * fraction)])


@storages
@pytest.mark.parametrize('fraction', [0.0, 0.002])
def test_a_bag_cut_off_before_its_first_message_is_rejected(storage, fraction, write_bag):
    bag = write_bag(storage)
    cut(storage_file(bag), fraction)
    with pytest.raises(CaptureError, match=r'record it again$'):
        open_capture(bag, Z_UP)


def write_chunked(path, source, chunk_messages=4):
    """Write an MCAP whose chunks have so many messages each, and return its file."""
    writer = Writer(path, version=8, storage_plugin=StoragePlugin.MCAP)
    with BagReader(source) as bag, writer:
        topics = {
            name: writer.add_connection(name, kind, typestore=STORE)
            for name, kind in bag.topics.items()
        }
        for number, raw in enumerate(bag.messages(list(bag.topics))):
            writer.write(topics[raw.topic], raw.log_time_ns, raw.data)
            if number % chunk_messages == chunk_messages - 1:
                writer.storage.close_chunk()
    return path / f'{path.name}.mcap'


def test_a_killed_mcap_is_read_up_to_its_last_whole_chunk(tmp_path, write_bag):
    """Six chunks of four messages; the file ends within the last one, without an index."""
    source = write_bag()
    expected = contents(source)[0]
    file = write_chunked(tmp_path / 'killed', source)
    assert contents(file) == (expected, [])
    with BagReader(file) as bag:
        last = max(section.offset for section in bag._storages[file]._sections)
    file.write_bytes(file.read_bytes()[: last + 1000])
    for path in (file, file.parent):
        messages, warnings = contents(path)
        assert messages == [m for m in expected if m[1] < max(m[1] for m in expected)]
        assert warnings == [
            'killed.mcap: its end is missing, the recording was killed or cut off: the 20 messages'
            ' before it are read'
        ]
    assert len(open_capture(file, Z_UP)) == FRAMES - 1


def test_a_damaged_chunk_is_left_out_and_named(tmp_path, write_bag):
    file = write_chunked(tmp_path / 'damaged', write_bag())
    with BagReader(file) as bag:
        offsets = sorted(section.offset for section in bag._storages[file]._sections)
    data = bytearray(file.read_bytes())
    data[offsets[2] + 41 : offsets[2] + 49] = b'\xff' * 8  # length of the first record in a chunk
    file.write_bytes(data)
    with BagReader(file) as bag:
        assert len(list(bag.messages(list(bag.topics)))) == 20
        assert 'a damaged chunk at byte' in bag.warnings[0]
    file.write_bytes(data[:-60])  # without its index, too
    assert len(contents(file)[0]) == 20


def test_an_mcap_without_chunks_is_read_out_of_order(tmp_path, write_bag):
    """``fastwrite`` of rosbag2 writes neither chunks nor an index; log times may step back."""
    file = write_chunked(tmp_path / 'plain', write_bag())
    expected = contents(file)[0]
    with BagReader(file) as bag:
        storage = bag._storages[file]
        records = [storage._unpack(item.offset, item.size) for item in storage._sections]
    header_bytes = 8 + 9 + int.from_bytes(file.read_bytes()[9:17], 'little')
    file.write_bytes(file.read_bytes()[:header_bytes] + records[0] + b''.join(records[:0:-1]))
    messages, warnings = contents(file)
    assert messages == expected
    assert 'its end is missing' in warnings[0]


def test_an_sqlite_bag_that_was_cut_off_is_read_up_to_the_damage(write_bag):
    bag = write_bag('sqlite3')
    expected = contents(bag)[0]
    cut(storage_file(bag), 0.6)
    messages, warnings = contents(bag)
    assert 4 < len(messages) < 20
    assert set(messages) < set(expected)
    assert f'the {len(messages)} messages before the damage are read' in warnings[0]


@pytest.mark.parametrize('mode', ['WAL', 'DELETE'])
def test_an_sqlite_bag_of_a_killed_recording_is_read_with_its_log(mode, write_bag):
    """The program is killed within a transaction, after all but the last image are committed."""
    bag = write_bag('sqlite3')
    expected = contents(bag)[0]
    program = f"""if True:
        import os, sqlite3
        database = sqlite3.connect({str(bag / 'bag.db3')!r})
        database.execute('PRAGMA journal_mode={mode}')
        database.execute('PRAGMA wal_autocheckpoint=0')
        database.execute('PRAGMA cache_size=1')
        database.execute('DELETE FROM messages WHERE id > 8')
        if {mode!r} == 'WAL':
            database.commit()
        else:
            database.execute('UPDATE messages SET data = zeroblob(100000)')
        os._exit(9)
    """
    subprocess.run([sys.executable, '-c', program], check=False)
    (bag / 'metadata.yaml').unlink()
    before = {file: file.read_bytes() for file in bag.iterdir()}
    assert len(before) >= 2
    messages, warnings = contents(bag)
    assert warnings == []
    assert len(messages) == (8 if mode == 'WAL' else len(expected))
    assert {file: file.read_bytes() for file in bag.iterdir()} == before


def test_a_journal_that_names_another_file_is_not_applied(tmp_path, write_bag):
    """SQLite deletes the file that a journal names as its super-journal."""
    bag = write_bag('sqlite3')
    expected = contents(bag)[0]
    victim = tmp_path / 'victim'
    victim.write_bytes(b'')
    name = str(victim).encode()
    magic = b'\xd9\xd5\x05\xf9\x20\xa1\x63\xd7'
    sizes = [0, 0, 1, 512, 4096]
    journal = (magic + b''.join(size.to_bytes(4, 'big') for size in sizes)).ljust(512, b'\0')
    journal += (1 << 18).to_bytes(4, 'big') + name + len(name).to_bytes(4, 'big')
    journal += (sum(name) & 0xFFFFFFFF).to_bytes(4, 'big') + magic
    (bag / 'bag.db3-journal').write_bytes(journal)
    assert contents(bag)[0] == expected
    assert victim.exists()


def test_a_repaired_copy_beside_a_file_adds_nothing(write_bag):
    """``mcap recover`` writes one."""
    bag = write_bag()
    expected = contents(bag)[0]
    shutil.copy(bag / 'bag.mcap', bag / 'bag_recovered.mcap')
    with BagReader(bag) as opened:
        messages = [tuple(raw) for raw in opened.messages(list(opened.topics))]
    assert sorted(messages) == expected
    assert len(open_capture(bag, Z_UP)) == FRAMES


def test_a_message_too_short_for_its_header_is_named(tmp_path):
    writer = Writer(tmp_path / 'short', version=8, storage_plugin=StoragePlugin.MCAP)
    with writer:
        topic = writer.add_connection(IMAGE, 'sensor_msgs/msg/Image', typestore=STORE)
        writer.write(topic, 1, b'\0\1\0\0abc')
    with BagReader(tmp_path / 'short') as bag:
        (raw,) = bag.messages([IMAGE])
        with pytest.raises(CaptureError, match=f'a message of {IMAGE} has only 7 bytes'):
            raw.stamp_ns  # noqa: B018


def test_a_plain_bag_needs_no_temporary_folder(write_bag, monkeypatch):
    monkeypatch.setattr('tempfile.tempdir', '/proc/none')
    assert contents(write_bag())[1] == contents(write_bag('sqlite3', name='other'))[1] == []


# ---- ROS 1


@pytest.mark.parametrize('compression', [None, 'BZ2', 'LZ4'])
def test_a_bag_of_ros_1_is_read_like_one_of_ros_2(tmp_path, compression, write_bag):
    source = write_bag()
    compression = compression and Ros1Writer.CompressionFormat[compression]
    file = write_ros1_bag(tmp_path / 'walk.bag', source, compression)
    assert contents(file) == contents(source)
    with BagReader(file) as one, BagReader(source) as two:
        assert one.topics == two.topics
        assert one.duration_s == pytest.approx(two.duration_s)
    capture, expected = open_capture(file, Z_UP), open_capture(source, Z_UP)
    assert np.array_equal(capture.map_from_camera, expected.map_from_camera)
    assert np.array_equal(capture.frame(3).rgb, expected.frame(3).rgb)


def test_a_bag_of_ros_1_without_an_index_is_read(tmp_path, write_bag):
    """A killed recording is called ``walk.bag.active``; its header has no position of an index."""
    file = write_ros1_bag(tmp_path / 'walk.bag', write_bag())
    expected = contents(file)[0]
    data = file.read_bytes()
    at = data.index(b'index_pos=') + 10
    end = int.from_bytes(data[at : at + 8], 'little')
    killed = file.with_name('walk.bag.active')
    killed.write_bytes(data[:at] + bytes(8) + data[at + 8 : end])
    messages, warnings = contents(killed)
    assert messages == expected
    assert 'it has no index' in warnings[0]


def test_transforms_of_the_first_tf_of_ros_1_have_the_type_of_ros_2(tmp_path):
    """tf/tfMessage and tf2_msgs/TFMessage have the same definition."""
    kind = 'tf2_msgs/msg/TFMessage'
    definition, digest = STORE.generate_msgdef(kind, ros_version=1)
    with Ros1Writer(tmp_path / 'tf.bag') as writer:
        topic = writer.add_connection('/tf', 'tf/msg/tfMessage', msgdef=definition, md5sum=digest)
        writer.write(topic, 5, STORE.serialize_ros1(STORE.types[kind]([]), kind))
    with BagReader(tmp_path / 'tf.bag') as bag:
        assert bag.topics == {'/tf': kind}
        (raw,) = bag.messages(['/tf'])
        assert bag.decode(raw).transforms == []


def test_an_mcap_of_ros_1_is_read(tmp_path, write_bag):
    """``mcap convert walk.bag walk.mcap`` keeps the serialization of ROS 1."""
    source = write_bag()
    writer = Writer(tmp_path / 'ros1', version=8, storage_plugin=StoragePlugin.MCAP)
    with BagReader(source) as bag, writer:
        topics = {
            name: writer.add_connection(name, kind, typestore=STORE, serialization_format='ros1')
            for name, kind in bag.topics.items()
        }
        for raw in bag.messages(list(bag.topics)):
            data = STORE.cdr_to_ros1(raw.data, bag.topics[raw.topic])
            writer.write(topics[raw.topic], raw.log_time_ns, data)
    assert contents(tmp_path / 'ros1') == contents(source)


def test_another_definition_of_a_type_in_a_bag_of_ros_1_is_named(tmp_path, write_bag):
    other = {DEPTH: {'md5sum': '0' * 32, 'msgdef': 'int32 a'}}
    file = write_ros1_bag(tmp_path / 'walk.bag', write_bag(), definitions=other)
    with pytest.raises(CaptureError, match=f'{DEPTH} has another definition of sensor_msgs'):
        open_capture(file, Z_UP)
