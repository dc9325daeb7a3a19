"""
Check that lines of prose can be read on a narrow screen.

Prose is the text of Markdown and reStructuredText, and docstrings and comments of Python. Tables,
code blocks and the targets of links do not count.

    python scripts/check_prose.py [FILE ...]

Without files it takes those that git tracks. It prints ``FILE:LINE: WHAT`` for each line that is
too long, and ends with status 1 if there is one.
"""

import ast
from collections.abc import Iterator
import io
from pathlib import Path
import re
import subprocess
import sys
import tokenize

MAX_CHARACTERS = 100
FENCE = re.compile(r'\s*(?:[-*>]\s+)*(`{3,}|~{3,})')
LINK_TARGET = re.compile(r'\]\([^)]*\)|\]\[[^]]*\]|<?https?://[^\s>)]+>?')
RST_BLOCK = re.compile(r'(?:::|\.\. (?:code|code-block|highlight|math|parsed-literal)::.*)$')

Line = tuple[int, str]
"""Number, from 1, and text."""


def markdown_prose(text: str) -> Iterator[Line]:
    """Go through the lines of Markdown that are neither in a code block nor of a table."""
    fence = ''
    for number, line in enumerate(text.splitlines(), start=1):
        if fence:
            closing = line.strip()
            if closing.startswith(fence) and not closing.strip(fence[0]):
                fence = ''
        elif found := FENCE.match(line):
            fence = found[1]
        elif not line.lstrip().startswith('|'):
            yield number, line


def rst_prose(text: str) -> Iterator[Line]:
    """Go through the lines of reStructuredText that are neither in a block nor of a table."""
    block_indent: int | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        indent = len(line) - len(line.lstrip())
        if block_indent is not None and indent > block_indent:
            continue
        block_indent = indent if RST_BLOCK.search(line.rstrip()) else None
        if not line.lstrip().startswith(('|', '+-', '+=')):
            yield number, line


def python_prose(text: str) -> Iterator[Line]:
    """Go through the lines of docstrings, those of attributes too, and of comments."""
    lines = text.splitlines()
    numbers = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            if isinstance(node.value.value, str):
                numbers.update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            numbers.add(token.start[0])
    for number in sorted(numbers):
        yield number, lines[number - 1]


READERS = {'.md': markdown_prose, '.rst': rst_prose, '.py': python_prose}


def long_lines(path: Path) -> Iterator[tuple[int, int]]:
    """Return number and characters, without targets of links, of each line that is too long."""
    for number, line in READERS[path.suffix](path.read_text(encoding='utf-8')):
        characters = len(LINK_TARGET.sub('', line.rstrip()))
        if characters > MAX_CHARACTERS:
            yield number, characters


def tracked_files() -> list[Path]:
    """Return the files of prose that git tracks, or would."""
    command = ['git', 'ls-files', '--cached', '--others', '--exclude-standard', '-z']
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [Path(name) for name in sorted(listed.split('\0')) if name and Path(name).is_file()]


def main(arguments: list[str]) -> int:
    """Check files and return the exit status."""
    status = 0
    paths = [Path(argument) for argument in arguments] or tracked_files()
    for path in paths:
        if path.suffix not in READERS:
            continue
        for number, characters in long_lines(path):
            print(f'{path}:{number}: {characters} characters, at most {MAX_CHARACTERS} are wanted')
            status = 1
    return status


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))
