"""
Repeat the study of the original project on one capture: networks, inputs, numbers of views.

MLP and CNN at 192x144, and CNN at full size, are trained on raw images, on PCA or autoencoder
reconstructions, or on the image codes; with filtered and with unfiltered synthetic views. They are
evaluated on the camera images of a held-out segment, and on the random split of the original
project, which LEAKS training data. The study first prints how long training will take, and after
the field how long rendering will take. An interrupted study resumes when the same command is given
again.
"""

import argparse
import json
from pathlib import Path
import shlex
import sys

from nerf_reversal_ros.cli.console import ProgressConsole
from nerf_reversal_ros.cli.job_table import JobTable
from nerf_reversal_ros.core.config import DEVICES
from nerf_reversal_ros.core.errors import NerfReversalError

HELP = 'repeat the study of the original project on one capture'
NAME_PARTS = 'MLP, VAE, raw, unfiltered, full size'
AFTER_INTERRUPT = '; the same command resumes the study'


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this command."""
    parser.add_argument(
        'bag', metavar='BAG', type=Path, help='mapping bag: color, depth and poses'
    )
    out_help = 'folder for study.html, study.json and work/; 3 GB with the defaults'
    parser.add_argument('out', metavar='OUT', type=Path, help=out_help)
    for option, metavar, parse, text in (
        ('--views', 'N,...', _parse_ints, 'numbers of synthetic views, default: 1000,4000,14000'),
        ('--epochs', 'N', int, 'at most, default: 40 (original project: 200)'),
        ('--patience', 'N', int, 'epochs without improvement that end a training, default: 4'),
        ('--full-views', 'N', int, 'views at full size, default: 1000'),
        ('--width', 'PX', int, 'longer side of the images, default: 192'),
        ('--full-width', 'PX', int, 'longer side at full size, at most, default: 960'),
        ('--only', 'TEXT,...', _parse_texts, f'experiments with one of: {NAME_PARTS}'),
    ):
        parser.add_argument(option, metavar=metavar, type=parse, help=text)
    bfloat16_help = 'CNNs compute in bfloat16: faster on GPUs, and on CPUs with AMX'
    ray_help = (
        'train the networks on Ray: started on this machine, running here, or by its address'
    )
    parser.add_argument('--ray', metavar='local|auto|ADDRESS', help=ray_help)
    parser.add_argument('--bfloat16', action='store_true', help=bfloat16_help)
    parser.add_argument('--device', choices=DEVICES, default='auto', help='default: auto')
    parser.add_argument('--config', metavar='FILE', type=Path, help='settings, as YAML')


def run(arguments: argparse.Namespace) -> None:
    """Run the study, print its tables, and write its report."""
    from nerf_reversal_ros.bags.bag_reader import BagReader
    from nerf_reversal_ros.core.config import load_build_config
    from nerf_reversal_ros.core.files import write_output
    from nerf_reversal_ros.study.plan import StudyPlan
    from nerf_reversal_ros.study.report import study_html
    from nerf_reversal_ros.study.study import run_study
    from nerf_reversal_ros.study.table import codec_table, conclusions, markdown, results_table

    config = load_build_config(arguments.config)
    names = (
        'views',
        'epochs',
        'patience',
        'full_views',
        'width',
        'full_width',
        'bfloat16',
        'only',
    )
    options = {name: getattr(arguments, name) for name in names}
    plan = StudyPlan(**{name: value for name, value in options.items() if value is not None})
    with BagReader(arguments.bag):
        pass  # raises before anything is written
    if arguments.out.exists() and not arguments.out.is_dir():
        raise NerfReversalError(
            f'cannot write {arguments.out}: it is not a folder, give another path'
        )
    with JobTable('networks') as table, ProgressConsole() as console:
        result = run_study(
            arguments.bag,
            arguments.out / 'work',
            config,
            plan,
            device=arguments.device,
            ray=arguments.ray,
            changed=table,
            progress=console,
        )
    codecs = codec_table(result)
    tables = [markdown(results_table(result)), *([markdown(codecs)] if codecs[1:] else [])]
    print('\n\n'.join([*tables, '\n'.join(conclusions(result))]))
    page, data = arguments.out / 'study.html', arguments.out / 'study.json'
    write_output(data, json.dumps(result, indent=1) + '\n')
    write_output(page, study_html(result, command=shlex.join(['nerf-reversal', *sys.argv[1:]])))
    print(f'wrote {page} and {data}; {arguments.out / "work"} may be deleted')


def _parse_texts(text: str) -> tuple[str, ...]:
    return tuple(text.split(','))


def _parse_ints(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(','))
    except ValueError:
        raise argparse.ArgumentTypeError(f'{text!r} is not a list of numbers') from None
