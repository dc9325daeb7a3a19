"""
Make a bag of a recording of another kind.

Formats: record3d (an .r3d file or an EXR + JPG export), nerfstudio (a folder with
transforms.json), 7scenes (frame-NNNNNN.* files), and what an installed nerfstudio parses:
nerfstudio-parser:NAME, such as nerfstudio-parser:polycam or nerfstudio-parser:scannet.
"""

import argparse
from pathlib import Path

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.converters import FORMATS, NERFSTUDIO_PREFIX

HELP = 'make a bag of a recording of another kind'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument('source', metavar='SOURCE', type=Path, help='the recording')
    parser.add_argument('bag', metavar='BAG', type=Path, help='the rosbag2 folder to write')
    parser.add_argument(
        '--format',
        type=format_name,
        help=f'{", ".join(FORMATS)} or {NERFSTUDIO_PREFIX}NAME; default: what SOURCE looks like',
    )
    parser.add_argument(
        '--poses',
        metavar='FILE',
        type=Path,
        help='7scenes: lines "file qw qx qy qz tx ty tz f", world-to-camera, of the colour camera',
    )
    parser.add_argument(
        '--frames',
        metavar='A:B',
        type=frame_range,
        help='only frames A up to B, B left out; by the number in their file names',
    )


def run(arguments: argparse.Namespace) -> None:
    """Convert."""
    from nerf_reversal_ros.converters import convert

    with ProgressConsole() as console:
        convert(
            arguments.source,
            arguments.bag,
            format=arguments.format,
            poses=arguments.poses,
            frames=arguments.frames,
            progress=console,
        )
    print(f'wrote {arguments.bag}')


def frame_range(text: str) -> slice:
    """Read ``A:B``, ``A:`` or ``:B``."""
    parts = text.split(':')
    if len(parts) != 2 or not all(part.isdigit() or not part for part in parts):
        raise argparse.ArgumentTypeError(f'{text!r} is not a range A:B of frame numbers')
    first, end = (int(part) if part else None for part in parts)
    if end is not None and end <= (first or 0):
        raise argparse.ArgumentTypeError(f'the range {text} of frames is empty: A must be < B')
    return slice(first, end)


def format_name(text: str) -> str:
    """Read the name of a format."""
    if text in FORMATS or text.startswith(NERFSTUDIO_PREFIX):
        return text
    known = ', '.join([*FORMATS, f'{NERFSTUDIO_PREFIX}NAME'])
    raise argparse.ArgumentTypeError(f'{text!r} is no format (choose from {known})')
