"""
Convert other recordings to bags: Record3D, nerfstudio (also by its dataparsers) and 7-Scenes.

A converter reads one format and writes through `bag_writer`; it never opens a capture or a map.
`convert` is the entry point of the command line.
"""

from pathlib import Path

from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback

FORMATS = ('record3d', 'nerfstudio', '7scenes')
NERFSTUDIO_PREFIX = 'nerfstudio-parser:'
"""Prefix of formats that a dataparser of nerfstudio reads: ``nerfstudio-parser:scannet``."""


def convert(
    source: Path,
    bag: Path,
    *,
    format: str | None = None,
    poses: Path | None = None,
    frames: slice | None = None,
    progress: ProgressCallback = no_progress,
) -> None:
    """
    Convert a recording to a bag.

    Parameters
    ----------
    source : Path
        A ``.r3d`` file or the folder of an EXR + JPG export (record3d), a ``transforms.json``
        or its folder (nerfstudio), or a folder of ``frame-*.color.*`` files (7scenes).
    bag : Path
        Folder to write; it must not exist.
    format : str, optional
        One of `FORMATS`, or ``nerfstudio-parser:`` and the name of a dataparser of nerfstudio,
        which must be installed. None: guess it from the files of ``source``.
    poses : Path, optional
        For 7scenes: a file of lines ``name qw qx qy qz tx ty tz f`` with camera_from_world of the
        color camera, which replaces the poses beside the frames.
    frames : slice, optional
        Frames from start up to, but without, stop: numbers in the file names (record3d, 7scenes)
        or positions in the list of frames (nerfstudio).
    progress : callback
        Receives one report per frame.

    Raises
    ------
    CaptureError
        If the source is damaged or not of this format, or ``bag`` exists.
    """
    source, bag = Path(source), Path(bag)
    if not source.exists():
        raise CaptureError(f'there is no recording at {source}: check the path')
    format = format or guess_format(source)
    if poses is not None and format != '7scenes':
        raise CaptureError(
            f'a pose file goes with the format 7scenes only, not with {format}: leave it out'
        )
    _run_converter(source, bag, format, poses, frames, progress)


def guess_format(source: Path) -> str:
    """Guess the format of a recording from its files; CaptureError if it is none of `FORMATS`."""
    # Imported here, so that the command line reads FORMATS without loading the converters.
    from nerf_reversal_ros.converters.record3d import find_recordings

    recordings = find_recordings(source)
    is_named_so = source.suffix.lower() == '.r3d' or (source / 'metadata.json').exists()
    if is_named_so or recordings == [source]:
        return 'record3d'
    if source.suffix == '.json' or (source / 'transforms.json').exists():
        return 'nerfstudio'
    if source.is_dir() and any(source.glob('frame-*.color.*')):
        return '7scenes'
    if recordings:
        return 'record3d'
    raise CaptureError(
        f'the format of {source} cannot be guessed from its files: name its format, one of'
        f' {", ".join(FORMATS)}'
    )


def _run_converter(
    source: Path,
    bag: Path,
    format: str,
    poses: Path | None,
    frames: slice | None,
    progress: ProgressCallback,
) -> None:
    # Imported here, so that the command line reads FORMATS without loading the converters.
    from nerf_reversal_ros.converters import (
        nerfstudio,
        nerfstudio_parser,
        record3d,
        seven_scenes,
    )

    match format:
        case '7scenes':
            seven_scenes.convert(source, bag, poses=poses, frames=frames, progress=progress)
        case 'record3d':
            record3d.convert(source, bag, frames=frames, progress=progress)
        case 'nerfstudio':
            nerfstudio.convert(source, bag, frames=frames, progress=progress)
        case _ if format.startswith(NERFSTUDIO_PREFIX):
            name = format.removeprefix(NERFSTUDIO_PREFIX)
            nerfstudio_parser.convert(source, bag, name, frames=frames, progress=progress)
        case _:
            raise CaptureError(
                f'format {format!r} is unknown: use one of {", ".join(FORMATS)},'
                f' {NERFSTUDIO_PREFIX}NAME'
            )
