"""A file is added to a finished map, which stays whole."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
import resource
import signal
import subprocess

from map_folders import build
import pytest

from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.maps.map_addition import add_file
from nerf_reversal_ros.maps.map_export import export_for_robot
from nerf_reversal_ros.maps.map_folder import COVERAGE_FILE, Map, open_map


@pytest.fixture
def built(tmp_path: Path) -> Map:
    """Return a map without the file."""
    return build(tmp_path / 'room.map')


@pytest.fixture
def small_files() -> Iterator[None]:
    """Let no file grow beyond 4 KB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, handler)


def test_an_added_file_belongs_to_the_map_and_its_copies(built: Map, tmp_path: Path) -> None:
    assert built.coverage_file is None
    for content in (b'green', b'red'):
        added = add_file(open_map(built.path), COVERAGE_FILE, content)
        assert added == open_map(built.path)
        assert added.coverage_file is not None and added.coverage_file.read_bytes() == content
    assert list(added.manifest['files']) == [COVERAGE_FILE, 'field/voxels.bin']
    assert not list(built.path.glob('.*'))
    built.check_unchanged()  # what was read before is still that of the map
    robot = export_for_robot(added, tmp_path / 'robot.map')
    assert robot.file(COVERAGE_FILE).read_bytes() == b'red'
    assert build(built.path, overwrite=True).coverage_file is None
    assert not (built.path / COVERAGE_FILE).exists()


def test_nothing_is_added_to_a_map_that_was_replaced(built: Map) -> None:
    newer = build(built.path, overwrite=True, content=b'newer')
    with pytest.raises(MapError, match='was replaced by a newer one'):
        add_file(built, COVERAGE_FILE, b'green')
    assert open_map(built.path) == newer


def test_a_map_can_be_opened_while_two_programs_add_to_it(built: Map) -> None:
    def add(word: bytes) -> None:
        for count in range(20):
            add_file(built, COVERAGE_FILE, word * count)

    with ThreadPoolExecutor(2) as pool:
        writers = [pool.submit(add, word) for word in (b'green', b'red')]
        while not all(writer.done() for writer in writers):
            open_map(built.path)
        for writer in writers:
            writer.result()
    assert open_map(built.path).coverage_file is not None


@pytest.mark.usefixtures('small_files')
def test_a_file_that_cannot_be_written_leaves_the_map_as_it_was(built: Map) -> None:
    with pytest.raises(BuildError, match=r'cannot write the map \S+room\.map: File too large'):
        add_file(built, COVERAGE_FILE, bytes(8192))
    assert open_map(built.path) == built


def test_a_read_only_disk_is_named(tmp_path: Path) -> None:
    try:
        command = ['mount', '-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', tmp_path]
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip('mounting a read-only disk needs root')
    try:
        built = build(tmp_path / 'room.map')
        subprocess.run(['mount', '-o', 'remount,ro', tmp_path], check=True)
        with pytest.raises(BuildError, match=r'cannot write the map \S+: Read-only file system'):
            add_file(built, COVERAGE_FILE, b'green')
        assert open_map(built.path) == built
    finally:
        subprocess.run(['umount', tmp_path], check=True)
