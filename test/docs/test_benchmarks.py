"""Results of the benchmarks are complete, on a page, and shown as they were printed."""

import importlib.util
import json
import re
import sys

from benchmark_scripts import imported_script, SCRIPTS
from code_reference import benchmarks
from code_reference.python_source import REPOSITORY
import pytest

RESULTS = sorted(benchmarks.RESULTS.glob('*.json'))
MEASURED = {
    'title': 'Something',
    'command': ['python benchmark/some.py'],
    'date': '2026-11-29',
    'machine': {'cpu': 'a CPU', 'cores': 2, 'gpu': 'none', 'load_average': 0.5, 'python': '3.11',
                'torch': '2.13'},
    'package_version': '0.1.0',
    'git_commit': 'abc1234',
    'tables': [{'title': 'Errors', 'columns': [{'name': 'median', 'unit': 'cm', 'decimals': 2}],
                'rows': [[0.5], [[1, 0.75, 2]], [None], ['<1']]}],
    'notes': ['A note.'],
}  # fmt: skip


@pytest.fixture
def results():
    """Return the module that the scripts print their tables by."""
    spec = importlib.util.spec_from_file_location('results', REPOSITORY / 'benchmark/results.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def write(tmp_path):
    """Return a function that writes results, without keys or with others."""

    def write(*without: str, **more: object) -> None:
        content = {key: value for key, value in MEASURED.items() if key not in without} | more
        (tmp_path / 'some.json').write_text(json.dumps(content), encoding='utf-8')

    return write


@pytest.mark.parametrize('file', RESULTS, ids=lambda file: file.stem)
def test_a_file_of_results_is_complete_and_on_a_page(file):
    assert benchmarks.benchmark_markdown(file.stem)
    pages = [page.read_text('utf-8') for page in REPOSITORY.glob('docs/explanation/*.md')]
    assert any(f'```{{benchmark}} {file.stem}\n' in page for page in pages)


def test_a_table_is_followed_by_its_notes_command_and_provenance(write, tmp_path):
    write()
    text = '\n'.join(benchmarks.benchmark_markdown('some', tmp_path))
    assert '| median [cm] |\n| --- |\n| 0.50 |\n| 1.00 (0.75 to 2.00) |\n| - |\n| \\<1 |' in text
    assert '- A note.\n' in text
    assert '```text\npython benchmark/some.py\n```' in text
    assert 'Written by the command on 2026-11-29, version 0.1.0, commit `abc1234`.' in text
    assert 'Recorded' not in text


def test_figures_that_were_recorded_by_hand_say_so(write, tmp_path):
    write(*benchmarks.MEASURED_KEYS, recorded='by hand from the run of 2026-11-22')
    text = '\n'.join(benchmarks.benchmark_markdown('some', tmp_path))
    assert 'Recorded by hand from the run of 2026-11-22' in text
    assert 'Written by' not in text


def test_an_unknown_file_is_an_error_of_the_directive(tmp_path):
    with pytest.raises(ValueError, match=r'has no nothing\.json'):
        benchmarks.benchmark_markdown('nothing', tmp_path)


@pytest.mark.parametrize(
    ('without', 'more', 'message'),
    [
        (benchmarks.MEASURED_KEYS, {}, 'needs either'),
        (('date',), {}, 'needs either'),
        ((), {'recorded': 'by hand'}, 'needs either'),
        (('notes',), {}, r"keys: \['notes'\]"),
        ((), {'tables': [{'title': 'T', 'columns': [], 'rows': [[1]]}]}, 'does not fit'),
    ],
)
def test_results_without_clear_provenance_are_an_error(write, tmp_path, without, more, message):
    write(*without, **more)
    with pytest.raises(ValueError, match=message):
        benchmarks.read_results('some', tmp_path)


def test_a_table_is_shown_as_it_was_printed(results, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'argv', ['benchmark/some.py', '--out', 'a b.json'])
    columns = ['method', results.Column('error', 'cm', 2), results.Column('landmarks')]
    table = results.ResultTable('Errors', columns)
    table.add_row('mean pose', 0.126, 18351.0)
    table.add_row('of three seeds', [1.0, 0.5, 2.0], float('inf'))
    printed = [line for line in capsys.readouterr().out.splitlines() if line.startswith('|')]
    results.write_results(tmp_path / 'some.json', 'Something', table, notes=['A note.'])
    content = benchmarks.read_results('some', tmp_path)
    assert [line for line in benchmarks.result_table(content['tables'][0]) if line] == printed
    assert printed[2:] == [
        '| mean pose | 0.13 | 18,351 |',
        '| of three seeds | 1.00 (0.50 to 2.00) | - |',
    ]
    assert content['tables'][0]['rows'][0] == ['mean pose', 0.13, 18351]
    assert content['command'] == ["python benchmark/some.py --out 'a b.json'"]


def test_a_row_must_fit_its_table(results):
    with pytest.raises(ValueError, match='2 cells for 1 columns'):
        results.ResultTable('Errors', ['method']).add_row('mean pose', 1)


def test_without_out_no_file_is_written(results, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    results.write_results(None, 'Something', results.ResultTable('Errors', ['method']))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda script: script.stem)
def test_every_benchmark_can_write_its_results(script):
    if script.stem != 'results':
        text = script.read_text('utf-8')
        assert 'add_out_argument(' in text
        assert re.search(r'\bwrite_results\(', text)


@pytest.mark.parametrize('script', SCRIPTS, ids=lambda script: script.stem)
def test_every_benchmark_can_be_imported(script):
    with imported_script(script.stem) as module:
        assert module.__file__ == str(script)
