"""
The command ``nerf-reversal``.

Exit status: 0 done; 1 something that the user can mend, told in one line on stderr; 2 misuse of
the command line; 130 interrupted.
"""

import argparse
from collections.abc import Sequence
from contextlib import suppress
import os
import sys
import traceback

from nerf_reversal_ros import __version__
from nerf_reversal_ros.cli import build, convert, evaluate, info, localize, study
from nerf_reversal_ros.cli.interrupts import exit_soon_on_interrupt, INTERRUPTED
from nerf_reversal_ros.core.errors import NerfReversalError

COMMANDS = (convert, build, localize, evaluate, info, study)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status."""
    whole = build_parser()
    arguments, more = whole.parse_known_args(argv)
    if more and (any(word.startswith('-') for word in more) or 'take_more' not in arguments):
        whole.error(f'unrecognized arguments: {" ".join(more)}')
    if more:
        arguments.take_more(arguments, more)
    tell = _PrintOnce(f'nerf-reversal: interrupted{arguments.after_interrupt}')
    try:
        with exit_soon_on_interrupt(tell):
            arguments.run(arguments)
            sys.stdout.flush()
    except NerfReversalError as error:
        return _fail(str(error), arguments.verbose)
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        if error.filename is None and error.strerror is None:
            raise
        return _fail(f'{error.strerror}: {error.filename or "writing"}', arguments.verbose)
    except KeyboardInterrupt:
        tell()
        return INTERRUPTED
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    whole = argparse.ArgumentParser(
        prog='nerf-reversal',
        description='Tell from one picture where in a room a camera is, with a NeRF of the room.',
    )
    whole.add_argument('--version', action='version', version=f'%(prog)s {__version__}')
    commands = whole.add_subparsers(required=True, metavar='COMMAND', title='commands')
    for command in COMMANDS:
        sub = commands.add_parser(
            command.__name__.rsplit('.', 1)[-1],
            help=command.HELP,
            description=command.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        command.add_arguments(sub)
        sub.add_argument('-v', '--verbose', action='store_true', help='tell where errors arose')
        sub.set_defaults(run=command.run, after_interrupt=getattr(command, 'AFTER_INTERRUPT', ''))
    return whole


class _PrintOnce:
    """Prints a sentence on stderr when it is first called."""

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
