"""A first map stands in the place of a map whose build goes on, whole for every reader."""

import os
from pathlib import Path
from threading import Thread

from map_folders import build, MANIFEST
import pytest

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.maps.map_folder import Map, open_map
from nerf_reversal_ros.maps.map_writer import MapWriter

INPUTS = {'bag': 'walk'}
FIRST = {**MANIFEST, 'stage': 'first'}


def publish_first(writer: MapWriter, content: bytes = b'codes') -> Path:
    """Publish a first map with a file that is staged and one of its own."""
    writer.path('atlas.bin').write_bytes(b'landmarks')
    return writer.publish_first(FIRST, {'regressor.bin': lambda path: write(path, content)})


def write(path: Path, content: bytes) -> None:
    """Write a file."""
    path.write_bytes(content)


def finish(writer: MapWriter) -> Map:
    """Finish a build after its first map."""
    writer.path('regressor.bin').write_bytes(b'network')
    return writer.finish({**MANIFEST, 'stage': 'complete', 'warnings': ()})


def test_a_first_map_is_whole_until_the_finished_one_takes_its_place(tmp_path: Path) -> None:
    with MapWriter(tmp_path / 'room.map', INPUTS) as writer:
        assert publish_first(writer) == tmp_path / 'room.map'
        first = open_map(tmp_path / 'room.map')
        assert first.is_first and sorted(first.manifest['files']) == ['atlas.bin', 'regressor.bin']
        assert first.file('regressor.bin').read_bytes() == b'codes'
        first.check_unchanged()
        finished = finish(writer)
    assert not finished.is_first and finished.file('regressor.bin').read_bytes() == b'network'
    finished.check_unchanged()
    assert os.listdir(tmp_path) == ['room.map']
    assert sorted(os.listdir(tmp_path / 'room.map')) == [
        'atlas.bin',
        'manifest.json',
        'regressor.bin',
    ]


def test_a_build_resumes_on_its_first_map(tmp_path: Path) -> None:
    with MapWriter(tmp_path / 'room.map', INPUTS) as writer:
        publish_first(writer)
        writer.finish_stage('first_map')
    with MapWriter(tmp_path / 'room.map', INPUTS) as writer:
        assert writer.is_done('first_map') and open_map(tmp_path / 'room.map').is_first
        finish(writer)
    assert not open_map(tmp_path / 'room.map').is_first


def test_a_first_map_of_other_inputs_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    with MapWriter(tmp_path / 'room.map', INPUTS) as writer:
        publish_first(writer)
        writer.finish_stage('first_map')
    with pytest.raises(BuildError) as error:
        MapWriter(tmp_path / 'room.map', {'bag': 'other'})
    assert str(error.value).endswith(remedies.FINISH_OR_OVERWRITE)
    with MapWriter(tmp_path / 'room.map', INPUTS) as writer:  # repeating the command goes on
        assert writer.is_done('first_map')
    with MapWriter(tmp_path / 'room.map', {'bag': 'other'}, overwrite=True) as writer:
        assert not writer.is_done('first_map') and writer.takes_first_map
        assert open_map(tmp_path / 'room.map').file('regressor.bin').read_bytes() == b'codes'
        publish_first(writer, b'other codes')
        assert open_map(tmp_path / 'room.map').file('regressor.bin').read_bytes() == b'other codes'


def test_no_first_map_takes_the_place_of_a_finished_one(tmp_path: Path) -> None:
    build(tmp_path / 'room.map')
    with MapWriter(tmp_path / 'room.map', INPUTS, overwrite=True) as writer:
        assert not writer.takes_first_map


def test_a_first_map_does_not_replace_a_folder_that_appeared_meanwhile(tmp_path: Path) -> None:
    with MapWriter(tmp_path / 'room.map', INPUTS) as writer:
        (tmp_path / 'room.map').mkdir()
        (tmp_path / 'room.map/notes.txt').write_text('mine')
        with pytest.raises(BuildError, match='exists and is not a map'):
            publish_first(writer)
    assert (tmp_path / 'room.map/notes.txt').read_text() == 'mine'


def test_readers_find_a_whole_map_while_others_take_its_place(tmp_path: Path) -> None:
    folder, errors, opened = tmp_path / 'room.map', [], []
    with MapWriter(folder, INPUTS) as writer:
        publish_first(writer, b'0')

        def read() -> None:
            while len(opened) < 200 and not errors:
                try:
                    opened.append(open_map(folder))
                except MapError as error:
                    errors.append(error)

        reader = Thread(target=read)
        reader.start()
        for number in range(40):
            publish_first(writer, str(number).encode() * 1000)
        reader.join()
    assert errors == [] and len(opened) == 200


def test_a_map_that_is_replaced_while_it_is_loaded_is_read_again(tmp_path: Path) -> None:
    with MapWriter(tmp_path / 'room.map', INPUTS) as writer:
        publish_first(writer)
        first = open_map(tmp_path / 'room.map')
        finish(writer)
    with pytest.raises(MapError) as error:
        first.check_unchanged()
    assert str(error.value).endswith(remedies.READ_AGAIN)
    open_map(tmp_path / 'room.map').check_unchanged()
