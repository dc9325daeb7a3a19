"""The reference says what the code has, no more and no less."""

import dataclasses

from code_reference import json_keys, public_api, rejections, ros_interfaces, settings
from code_reference.command_line import command_parsers, commands_markdown
from code_reference.markdown import table
from code_reference.python_source import python_source, REPOSITORY, UnreadableError
import pytest

from nerf_reversal_ros.core import config

CONFIG = python_source(REPOSITORY / 'nerf_reversal_ros/core/config.py')
NODES = ('builder', 'evaluator', 'localizer', 'loop_closer', 'player')


@pytest.fixture
def source(tmp_path):
    """Return a function that makes a file of the text of one."""

    def make(text: str):
        path = tmp_path / 'some.py'
        path.write_text(text, encoding='utf-8')
        return settings.PythonSource(path)

    return make


def test_settings_that_are_read_are_those_of_the_imported_classes():
    sections = settings.sections_of(CONFIG, 'BuildConfig')
    for name in ('LocalizerConfig', *(section.class_name for section in sections)):
        fields = dataclasses.fields(getattr(config, name))
        found = settings.settings_of(CONFIG, name)
        assert [s.name for s in found] == [field.name for field in fields]
        for setting, field in zip(found, fields, strict=True):
            assert setting.default == field.default
            assert (setting.low, setting.high) == (field.metadata['low'], field.metadata['high'])
            assert setting.choices == field.metadata['choices']
            assert setting.read_only == field.metadata['read_only']
            assert setting.description in field.metadata.values()


def test_a_setting_of_a_base_class_comes_first(source):
    found = source(
        'class Base:\n'
        "    a: int = option(1, 'first', low=0)\n"
        'class Config(Base):\n'
        "    b: str = option('x', 'second', choices=('x', 'y'), read_only=False)\n"
    )
    first, second = settings.settings_of(found, 'Config')
    assert first == settings.Setting('a', 'int', 1, 'first', low=0)
    assert (second.name, second.limits, second.read_only) == ('b', 'one of `x`, `y`', False)


def test_what_would_have_to_be_called_is_not_evaluated(source):
    found = source("A = 'x'\nB = f'{A}/y'\nC = open('/etc/passwd')\n")
    assert found.evaluate(found.assignments['B']) == 'x/y'
    with pytest.raises(UnreadableError, match='open'):
        found.evaluate(found.assignments['C'])


@pytest.mark.parametrize('node', NODES)
def test_every_node_has_parameters(node):
    lines = settings.parameters_markdown(node)
    assert sum(line.startswith('| `') for line in lines) >= 5


def test_parameters_of_the_files_in_config_are_in_the_reference():
    for node in ('localizer', 'loop_closer'):
        text = '\n'.join(settings.parameters_markdown(node))
        for line in (REPOSITORY / f'config/{node}.yaml').read_text('utf-8').splitlines():
            name, colon, _ = line.strip().partition(':')
            if colon and not name.startswith(('#', '/')) and name != 'ros__parameters':
                assert f'| `{name}` |' in text


def test_comments_of_an_interface_become_the_meaning_of_its_fields():
    request, response = ros_interfaces.interface_blocks(
        '# Ask something.\n\nfloat64 limit_m   # as far\n                  # as this [m]\n'
        '---\n# Fixed.\nstring NO = "no way"  # never\nbool success\n'
    )
    assert request[0] == 'Ask something.'
    assert request[-1] == [ros_interfaces.Entry('float64', 'limit_m', '', 'as far as this [m]')]
    assert response == [
        'Fixed.',
        [
            ros_interfaces.Entry('string', 'NO', '"no way"', 'never'),
            ros_interfaces.Entry('bool', 'success', '', ''),
        ],
    ]


def test_every_interface_can_be_read():
    files = [p for kind in ros_interfaces.PARTS for p in REPOSITORY.glob(f'{kind}/*.{kind}')]
    page = (REPOSITORY / 'docs/reference/messages.md').read_text('utf-8')
    assert len(files) >= 6
    for file in files:
        path = str(file.relative_to(REPOSITORY))
        assert any(line.startswith('| `') for line in ros_interfaces.interface_markdown(path))
        assert path in page


def test_a_topic_that_is_not_described_is_an_error():
    names = dict.fromkeys(ros_interfaces.node_names('loop_closer'), 'purpose')
    names.pop('odom')
    with pytest.raises(ValueError, match=r"not described \['odom'\], not there \['other'\]"):
        ros_interfaces.node_markdown('loop_closer', names | {'other': 'purpose'})


def test_types_of_topics_come_from_the_code():
    types = ros_interfaces.types_by_name()
    assert types['nerf_pose'] == {'geometry_msgs/PoseStamped'}
    assert types['image/compressed'] == {'sensor_msgs/CompressedImage'}
    assert types['~/build'] == {'nerf_reversal_ros/BuildMap'}


def test_launch_arguments_have_their_defaults():
    found = ros_interfaces.launch_arguments('localize.launch.py')
    assert found['map'][0] is None
    assert found['odom'][0] == 'odom'
    assert found['params_file'][0] == 'SHARE/config/localizer.yaml'


def test_every_launch_file_is_in_the_reference():
    page = (REPOSITORY / 'docs/reference/launch.md').read_text('utf-8')
    for file in REPOSITORY.glob('launch/*.launch.py'):
        assert f'{{launch-arguments}} {file.name}' in page


def test_keys_of_dictionaries_are_found_with_those_inside(source):
    found = source("x = 1\nd = {'a': x, 'b': {'c': x}, **other}\ne = {'b': 1}\n")
    assert json_keys.dictionary_keys(found, 'b') == {'a', 'b', 'b.c'}
    with pytest.raises(ValueError, match='no dictionary with the key z'):
        json_keys.dictionary_keys(found, 'z')


def test_a_computed_key_must_be_somewhere_in_the_package():
    assert json_keys.is_in_package('psnr_db')
    assert not json_keys.is_in_package('no_such_key' + '_anywhere')


def test_every_command_has_a_section():
    text = '\n'.join(commands_markdown())
    for name, parser in command_parsers().items():
        assert f'## `{name}`' in text
        for action in parser._actions:
            assert all(option in text for option in action.option_strings)


def test_every_rejection_reason_has_cause_and_remedy():
    rows = [
        line
        for name in ('RejectionReason', 'ClosureRejectionReason')
        for line in rejections.reasons_markdown(name)
        if line.startswith('| `')
    ]
    assert len(rows) >= 16
    assert all(cell.strip() for row in rows for cell in row.strip('|').split('|'))


def test_a_table_keeps_its_columns_whatever_the_text():
    assert table(['A'], [['x | y\nz']]) == ['| A |', '| --- |', '| x \\| y z |', '']
    assert table(['A'], []) == []


def test_everything_that_the_package_exports_is_in_the_reference():
    text = '\n'.join(public_api.api_markdown())
    assert public_api.exported()
    for name in public_api.exported():
        assert f':: nerf_reversal_ros.{name}\n' in text
