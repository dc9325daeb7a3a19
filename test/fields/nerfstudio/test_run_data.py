"""Data of a nerfstudio run: relocated, changed or missing."""

import json
import re
import shutil

from nerfstudio_runs import build_error, edit_config, load, needs_nerfstudio
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.fields.sim3 import field_from_data, make_sim3

pytestmark = needs_nerfstudio


def test_missing_data_raise_an_error(run_config, tmp_path, capsys):
    edit_config(run_config, '- scene\n', '- gone\n')
    message = build_error(run_config, tmp_path, capsys)
    assert 'do not exist, and its training cameras are read from them' in message
    assert f'or as gone in {run_config.parent} or a folder above it (' in message


def record_data_path(config, *parts):
    """Set the path of the data in a config.yml."""
    text, path = config.read_text(), ''.join(f'      - {part}\n' for part in parts)
    changed = re.sub(r'(\n      data: .*PosixPath\n)(      - .*\n)+', rf'\g<1>{path}', text)
    assert changed != text
    config.write_text(changed)


@pytest.fixture
def copied_run(trained_run, run_config, tmp_path):
    """Copy data without images, and the run below a folder with the name of the data."""
    scene = trained_run.config.parents[4] / 'scene'
    shutil.copytree(scene, tmp_path / 'data' / 'scene', ignore=shutil.ignore_patterns('*.png'))
    target = tmp_path / 'outputs' / 'scene' / 'nerfacto' / 'now'
    return shutil.copytree(run_config.parent, target) / 'config.yml'


def test_data_are_found_at_their_relative_path_below_a_folder_above_the_run(copied_run):
    record_data_path(copied_run, 'data', 'scene')
    assert len(load(copied_run).names) == 22


def test_data_of_another_machine_are_found_by_their_name(copied_run, tmp_path):
    record_data_path(copied_run, '/', 'home', 'somebody', 'scene')
    with pytest.raises(BuildError, match=r'do not exist, .* as scene in .* or a folder above it'):
        load(copied_run)
    (tmp_path / 'data' / 'scene').rename(tmp_path / 'scene')
    assert len(load(copied_run).names) == 22


def test_a_run_inside_its_data_finds_them(copied_run, tmp_path):
    record_data_path(copied_run, '/', 'home', 'somebody', 'scene')
    (tmp_path / 'outputs').rename(tmp_path / 'data' / 'scene' / 'outputs')
    run_in_data = tmp_path / 'data' / 'scene' / copied_run.relative_to(tmp_path)
    assert len(load(run_in_data).names) == 22


@pytest.mark.parametrize(
    ('recorded', 'message'),
    [
        (True, 'have changed since it was trained'),
        (False, r'_transforms\.json is missing beside'),
    ],
)
def test_relocated_data_must_match_the_recorded_transform(copied_run, recorded, message):
    record_data_path(copied_run, 'data', 'scene')
    transform_file = copied_run.parent / 'dataparser_transforms.json'
    transform = json.loads(transform_file.read_text())
    transform_file.write_text(json.dumps({**transform, 'scale': 1.1 * transform['scale']}))
    if not recorded:
        transform_file.unlink()
    with pytest.raises(BuildError, match=message):
        load(copied_run)


def test_data_changed_since_the_training_raise_an_error(run_config):
    path = run_config.parent / 'dataparser_transforms.json'
    transform = json.loads(path.read_text())
    path.write_text(json.dumps({**transform, 'scale': 1.1 * transform['scale']}))
    with pytest.raises(BuildError, match='have changed since it was trained'):
        load(run_config)


@pytest.mark.parametrize('scale', [1e-4, 1.0])
def test_changed_data_raise_an_error_in_any_unit(tmp_path, scale):
    from nerf_reversal_ros.fields.nerfstudio.run import _check_data_unchanged

    rotation = make_pose(Rotation.from_euler('z', 30, degrees=True))
    recorded = {'transform': rotation[:3].tolist(), 'scale': scale}
    (tmp_path / 'dataparser_transforms.json').write_text(json.dumps(recorded))
    field_from_world = field_from_data(rotation, scale)
    _check_data_unchanged(tmp_path / 'config.yml', field_from_world)
    for change in (
        make_sim3(1.01),
        make_pose(Rotation.from_euler('y', 1, degrees=True)),
        make_pose(translation=(0.0, 0.01, 0.0)),
    ):
        with pytest.raises(BuildError, match='have changed since it was trained'):
            _check_data_unchanged(tmp_path / 'config.yml', change @ field_from_world)


def test_a_corrupt_transform_of_a_run_raises_an_error(run_config):
    (run_config.parent / 'dataparser_transforms.json').write_text('{"transform": 3')
    with pytest.raises(BuildError, match=r'dataparser_transforms\.json is damaged'):
        load(run_config)
