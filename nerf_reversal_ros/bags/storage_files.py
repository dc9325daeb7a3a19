"""
Find and open the files that hold the messages of a bag.

The files are the truth: ``metadata.yaml`` may be missing, damaged, edited, or of another version.
Files that were compressed as a whole are unpacked for as long as they are open.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path, PurePath
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from rosbags.rosbag2 import ReaderError
import yaml

from nerf_reversal_ros.bags import mcap_storage, ros1_storage, sqlite_storage
from nerf_reversal_ros.bags.bag_safety import unpack_file, ZSTD_MAGIC
from nerf_reversal_ros.bags.mcap_storage import McapStorage
from nerf_reversal_ros.bags.ros1_storage import Ros1Storage
from nerf_reversal_ros.bags.sqlite_storage import SqliteStorage
from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.files import is_within

Storage = McapStorage | SqliteStorage | Ros1Storage
_SUFFIXES = ('.mcap', '.db3', '.bag')
_PACKED_SUFFIXES = ('.zstd', '.zst')
_MAGIC_SUFFIXES = {
    mcap_storage.MAGIC: '.mcap',
    sqlite_storage.MAGIC: '.db3',
    ros1_storage.MAGIC: '.bag',
}
_METADATA = 'metadata.yaml'
_LOADER = getattr(yaml, 'CSafeLoader', yaml.SafeLoader)


class Metadata(NamedTuple):
    """The part of ``metadata.yaml`` that the files do not hold."""

    files: tuple[str, ...] = ()
    """Names of the files of the bag when it was recorded, without folders."""
    custom: dict[str, str] = {}  # noqa: RUF012
    """Custom metadata of the recording program."""
    is_damaged: bool = False


def read_metadata(path: Path) -> Metadata:
    """Read ``metadata.yaml`` of a bag, as far as it can be read."""
    file = path / _METADATA
    if not path.is_dir() or not file.exists():
        return Metadata()
    try:
        content = yaml.load(file.read_text(encoding='utf-8'), _LOADER)
        information = content['rosbag2_bagfile_information']
        names = tuple(PurePath(str(name)).name for name in information['relative_file_paths'])
        custom: Any = information.get('custom_data')
    except Exception:  # PyYAML raises many types on malformed input
        return Metadata(is_damaged=True)
    custom = custom if isinstance(custom, dict) else {}
    return Metadata(names, {str(key): str(value) for key, value in custom.items()})


def storage_paths(path: Path, metadata: Metadata) -> list[Path]:
    """
    Return the storage files of a bag: the file itself, or all in its folder.

    Raises
    ------
    CaptureError
        If there is no bag, or a link in its folder leads outside of it.
    """
    if not path.exists():
        raise CaptureError(f'there is no bag at {path}')
    if not path.is_dir():
        if not _is_storage(path):
            raise CaptureError(
                f'{path} is not a bag: give a rosbag2 folder, or a .mcap, .db3 or .bag file'
                ' (`nerf-reversal convert` converts other recordings)'
            )
        return [path]
    files = list(_storage_files(path))
    if not files:
        raise CaptureError(_no_files_message(path, metadata))
    for file in files:
        if not is_within(file, path):
            raise CaptureError(
                f'the bag {path} names {file}, outside of itself: do not trust it, or copy the'
                ' file into its folder'
            )
    return files


def is_bag(path: Path) -> bool:
    """Whether a path is, by names and first bytes of its files, a bag."""
    if not path.is_dir():
        return _is_storage(path)
    return (path / _METADATA).exists() or _holds_bag(path)


def missing_files(files: list[Path], metadata: Metadata) -> list[str]:
    """Return the files that ``metadata.yaml`` names beyond those of a bag, if some are there."""
    present = {_unpacked_name(file.name) for file in files}
    named = {_unpacked_name(name): name for name in metadata.files}
    if not present & named.keys():  # all were renamed
        return []
    return [name for unpacked, name in named.items() if unpacked not in present]


def open_storage(path: Path) -> Storage:
    """
    Open a storage file; one that is compressed as a whole is unpacked first.

    Temporary copies are removed before this function returns: an open file does not need its name
    any more, and no copy outlives the process.

    Raises
    ------
    CaptureError
        If the file runs code, or unpacking it would fill the disk.
    ReaderError
        If the file cannot be read; rosbags raises other types, too.
    """
    with ExitStack() as stack:

        def temporary_folder() -> Path:
            return Path(stack.enter_context(TemporaryDirectory(prefix='nerf_reversal_bag_')))

        if _magic_of(path).startswith(ZSTD_MAGIC):
            path = unpack_file(path, temporary_folder())
        magic = _magic_of(path)
        if not magic:
            raise ReaderError('the file is empty')
        suffixes = (s for known, s in _MAGIC_SUFFIXES.items() if magic.startswith(known))
        suffix = next(suffixes, path.suffix)
        storage: Storage
        if suffix == '.db3':
            storage = SqliteStorage(path, temporary_folder)
        else:
            storage = Ros1Storage(path) if suffix == '.bag' else McapStorage(path)
        storage.open()
        return storage


def _storage_files(folder: Path) -> Iterator[Path]:
    """Yield the storage files of a folder, without the packed ones that lie there unpacked."""
    files = sorted(file for file in folder.iterdir() if _is_storage(file))
    names = {file.name for file in files}
    for file in files:
        if _unpacked_name(file.name) == file.name or _unpacked_name(file.name) not in names:
            yield file


def _is_storage(file: Path) -> bool:
    """Whether a file is, by its name or first bytes, a storage file, possibly compressed."""
    if not file.is_file():
        return False
    if Path(_unpacked_name(file.name)).suffix in _SUFFIXES:
        return True
    try:
        magic = _magic_of(file)
    except OSError:  # not ours to read
        return False
    return any(magic.startswith(known) for known in _MAGIC_SUFFIXES)


def _magic_of(file: Path) -> bytes:
    with file.open('rb') as opened:
        return opened.read(16)


def _unpacked_name(name: str) -> str:
    path = PurePath(name)
    return path.stem if path.suffix in _PACKED_SUFFIXES else name


def _no_files_message(path: Path, metadata: Metadata) -> str:
    if metadata.files:
        names = ', '.join(metadata.files[:5])
        return f'the bag {path} holds no storage file, its {_METADATA} names {names}: copy them'
    bags = sorted(item.name for item in path.iterdir() if item.is_dir() and _holds_bag(item))
    if bags:
        return (
            f'{path} is not a bag, but it holds bags: give one of them, such as {path / bags[0]}'
        )
    return (
        f'{path} is not a bag, it holds neither .mcap, .db3 nor .bag files (`nerf-reversal'
        ' convert` converts other recordings)'
    )


def _holds_bag(folder: Path) -> bool:
    try:
        return any(_is_storage(file) for file in folder.iterdir())
    except OSError:
        return False
