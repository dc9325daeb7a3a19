"""The command line, by its argparse parsers."""

import argparse
import textwrap

from code_reference.markdown import code, one_line, prose, table


def command_parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of each command of ``nerf-reversal``, by name."""
    from nerf_reversal_ros.cli.main import build_parser

    for action in build_parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    raise ValueError('nerf-reversal has no commands')


def commands_markdown(level: int = 2) -> list[str]:
    """Return a section for each command: its usage, its text and its arguments."""
    lines = []
    for name, parser in command_parsers().items():
        usage = one_line(parser.format_usage().removeprefix('usage: '))
        lines += [f'({name}-command)=', f'{"#" * level} `{name}`', '']
        lines += ['```text', *textwrap.wrap(usage, 90, subsequent_indent='    '), '```', '']
        lines += [*prose((parser.description or '').strip()).splitlines(), '']
        lines += arguments_table(parser)
    return lines


def arguments_table(parser: argparse.ArgumentParser) -> list[str]:
    """Return a table of the arguments of a command."""
    rows = [
        [_names(action), prose(_help(action))]
        for action in parser._actions
        if action.help != argparse.SUPPRESS
    ]
    return table(['Argument', 'Meaning'], rows)


def _names(action: argparse.Action) -> str:
    value = action.metavar or ('|'.join(map(str, action.choices)) if action.choices else '')
    if not action.option_strings:
        return code(value or action.dest)
    takes_value = action.nargs != 0
    shown = [
        f'{name} {value or action.dest.upper()}' if takes_value else name
        for name in action.option_strings
    ]
    return ', '.join(map(code, shown))


def _help(action: argparse.Action) -> str:
    text = (action.help or '') % {'prog': 'nerf-reversal', 'default': action.default}
    return f'{text} (required)' if action.required and action.option_strings else text
