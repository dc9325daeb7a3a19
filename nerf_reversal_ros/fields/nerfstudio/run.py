"""A run of nerfstudio that somebody else trained: its field, and where its cameras were."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
import hashlib
import importlib
import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from zipfile import is_zipfile

from nerfstudio.utils import external
import numpy as np
import torch

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.fields.nerfstudio.config import (
    instantiate_config,
    parse_run_config,
    PythonTag,
)
from nerf_reversal_ros.fields.nerfstudio.dependency import (
    no_downloads,
    pickle_disabled,
    VERSION,
)
from nerf_reversal_ros.fields.nerfstudio.field import is_gaussian_splatting, NerfstudioField
from nerf_reversal_ros.fields.sim3 import field_from_data, from_opengl, transform_poses

TRANSFORMS_FILE = 'dataparser_transforms.json'
"""What the trainer did to the poses of the data; it writes so beside the config."""

_KERNELS = {'Splatfacto': 'gsplat', 'InstantNGP': 'nerfacc'}
"""What renders models of a kind, on CUDA alone."""
_SAFE_GLOBALS = [
    np.dtype,
    *(type(np.dtype(name)) for name in ('float32', 'float64', 'int64')),
    getattr(np, '_core', getattr(np, 'core', np)).multiarray.scalar,
]
_UNUSED_WEIGHT_PREFIXES = (
    'lpips.',
    'psnr.',
    'ssim.',
    'device_indicator_param',
    'camera_optimizer.',
)


@dataclass(frozen=True)
class NerfstudioRun:
    """What a map can be built of."""

    model: Any
    """The trained model, not on a GPU before it is rendered."""
    field_from_world: FloatArray
    """(4, 4) similarity from the world of the run's data to the model's frame."""
    world_from_camera: FloatArray
    """(N, 4, 4) optical poses of the training cameras, where the run moved them to if it did."""
    camera: Camera
    """Of the first one, at full size."""
    names: list[str]
    """(N,) names of their pictures."""
    device: torch.device
    """Where it is rendered."""

    @property
    def sha256(self) -> str:
        """Of the cameras: they are read from data that may be changed beside the run."""
        told = hashlib.sha256(repr((self.camera, self.names)).encode())
        for matrices in (self.field_from_world, self.world_from_camera):
            told.update(np.ascontiguousarray(matrices).tobytes())
        return told.hexdigest()

    def field(self, map_from_world: FloatArray) -> NerfstudioField:
        """Return the field in metres of a map."""
        field_from_map = self.field_from_world @ np.linalg.inv(map_from_world)
        return NerfstudioField(self.model, field_from_map, self.device)


def load_run(config: Path, device: torch.device) -> NerfstudioRun:
    """
    Load a run, without its pictures.

    Parameters
    ----------
    config : Path
        The config.yml that ns-train wrote, in the folder of the run. The data that it names must
        be there, for the cameras are read from them; their pictures need not, but
        that some parsers, as those of ScanNet, Blender and D-NeRF, look at one.
    device : torch.device
        Where to render.

    Raises
    ------
    BuildError
        If the run is of another version, of a method that is not installed, on a rasteriser that
        this device lacks, or without its checkpoint or its data.
    """
    held = parse_run_config(config)
    pipeline: dict[str, Any] = held['pipeline'].values
    method = held.get('method_name') or 'unknown'
    manager, model_config = pipeline.get('datamanager'), pipeline.get('model')
    if not (isinstance(manager, PythonTag) and isinstance(model_config, PythonTag)):
        raise BuildError(f'{config} describes no model and data: it is not of a nerfstudio run')
    kind = model_config.name.rpartition('.')[2].removesuffix('ModelConfig')
    if kind in _KERNELS:
        _check_cuda(method, device)
        _check_kernels(method, _KERNELS[kind])
    checkpoint = _find_checkpoint(config, held.get('relative_model_dir'))
    cameras = _parse_split(config, 'train')
    state = _load_state(checkpoint)
    settings = instantiate_config(model_config, config)
    if getattr(settings, 'implementation', None) in ('tcnn', 'torch'):
        # What the config says is what was wished for; without tiny-cuda-nn it became torch.
        settings.implementation = 'tcnn' if _uses_tcnn(state) else 'torch'
    if _uses_tcnn(state):
        _check_tcnn(checkpoint, device)
    with no_downloads():
        model = settings.setup(
            scene_box=cameras.scene_box,
            num_train_data=len(cameras.image_filenames),
            metadata=cameras.metadata,
            device=device,
            grad_scaler=None,
            seed_points=None,
        )
    if is_gaussian_splatting(model):  # of a method that is not in our list
        _check_cuda(method, device)
        _check_kernels(method, _KERNELS['Splatfacto'])
    _load_weights(model, state, checkpoint)
    if hasattr(getattr(model, 'field', None), 'use_average_appearance_embedding'):
        model.field.use_average_appearance_embedding = True  # none was trained for zeros
    field_from_world = field_from_data(
        cameras.dataparser_transform.numpy(), cameras.dataparser_scale
    )
    _check_data_unchanged(config, field_from_world)
    poses = _apply_camera_optimizer(model, from_opengl(cameras.cameras.camera_to_worlds.numpy()))
    one = cameras.cameras[0]
    intrinsics = [float(value) for value in (one.fx, one.fy, one.cx - 0.5, one.cy - 0.5)]
    return NerfstudioRun(
        model.eval(),
        field_from_world,
        transform_poses(np.asarray(np.linalg.inv(field_from_world), np.float64), poses),
        Camera(int(one.width), int(one.height), *intrinsics),
        [path.name for path in cameras.image_filenames],
        device,
    )


def _check_cuda(method: str, device: torch.device) -> None:
    if device.type != 'cuda':
        raise BuildError(
            f'the run is of {method}, whose rasteriser runs on CUDA only, and the device is'
            f' {device.type}: build on a machine with an NVIDIA GPU, or take a run of nerfacto'
        )


def _check_kernels(method: str, package: str) -> None:
    """Have the CUDA code of a package loaded, or compiled as it does when it is first needed."""
    try:
        if importlib.import_module(f'{package}.cuda._backend')._C is not None:
            return
        lack = 'is not compiled and finds no CUDA toolkit (nvcc) to compile itself with'
    except ModuleNotFoundError as error:
        lack = f'is not installed (no module {error.name})'
    except Exception as error:  # of a compiler
        lack = f'cannot be compiled ({" ".join(str(error).split())[:200]})'
    raise BuildError(
        f'the run is of {method}, whose renderer {package} {lack}: install a CUDA toolkit that'
        f' fits PyTorch, or a compiled wheel of {package}, or take a run of nerfacto'
    )


def _uses_tcnn(names: Iterable[str]) -> bool:
    """Tell whether weights of such names are tiny-cuda-nn's."""
    return any('tcnn' in name for name in names)


def _check_tcnn(checkpoint: Path, device: torch.device) -> None:
    if device.type != 'cuda':
        lack = f'which runs on CUDA only, and the device is {device.type}: build on a GPU'
    elif not external.TCNN_EXISTS:
        lack = 'which is not installed here, or cannot be loaded: install it'
    else:
        return
    raise BuildError(
        f'the checkpoint {checkpoint} was trained with tiny-cuda-nn, {lack}, or train with'
        ' --pipeline.model.implementation torch, which renders everywhere'
    )


def _find_checkpoint(config: Path, folder: Any) -> Path:
    """Return the file of the last step."""
    relative = Path(*folder.values) if isinstance(folder, PythonTag) else Path('nerfstudio_models')
    found = sorted((config.parent / relative).glob('step-*.ckpt'))
    if not found:
        raise BuildError(
            f'the run {config.parent} has no checkpoint {relative}/step-*.ckpt: copy the whole'
            ' folder of the run, or train it to its first checkpoint'
        )
    return found[-1]


def eval_image_names(config: Path) -> set[str]:
    """Return names of the pictures that a run was judged by, of the splits that there are."""
    found: set[str] = set()
    for split in ('val', 'test'):
        with suppress(BuildError):  # few parsers have both
            found |= {path.name for path in _parse_split(config, split).image_filenames}
    return found


def _parse_split(config: Path, split: str) -> Any:
    """Let the run's dataparser tell of the cameras of a split; their pictures are not read."""
    held = parse_run_config(config)
    manager = held['pipeline'].values['datamanager'].values
    parser, data = manager.get('dataparser'), manager.get('data') or held.get('data')
    settings = instantiate_config(parser, config, downscale_factor=1, load_3D_points=False)
    folder = _data_folder(Path(instantiate_config(data, config) or settings.data), config)
    settings.data = folder
    try:
        with pickle_disabled():
            return settings.setup().get_dataparser_outputs(split)
    except Exception as error:  # the code of others, on files of others
        raise BuildError(
            f'the cameras of the run {config} cannot be read from {folder}: {error!s}'
        ) from error


def _data_folder(told: Path, config: Path) -> Path:
    """
    Return where the data are that a config.yml tells of, maybe from another machine.

    As they stand there; else below a folder that the run is in, from the nearest one up: at the
    same path if it is relative, or under the same name.
    """
    if told.exists():
        return told
    above = config.absolute().parents
    sought = [told] * (not told.is_absolute()) + [Path(told.name)]
    for place in (folder / name for name in sought for folder in above):
        # A run lies in a folder with the name of its data as well, which holds no data.
        if place.exists() and (place not in above or (place / 'transforms.json').exists()):
            break
    else:
        raise BuildError(
            f'the data {told} of the run {config} are not there: its training cameras are read'
            ' from them (transforms.json is enough where there is one; some parsers, as those of'
            ' ScanNet, Blender and D-NeRF, look at a picture too), so put them there, or where'
            f' they are looked for as well: as {" or ".join(dict.fromkeys(map(str, sought)))} in'
            f' {config.parent} or a folder above it'
        )
    if not (config.parent / TRANSFORMS_FILE).exists():
        raise BuildError(
            f'the data {told} of the run {config} are not there, and nothing tells whether'
            f' {place} are the same, for {TRANSFORMS_FILE} is missing beside the config: copy the whole'
            ' folder of the run'
        )
    return place


def _load_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Map the model's weights, not the optimisers' as well, and read nothing that could run."""
    try:
        with torch.serialization.safe_globals(_SAFE_GLOBALS):
            loaded = torch.load(
                checkpoint, map_location='cpu', weights_only=True, mmap=is_zipfile(checkpoint)
            )
        named = loaded['pipeline'].items()
    except (OSError, EOFError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise BuildError(f'the checkpoint {checkpoint} is damaged ({error}): copy it again') from (
            error
        )
    except UnpicklingError as error:
        raise BuildError(
            f'the checkpoint {checkpoint} is damaged, or holds more than weights, which could be a'
            ' program: refused; copy it again, or have it saved again by nerfstudio'
        ) from error
    plain = {name.replace('module.', ''): value for name, value in named}
    return {n.removeprefix('_model.'): v for n, v in plain.items() if n.startswith('_model.')}


def _load_weights(model: Any, state: dict[str, torch.Tensor], checkpoint: Path) -> None:
    try:
        model.load_state_dict(state, strict=False)
    except (RuntimeError, KeyError) as error:  # a splatfacto looks for its means first
        reason = ' '.join(str(error).split())[:300]
        raise BuildError(
            f'the checkpoint {checkpoint} does not fit the model and the data of its config.yml'
            f' ({reason}): give those that it was trained with'
        ) from error
    # Compared here, for splatfacto's own loading does not tell.
    odd = sorted(
        n for n in model.state_dict().keys() ^ state if not n.startswith(_UNUSED_WEIGHT_PREFIXES)
    )
    if _uses_tcnn(odd):
        raise BuildError(
            f'the checkpoint {checkpoint} was trained without tiny-cuda-nn, which its method takes'
            ' wherever it is installed, as it is here: build where it is not'
        )
    if odd:
        raise BuildError(
            f'the checkpoint {checkpoint} is not of nerfstudio {VERSION}: {odd[0]} and'
            f' {len(odd) - 1} other weights are missing or too many; train the run anew'
        )


def _check_data_unchanged(config: Path, field_from_world: FloatArray) -> None:
    """Compare with the transform that the trainer wrote beside the config."""
    path = config.parent / TRANSFORMS_FILE
    if not path.exists():
        return
    try:
        noted = json.loads(path.read_text(encoding='utf-8'))
        then = field_from_data(np.array(noted['transform']), float(noted['scale']))
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BuildError(f'{path} is damaged ({error!s}): copy the run again') from error
    # From the model's frame to itself, in which lengths are near to one, whatever the data's are.
    if not np.allclose(then @ np.linalg.inv(field_from_world), np.eye(4), atol=1e-3):
        raise BuildError(
            f'the data of the run {config} have changed since it was trained: its cameras would be'
            f' elsewhere than {path} says; give the data that it was trained with'
        )


@torch.no_grad()
def _apply_camera_optimizer(model: Any, field_from_camera: FloatArray) -> FloatArray:
    """Move the cameras to where the run's camera optimiser has them."""
    optimizer = getattr(model, 'camera_optimizer', None)
    if optimizer is None or optimizer.config.mode == 'off':
        return field_from_camera
    optimizer.device = optimizer.pose_adjustment.device
    correction = optimizer.get_correction_matrices().double().cpu().numpy()
    out = field_from_camera.copy()
    out[:, :3, :3] = correction[:, :, :3] @ out[:, :3, :3]
    out[:, :3, 3] += correction[:, :, 3]
    return out
