"""Copy a map without what a robot does not need: the localizer reads no radiance field."""

from pathlib import Path
import shutil

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.maps.map_folder import FIELD_FILE, FIRST, Map
from nerf_reversal_ros.maps.map_writer import is_being_built, MapWriter


def robot_files(map_: Map) -> dict[str, int]:
    """Return the files of a map that a robot needs, and their sizes [bytes]."""
    files = map_.manifest['files'].items()
    return {name: entry['bytes'] for name, entry in files if name != FIELD_FILE}


def export_for_robot(map_: Map, folder: Path, *, overwrite: bool = False) -> Map:
    """
    Write a copy of a map for a robot: it localizes alike, and nothing can be rendered from it.

    Parameters
    ----------
    map_ : Map
        An opened map.
    folder : Path
        The map folder to write, complete or not at all.
    overwrite : bool
        Replace an existing map.

    Raises
    ------
    BuildError
        If the map or the folder is that of an unfinished build; if the folder exists or cannot be
        written.
    MapError
        If the map was replaced while it was read.
    """
    if map_.manifest.get('stage') == FIRST:
        raise BuildError(f'{map_.path} is only a first map: {remedies.RESUME}')
    if is_being_built(folder):
        raise BuildError(f'a build of {folder} is unfinished: {remedies.RESUME}')
    files = robot_files(map_)
    source = {name: map_.manifest['files'][name]['sha256'] for name in files}
    kept = {
        key: value
        for key, value in map_.manifest.items()
        if key not in ('format_version', 'files', 'fingerprint')
    }
    with MapWriter(folder, source, overwrite=overwrite) as writer:
        for name in files:
            shutil.copyfile(map_.file(name), writer.path(name))
        map_.check_unchanged()
        return writer.finish(kept)
