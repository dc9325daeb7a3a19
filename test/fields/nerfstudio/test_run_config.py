"""Parsing of the config.yml of a nerfstudio run, without execution of its code."""

from nerfstudio_runs import build_error, edit_config, needs_nerfstudio
import pytest

from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.fields.nerfstudio.config import instantiate_config, PythonTag

pytestmark = needs_nerfstudio
LOSSES = 'nerfstudio.model_components.losses.DepthLossType'
PYTHON_3_11 = 'builtins.getattr'


def test_a_run_of_another_version_raises_the_different_setting(run_config, tmp_path, capsys):
    edit_config(run_config, '    use_single_jitter: true\n', '')
    message = build_error(run_config, tmp_path, capsys)
    assert (
        'another version of nerfstudio than 1.1.5' in message and '(use_single_jitter)' in message
    )


def test_a_method_that_is_not_installed_raises_an_error(run_config, tmp_path, capsys):
    edit_config(run_config, 'nerfstudio.models.nerfacto.', 'lerf.lerf.')
    message = build_error(run_config, tmp_path, capsys)
    assert (
        'is of a method that is not installed: it names lerf.lerf.NerfactoModelConfig' in message
    )


def test_code_in_a_config_is_not_executed(run_config, tmp_path, capsys):
    marker = tmp_path / 'marker'
    command = f'!!python/object/apply:os.system ["touch {marker}"]'
    edit_config(run_config, 'implementation: torch', f'implementation: {command}')
    assert 'is of a method that is not installed: it names os.system' in build_error(
        run_config, tmp_path, capsys
    )
    assert not marker.exists()


def test_a_name_without_a_module_raises_an_error(tmp_path):
    with pytest.raises(BuildError, match="names 'nerfstudio' where a class was expected"):
        instantiate_config(PythonTag('nerfstudio', ()), tmp_path / 'config.yml')


@pytest.mark.parametrize(
    'choice', [PythonTag(LOSSES, (2,)), PythonTag(PYTHON_3_11, (PythonTag(LOSSES, None), 'URF'))]
)
def test_enumeration_members_are_parsed_as_any_python_writes_them(tmp_path, choice):
    assert instantiate_config(choice, tmp_path / 'config.yml').name == 'URF'


@pytest.mark.parametrize(
    'choice', [PythonTag(LOSSES, (99,)), PythonTag(PYTHON_3_11, (PythonTag(LOSSES, None), 'mro'))]
)
def test_unknown_enumeration_members_raise_an_error(tmp_path, choice):
    with pytest.raises(BuildError, match=r'another version of nerfstudio than .*(99|mro)'):
        instantiate_config(choice, tmp_path / 'config.yml')


def test_getattr_of_no_enumeration_raises_an_error(tmp_path):
    console = PythonTag('nerfstudio.utils.rich_utils.CONSOLE', None)
    with pytest.raises(BuildError, match='which is no configuration of nerfstudio: give the'):
        instantiate_config(PythonTag(PYTHON_3_11, (console, 'print')), tmp_path / 'config.yml')


def test_a_file_without_a_pipeline_raises_an_error(tmp_path, capsys):
    (tmp_path / 'config.yml').write_text('a: 1\n')
    message = build_error(tmp_path / 'config.yml', tmp_path, capsys)
    assert 'is not the config.yml of a nerfstudio run: it has no pipeline' in message
