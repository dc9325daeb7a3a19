"""A map folder is complete or absent, and a damaged one is refused in one sentence."""

from collections.abc import Callable, Iterator
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import tempfile
import time

from map_folders import build, CAMERA, edit_manifest, MANIFEST
import pytest

from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.maps.map_store import FORMAT_VERSION, MapWriter, open_map


def leave_unfinished(folder: Path, fingerprint: dict | None = None) -> None:
    with MapWriter(folder, fingerprint or {}) as writer:
        (writer.work_dir / 'views.bin').write_bytes(b'rendered')


def refusal(folder: Path) -> str:
    with pytest.raises(MapError) as caught:
        open_map(folder)
    assert '\n' not in str(caught.value)
    return str(caught.value)


def test_what_was_written_is_what_is_opened(tmp_path: Path) -> None:
    build(tmp_path / 'room.map')
    found = open_map(tmp_path / 'room.map')
    assert found.camera == CAMERA
    assert found.convention.up_source == 'configured'
    assert found.manifest['format_version'] == FORMAT_VERSION
    assert found.file('field/voxels.bin').read_bytes() == b'0123456789'
    assert found.manifest['files']['field/voxels.bin']['bytes'] == 10


def test_a_finished_map_holds_only_its_files_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    build(tmp_path / 'room.map')
    assert os.listdir(tmp_path) == ['room.map']
    assert sorted(os.listdir(tmp_path / 'room.map')) == ['field', 'manifest.json']


def test_asking_for_a_file_the_map_does_not_hold_lists_those_it_holds(tmp_path: Path) -> None:
    found = build(tmp_path / 'room.map')
    with pytest.raises(MapError, match=r'holds no regressor\.npz \(it holds field/voxels\.bin\)'):
        found.file('regressor.npz')


@pytest.mark.parametrize(
    ('damage', 'sentence'),
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
        (lambda m: (m / 'manifest.json').write_text('{"format'), 'is damaged or not of a map'),
        (lambda m: (m / 'manifest.json').write_text('[' * 100000), 'is damaged or not of a map'),
        (lambda m: (m / 'manifest.json').write_bytes(b'\xff\xfe'), 'is damaged or not of a map'),
        (lambda m: (m / 'manifest.json').write_text('[1]'), 'is damaged or not of a map'),
        (lambda m: (m / 'manifest.json').write_text('{}'), "'format_version' is missing"),
    ],
)
def test_a_damaged_map_is_refused_in_one_sentence(
    tmp_path: Path, damage: Callable[[Path], None], sentence: str
) -> None:
    folder = tmp_path / 'room.map'
    build(folder)
    damage(folder)
    assert sentence in refusal(folder)


@pytest.mark.parametrize(
    ('version', 'remedy'),
    [(FORMAT_VERSION + 1, 'update nerf_reversal_ros'), (0, 'build it again'), ('x', 'again')],
)
def test_another_format_version_is_refused_by_name(
    tmp_path: Path, version: object, remedy: str
) -> None:
    build(tmp_path / 'room.map')
    edit_manifest(tmp_path / 'room.map', lambda m: m.update(format_version=version))
    sentence = refusal(tmp_path / 'room.map')
    assert f'format version {version!r} and this program reads {FORMAT_VERSION}' in sentence
    assert remedy in sentence


@pytest.mark.parametrize('name', ['../secret', '/etc/passwd', 'a/../../b', '.hidden', 'a\\b', ''])
def test_a_manifest_cannot_name_a_file_outside_the_map(tmp_path: Path, name: str) -> None:
    build(tmp_path / 'room.map')
    entry = {'bytes': 1, 'sha256': '0'}
    edit_manifest(tmp_path / 'room.map', lambda m: m['files'].update({name: entry}))
    assert 'names a file outside the map' in refusal(tmp_path / 'room.map')


def test_a_link_out_of_the_map_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / 'room.map'
    build(folder)
    (tmp_path / 'elsewhere.bin').write_bytes(b'0123456789')
    (folder / 'field/voxels.bin').unlink()
    (folder / 'field/voxels.bin').symlink_to(tmp_path / 'elsewhere.bin')
    assert 'names a file outside the map' in refusal(folder)


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
def test_an_edited_manifest_is_refused(tmp_path: Path, change: Callable[[dict], None]) -> None:
    build(tmp_path / 'room.map')
    edit_manifest(tmp_path / 'room.map', change)
    assert 'is incomplete or was edited' in refusal(tmp_path / 'room.map')


def test_what_is_no_map_at_all_is_refused(tmp_path: Path) -> None:
    assert 'does not exist' in refusal(tmp_path / 'nowhere')
    assert 'is not a map' in refusal(tmp_path)
    (tmp_path / 'file').write_text('hello')
    assert 'is not a map' in refusal(tmp_path / 'file')


def test_opening_an_unfinished_map_says_how_to_finish_it(tmp_path: Path) -> None:
    leave_unfinished(tmp_path / 'room.map')
    assert 'is unfinished: give the same build command again' in refusal(tmp_path / 'room.map')


def test_an_existing_map_is_replaced_only_when_asked(tmp_path: Path) -> None:
    build(tmp_path / 'room.map')
    with pytest.raises(BuildError, match=r'room\.map exists: choose another folder, or give --ov'):
        build(tmp_path / 'room.map')
    build(tmp_path / 'room.map', overwrite=True, content=b'new')
    assert open_map(tmp_path / 'room.map').file('field/voxels.bin').read_bytes() == b'new'
    assert os.listdir(tmp_path) == ['room.map']


def test_the_old_map_can_be_used_until_the_new_one_is_complete(tmp_path: Path) -> None:
    build(tmp_path / 'room.map')
    with MapWriter(tmp_path / 'room.map', {}, overwrite=True) as writer:
        writer.path('field.bin').write_bytes(b'half')
        assert open_map(tmp_path / 'room.map').file('field/voxels.bin').exists()


def test_overwriting_never_touches_a_folder_that_is_not_a_map(tmp_path: Path) -> None:
    (tmp_path / 'letters').mkdir()
    (tmp_path / 'letters/dear.txt').write_text('you')
    with pytest.raises(BuildError, match='exists and is not a map'):
        build(tmp_path / 'letters', overwrite=True)
    assert (tmp_path / 'letters/dear.txt').read_text() == 'you'


def test_an_empty_folder_may_become_a_map(tmp_path: Path) -> None:
    (tmp_path / 'room.map').mkdir()
    build(tmp_path / 'room.map')
    open_map(tmp_path / 'room.map')


def test_a_failed_build_is_resumed_with_its_finished_stages(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), MapWriter(tmp_path / 'room.map', {'seed': 1}) as first:
        first.path('field.bin').write_bytes(b'trained')
        (first.work_dir / 'views.bin').write_bytes(b'rendered')
        first.finish_stage('field', {'psnr_db': 23.5})
        raise ZeroDivisionError
    with MapWriter(tmp_path / 'room.map', {'seed': 1}) as second:
        assert second.is_resumed
        assert second.note == 'resuming an unfinished build (finished stages: field)'
        assert second.is_done('field') and not second.is_done('regressor')
        assert second.stage_info('field') == {'psnr_db': 23.5}
        assert second.path('field.bin').read_bytes() == b'trained'
        assert (second.work_dir / 'views.bin').read_bytes() == b'rendered'


def test_a_build_with_other_settings_starts_afresh_and_says_so(tmp_path: Path) -> None:
    with MapWriter(tmp_path / 'room.map', {'seed': 1}) as first:
        first.path('field.bin').write_bytes(b'trained')
        first.finish_stage('field')
    with MapWriter(tmp_path / 'room.map', {'seed': 2}) as second:
        assert not second.is_resumed and not second.is_done('field')
        assert second.note.startswith('starting afresh')
        assert not second.path('field.bin').exists()


def test_a_damaged_staging_state_means_a_fresh_start(tmp_path: Path) -> None:
    leave_unfinished(tmp_path / 'room.map', {'seed': 1})
    (tmp_path / 'room.map.partial/.state.json').write_text('{"fingerp')
    with MapWriter(tmp_path / 'room.map', {'seed': 1}) as second:
        assert not second.is_resumed


def test_a_build_that_left_nothing_to_resume_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), MapWriter(tmp_path / 'room.map', {}) as writer:
        (writer.work_dir / 'field').mkdir()
        with writer.time_stage('capture'):
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    leave_unfinished(tmp_path / 'room.map')
    MapWriter(tmp_path / 'room.map', {}).close()
    assert os.listdir(tmp_path) == ['room.map.partial']


AGAIN_AND_AGAIN = """
import sys, time
from pathlib import Path
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.maps.map_store import MapWriter
folder = Path(sys.argv[1])
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        with MapWriter(folder, {}):
            if not folder.with_name('room.map.partial').joinpath('.state.json').exists():
                print('it was removed by another build')
    except BuildError as error:
        if 'another build is writing' not in str(error):
            print(error)
"""


def test_a_build_that_comes_while_another_removes_its_folder_has_one_of_its_own(
    tmp_path: Path,
) -> None:
    command = [sys.executable, '-c', AGAIN_AND_AGAIN, str(tmp_path / 'room.map')]
    builds = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [build.communicate(timeout=60)[0] for build in builds] == ['', '', '']
    assert os.listdir(tmp_path) == []


def test_the_time_of_a_stage_is_that_of_all_its_runs(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), MapWriter(tmp_path / 'room.map', {}) as first:
        first.path('field.bin').write_bytes(b'half')
        with first.time_stage('field'):
            time.sleep(0.2)
            raise ZeroDivisionError
    with MapWriter(tmp_path / 'room.map', {}) as second:
        assert second.note == 'resuming an unfinished build (finished stages: none)'
        with second.time_stage('field'):
            time.sleep(0.1)
        assert second.seconds['field'] >= 0.3


CHILD = """
import signal, sys
from pathlib import Path
from nerf_reversal_ros.maps.map_store import MapWriter
with MapWriter(Path(sys.argv[1]), {'bag': 'walk'}) as writer:
    writer.path('field/voxels.bin').write_bytes(b'0123456789')
    writer.finish_stage('field')
    print('ready', flush=True)
    signal.pause()
"""


@pytest.fixture
def other_build(tmp_path: Path) -> Iterator[subprocess.Popen]:
    command = [sys.executable, '-c', CHILD, str(tmp_path / 'room.map')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None and child.stdout.readline() == 'ready\n'
        yield child
        child.kill()


def test_two_builds_never_share_a_staging_folder(
    tmp_path: Path, other_build: subprocess.Popen
) -> None:
    with pytest.raises(BuildError, match=r'another build is writing .*room\.map\.partial'):
        build(tmp_path / 'room.map')


def test_a_killed_build_leaves_no_map_and_is_resumed(
    tmp_path: Path, other_build: subprocess.Popen
) -> None:
    other_build.send_signal(signal.SIGKILL)
    other_build.wait()
    assert not (tmp_path / 'room.map').exists()
    with MapWriter(tmp_path / 'room.map', {'bag': 'walk'}) as writer:
        assert writer.is_resumed and writer.is_done('field')
        writer.finish(MANIFEST)
    assert open_map(tmp_path / 'room.map').file('field/voxels.bin').read_bytes() == b'0123456789'


FULL = """
import resource, signal, sys
from pathlib import Path
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.maps.map_store import MapWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with MapWriter(Path(sys.argv[1]), {}) as writer:
        writer.path('field.bin').write_bytes(bytes(8192))
except BuildError as error:
    print(error)
"""


def test_a_file_size_limit_is_one_sentence_and_leaves_no_map(tmp_path: Path) -> None:
    command = [sys.executable, '-c', FULL, str(tmp_path / 'room.map')]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r'no space left for \S+room\.map\.partial: free some, .*\n', done.stdout)
    assert not (tmp_path / 'room.map').exists()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        command = ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip('mounting a small disk needs root')
        yield Path(folder)
        subprocess.run(['umount', folder], check=True)


def test_a_full_disk_is_one_sentence_and_the_build_goes_on_after_space_was_made(
    small_disk: Path,
) -> None:
    (small_disk / 'films').write_bytes(bytes(200_000))
    with pytest.raises(BuildError, match='no space left') as caught:
        build(small_disk / 'room.map', content=bytes(100_000))
    assert 'goes on where it stopped' in str(caught.value)
    assert not (small_disk / 'room.map').exists()
    (small_disk / 'films').unlink()
    build(small_disk / 'room.map', content=bytes(100_000))
    open_map(small_disk / 'room.map')


def test_a_disk_that_fills_up_while_finishing_leaves_the_old_map(small_disk: Path) -> None:
    build(small_disk / 'room.map', content=b'old')
    with MapWriter(small_disk / 'room.map', {}, overwrite=True) as writer:
        writer.path('field.bin').write_bytes(bytes(100_000))
        free = os.statvfs(small_disk)
        (small_disk / 'films').write_bytes(bytes(free.f_bavail * free.f_frsize))
        with pytest.raises(BuildError, match='no space left'):
            writer.finish(MANIFEST)
    assert open_map(small_disk / 'room.map').file('field/voxels.bin').read_bytes() == b'old'
    (small_disk / 'films').unlink()
    with MapWriter(small_disk / 'room.map', {}, overwrite=True) as writer:
        writer.finish(MANIFEST)
    assert list(open_map(small_disk / 'room.map').manifest['files']) == ['field.bin']


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(BuildError, match=r'cannot write the map .*: Not a directory'):
        MapWriter(tmp_path / 'file/room.map', {})


def test_a_manifest_with_nan_is_a_bug_and_not_a_map(tmp_path: Path) -> None:
    with pytest.raises(ValueError), MapWriter(tmp_path / 'room.map', {}) as writer:
        writer.finish({**MANIFEST, 'metrics': {'psnr_db': float('nan')}})
    assert not (tmp_path / 'room.map').exists()
