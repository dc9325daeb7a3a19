"""
Say what the builder would make of a bag, in seconds, with a picture of the walk.

The same checks open each build. Where no map can be built, the message names the cause and what
to set; the exit status is 1.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from nerf_reversal_ros.cli.build import field_name
from nerf_reversal_ros.cli.console import ProgressConsole

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from nerf_reversal_ros.capture.capture import Capture
    from nerf_reversal_ros.core.geometry import FloatArray

HELP = 'say whether a map can be built from a bag'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument('bag', metavar='BAG', type=Path, help='mapping bag')
    parser.add_argument('--config', metavar='FILE', type=Path, help='settings of a build, as YAML')
    parser.add_argument(
        '--field', type=field_name, default='voxel', help='as of build; default: voxel'
    )
    parser.add_argument(
        '--picture',
        metavar='FILE',
        type=Path,
        help='PNG of the walk to write; default: BAG_walk.png in the current folder',
    )


def run(arguments: argparse.Namespace) -> None:
    """Check the bag, print the findings and write the picture."""
    from nerf_reversal_ros.core.config import load_build_config
    from nerf_reversal_ros.core.errors import NerfReversalError
    from nerf_reversal_ros.core.files import check_writable
    from nerf_reversal_ros.mapping.mapping_capture import open_mapping_capture, recorded_walk

    bag: Path = arguments.bag
    config = load_build_config(arguments.config)
    picture: Path = arguments.picture or Path(f'{bag.resolve().stem}_walk.png')
    check_writable(picture)
    try:
        with ProgressConsole() as console:
            capture = open_mapping_capture(bag, config, arguments.field, console)
    except NerfReversalError:
        poses, stamps_ns = recorded_walk(bag, config.capture)
        _write_picture(picture, poses, stamps_ns, bag.name, is_aligned=False)
        raise
    print('\n'.join(summary_lines(capture)))
    for finding in capture.findings:
        print(f'warning: {finding.text}')
    title = f'{bag.name}: {len(capture)} frames'
    _write_picture(picture, capture.map_from_camera, capture.stamps_ns, title, is_aligned=True)
    doubt = '; mind the warning' if capture.findings else ''
    print(f'A map can be built from {bag}{doubt}.')


def _write_picture(
    picture: Path,
    poses: 'FloatArray',
    stamps_ns: 'NDArray[np.int64]',
    title: str,
    *,
    is_aligned: bool,
) -> None:
    """Draw the walk and say so; nothing of fewer than two poses."""
    from nerf_reversal_ros.core.files import write_output
    from nerf_reversal_ros.evaluation.walk_plot import draw_walk

    if len(poses) > 1:
        write_output(picture, draw_walk(poses, stamps_ns, title, is_aligned=is_aligned))
        print(f'wrote {picture}')


def summary_lines(capture: 'Capture') -> list[str]:
    """Describe what a build would use of a bag."""
    import numpy as np

    counts = capture.counts
    dropped = ', '.join(
        f'{count} {name}'
        for name, count in counts.items()
        if count and name.startswith(('dropped', 'pictures '))
    )
    frame, convention = capture.frame(0), capture.convention
    positions = capture.map_from_camera[:, :3, 3]
    length_m = float(np.linalg.norm(np.diff(positions, axis=0), axis=1).sum())
    size = ' x '.join(f'{side:.1f}' for side in np.ptp(positions, axis=0))
    seconds = (capture.stamps_ns[-1] - capture.stamps_ns[0]) * 1e-9
    lines = [
        f'{capture.source}: {len(capture)} of {counts["pictures"]} images over {seconds:.1f} s'
        f' can be used{f" ({dropped})" if dropped else ""}.',
        f'Camera: {frame.camera.width}x{frame.camera.height}, focal length'
        f' {frame.camera.fx:.0f} px.',
    ]
    if frame.depth is not None:
        known = frame.depth[frame.depth > 0]
        median_m = float(np.median(known)) if len(known) else 0.0
        height, width = frame.depth.shape
        share = len(known) / frame.depth.size
        lines.append(f'Depth: {width}x{height}, {share:.0%} known, median {median_m:.2f} m.')
    fit = convention.depth_error_m.get(convention.axes)
    fits = '' if fit is None else f', which fit the depth to {fit * 100:.1f} cm'
    return [
        *lines,
        f'Poses: {convention.axes}{fits}; up from {convention.up_source}.',
        f'Walk: {length_m:.1f} m long, in a space of {size} m.',
    ]
