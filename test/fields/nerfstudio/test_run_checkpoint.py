"""Checkpoints and renderers of nerfstudio runs: corrupt, of another model, without CUDA."""

import pickle
import shutil
import sys
from types import SimpleNamespace

from nerfstudio_runs import build_error, CPU, edit_config, load, needs_nerfstudio
import pytest
import torch

from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.fields.nerfstudio.dependency import no_downloads

pytestmark = needs_nerfstudio


def test_a_missing_checkpoint_raises_an_error(run_config, tmp_path, capsys):
    shutil.rmtree(run_config.parent / 'nerfstudio_models')
    message = build_error(run_config, tmp_path, capsys)
    assert 'has no checkpoint nerfstudio_models/step-*.ckpt: copy the whole folder' in message


def test_a_checkpoint_of_another_model_raises_an_error(run_config, tmp_path, capsys):
    edit_config(run_config, '    hidden_dim_color: 32\n', '    hidden_dim_color: 16\n')
    assert 'does not fit the model and the data of its config.yml' in build_error(
        run_config, tmp_path, capsys
    )


def test_gaussian_splatting_without_a_gpu_raises_an_error(run_config, tmp_path, capsys):
    models = 'nerfacto.Nerfacto', 'splatfacto.Splatfacto'
    edit_config(run_config, *(f'nerfstudio.models.{name}' for name in models))
    message = build_error(run_config, tmp_path, capsys)
    assert (
        'rasterizer runs on CUDA only, and the device is cpu: build on a machine with' in message
    )


class FailingBackend:
    """Stub of a module that compiles CUDA code, whose compilation fails."""

    def __getattr__(self, name):
        if name != '_C':
            raise AttributeError(name)
        raise RuntimeError('Error building extension')


@pytest.mark.parametrize(
    ('backend', 'sentence'),
    [
        (None, r'{0} is not installed \(no module {0}'),
        (
            SimpleNamespace(_C=None),
            r'is not compiled and finds no CUDA toolkit \(nvcc\) .*install',
        ),
        (FailingBackend(), r'cannot be compiled \(Error building extension\): install a'),
    ],
)
@pytest.mark.parametrize('package', ['gsplat', 'nerfacc'])
def test_an_unusable_renderer_raises_its_problem(monkeypatch, package, backend, sentence):
    from nerf_reversal_ros.fields.nerfstudio.run import _check_kernels

    monkeypatch.setitem(sys.modules, f'{package}.cuda._backend', SimpleNamespace(_C=object()))
    _check_kernels('splatfacto', package)
    monkeypatch.setitem(sys.modules, f'{package}.cuda._backend', backend)
    with pytest.raises(BuildError, match=sentence.format(package)):
        _check_kernels('splatfacto', package)


class ExecutedCode:
    def __reduce__(self):
        return exec, ('raise SystemExit(3)',)


def test_code_in_a_checkpoint_is_not_executed(run_config, tmp_path, capsys):
    (checkpoint,) = run_config.parent.glob('nerfstudio_models/*.ckpt')
    torch.save({'pipeline': ExecutedCode()}, checkpoint, pickle_module=pickle)
    assert 'contains more than weights, which could run code: copy it again' in build_error(
        run_config, tmp_path, capsys
    )


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [
        (None, r'is damaged \(.*\): copy it again'),
        (
            b'version https://git-lfs.github.com/spec/v1\n',
            'is damaged, or contains more than weights',
        ),
    ],
)
def test_a_truncated_checkpoint_raises_an_error(run_config, content, sentence):
    (checkpoint,) = run_config.parent.glob('nerfstudio_models/*.ckpt')
    checkpoint.write_bytes(content or checkpoint.read_bytes()[:-5000])
    with pytest.raises(BuildError, match=sentence):
        load(run_config)


@pytest.mark.parametrize(
    ('name', 'sentence'),
    [
        (
            'field.mlp_base.tcnn_encoding.params',
            'was trained with tiny-cuda-nn, which runs on CUDA only, and the device is cpu',
        ),
        (
            'field.mlp_of_another_version.weight',
            'is not of nerfstudio 1.1.5: field.mlp_of_another_version',
        ),
    ],
)
def test_a_checkpoint_with_additional_weights_raises_an_error(run_config, name, sentence):
    (checkpoint,) = run_config.parent.glob('nerfstudio_models/*.ckpt')
    state = torch.load(checkpoint, weights_only=False)
    state['pipeline'][f'_model.{name}'] = torch.zeros(1)
    torch.save(state, checkpoint)
    with pytest.raises(BuildError, match=sentence):
        load(run_config)


class TcnnStub:
    """Stub of tiny-cuda-nn, which runs on CUDA only: its modules have unused weights."""

    class Part(torch.nn.Module):
        def __init__(self, n_input_dims=3, n_output_dims=1, **_):
            super().__init__()
            self.params, self.n_output_dims = torch.nn.Parameter(torch.ones(3)), n_output_dims

    Encoding = Network = NetworkWithInputEncoding = Part


def install_tcnn(monkeypatch):
    from nerfstudio.field_components import encodings, mlp
    from nerfstudio.utils import external

    for module in (encodings, mlp, external):
        monkeypatch.setattr(module, 'TCNN_EXISTS', True)
        monkeypatch.setattr(module, 'tcnn', TcnnStub)


@pytest.mark.parametrize('tcnn_installed', [False, True])
def test_torch_weights_load_although_the_config_requests_tcnn(
    run_config, monkeypatch, tcnn_installed
):
    edit_config(run_config, 'implementation: torch', 'implementation: tcnn')
    if tcnn_installed:
        install_tcnn(monkeypatch)
    names = list(load(run_config).model.state_dict())
    assert 'field.mlp_base.model.0.hash_table' in names
    assert not any('tcnn' in name for name in names)


def test_tcnn_weights_raise_an_error_where_tcnn_cannot_run(tmp_path, monkeypatch):
    from nerf_reversal_ros.fields.nerfstudio.run import _check_tcnn

    path, gpu = tmp_path / 'step-1.ckpt', torch.device('cuda')
    with pytest.raises(BuildError, match='which is not installed here, or cannot be loaded: inst'):
        _check_tcnn(path, gpu)
    install_tcnn(monkeypatch)
    _check_tcnn(path, gpu)
    with pytest.raises(BuildError, match='runs on CUDA only, and the device is cpu: build on a'):
        _check_tcnn(path, CPU)


def test_missing_weights_of_gaussians_raise_an_error(tmp_path):
    from nerfstudio.data.scene_box import SceneBox
    from nerfstudio.models.splatfacto import SplatfactoModelConfig

    from nerf_reversal_ros.fields.nerfstudio.run import _load_weights

    box = SceneBox(torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]]))
    with no_downloads():
        model = SplatfactoModelConfig(num_random=20).setup(scene_box=box, num_train_data=1)
    state = model.state_dict()
    _load_weights(model, dict(state), tmp_path / 'step-1.ckpt')
    del state['gauss_params.opacities']
    with pytest.raises(BuildError, match=r'opacities and 0 other weights are missing or too many'):
        _load_weights(model, state, tmp_path / 'step-1.ckpt')
