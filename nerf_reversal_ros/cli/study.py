"""
Repeat the study of the seed project on one walk: networks, what they see, how many views.

MLP and CNN at 192x144 and CNN at full size learn from raw pictures, from PCA or autoencoder
reconstructions or from the codes themselves, from filtered and unfiltered views, and are judged
on the real pictures of a stretch of the walk that nothing was learned from. Beside it stands the
random split of the seed, which LEAKS. First it is told how long the networks will learn, and once
there is a field how long the views will take to render. A study that was stopped goes on when the
same command is given again.
"""

import argparse
import json
from pathlib import Path
import shlex
import sys

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.core.config import DEVICES
from nerf_reversal_ros.core.errors import NerfReversalError

HELP = 'repeat the study of the seed project on one walk'
AFTER_INTERRUPT = '; the same command goes on where it stopped'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument('bag', metavar='BAG', type=Path, help='colour, depth and poses of a walk')
    parser.add_argument(
        'out',
        metavar='OUT',
        type=Path,
        help='folder for study.html, study.json and work/, of 3 GB with the defaults',
    )
    parser.add_argument(
        '--views', metavar='N,...', type=_parse_ints, help='default: 1000,4000,14000'
    )
    parser.add_argument('--epochs', metavar='N', type=int, help='default: 10 (the seed: 200)')
    parser.add_argument(
        '--full-views', metavar='N', type=int, help='views of the full size, default: 200'
    )
    parser.add_argument('--width', metavar='PX', type=int, help='longer side, default: 192')
    parser.add_argument(
        '--full-width', metavar='PX', type=int, help='of the full size, at most, default: 960'
    )
    parser.add_argument(
        '--only',
        metavar='TEXT,...',
        type=lambda text: tuple(text.split(',')),
        help='only rows whose names contain one of these: MLP, VAE, raw, unfiltered, full size',
    )
    parser.add_argument('--device', choices=DEVICES, default='auto', help='default: auto')
    parser.add_argument('--config', metavar='FILE', type=Path, help='settings, as YAML')


def run(arguments: argparse.Namespace) -> None:
    """Run the study and write its report."""
    from nerf_reversal_ros.bags.bag_reader import BagReader
    from nerf_reversal_ros.core.config import load_build_config
    from nerf_reversal_ros.core.files import write_output_text
    from nerf_reversal_ros.study.plan import StudyPlan
    from nerf_reversal_ros.study.report import study_html
    from nerf_reversal_ros.study.study import run_study
    from nerf_reversal_ros.study.table import codec_table, conclusions, markdown, results_table

    config = load_build_config(arguments.config)
    names = ('views', 'epochs', 'full_views', 'width', 'full_width', 'only')
    given = {name: getattr(arguments, name) for name in names}
    plan = StudyPlan(**{name: value for name, value in given.items() if value is not None})
    with BagReader(arguments.bag):
        pass  # what is no bag is refused before anything is written
    if arguments.out.exists() and not arguments.out.is_dir():
        raise NerfReversalError(f'cannot write {arguments.out}: it is no folder, give another')
    with ProgressConsole() as console:
        result = run_study(
            arguments.bag,
            arguments.out / 'work',
            config,
            plan,
            device=arguments.device,
            progress=console,
        )
    codes = codec_table(result)
    parts = [markdown(results_table(result)), *([markdown(codes)] if codes[1:] else [])]
    print('\n\n'.join([*parts, '\n'.join(conclusions(result))]))
    page, figures = arguments.out / 'study.html', arguments.out / 'study.json'
    write_output_text(figures, json.dumps(result, indent=1) + '\n')
    write_output_text(
        page, study_html(result, command=shlex.join(['nerf-reversal', *sys.argv[1:]]))
    )
    print(f'wrote {page} and {figures}; {arguments.out / "work"} may be deleted')


def _parse_ints(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not a list of numbers') from None
