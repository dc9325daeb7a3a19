"""Files for GitHub, for citation and for pre-commit are what their readers take."""

from pathlib import Path
import re
import subprocess
import sys

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = {
    '.github/workflows/ci.yml': 'vendor.github-workflows',
    '.github/ISSUE_TEMPLATE/bug_report.yml': 'vendor.github-issue-forms',
    '.github/ISSUE_TEMPLATE/feature_request.yml': 'vendor.github-issue-forms',
    '.github/ISSUE_TEMPLATE/config.yml': 'vendor.github-issue-config',
    'CITATION.cff': 'vendor.citation-file-format',
    'docker/compose.yaml': 'vendor.compose-spec',
}


def load(name):
    return yaml.safe_load((ROOT / name).read_text(encoding='utf-8'))


def commands(job):
    return '\n'.join(step.get('run', '') for step in job['steps'])


@pytest.mark.parametrize(('name', 'schema'), SCHEMAS.items(), ids=SCHEMAS)
def test_a_file_follows_its_schema(name, schema):
    pytest.importorskip('check_jsonschema', reason='make test brings it')
    command = [sys.executable, '-m', 'check_jsonschema', '--force-filetype', 'yaml']
    told = subprocess.run(
        [*command, '--builtin-schema', schema, str(ROOT / name)], capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_every_file_with_a_schema_is_checked():
    found = [*ROOT.glob('.github/workflows/*'), *ROOT.glob('.github/ISSUE_TEMPLATE/*')]
    names = {file.relative_to(ROOT).as_posix() for file in found}
    assert names == {name for name in SCHEMAS if name.startswith('.github')}


def test_the_dockerfile_passes_hadolint():
    hadolint = Path(sys.executable).with_name('hadolint')
    if not hadolint.exists():
        pytest.skip('needs hadolint: make test brings it')
    told = subprocess.run(
        [hadolint, 'docker/Dockerfile'], cwd=ROOT, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_container_is_built_and_run_from_files_that_are_there():
    dockerfile = (ROOT / 'docker/Dockerfile').read_text(encoding='utf-8')
    copied = [
        word
        for line in dockerfile.splitlines()
        if line.startswith('COPY')
        for word in line.split()[1:-1]
    ]
    compose = load('docker/compose.yaml')['services']
    assert (ROOT / 'docker' / compose['localizer']['build']['context']).samefile(ROOT)
    mounted = [volume.split(':')[0] for volume in compose['rviz']['volumes']]
    for name in [*copied, 'requirements/robot.txt']:
        assert (ROOT / name).exists()
    assert (ROOT / 'docker' / mounted[-1]).is_file()
    assert 'launch/' + compose['localizer']['command'][3] in {
        file.relative_to(ROOT).as_posix() for file in ROOT.glob('launch/*')
    }


def test_the_container_starts_without_any_variable_set():
    words = load('docker/compose.yaml')['services']['localizer']['command']
    expanded = [re.sub(r'\$\{\w+:-(.*?)\}', r'\1', word) for word in words]
    assert not [word for word in expanded if word.endswith(':=') or '$' in word]


def test_pre_commit_takes_its_configuration():
    clientlib = pytest.importorskip('pre_commit.clientlib', reason='make test brings it')
    assert clientlib.load_config(ROOT / '.pre-commit-config.yaml')['repos']


def test_hooks_are_of_this_repository_and_download_nothing():
    repositories = load('.pre-commit-config.yaml')['repos']
    assert [each['repo'] for each in repositories] == ['local']
    hooks = repositories[0]['hooks']
    assert {hook['language'] for hook in hooks} <= {'system', 'pygrep'}
    assert not any('additional_dependencies' in hook for hook in hooks)
    asked = (ROOT / 'requirements/dev.txt').read_text().split()
    programs = [hook['entry'].split()[0] for hook in hooks if hook['language'] == 'system']
    packages = {'lint-imports': 'import-linter'}
    for program in programs:
        folder, _, name = program.rpartition('/')
        assert folder == '.venv/bin'
        assert name == 'python' or packages.get(name, name) in asked


def test_ci_asks_what_a_contributor_asks_on_every_python_that_is_supported():
    job = load('.github/workflows/ci.yml')['jobs']['python']
    assert job['strategy']['matrix']['python'] == ['3.10', '3.11', '3.12']
    run = commands(job)
    for target in ('setup', 'lint', 'docs', 'test'):
        assert f'make {target}' in run


def test_ci_installs_on_ros_what_readme_says_for_a_robot():
    job = load('.github/workflows/ci.yml')['jobs']['ros']
    assert job['container'] == 'ros:jazzy'
    run = ' '.join(commands(job).split())
    for part in (
        'source /opt/ros/jazzy/setup.bash',
        'rosdep install --from-paths src --ignore-src',
        'python3 -m venv --system-site-packages venv',
        'touch venv/COLCON_IGNORE',
        'pip install -r requirements.txt -c requirements/robot_constraints.txt',
        '-DPython3_EXECUTABLE="$VIRTUAL_ENV/bin/python"',
        'colcon test ',
    ):
        assert part in run


def test_the_citation_is_of_this_version():
    """That all other files name the same version is asked in `test_packaging`."""
    version = f"__version__ = '{load('CITATION.cff')['version']}'"
    assert version in (ROOT / 'nerf_reversal_ros/__init__.py').read_text()
    date = load('CITATION.cff')['date-released']
    assert f'{load("CITATION.cff")["version"]} ({date})' in (ROOT / 'CHANGELOG.rst').read_text()
