"""The files of a bag are the truth; packed and renamed ones are read."""

import shutil

import pytest
from room_bags import IMAGE, STORE
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import zstd
from stored_bags import contents, edit_metadata, FRAMES, storage_file, storages, SUFFIX

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import CaptureError

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
