"""Lines of prose that are too long are named; tables, code and targets of links do not count."""

from pathlib import Path
import shutil
import subprocess
import sys

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / 'scripts/check_prose.py'
SHORT, LONG = 'x' * 100, 'x' * 101


def check(folder, *names):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *names], cwd=folder, capture_output=True, text=True
    )


def found(folder, name, text):
    """Return the numbers of the lines that are told of a file with a text."""
    (folder / name).write_text(text, encoding='utf-8')
    told = check(folder, name)
    numbers = [int(line.split(':')[1]) for line in told.stdout.splitlines()]
    assert (told.returncode, told.stderr) == (1 if numbers else 0, '')
    return numbers


def test_a_long_line_is_told_with_file_and_line_and_the_status_is_1(tmp_path):
    (tmp_path / 'page.md').write_text(f'{SHORT}\n{LONG}\n')
    told = check(tmp_path, 'page.md')
    assert told.returncode == 1
    assert told.stdout == 'page.md:2: 101 characters, at most 100 are wanted\n'


@pytest.mark.parametrize(
    ('text', 'numbers'),
    [
        (f'{SHORT}\n\n- {LONG}\n', [3]),
        (f'| {LONG} |\n  | {LONG} |\n', []),
        (f'```\n{LONG}\n```\n{LONG}\n', [4]),
        (f'~~~text\n{LONG}\n```\n{LONG}\n~~~\n{LONG}\n', [6]),
        (f'- ````\n  {LONG}\n  ```\n  {LONG}\n  ````\n{LONG}\n', [6]),
        (f'{"x" * 90} [a link](page/{LONG}.md)\n', []),
        (f'{"x" * 95} [a link](page.md) and more\n', [1]),
        (f'{"x" * 90} https://example.org/{LONG} more\n', []),
        (f'[name]: https://example.org/{LONG}\n', []),
    ],
)
def test_markdown(tmp_path, text, numbers):
    assert found(tmp_path, 'page.md', text) == numbers


@pytest.mark.parametrize(
    ('text', 'numbers'),
    [
        (f'* {LONG}\n', [1]),
        (f'Such as::\n\n  {LONG}\n\n  {LONG}\n\n{LONG}\n', [7]),
        (f'.. code-block:: sh\n\n   {LONG}\n\nText\n', []),
        (f'+---+\n| {LONG} |\n+---+\n', []),
        (f'`a link <https://example.org/{LONG}>`_\n', []),
    ],
)
def test_restructured_text(tmp_path, text, numbers):
    assert found(tmp_path, 'page.rst', text) == numbers


def test_python_has_prose_in_docstrings_and_comments_and_code_elsewhere(tmp_path):
    lines = [
        f'"""{LONG}"""',
        f'A = "{LONG}"',
        f'"""{LONG}"""',
        f'B = 1  # {LONG}',
        'class C:',
        f'    """{LONG}',
        '    """',
        f'    D = ["""{LONG}""", """',
        f'{LONG}',
        '"""]',
        f'# https://example.org/{LONG}',
    ]
    assert found(tmp_path, 'module.py', '\n'.join(lines) + '\n') == [1, 3, 4, 6]


def test_other_files_are_not_looked_at(tmp_path):
    (tmp_path / 'settings.yaml').write_text(f'# {LONG}\n')
    assert check(tmp_path, 'settings.yaml').returncode == 0


@pytest.mark.skipif(not shutil.which('git'), reason='git is not installed')
def test_without_names_it_takes_the_files_of_the_repository(tmp_path):
    subprocess.run(['git', 'init', '-q'], cwd=tmp_path, check=True)
    (tmp_path / '.gitignore').write_text('ignored.md\n')
    for name in ('ignored.md', 'page.md'):
        (tmp_path / name).write_text(f'{LONG}\n')
    told = check(tmp_path)
    assert [line.split(':')[0] for line in told.stdout.splitlines()] == ['page.md']
