"""
Parse the command line ``nerf-reversal`` and run one command.

Exit status: 0 success; 1 an error that the user can fix, reported in one line on stderr; 2 invalid
arguments; 130 interrupted.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
import os
import sys
import traceback

from nerf_reversal_ros import __version__
from nerf_reversal_ros.cli import (
    build,
    check,
    convert,
    evaluate,
    export,
    info,
    localize,
    study,
    survey,
    view,
)
from nerf_reversal_ros.cli.interrupts import exit_soon_on_interrupt, INTERRUPTED
from nerf_reversal_ros.core.errors import NerfReversalError

COMMANDS = (convert, check, build, survey, localize, evaluate, info, view, export, study)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    arguments = _parse(argv)
    notify = _PrintOnce(f'nerf-reversal: interrupted{arguments.after_interrupt}')
    try:
        with exit_soon_on_interrupt(notify):
            arguments.run(arguments)
            sys.stdout.flush()
    except NerfReversalError as error:
        return _fail(str(error), arguments.verbose)
    except BrokenPipeError:  # the reader of stdout, such as head, has exited
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        return _fail(f'{error.strerror}: {error.filename or "writing"}', arguments.verbose)
    except KeyboardInterrupt:
        notify()
        return INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog='nerf-reversal',
        description='Localize camera images in a NeRF-based map of a room.',
    )
    parser.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    commands = parser.add_subparsers(required=True, metavar='COMMAND', title='commands')
    for command in COMMANDS:
        sub = commands.add_parser(
            command.__name__.rsplit('.', 1)[-1],
            help=command.HELP,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.add_argument(
            '-v', '--verbose', action='store_true', help='print the traceback of an error'
        )
        sub.set_defaults(run=command.run, after_interrupt=getattr(command, 'AFTER_INTERRUPT', ''))
    return parser


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parse the arguments; a command may assign positional ones that argparse leaves over."""
    parser = build_parser()
    arguments, more = parser.parse_known_args(argv)
    has_option = any(word.startswith('-') for word in more)
    if more and (has_option or 'assign_positionals' not in arguments):
        parser.error(f'unrecognized arguments: {" ".join(more)}')
    if more:
        arguments.assign_positionals(arguments, more)
    return arguments


class _PrintOnce:
    """Print a sentence on stderr at the first call only, from whichever thread it comes."""

    def __init__(self, sentence: str) -> None:
        self._sentences = [sentence]

    def __call__(self) -> None:
        with suppress(IndexError):
            print(self._sentences.pop(), file=sys.stderr)


def _fail(message: str, verbose: bool) -> int:
    if verbose:
        traceback.print_exc()
    print(f'nerf-reversal: {" ".join(message.split())}', file=sys.stderr)
    return 1


if __name__ == '__main__':
    sys.exit(main())
