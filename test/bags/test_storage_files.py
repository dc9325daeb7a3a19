"""The files of a bag are the truth; unfinished, packed, renamed and damaged ones are read."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from room_bags import DEPTH, IMAGE, rewrite, STORE, write_room_bag, write_ros1_bag, Z_UP
from rooms import phone_camera, walk
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import zstd
import yaml

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError

CAMERA = phone_camera(48, 64)
FRAMES = 6
SUFFIX = {'mcap': '.mcap', 'sqlite3': '.db3'}
storages = pytest.mark.parametrize('storage', list(SUFFIX))


@pytest.fixture(scope='module')
def recordings(tmp_path_factory):
    """Bags of the same frames in both storages, by storage and number of the first frame."""
    folder = tmp_path_factory.mktemp('recordings')
    source = write_room_bag(folder / 'source', walk(24)[:FRAMES], CAMERA)
    bags = {}
    for storage in SUFFIX:
        for first, last in [(0, FRAMES), (0, 2), (2, 4), (4, 6)]:
            bags[storage, first, last] = rewrite(
                source,
                folder / f'bag_{first}_{last}_{storage}',
                lambda topic, item, n, kept=range(first, last): [(topic, item)] * (n in kept),
                storage=storage,
            )
    return bags


@pytest.fixture
def write_bag(recordings, tmp_path):
    """Return a function that copies a recording to tmp_path."""

    def write(storage='mcap', first=0, last=FRAMES, name='bag'):
        bag = shutil.copytree(recordings[storage, first, last], tmp_path / name)
        file = storage_file(bag)
        edit_metadata(bag, lambda info: info.update(relative_file_paths=[name + file.suffix]))
        file.rename(bag / (name + file.suffix))
        return bag

    return write


def storage_file(bag):
    return next(file for file in bag.iterdir() if file.suffix in SUFFIX.values())


def contents(path):
    """Return the sorted (topic, log time, data) of all messages, and the warnings."""
    with BagReader(path) as bag:
        messages = [tuple(raw) for raw in bag.messages(list(bag.topics))]
        assert [raw[1] for raw in messages] == sorted(raw[1] for raw in messages)
        for topic in bag.topics:
            assert bag.count(topic) == sum(raw[0] == topic for raw in messages)
        for raw in bag.messages([IMAGE]):
            bag.decode(raw)
        return sorted(messages), bag.warnings


def edit_metadata(bag, change):
    file = bag / 'metadata.yaml'
    content = yaml.safe_load(file.read_text())
    change(content['rosbag2_bagfile_information'])
    file.write_text(yaml.safe_dump(content))


# ---- metadata.yaml


def empty_qos(information):
    for topic in information['topics_with_message_count']:
        topic['topic_metadata']['offered_qos_profiles'] = ''


def zero_counts(information):
    information['message_count'] = 0
    for topic in information['topics_with_message_count']:
        topic['message_count'] = 0


METADATA = {
    'empty QoS': empty_qos,
    'zero counts': zero_counts,
    'a topic less': lambda info: info['topics_with_message_count'].pop(),
    'no topics': lambda info: info.pop('topics_with_message_count'),
    'a later version': lambda info: info.update(version=10),
    'no storage identifier': lambda info: info.update(storage_identifier=''),
    'another storage': lambda info: info.update(storage_identifier='my_plugin'),
    'other times': lambda info: info.update(starting_time={'nanoseconds_since_epoch': 5}),
    'an absolute path': lambda info: info.update(relative_file_paths=['/home/a/bag/bag.mcap']),
    'an old path': lambda info: info.update(relative_file_paths=['bag/bag.mcap', 'bag/bag.db3']),
    'a path of Windows': lambda info: info.update(relative_file_paths=['C:\\bags\\bag.mcap']),
    'another file name': lambda info: info.update(relative_file_paths=['kitchen_0.mcap']),
    'packed messages': lambda info: info.update(
        compression_format='zstd', compression_mode='MESSAGE'
    ),
    'packed files': lambda info: info.update(compression_format='zstd', compression_mode='FILE'),
    'another packing': lambda info: info.update(compression_format='lz4', compression_mode='FILE'),
}


@storages
@pytest.mark.parametrize('change', list(METADATA))
def test_the_files_are_believed_not_the_metadata(storage, change, write_bag):
    bag = write_bag(storage)
    expected = contents(bag)[0]
    edit_metadata(bag, METADATA[change])
    assert contents(bag)[0] == expected
    assert len(expected) == 4 * FRAMES


@pytest.mark.parametrize('text', ['', 'a: [', '\0', '- 1', 'rosbag2_bagfile_information: 3'])
def test_damaged_metadata_are_named_and_not_needed(text, write_bag):
    bag = write_bag()
    expected = contents(bag)[0]
    (bag / 'metadata.yaml').write_text(text)
    messages, warnings = contents(bag)
    assert messages == expected
    assert warnings == ['metadata.yaml is damaged: the files are read without it']


@storages
def test_renamed_files_are_read(storage, write_bag):
    bag = write_bag(storage)
    expected = contents(bag)[0]
    for name in ('kitchen' + SUFFIX[storage], 'kitchen'):  # found by suffix, or by first bytes
        storage_file_ = next(file for file in bag.iterdir() if file.name != 'metadata.yaml')
        storage_file_.rename(bag / name)
        assert contents(bag) == (expected, [])
    assert contents(bag / 'kitchen') == (expected, [])


def split_bag(folder, storage, write_bag, count=3):
    """Write a bag of several files, of two frames each."""
    whole = folder / 'split'
    whole.mkdir()
    names = []
    for part in range(count):
        bag = write_bag(storage, 2 * part, 2 * part + 2, f'part_{part}')
        file = storage_file(bag)
        names.append(file.name)
        file.rename(whole / file.name)
        if not part:
            (bag / 'metadata.yaml').rename(whole / 'metadata.yaml')
    edit_metadata(whole, lambda info: info.update(relative_file_paths=names))
    return whole


@storages
def test_a_missing_file_of_several_is_named_and_the_others_are_read(tmp_path, storage, write_bag):
    bag = split_bag(tmp_path, storage, write_bag)
    assert len(contents(bag)[0]) == 24
    missing = bag / f'part_1{SUFFIX[storage]}'
    missing.unlink()
    messages, warnings = contents(bag)
    assert len(messages) == 16
    assert len(warnings) == 1
    assert warnings[0].startswith(f'{missing.name} is missing')
    missing.write_bytes(b'')
    messages, warnings = contents(bag)
    assert len(messages) == 16
    assert warnings == [f'{missing.name} is left out, it cannot be read (the file is empty)']


def test_a_file_that_the_metadata_do_not_name_is_read(tmp_path, write_bag):
    """A recorder that is killed has not written its last file to metadata.yaml."""
    bag = split_bag(tmp_path, 'mcap', write_bag)
    edit_metadata(bag, lambda info: info.update(relative_file_paths=['part_0.mcap']))
    assert len(contents(bag)[0]) == 24


def test_a_folder_of_bags_is_rejected_with_one_of_them(tmp_path, write_bag):
    bag = write_bag()
    with pytest.raises(CaptureError, match=f'it holds bags: give one of them, such as {bag}'):
        BagReader(tmp_path)
    assert contents(bag)


@storages
@pytest.mark.parametrize(
    'name',
    ['walk #2', 'küche 100%', '50%20off', 'what?', "anna's", 'q?mode=rwc&x=', '走廊', 'a\nb'],
)
def test_a_bag_in_a_folder_of_any_name_is_read(tmp_path, storage, name, write_bag):
    (tmp_path / name).mkdir()
    bag = shutil.move(write_bag(storage), tmp_path / name / 'bag')
    assert contents(bag)[1] == []
    assert contents(storage_file(bag))[1] == []


# ---- packed files


def pack(file, suffix='.zstd'):
    file.with_name(file.name + suffix).write_bytes(zstd.compress(file.read_bytes()))
    file.unlink()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    folder = tmp_path / 'temporary'
    folder.mkdir()
    monkeypatch.setattr('tempfile.tempdir', str(folder))
    return folder


@storages
@pytest.mark.parametrize('suffix', ['.zstd', '.zst'])
def test_files_packed_as_a_whole_are_read_and_no_copy_is_left(
    tmp_path, storage, suffix, temporary, write_bag
):
    bag = split_bag(tmp_path, storage, write_bag)
    expected = contents(bag)[0]
    files = sorted(file for file in bag.iterdir() if file.suffix in SUFFIX.values())
    plain = {file: file.read_bytes() for file in files}
    for file in files:
        pack(file, suffix)
    edit_metadata(
        bag,
        lambda info: info.update(
            relative_file_paths=[file.name + suffix for file in files],
            compression_format='zstd',
            compression_mode='FILE',
        ),
    )
    assert contents(bag) == (expected, [])
    with BagReader(bag) as opened:
        assert not list(temporary.iterdir())
        assert len(list(opened.messages([IMAGE]))) == FRAMES
    assert len(contents(bag / (files[0].name + suffix))[0]) == 8
    for file, data in plain.items():  # some, then all of them are unpacked beside the packed ones
        file.write_bytes(data)
        assert contents(bag) == (expected, [])
    (bag / 'metadata.yaml').unlink()
    assert contents(bag) == (expected, [])


def test_a_damaged_packed_file_leaves_no_copy(temporary, write_bag):
    bag = write_bag()
    pack(bag / 'bag.mcap')
    packed = bag / 'bag.mcap.zstd'
    packed.write_bytes(packed.read_bytes()[:-20] + bytes(20))
    with pytest.raises(CaptureError, match=r'cannot be read \(.*: record it again'):
        BagReader(bag)
    assert not list(temporary.iterdir())


def test_without_space_for_a_copy_the_remedies_work(temporary, monkeypatch, write_bag):
    bag = write_bag()
    expected = contents(bag)[0]
    pack(bag / 'bag.mcap')
    with monkeypatch.context() as full:
        full.setattr('nerf_reversal_ros.bags.bag_safety.RESERVED_BYTES', 1 << 60)
        with pytest.raises(CaptureError) as caught:
            BagReader(bag)
    assert str(caught.value).endswith(f'free in {temporary}: {remedies.TEMPORARY_FOLDER}')
    monkeypatch.setattr('tempfile.tempdir', None)
    monkeypatch.setenv('TMPDIR', str(bag.parent))
    assert contents(bag)[0] == expected


def test_a_file_that_unpacks_to_too_much_is_read_when_it_is_unpacked(monkeypatch, write_bag):
    bag = write_bag()
    expected = contents(bag)[0]
    pack(bag / 'bag.mcap')
    for limit in ('MAX_UNPACKED_BYTES', 'MAX_UNPACKED_RATIO'):
        monkeypatch.setattr(f'nerf_reversal_ros.bags.bag_safety.{limit}', 0)
    with pytest.raises(CaptureError) as caught:
        BagReader(bag)
    packed = bag / 'bag.mcap.zstd'
    assert str(caught.value).endswith(remedies.UNPACK.format(file=packed))
    data = zstd.decompress((bag / 'bag.mcap.zstd').read_bytes())
    (bag / 'bag.mcap').write_bytes(data)
    assert contents(bag)[0] == expected


@pytest.mark.parametrize('plugin', [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize('metadata', [True, False])
def test_messages_packed_one_by_one_are_read_with_and_without_metadata(
    tmp_path, plugin, metadata, write_bag
):
    source = write_bag()
    expected = contents(source)[0]
    writer = Writer(tmp_path / 'packed', version=8, storage_plugin=plugin)
    writer.set_compression(CompressionMode.MESSAGE, CompressionFormat.ZSTD)
    with BagReader(source) as bag, writer:
        topics = {
            name: writer.add_connection(name, kind, typestore=STORE)
            for name, kind in bag.topics.items()
        }
        for raw in bag.messages(list(bag.topics)):
            writer.write(topics[raw.topic], raw.log_time_ns, raw.data)
    if not metadata:
        (tmp_path / 'packed' / 'metadata.yaml').unlink()
    assert contents(tmp_path / 'packed') == (expected, [])


# ---- unfinished and damaged files


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
