"""Commands, settings and paths on the pages of the documentation are those of the code."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
import re
import shlex

from code_reference import ros_interfaces, settings
from code_reference.command_line import command_parsers
from code_reference.json_keys import is_in_package
from code_reference.python_source import REPOSITORY
import pytest
import yaml

import nerf_reversal_ros
from nerf_reversal_ros.bags.camera_info_file import read_camera_info_file
from nerf_reversal_ros.core.config import BuildConfig, QueryConfig
from nerf_reversal_ros.core.outcome import ClosureRejectionReason, RejectionReason
from nerf_reversal_ros.core.validated_config import config_from_dict
from nerf_reversal_ros.jobs.resources import Resources

PAGES = sorted(REPOSITORY.glob('docs/[a-z]*/*.md'))
BLOCK = re.compile(r'^( *)```(\w*)(?:\{[^\n]*)?\n(.*?)^\1```$', re.MULTILINE | re.DOTALL)
NODES = ('builder', 'evaluator', 'localizer', 'loop_closer', 'player')
CONFIGS = {'build.yaml': BuildConfig, 'query.yaml': QueryConfig, 'strict.yaml': QueryConfig}
PARAMS = {'my_localizer.yaml': 'localizer', 'my_loop_closer.yaml': 'loop_closer'}


def blocks(kind: str) -> Iterator[tuple[Path, str]]:
    """Yield the code blocks of a kind on all pages."""
    for page in PAGES:
        for _, found, text in BLOCK.findall(page.read_text('utf-8')):
            if found == kind:
                yield page, text


def commands(*begin: str) -> list[object]:
    """Return the commands that begin with some words, as parameters of a test."""
    found = []
    for page, text in blocks('bash'):
        for line in text.replace('\\\n', ' ').splitlines():
            words = shlex.split(line.replace('$(', '(').partition(' | ')[0], comments=True)
            if tuple(words[: len(begin)]) == begin:
                rest = words[len(begin) :]
                found.append(pytest.param(rest, id=f'{page.stem}: {" ".join(words)}'))
    return found


def parameters_of(node: str) -> set[str]:
    source = settings.node_source(node)
    return {
        setting.name
        for name in settings.node_config_classes(source)
        for setting in settings.settings_of(source, name)
    } | {'use_sim_time'}


@pytest.mark.parametrize('words', commands('nerf-reversal'))
def test_a_command_line_is_accepted(words):
    if words == ['--version']:
        return
    parser = command_parsers()[words[0]]
    _, more = parser.parse_known_args(words[1:])
    assert not [word for word in more if word.startswith('-')]
    assert len(more) <= 1  # MAP, after an option and without BAG


@pytest.mark.parametrize('words', commands('ros2', 'launch', 'nerf_reversal_ros'))
def test_a_launch_file_has_the_arguments(words):
    known = ros_interfaces.launch_arguments(words[0])
    given = {word.partition(':=')[0] for word in words[1:]}
    assert given <= known.keys()
    assert {name for name, (default, _) in known.items() if default is None} <= given


@pytest.mark.parametrize('words', commands('ros2', 'run', 'nerf_reversal_ros'))
def test_an_executable_has_the_parameters(words):
    if words[0] not in NODES:
        assert (REPOSITORY / 'examples' / words[0]).is_file()
        return
    given = {value.partition(':=')[0] for option, value in pairwise(words) if option == '-p'}
    assert given <= parameters_of(words[0])


@pytest.mark.parametrize('words', commands('ros2', 'param', 'set'))
def test_a_parameter_that_is_set_can_change(words):
    node, name, _ = words
    source = settings.node_source(node.rpartition('/')[2])
    found = {
        setting.name: setting
        for config in settings.node_config_classes(source)
        for setting in settings.settings_of(source, config)
    }
    assert not found[name].read_only


@pytest.mark.parametrize('words', commands('ros2', 'topic', 'echo'))
def test_a_topic_is_one_of_the_localizer(words):
    names = {name.replace('~', 'localizer') for name in ros_interfaces.node_names('localizer')}
    assert words[0].lstrip('/') in names


@pytest.mark.parametrize('words', commands('make'))
def test_make_has_the_target(words):
    makefile = (REPOSITORY / 'Makefile').read_text('utf-8')
    assert re.search(rf'^{words[0]}:', makefile, re.MULTILINE)


@pytest.mark.parametrize('words', commands('pip', 'install'))
def test_pip_is_given_files_that_are_there(words):
    for option, value in pairwise(words):
        if option in ('-r', '-c'):
            assert (REPOSITORY / value.removeprefix('src/nerf_reversal_ros/')).is_file()


@pytest.mark.parametrize(
    'text', [pytest.param(text, id=f'{page.stem} {n}') for n, (page, text) in
             enumerate(blocks('yaml'))],
)  # fmt: skip
def test_a_yaml_file_is_accepted(text, tmp_path):
    first, _, _ = text.strip().partition('\n')
    name = first.strip('# ')
    values = yaml.safe_load(text)
    if name in CONFIGS:
        config_from_dict(CONFIGS[name], values)
    elif name == 'plan.yaml':
        entries = dict(values)
        rooms = entries.pop('rooms')
        assert rooms and set(entries) <= {'settings', 'field', 'device', 'resources'}
        config_from_dict(BuildConfig, entries.get('settings', {}))
        resources = [entries, *(room for room in rooms.values() if isinstance(room, dict))]
        for entry in resources:
            config_from_dict(Resources, entry.get('resources', {}))
    elif name == 'phone.yaml':
        (tmp_path / name).write_text(text, encoding='utf-8')
        assert read_camera_info_file(str(tmp_path / name)).width == values['image_width']
    else:
        node = PARAMS[name]
        assert values.keys() == {f'/**/{node}'}
        assert values[f'/**/{node}']['ros__parameters'].keys() <= parameters_of(node)


def test_paths_of_the_repository_are_there():
    roots = 'nerf_reversal_ros|config|test|msg|benchmark|docs|requirements|launch|demo'
    path = re.compile(rf'`((?:{roots})/[\w./-]*)`')
    required = re.compile(r'requirements/\w+\.txt')
    for page in PAGES:
        text = page.read_text('utf-8')
        for found in path.findall(text) + required.findall(text):
            assert (REPOSITORY / found).exists(), f'{page}: {found}'


def test_reasons_on_the_pages_are_those_of_the_localizer():
    known = {reason.value for reason in (*RejectionReason, *ClosureRejectionReason)}
    for page in PAGES:
        prose = BLOCK.sub('', page.read_text('utf-8'))
        for found in re.findall(r"(?<![\w`])'([a-z][a-z ]+)'", prose):
            assert found in known, f'{page}: {found}'


def test_python_on_the_pages_uses_the_public_names():
    found = [
        (page, name)
        for page in (*PAGES, REPOSITORY / 'README.md')
        for name in re.findall(r'\bnrr\.(\w+)', page.read_text('utf-8'))
    ]
    assert {page.stem for page, _ in found} >= {'python', 'python_api', 'README'}
    for page, name in found:
        assert name in nerf_reversal_ros.__all__, f'{page}: {name}'


def test_names_for_contributors_are_in_the_package():
    text = (REPOSITORY / 'docs/how-to/extend.md').read_text('utf-8')
    names = re.findall(r'`([A-Za-z]*[A-Z]\w+)`', text)
    assert len(names) > 5
    for name in names:
        assert is_in_package(name), name
