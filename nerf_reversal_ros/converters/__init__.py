"""
Convert recordings of other programs to bags; `FORMATS` names them.

A converter reads one format and writes through `frame_writer`; it never opens a capture or a map.
`convert` is the entry point of the command line.
"""

from pathlib import Path
from typing import Any, TYPE_CHECKING

from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback

if TYPE_CHECKING:
    from nerf_reversal_ros.converters.options import Conversion, ConvertOptions

FORMATS = (
    *('record3d', 'nerfstudio', 'polycam', '7scenes'),
    *('rtabmap', 'colmap', 'tum', 'stray-scanner'),
)
NERFSTUDIO_PREFIX = 'nerfstudio-parser:'
"""Prefix of formats that a dataparser of nerfstudio reads: ``nerfstudio-parser:scannet``."""


def convert(
    source: Path,
    bag: Path,
    *,
    format: str | None = None,
    poses: Path | None = None,
    progress: ProgressCallback = no_progress,
    **options: Any,
) -> 'Conversion':
    """
    Convert a recording to a bag.

    Parameters
    ----------
    source : Path
        A ``.r3d`` file or the folder of an EXR + JPG export (record3d), a ``transforms.json``
        or its folder (nerfstudio), a raw data export (polycam), a folder of ``frame-*.color.*``
        files (7scenes), a database (rtabmap), the folder of a model or the workspace around it
        (colmap), a folder with ``rgb.txt`` (tum), or a folder with ``rgb.mp4`` (stray-scanner).
    bag : Path
        Folder to write; it must not exist.
    format : str, optional
        One of `FORMATS`, or ``nerfstudio-parser:`` and the name of a dataparser of nerfstudio,
        which must be installed. None: guess it from the files of ``source``.
    poses : Path, optional
        For 7scenes: a file of lines ``name qw qx qy qz tx ty tz f`` with camera_from_world of the
        color camera, which replaces the poses beside the frames. For tum: a file of lines
        ``stamp tx ty tz qx qy qz qw``, which replaces ``groundtruth.txt``.
    progress : callback
        Receives one report per frame.
    **options
        The other fields of `options.ConvertOptions`.

    Returns
    -------
    Conversion
        The number of frames, and notes about frames left out and values not used.

    Raises
    ------
    CaptureError
        If the source is damaged or not of this format, too many of its frames cannot be used, or
        ``bag`` exists.
    ConfigError
        If an option is outside of its limits.
    """
    # Imported here, so that the command line reads FORMATS without loading the converters.
    from nerf_reversal_ros.converters.options import ConvertOptions

    source, bag = Path(source), Path(bag)
    if not source.exists():
        raise CaptureError(f'there is no recording at {source}: check the path')
    format = format or guess_format(source)
    settings = ConvertOptions(progress=progress, **options)
    if poses is not None and format not in ('7scenes', 'tum'):
        raise CaptureError(
            f'a pose file goes with the formats 7scenes and tum only, not with {format}: leave it'
            ' out'
        )
    if settings.camera is not None and format != 'tum':
        raise CaptureError(
            f'a camera goes with the format tum only, because {format} holds its own: leave it out'
        )
    return _run_converter(source, bag, format, poses, settings)


def guess_format(source: Path) -> str:
    """Guess the format of a recording from its files; CaptureError if it is none of `FORMATS`."""
    # Imported here, so that the command line reads FORMATS without loading the converters.
    from nerf_reversal_ros.converters import colmap, polycam, rtabmap, stray_scanner, tum
    from nerf_reversal_ros.converters.record3d import find_recordings

    recordings = find_recordings(source)
    is_named_so = source.suffix.lower() == '.r3d' or (source / 'metadata.json').exists()
    if is_named_so or recordings == [source]:
        return 'record3d'
    if source.suffix == '.json' or (source / 'transforms.json').exists():
        return 'nerfstudio'
    if source.is_dir() and any(source.glob('frame-*.color.*')):
        return '7scenes'
    if polycam.is_export(source):
        return 'polycam'
    if rtabmap.is_database(source):
        return 'rtabmap'
    if colmap.find_model(source) is not None:
        return 'colmap'
    if tum.is_sequence(source):
        return 'tum'
    if stray_scanner.is_recording(source):
        return 'stray-scanner'
    if recordings:
        return 'record3d'
    raise CaptureError(
        f'the format of {source} cannot be guessed from its files: name its format, one of'
        f' {", ".join(FORMATS)}'
    )


def _run_converter(
    source: Path, bag: Path, format: str, poses: Path | None, options: 'ConvertOptions'
) -> 'Conversion':
    # Imported here, so that the command line reads FORMATS without loading the converters.
    from nerf_reversal_ros.converters import (
        colmap,
        nerfstudio,
        nerfstudio_parser,
        polycam,
        record3d,
        rtabmap,
        seven_scenes,
        stray_scanner,
        tum,
    )

    match format:
        case '7scenes':
            return seven_scenes.convert(source, bag, poses, options)
        case 'tum':
            return tum.convert(source, bag, poses, options)
        case 'record3d':
            return record3d.convert(source, bag, options)
        case 'nerfstudio':
            return nerfstudio.convert(source, bag, options)
        case 'polycam' | 'nerfstudio-parser:polycam':
            return polycam.convert(source, bag, options)
        case 'rtabmap':
            return rtabmap.convert(source, bag, options)
        case 'colmap':
            return colmap.convert(source, bag, options)
        case 'stray-scanner':
            return stray_scanner.convert(source, bag, options)
        case _ if format.startswith(NERFSTUDIO_PREFIX):
            name = format.removeprefix(NERFSTUDIO_PREFIX)
            return nerfstudio_parser.convert(source, bag, name, options)
    raise CaptureError(
        f'format {format!r} is unknown: use one of {", ".join(FORMATS)}, {NERFSTUDIO_PREFIX}NAME'
    )
