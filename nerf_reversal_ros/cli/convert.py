"""
Convert a recording to a rosbag2.

Formats: record3d (an .r3d file or an EXR + JPG export), nerfstudio (a folder with transforms.json,
also of instant-ngp or NeRFCapture), polycam (a raw data export), 7scenes (frame-NNNNNN.* files),
rtabmap (a .db file), colmap (a model and its images), tum (a folder with rgb.txt), stray-scanner
(a folder with rgb.mp4), and the data parsers of an installed nerfstudio: nerfstudio-parser:NAME,
such as nerfstudio-parser:scannet.
"""

import argparse
from pathlib import Path

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.converters import FORMATS, NERFSTUDIO_PREFIX
from nerf_reversal_ros.converters.options import EXIF_CHOICES, MAX_LEFT_OUT

HELP = 'convert a recording to a bag'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument(
        'source', metavar='SOURCE', type=Path, help='recording: a file or a folder'
    )
    parser.add_argument('bag', metavar='BAG', type=Path, help='rosbag2 folder to write')
    parser.add_argument(
        '--format',
        type=format_name,
        help=f'{", ".join(FORMATS)} or {NERFSTUDIO_PREFIX}NAME; default: detected from SOURCE',
    )
    parser.add_argument(
        '--poses',
        metavar='FILE',
        type=Path,
        help='7scenes: lines "file qw qx qy qz tx ty tz f", world-to-camera, of the color camera;'
        ' tum: lines "stamp tx ty tz qx qy qz qw" instead of groundtruth.txt',
    )
    parser.add_argument(
        '--frames',
        metavar='A:B',
        type=frame_range,
        help='only frames A to B - 1: by number in file names or nodes, else by position',
    )
    parser.add_argument(
        '--max-left-out',
        metavar='FRACTION',
        type=float,
        default=MAX_LEFT_OUT,
        help='largest fraction of frames to leave out because they cannot be used'
        f' (default: {MAX_LEFT_OUT})',
    )
    parser.add_argument(
        '--depth-unit',
        metavar='METERS',
        type=float,
        help='length of one unit of the stored depth, such as 0.001; default: that of the format',
    )
    parser.add_argument(
        '--camera',
        metavar='CAMERA',
        help='tum: calibration of the color camera, a YAML of camera_calibration, a cameras.txt of'
        ' COLMAP, or "fx fy cx cy"',
    )
    parser.add_argument('--no-depth', action='store_true', help='convert color and poses only')
    parser.add_argument(
        '--exif',
        choices=EXIF_CHOICES,
        default='auto',
        help='turn images by their EXIF orientation, or ignore it; auto: as the intrinsics tell',
    )
    parser.add_argument(
        '--trust-paths',
        action='store_true',
        help='nerfstudio: also read files outside of the folder of SOURCE',
    )


def run(arguments: argparse.Namespace) -> None:
    """Convert the recording."""
    from nerf_reversal_ros.converters import convert

    with ProgressConsole() as console:
        conversion = convert(
            arguments.source,
            arguments.bag,
            format=arguments.format,
            poses=arguments.poses,
            progress=console,
            frames=arguments.frames,
            max_left_out=arguments.max_left_out,
            use_depth=not arguments.no_depth,
            depth_unit_m=arguments.depth_unit,
            camera=arguments.camera,
            exif=arguments.exif,
            trust_paths=arguments.trust_paths,
        )
    for note in conversion.notes:
        print(note)
    print(f'wrote {arguments.bag}: {conversion.frame_count} frames')


def frame_range(text: str) -> slice:
    """Parse ``A:B``, ``A:`` or ``:B``, for argparse."""
    parts = text.split(':')
    if len(parts) != 2 or not all(part.isdigit() or not part for part in parts):
        raise argparse.ArgumentTypeError(f'{text!r} is not a range of frame numbers: give A:B')
    first, end = (int(part) if part else None for part in parts)
    if end is not None and end <= (first or 0):
        raise argparse.ArgumentTypeError(f'the frame range {text} is empty: give A < B')
    return slice(first, end)


def format_name(text: str) -> str:
    """Parse the name of a format, for argparse."""
    if text in FORMATS or text.startswith(NERFSTUDIO_PREFIX):
        return text
    known = ', '.join([*FORMATS, f'{NERFSTUDIO_PREFIX}NAME'])
    raise argparse.ArgumentTypeError(f'{text!r} is not a format: choose from {known}')
