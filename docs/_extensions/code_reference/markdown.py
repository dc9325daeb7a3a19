"""Tables and code in Markdown."""

from collections.abc import Iterable, Sequence


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; none without rows."""
    lines = [_line(row) for row in rows]
    return [_line(header), _line(['---'] * len(header)), *lines, ''] if lines else []


def code(text: object) -> str:
    """Return a text as code; nothing for an empty one."""
    return f'`{text}`' if str(text) else ''


def prose(text: str) -> str:
    """Escape what Markdown would take for markup in a sentence of the code."""
    for character in '\\<>*':
        text = text.replace(character, f'\\{character}')
    return text


def one_line(text: str) -> str:
    """Return a text with single blanks for all white space."""
    return ' '.join(text.split())


def _line(cells: Sequence[str]) -> str:
    return '| ' + ' | '.join(one_line(cell).replace('|', '\\|') for cell in cells) + ' |'
