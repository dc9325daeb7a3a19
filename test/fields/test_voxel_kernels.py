"""Compiled kernels of the voxel field against PyTorch: renderings, gradients, steps."""

import os
from pathlib import Path
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch
import voxel_walls
from voxel_walls import BRICKS, VOXEL_M, wall_field

import nerf_reversal_ros
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.fields.voxel_io import BRICK, decode_values, encode_values
from nerf_reversal_ros.fields.voxel_loss import Rays, SLOTS
from nerf_reversal_ros.fields.voxel_optimizers import CompiledOptimizer, PARTS, TorchOptimizer

SIZE_M = np.array(BRICKS) * BRICK * VOXEL_M
IMAGES = 5


def rough_field():
    """Return a wall with irregular densities and colors that have 8 bits."""
    field = wall_field(lambda points: 0.5 + 0.5 * np.sin(9 * points))
    noise = np.random.default_rng(1).normal(0, 1.5, len(field.values))
    field.values[1:, 0] += torch.from_numpy(noise).float()[1:]
    field.values = decode_values(encode_values(field.values))
    field.update_distance_map()
    return field


FIELD = rough_field()


def random_rays(count, seed=0):
    rng = np.random.default_rng(seed)
    origins = rng.uniform(-0.2, 1.2, (count, 3)) * SIZE_M
    directions = rng.uniform(0, 1, (count, 3)) * SIZE_M - origins
    directions *= rng.uniform(0.2, 2, (count, 1))
    return torch.from_numpy(origins).float(), torch.from_numpy(directions).float()


def test_renderings_are_those_of_pytorch():
    rays = random_rays(20000)
    compiled, reference = FIELD.trace(*rays), FIELD.trace_with_torch(*rays)
    assert 0.2 < float((reference[2] > 0.5).float().mean()) < 0.95
    for one, other in zip(compiled, reference, strict=True):
        difference = (one - other).abs().view(len(one), -1).amax(1)
        # Rounding decides on which side of a cell wall a few rays pass.
        assert float((difference > 1e-5).float().mean()) < 0.02
        assert float(difference.quantile(0.999)) < 2e-3


def test_values_between_the_codes_are_rendered_as_their_codes():
    field = wall_field()
    field.values[1:, 1:] += 0.3 / 255
    field.update_distance_map()
    rays = random_rays(500)
    rounded = VoxelField(
        *field._arrays()[:4], decode_values(encode_values(field.values)), *field._arrays()[5:]
    )
    assert torch.equal(field.trace(*rays)[0], rounded.trace(*rays)[0])


def training_rays(part):
    rng = np.random.default_rng(part)
    origins, directions = (item.numpy() for item in random_rays(800, part))
    depths = rng.uniform(0.2, 1.5, len(origins)).astype(np.float32)
    depths[::4] = 0
    ends = np.where(depths > 0, depths + 0.1, np.inf).astype(np.float32)
    return Rays(
        origins,
        directions,
        rng.random((len(origins), 3), np.float32),
        depths,
        ends,
        rng.integers(0, IMAGES, len(origins)),
        rng.random((len(origins), SLOTS), np.float32),
    )


def log_gain():
    gains = np.random.default_rng(3).normal(0, 0.2, (IMAGES, 3))
    return torch.from_numpy(gains - gains.mean(0)).float()


def compiled_gradients(optimizer):
    """Return the loss of the training rays, and its gradients, as `TorchOptimizer` does."""
    loss = optimizer._add_gradients(1, training_rays)
    by_value, stamps, log_gains = optimizer._gradients
    by_value[stamps != 1] = 0  # rows that no ray read hold what was there before
    return loss, *(torch.from_numpy(part.sum(0)) for part in (by_value, log_gains))


def test_gradients_of_a_step_are_those_of_autograd():
    compiled, reference = (
        optimizer(FIELD, log_gain(), 0.2) for optimizer in (CompiledOptimizer, TorchOptimizer)
    )
    compiled_result = compiled_gradients(compiled)
    expected = reference.gradients(training_rays)
    assert float(compiled_result[0]) == pytest.approx(float(expected[0]), rel=1e-5)
    for one, other in zip(compiled_result[1:], expected[1:], strict=True):
        assert float((one - other).norm()) < 1e-4 * float(other.norm())
    assert not compiled_result[1][0].any()  # row 0 stays empty space


def test_steps_are_those_of_pytorchs_adam():
    optimizers = [kind(FIELD, log_gain(), 0.2) for kind in (CompiledOptimizer, TorchOptimizer)]
    before = optimizers[0].values().clone()
    for number in range(1, 5):
        rays = [training_rays(part + PARTS * number) for part in range(PARTS)]
        losses = [optimizer.step(number, rays.__getitem__, 0.01) for optimizer in optimizers]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    one, other = (optimizer.values() for optimizer in optimizers)
    assert float((one - before).norm()) > 0.1
    assert float((one - other).norm()) < 0.01 * float((other - before).norm())
    gains = [optimizer.state()['log_gain'] for optimizer in optimizers]
    assert torch.allclose(*gains, atol=1e-5)


def test_renderings_from_several_threads_at_once_are_right():
    rays = random_rays(20000)
    expected = FIELD.trace(*rays)[0]
    results = {}

    def render(number):
        results[number] = FIELD.trace(*rays)[0]

    threads = [threading.Thread(target=render, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(results[number], expected) for number in range(4))


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, **environment},
        cwd='/',  # where no other copy of the package lies
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_field_is_rendered_without_any_writable_cache(tmp_path):
    package = tmp_path / 'nerf_reversal_ros'
    shutil.copytree(
        Path(nerf_reversal_ros.__file__).parent,
        package,
        ignore=shutil.ignore_patterns('__pycache__'),
    )
    (package / 'fields/__pycache__').write_text('in the way of a folder')
    code = (
        'from voxel_walls import CAMERA, wall_field; import numpy as np;'
        ' print(wall_field().render(np.eye(4)[None], CAMERA)[0].opacity.shape)'
    )
    path = os.pathsep.join([str(tmp_path), str(Path(voxel_walls.__file__).parent)])
    result = run_python(code, PYTHONPATH=path, HOME='/dev/null', XDG_CACHE_HOME='/dev/null')
    assert result.returncode == 0, result.stderr
    assert result.stdout == '(13, 17)\n'


def test_a_kernel_is_compiled_anew_where_a_source_that_it_inlines_has_changed(tmp_path):
    package = tmp_path / 'nerf_reversal_ros'
    ignored = shutil.ignore_patterns('__pycache__')
    shutil.copytree(Path(nerf_reversal_ros.__file__).parent, package, ignore=ignored)
    code = (
        'from nerf_reversal_ros.fields.fusion_kernels import mark_free as kernel;'
        ' print(kernel._cache.cache_path)'
    )
    folders = []
    for _ in range(2):
        folders.append(run_python(code, PYTHONPATH=str(tmp_path)).stdout)
        with open(package / 'fields/voxel_io.py', 'a', encoding='utf-8') as source:
            source.write('# edited')
    assert 'kernels-' in folders[0] and folders[0] != folders[1]


def test_the_compiler_is_imported_only_when_a_field_is_rendered_or_trained():
    code = (
        'import sys, nerf_reversal_ros.cli.main, nerf_reversal_ros.fields.voxel_training;'
        ' assert "numba" not in sys.modules'
    )
    result = run_python(code)
    assert result.returncode == 0, result.stderr
