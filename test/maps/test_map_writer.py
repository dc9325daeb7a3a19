"""A map folder is complete or absent: staging, resuming, locking, full disks and replacement."""

from collections.abc import Iterator
import os
from pathlib import Path
import re
import signal
import subprocess
import sys
import tempfile
import time

from map_folders import build, leave_unfinished, MANIFEST
import pytest

from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.maps.map_folder import open_map
from nerf_reversal_ros.maps.map_writer import MapWriter


def test_a_finished_map_holds_only_its_files_and_no_staging_folder_remains(
    tmp_path: Path,
) -> None:
    build(tmp_path / 'room.map')
    assert os.listdir(tmp_path) == ['room.map']
    assert sorted(os.listdir(tmp_path / 'room.map')) == ['field', 'manifest.json']


def test_an_existing_map_is_replaced_only_with_overwrite(tmp_path: Path) -> None:
    build(tmp_path / 'room.map')
    with pytest.raises(BuildError, match=r'room\.map exists: choose another folder, or give --ov'):
        build(tmp_path / 'room.map')
    build(tmp_path / 'room.map', overwrite=True, content=b'new')
    assert open_map(tmp_path / 'room.map').file('field/voxels.bin').read_bytes() == b'new'
    assert os.listdir(tmp_path) == ['room.map']


def test_the_old_map_can_be_opened_until_the_new_one_is_complete(tmp_path: Path) -> None:
    build(tmp_path / 'room.map')
    with MapWriter(tmp_path / 'room.map', {}, overwrite=True) as writer:
        writer.path('field.bin').write_bytes(b'half')
        assert open_map(tmp_path / 'room.map').file('field/voxels.bin').exists()


def test_overwrite_never_changes_a_folder_that_is_not_a_map(tmp_path: Path) -> None:
    (tmp_path / 'letters').mkdir()
    (tmp_path / 'letters/dear.txt').write_text('you')
    with pytest.raises(BuildError, match='exists and is not a map'):
        build(tmp_path / 'letters', overwrite=True)
    assert (tmp_path / 'letters/dear.txt').read_text() == 'you'


def test_a_map_can_be_written_to_an_empty_folder(tmp_path: Path) -> None:
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
        assert second.note == 'resuming an unfinished build (finished stages: field)'
        assert second.is_done('field') and not second.is_done('regressor')
        assert second.stage_info('field') == {'psnr_db': 23.5}
        assert second.path('field.bin').read_bytes() == b'trained'
        assert (second.work_dir / 'views.bin').read_bytes() == b'rendered'


def test_a_build_with_other_settings_starts_over_and_notes_it(tmp_path: Path) -> None:
    with MapWriter(tmp_path / 'room.map', {'seed': 1}) as first:
        first.path('field.bin').write_bytes(b'trained')
        first.finish_stage('field')
    with MapWriter(tmp_path / 'room.map', {'seed': 2}) as second:
        assert not second.is_done('field')
        assert second.note.startswith('starting over: ')
        assert not second.path('field.bin').exists()


def test_a_corrupt_staging_state_makes_the_build_start_over(tmp_path: Path) -> None:
    leave_unfinished(tmp_path / 'room.map', {'seed': 1})
    (tmp_path / 'room.map.partial/.state.json').write_text('{"fingerp')
    with MapWriter(tmp_path / 'room.map', {'seed': 1}) as second:
        assert second.note.startswith('starting over: ')


def test_a_build_with_nothing_to_resume_removes_its_staging_folder(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), MapWriter(tmp_path / 'room.map', {}) as writer:
        (writer.work_dir / 'field').mkdir()
        with writer.time_stage('capture'):
            raise KeyboardInterrupt
    assert os.listdir(tmp_path) == []
    leave_unfinished(tmp_path / 'room.map')
    MapWriter(tmp_path / 'room.map', {}).close()
    assert os.listdir(tmp_path) == ['room.map.partial']


REPEATED_BUILDS = """
import sys, time
from pathlib import Path
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.maps.map_writer import MapWriter
folder = Path(sys.argv[1])
end = time.monotonic() + 2
while time.monotonic() < end:
    try:
        with MapWriter(folder, {}):
            if not folder.with_name('room.map.partial').joinpath('.state.json').exists():
                print('another build removed the staging folder')
    except BuildError as error:
        if 'another build is writing' not in str(error):
            print(error)
"""


def test_concurrent_builds_never_remove_the_staging_folder_of_another(
    tmp_path: Path,
) -> None:
    command = [sys.executable, '-c', REPEATED_BUILDS, str(tmp_path / 'room.map')]
    builds = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [build.communicate(timeout=60)[0] for build in builds] == ['', '', '']
    assert os.listdir(tmp_path) == []


def test_the_time_of_a_stage_sums_over_resumed_builds(tmp_path: Path) -> None:
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


PAUSED_BUILD = """
import signal, sys
from pathlib import Path
from nerf_reversal_ros.maps.map_writer import MapWriter
with MapWriter(Path(sys.argv[1]), {'bag': 'walk'}) as writer:
    writer.path('field/voxels.bin').write_bytes(b'0123456789')
    writer.finish_stage('field')
    print('ready', flush=True)
    signal.pause()
"""


@pytest.fixture
def other_build(tmp_path: Path) -> Iterator[subprocess.Popen]:
    command = [sys.executable, '-c', PAUSED_BUILD, str(tmp_path / 'room.map')]
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
        assert writer.note.startswith('resuming ') and writer.is_done('field')
        writer.finish(MANIFEST)
    assert open_map(tmp_path / 'room.map').file('field/voxels.bin').read_bytes() == b'0123456789'


BUILD_WITH_FILE_SIZE_LIMIT = """
import resource, signal, sys
from pathlib import Path
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.maps.map_writer import MapWriter
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
try:
    with MapWriter(Path(sys.argv[1]), {}) as writer:
        writer.path('field.bin').write_bytes(bytes(8192))
except BuildError as error:
    print(error)
"""


def test_a_file_size_limit_raises_one_sentence_and_leaves_no_map(tmp_path: Path) -> None:
    command = [sys.executable, '-c', BUILD_WITH_FILE_SIZE_LIMIT, str(tmp_path / 'room.map')]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.fullmatch(r'no space left for \S+room\.map\.partial: free some, .*\n', done.stdout)
    assert not (tmp_path / 'room.map').exists()


@pytest.fixture
def small_disk() -> Iterator[Path]:
    """Mount a disk of 256 KiB."""
    with tempfile.TemporaryDirectory() as folder:
        command = ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', folder]
        try:
            subprocess.run(command, check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            pytest.skip('mounting a small disk needs root')
        yield Path(folder)
        subprocess.run(['umount', folder], check=True)


def test_a_full_disk_raises_one_sentence_and_the_build_resumes_after_space_is_freed(
    small_disk: Path,
) -> None:
    (small_disk / 'other_data').write_bytes(bytes(200_000))
    with pytest.raises(BuildError, match='no space left') as caught:
        build(small_disk / 'room.map', content=bytes(100_000))
    assert 'repeat the command to resume the build' in str(caught.value)
    assert not (small_disk / 'room.map').exists()
    (small_disk / 'other_data').unlink()
    build(small_disk / 'room.map', content=bytes(100_000))
    open_map(small_disk / 'room.map')


def test_a_disk_that_fills_up_while_publishing_keeps_the_old_map(small_disk: Path) -> None:
    build(small_disk / 'room.map', content=b'old')
    with MapWriter(small_disk / 'room.map', {}, overwrite=True) as writer:
        writer.path('field.bin').write_bytes(bytes(100_000))
        free = os.statvfs(small_disk)
        (small_disk / 'other_data').write_bytes(bytes(free.f_bavail * free.f_frsize))
        with pytest.raises(BuildError, match='no space left'):
            writer.finish(MANIFEST)
    assert open_map(small_disk / 'room.map').file('field/voxels.bin').read_bytes() == b'old'
    (small_disk / 'other_data').unlink()
    with MapWriter(small_disk / 'room.map', {}, overwrite=True) as writer:
        writer.finish(MANIFEST)
    assert list(open_map(small_disk / 'room.map').manifest['files']) == ['field.bin']


def test_a_folder_that_cannot_be_written_raises_one_sentence(tmp_path: Path) -> None:
    (tmp_path / 'file').write_text('')
    with pytest.raises(BuildError, match=r'cannot write the map .*: Not a directory'):
        MapWriter(tmp_path / 'file/room.map', {})


def test_a_manifest_with_nan_raises_and_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(ValueError), MapWriter(tmp_path / 'room.map', {}) as writer:
        writer.finish({**MANIFEST, 'metrics': {'psnr_db': float('nan')}})
    assert not (tmp_path / 'room.map').exists()
