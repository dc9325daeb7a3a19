"""Pages are easy to read: short lines, short sentences."""

import re

from code_reference.python_source import REPOSITORY
import pytest

MAX_COLUMNS, MAX_WORDS = 100, 25
PAGES = sorted(REPOSITORY.glob('docs/**/*.md'))
BLOCK = re.compile(r'^ *```.*?^ *```$', re.MULTILINE | re.DOTALL)


def paragraphs(text: str) -> list[str]:
    """Return what is read as sentences: neither code nor tables nor headings."""
    found, current = [], ''
    for line in BLOCK.sub('\n', text).splitlines():
        starts = re.match(r'\s*(?:[-*]|\d+\.)\s|#', line)
        if not line.strip() or line.startswith('|') or starts:
            found.append(current)
            current = ''
        if line.startswith(('|', '#')):
            continue
        current += f' {line[starts.end() :] if starts else line}'
    return [p for p in [*found, current] if p.strip()]


def words(sentence: str) -> int:
    plain = re.sub(r'`[^`]*`', 'code', re.sub(r'\]\([^)]*\)', '', sentence))
    return len(re.findall(r"[\w'/-]*[A-Za-z][\w'/-]*", plain))


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_lines_of_prose_are_short(page):
    for line in BLOCK.sub('', page.read_text('utf-8')).splitlines():
        assert line.startswith('|') or len(line) <= MAX_COLUMNS, line


@pytest.mark.parametrize('page', PAGES, ids=lambda page: page.stem)
def test_sentences_are_short(page):
    for paragraph in paragraphs(page.read_text('utf-8')):
        for sentence in re.split(r'(?<=[.?!:;])\s+', paragraph.strip()):
            assert words(sentence) <= MAX_WORDS, sentence
