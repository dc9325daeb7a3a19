"""A map as one archive in memory, from a machine that does not share the folder of the survey."""

import io
from pathlib import Path
import shutil
import tarfile

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import BuildError, MapError
from nerf_reversal_ros.core.files import is_full_disk, remove
from nerf_reversal_ros.maps.map_folder import iter_map_files, open_map
from nerf_reversal_ros.maps.map_writer import publish_folder


def pack_map(map_dir: Path) -> bytes:
    """Return the files of a map as a tar archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode='w') as archive:
        for file in iter_map_files(map_dir):
            archive.add(file, file.relative_to(map_dir).as_posix())
    return packed.getvalue()


def unpack_map(packed: bytes, map_dir: Path) -> None:
    """
    Write a map from an archive, and put it in the place of an older one at once.

    Raises
    ------
    BuildError
        If it cannot be written, or is damaged; an older map is left as it is.
    """
    arriving = map_dir.with_name(map_dir.name + '.arriving')
    try:
        remove(arriving)
        arriving.mkdir(parents=True)
        with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
            for item in archive:
                target = arriving / item.name
                source = archive.extractfile(item) if item.isreg() else None
                if source is None or not target.resolve().is_relative_to(arriving.resolve()):
                    raise BuildError(f'the archive of {map_dir} holds {item.name!r}, no file')
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open('wb') as out:
                    shutil.copyfileobj(source, out)
        open_map(arriving)
        publish_folder(arriving, map_dir)
    except (OSError, tarfile.TarError, MapError) as error:
        if is_full_disk(error):
            raise BuildError(f'no space left for {map_dir}: {remedies.FREE_DISK_SPACE}') from error
        raise BuildError(f'the map {map_dir} did not arrive whole: {error}') from error
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
