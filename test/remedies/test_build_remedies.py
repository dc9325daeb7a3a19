"""Remedies of maps and builds: each fault is made, and its remedy followed to a whole map."""

from dataclasses import asdict
import importlib.metadata
import resource
import shutil
import signal

from command_line import run_command
import pytest
from room_bags import write_room_bag
from rooms import walk
from tiny_build import CAMERA, SETTINGS
import torch
import yaml

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.devices import resolve_device
from nerf_reversal_ros.core.errors import BuildError, ConfigError
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.mapping.build_request import validate_request
from nerf_reversal_ros.mapping.pipeline import build_map


def build(bag, map_dir, *options):
    settings = map_dir.with_suffix('.yaml')
    settings.write_text(yaml.safe_dump(asdict(SETTINGS)))
    command = ['build', bag, map_dir, '--config', settings, '--device', 'cpu', *options]
    return run_command(*command)


def localize(map_dir, bag):
    return run_command('localize', map_dir, bag, '--out', map_dir.parent / 'poses.json')


def last_line(completed):
    assert completed.returncode == 1, completed.stdout
    return completed.stderr.splitlines()[-1]


def test_a_damaged_map_is_built_again_with_overwrite(tiny_map, tiny_bag, tmp_path):
    copy = shutil.copytree(tiny_map.path, tmp_path / 'room.map')
    (copy / 'manifest.json').write_text('{}')
    assert last_line(localize(copy, tiny_bag)).endswith(remedies.BUILD_AGAIN)
    assert last_line(build(tiny_bag, copy)).endswith(remedies.OVERWRITE)
    assert build(tiny_bag, copy, '--overwrite').returncode == 0
    assert localize(copy, tiny_bag).returncode == 0


def test_a_folder_that_is_no_map_is_replaced_by_the_one_of_a_build(tiny_map, tiny_bag):
    assert last_line(localize(tiny_bag, tiny_bag)).endswith(remedies.GIVE_MAP)
    assert localize(tiny_map.path, tiny_bag).returncode == 0


def test_an_unfinished_map_is_resumed_by_the_same_command(tiny_bag, tmp_path):
    def interrupt(progress):
        if progress.stage == 'first_map':
            raise KeyboardInterrupt

    map_dir = tmp_path / 'room.map'
    with pytest.raises(KeyboardInterrupt):
        build_map(tiny_bag, map_dir, SETTINGS, device='cpu', progress=interrupt)
    assert last_line(localize(map_dir, tiny_bag)).endswith(remedies.RESUME)
    resumed = build(tiny_bag, map_dir)
    assert resumed.returncode == 0 and 'resuming an unfinished build' in resumed.stderr
    assert localize(map_dir, tiny_bag).returncode == 0


def test_a_build_resumes_when_the_disk_has_space_again(tiny_bag, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    try:
        full = build(tiny_bag, tmp_path / 'room.map')
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert last_line(full).endswith(remedies.FREE_DISK_SPACE)
    assert build(tiny_bag, tmp_path / 'room.map').returncode == 0


@pytest.mark.skipif(torch.cuda.is_available(), reason='there is a GPU')
def test_without_a_gpu_other_devices_can_be_chosen():
    with pytest.raises(ConfigError) as error:
        resolve_device('cuda')
    assert str(error.value).endswith(remedies.OTHER_DEVICE)
    assert resolve_device('cpu') == resolve_device('auto') == torch.device('cpu')


def test_without_nerfstudio_the_voxel_field_can_be_taken(tiny_bag, monkeypatch):
    def missing(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr('nerf_reversal_ros.fields.nerfstudio.dependency.version', missing)
    require_nerfstudio.cache_clear()
    with pytest.raises(BuildError) as error:
        require_nerfstudio()
    require_nerfstudio.cache_clear()
    assert str(error.value).endswith(f'{remedies.INSTALL_NERFSTUDIO}, or {remedies.VOXEL_FIELD}')
    assert validate_request(
        tiny_bag, SETTINGS, device='cpu', field_kind='voxel', positions=None
    ).field_kind == 'voxel'  # fmt: skip


def build_nerfacto(folder, field, **nerfstudio):
    """Build a map without depth, or fail to, with as little training as possible."""
    pytest.importorskip('nerfstudio')
    settings = folder / 'settings.yaml'
    config = asdict(SETTINGS)
    quick = {'steps': 2, 'rays_per_step': 64, 'bake_views': 4, 'bake_size': 16}
    config['nerfstudio'].update(quick | nerfstudio)
    config['synthesis'].update(views=2, min_opacity=0.0, max_near_share=1.0)
    settings.write_text(yaml.safe_dump(config))
    if not (folder / 'bag').exists():
        write_room_bag(folder / 'bag', walk(12), CAMERA, depth=False, up_axis='z')
    command = ['build', folder / 'bag', folder / 'room.map', '--config', settings]
    return run_command(*command, '--device', 'cpu', '--field', field)


@pytest.mark.parametrize('field', ['voxel', 'depth-nerfacto'])
def test_a_capture_without_depth_is_built_with_nerfacto(tmp_path, field):
    assert last_line(build_nerfacto(tmp_path, field)).endswith(remedies.FIELD_WITHOUT_DEPTH)
    assert build_nerfacto(tmp_path, 'nerfacto').returncode == 0


@pytest.mark.parametrize(
    ('remedy', 'given', 'proposed'),
    [
        (remedies.CERTAIN_DEPTH, {'max_std_m': 1e-9}, {'max_std_m': 0.0}),
        (remedies.RENDERED_DEPTH, {'learning_rate': 1e9}, {'learning_rate': 0.01}),
    ],
    ids=['certain', 'rendered'],
)
def test_the_renderings_of_a_nerfacto_have_depth(tmp_path, remedy, given, proposed):
    message = last_line(build_nerfacto(tmp_path, 'nerfacto', **given))
    assert message.endswith(remedy.format(**given))
    assert build_nerfacto(tmp_path, 'nerfacto', **proposed).returncode == 0
