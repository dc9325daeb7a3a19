"""Other recordings to bags: Record3D, nerfstudio and 7-Scenes."""

from pathlib import Path

from nerf_reversal_ros.core.errors import CaptureError
from nerf_reversal_ros.core.progress import no_progress, ProgressCallback

FORMATS = ('record3d', 'nerfstudio', '7scenes')
NERFSTUDIO_PREFIX = 'nerfstudio-parser:'
"""Before the name of a dataparser of nerfstudio, it is the format that this one reads."""


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
    Write a recording as a bag.

    Parameters
    ----------
    source : Path
        A ``.r3d`` file or the folder of an EXR + JPG export (record3d), a ``transforms.json``
        or its folder (nerfstudio), or a folder of ``frame-*.color.*`` files (7scenes).
    bag : Path
        The folder to write; it must not exist.
    format : str, optional
        One of `FORMATS`, or ``nerfstudio-parser:`` and the name of one of nerfstudio's parsers,
        which must be installed; guessed from what ``source`` holds if it is None.
    poses : Path, optional
        For 7scenes: a file with lines ``name qw qx qy qz tx ty tz f``, world-to-camera of the
        colour camera, instead of the frames' own poses.
    frames : slice, optional
        Which frames: numbers in the file names (record3d, 7scenes) or positions in the list
        (nerfstudio), from start up to stop, stop left out.
    progress : callback
        Hears of every frame.

    Raises
    ------
    CaptureError
        If the source is not such a recording or is damaged, or ``bag`` exists.
    """
    # Here, so that the command line can have FORMATS for its help without loading any of them.
    from nerf_reversal_ros.converters import (
        nerfstudio,
        nerfstudio_parser,
        record3d,
        seven_scenes,
    )

    source, bag = Path(source), Path(bag)
    if not source.exists():
        raise CaptureError(f'there is no recording at {source}')
    format = format or guess_format(source)
    if poses is not None and format != '7scenes':
        raise CaptureError(f'a pose file goes with the format 7scenes only, not with {format}')
    if format == '7scenes':
        seven_scenes.convert(source, bag, poses=poses, frames=frames, progress=progress)
    elif format == 'record3d':
        record3d.convert(source, bag, frames=frames, progress=progress)
    elif format == 'nerfstudio':
        nerfstudio.convert(source, bag, frames=frames, progress=progress)
    elif format.startswith(NERFSTUDIO_PREFIX):
        name = format.removeprefix(NERFSTUDIO_PREFIX)
        nerfstudio_parser.convert(source, bag, name, frames=frames, progress=progress)
    else:
        raise CaptureError(
            f'format {format!r} is not known: use one of {", ".join(FORMATS)}, {NERFSTUDIO_PREFIX}NAME'
        )


def guess_format(source: Path) -> str:
    """Tell the format of a recording from its files; CaptureError if it is none of `FORMATS`."""
    if source.suffix == '.r3d' or (source / 'metadata.json').exists():
        return 'record3d'
    if source.suffix == '.json' or (source / 'transforms.json').exists():
        return 'nerfstudio'
    if source.is_dir() and any(source.glob('frame-*.color.*')):
        return '7scenes'
    raise CaptureError(
        f'{source} is no recording that can be told from its files: name its format, one of'
        f' {", ".join(FORMATS)}'
    )
