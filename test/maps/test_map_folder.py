"""Opening a map verifies its version and files; each defect gives one sentence with a remedy."""

from collections.abc import Callable
from pathlib import Path

from map_folders import build, CAMERA, edit_manifest, leave_unfinished
import pytest

from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.maps.map_folder import FORMAT_VERSION, open_map


def open_error(folder: Path) -> str:
    """Return the one-line message of the MapError that `open_map` raises."""
    with pytest.raises(MapError) as caught:
        open_map(folder)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_an_opened_map_has_the_contents_that_were_written(tmp_path: Path) -> None:
    build(tmp_path / 'room.map')
    opened = open_map(tmp_path / 'room.map')
    assert opened.camera == CAMERA
    assert opened.convention.up_source == 'configured'
    assert opened.manifest['format_version'] == FORMAT_VERSION
    assert opened.file('field/voxels.bin').read_bytes() == b'0123456789'
    assert opened.manifest['files']['field/voxels.bin']['bytes'] == 10


def test_the_error_for_a_missing_file_lists_the_files_of_the_map(tmp_path: Path) -> None:
    opened = build(tmp_path / 'room.map')
    with pytest.raises(MapError, match=r'holds no regressor\.npz \(it holds field/voxels\.bin\)'):
        opened.file('regressor.npz')


@pytest.mark.parametrize(
    ('corrupt', 'message'),
    [
        (lambda m: (m / 'field/voxels.bin').unlink(), 'lacks its file field/voxels.bin'),
        (
            lambda m: (m / 'field/voxels.bin').write_bytes(b'01234'),
            'has 5 bytes instead of 10 (truncated?)',
        ),
        (
            lambda m: (m / 'field/voxels.bin').write_bytes(b'012345678x'),
            'have changed since the build',
        ),
        (lambda m: (m / 'manifest.json').unlink(), 'is not a map: it holds no manifest.json'),
        (lambda m: (m / 'manifest.json').write_text('{"format'), 'is corrupt or not of a map'),
        (lambda m: (m / 'manifest.json').write_text('[' * 100000), 'is corrupt or not of a map'),
        (lambda m: (m / 'manifest.json').write_bytes(b'\xff\xfe'), 'is corrupt or not of a map'),
        (lambda m: (m / 'manifest.json').write_text('[1]'), 'is corrupt or not of a map'),
        (lambda m: (m / 'manifest.json').write_text('{}'), "'format_version' is missing"),
    ],
)
def test_a_corrupt_map_raises_one_sentence(
    tmp_path: Path, corrupt: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / 'room.map'
    build(folder)
    corrupt(folder)
    assert message in open_error(folder)


@pytest.mark.parametrize(
    ('version', 'remedy'),
    [(FORMAT_VERSION + 1, 'update nerf_reversal_ros'), (0, 'build it again'), ('x', 'again')],
)
def test_another_format_version_is_rejected_with_both_versions(
    tmp_path: Path, version: object, remedy: str
) -> None:
    build(tmp_path / 'room.map')
    edit_manifest(tmp_path / 'room.map', lambda m: m.update(format_version=version))
    message = open_error(tmp_path / 'room.map')
    assert f'format version {version!r} and this program reads {FORMAT_VERSION}' in message
    assert remedy in message


@pytest.mark.parametrize('name', ['../secret', '/etc/passwd', 'a/../../b', '.hidden', 'a\\b', ''])
def test_a_manifest_cannot_name_a_file_outside_the_map(tmp_path: Path, name: str) -> None:
    build(tmp_path / 'room.map')
    entry = {'bytes': 1, 'sha256': '0'}
    edit_manifest(tmp_path / 'room.map', lambda m: m['files'].update({name: entry}))
    assert 'names a file outside the map' in open_error(tmp_path / 'room.map')


def test_a_link_out_of_the_map_is_rejected(tmp_path: Path) -> None:
    folder = tmp_path / 'room.map'
    build(folder)
    (tmp_path / 'elsewhere.bin').write_bytes(b'0123456789')
    (folder / 'field/voxels.bin').unlink()
    (folder / 'field/voxels.bin').symlink_to(tmp_path / 'elsewhere.bin')
    assert 'names a file outside the map' in open_error(folder)


@pytest.mark.parametrize(
    'change',
    [
        lambda m: m.pop('camera'),
        lambda m: m.update(camera={'width': 3}),
        lambda m: m['camera'].update(fx=-1.0),
        lambda m: m.update(convention=None),
        lambda m: m['convention'].update(map_from_world='x'),
        lambda m: m.update(warnings=[3]),
        lambda m: m.update(warnings=3),
        lambda m: m.update(files=['field/voxels.bin']),
        lambda m: m['files'].update(x={'bytes': 3}),
    ],
)
def test_an_edited_manifest_is_rejected(tmp_path: Path, change: Callable[[dict], None]) -> None:
    build(tmp_path / 'room.map')
    edit_manifest(tmp_path / 'room.map', change)
    assert 'is incomplete or was edited' in open_error(tmp_path / 'room.map')


def test_a_path_without_a_map_is_rejected(tmp_path: Path) -> None:
    assert 'does not exist' in open_error(tmp_path / 'nowhere')
    assert 'is not a map' in open_error(tmp_path)
    (tmp_path / 'file').write_text('hello')
    assert 'is not a map' in open_error(tmp_path / 'file')


def test_an_unfinished_map_is_rejected_with_the_way_to_resume_it(tmp_path: Path) -> None:
    leave_unfinished(tmp_path / 'room.map')
    assert 'is unfinished: repeat the same build command to resume it' in open_error(
        tmp_path / 'room.map'
    )
