"""A map travels as an archive, and replaces an older one at once."""

import io
import os
import tarfile

from map_folders import build
import pytest

from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.survey.map_archive import pack_map, unpack_map


def test_a_map_arrives_as_it_was(tmp_path):
    sent = build(tmp_path / 'sent.map')
    build(tmp_path / 'room.map', content=b'older')
    unpack_map(pack_map(sent.path), tmp_path / 'room.map')
    assert open_map(tmp_path / 'room.map').identity == sent.identity
    assert sorted(os.listdir(tmp_path)) == ['room.map', 'sent.map']


def archive_of(name, content=b''):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode='w') as archive:
        item = tarfile.TarInfo(name)
        item.size = len(content)
        archive.addfile(item, io.BytesIO(content))
    return packed.getvalue()


@pytest.mark.parametrize(
    ('packed', 'message'),
    [
        (b'no archive', 'did not arrive whole'),
        (archive_of('manifest.json', b'{}'), 'did not arrive whole'),
        (archive_of('../out'), r"holds '\.\./out', no file"),
    ],
)
def test_what_is_no_map_changes_nothing(tmp_path, packed, message):
    before = build(tmp_path / 'room.map')
    with pytest.raises(BuildError, match=message):
        unpack_map(packed, tmp_path / 'room.map')
    assert open_map(tmp_path / 'room.map').identity == before.identity
    assert os.listdir(tmp_path) == ['room.map']
