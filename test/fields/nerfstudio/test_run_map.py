"""Maps of nerfstudio runs from the command line, and invalid combinations of sources."""

import shutil
import weakref

from nerfstudio_runs import (
    build_error,
    build_map_of_run,
    load,
    needs_nerfstudio,
    POSES,
    write_positions,
)
import numpy as np
import pytest

from nerf_reversal_ros.cli.interrupts import INTERRUPTED
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import BuildConfig, NerfstudioConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.localization.calibration import Calibration
from nerf_reversal_ros.mapping import pipeline
from nerf_reversal_ros.mapping.build_request import run_files
from nerf_reversal_ros.mapping.nerfstudio_import import (
    load_run_and_positions,
)
from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.maps.map_folder import open_map

pytestmark = needs_nerfstudio


def test_a_map_of_a_run_has_the_scale_of_the_known_positions(trained_run, tmp_path):
    positions = write_positions(tmp_path / 'positions.csv', [1, 5, 11, 18])
    assert build_map_of_run(trained_run.config, tmp_path / 'room.map', '--align', positions) == 0
    built = open_map(tmp_path / 'room.map')
    assert built.manifest['metrics']['run_scale'] == pytest.approx(2.5, rel=1e-4)
    assert built.manifest['metrics']['alignment_error_m'] < 1e-4
    rows = [int(name[6:11]) - 1 for name in load(trained_run.config).names]
    mapping_poses = built.mapping_poses
    nearest = [np.abs(POSES[rows] - pose).max((1, 2)).min() for pose in mapping_poses]
    assert len(mapping_poses) == 12 and max(nearest) < 1e-3
    assert built.manifest['capture']['source'] == 'unnamed/nerfacto/now'
    assert not built.convention.of_bag  # positions do not determine the pose convention of a bag
    warnings = built.manifest['warnings']
    assert not any('the scale is' in warning for warning in warnings)
    # Without camera images the gate keeps its default calibration.
    assert any('no camera image was localized' in warning for warning in warnings)
    assert Calibration.from_dict(built.manifest['calibration']) == Calibration()


def test_the_model_of_a_run_is_freed_before_views_are_rendered(trained_run, tmp_path, monkeypatch):
    models, alive = [], []

    def load_and_watch(*arguments):
        loaded = load_run_and_positions(*arguments)
        models.append(weakref.ref(loaded[0].model))
        return loaded

    def stop(*_):
        alive.extend(model for model in models if model() is not None)
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, 'load_run_and_positions', load_and_watch)
    monkeypatch.setattr(pipeline, 'synthesis_stage', stop)
    assert build_map_of_run(trained_run.config, tmp_path / 'room.map') == INTERRUPTED
    assert len(models) == 1 and not alive


def test_a_map_in_the_folder_of_a_run_is_no_part_of_the_run(trained_run):
    before = run_files(trained_run.config)
    inside = trained_run.config.parent / 'room.map.partial'
    inside.mkdir()
    (inside / 'manifest.json').write_text('{}')
    assert run_files(trained_run.config) == before and len(before) == 3
    shutil.rmtree(inside)


def test_a_missing_run_raises_an_error(tmp_path, capsys):
    assert 'cannot read the run' in build_error(tmp_path / 'config.yml', tmp_path, capsys)


@pytest.mark.parametrize(('bag', 'field'), [('bag', 'voxel'), (None, 'nerfstudio:config.yml')])
def test_an_uncertainty_limit_without_effect_raises_an_error(tmp_path, bag, field):
    settings = BuildConfig(nerfstudio=NerfstudioConfig(max_std_m=0.3))
    with pytest.raises(ConfigError, match=f'and the field is {field}: leave it at 0'):
        build_map(bag, tmp_path / 'room.map', settings, field=field)
    assert list(tmp_path.iterdir()) == []


def test_a_voxel_field_without_a_bag_is_a_usage_error(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(['build', str(tmp_path / 'room.map')])
    assert ended.value.code == 2
    assert 'the following arguments are required: BAG' in capsys.readouterr().err


@pytest.mark.parametrize(
    ('bag', 'positions', 'field', 'sentence'),
    [
        (None, None, 'voxel', 'field voxel needs a bag: give one'),
        ('bag', 'file', 'voxel', remedies.FIELD_OF_POSITIONS),
        ('bag', 'file', 'nerfstudio:config.yml', 'a bag and known positions both determine'),
    ],
)
def test_inconsistent_sources_raise_an_error(tmp_path, bag, positions, field, sentence):
    with pytest.raises(ConfigError, match=sentence):
        build_map(bag, tmp_path / 'room.map', BuildConfig(), field=field, positions=positions)
    assert list(tmp_path.iterdir()) == []
