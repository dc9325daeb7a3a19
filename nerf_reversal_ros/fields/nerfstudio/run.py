"""
Import of an existing nerfstudio run: its trained model and its training cameras.

No code of the run is executed. The config.yml is parsed as data, the checkpoint is loaded as
weights only, and the cameras are read from the data that the run was trained on.
"""

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

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.camera_validation import IntrinsicsSource, make_camera
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
"""Transform of the dataparser, which the trainer writes beside the config."""

_KERNELS = {'Splatfacto': 'gsplat', 'InstantNGP': 'nerfacc'}
"""Packages that render a kind of model, on CUDA alone."""
_SAFE_GLOBALS = [
    np.dtype,
    *(type(np.dtype(name)) for name in ('float32', 'float64', 'int64')),
    getattr(np, '_core', getattr(np, 'core', np)).multiarray.scalar,
]
"""Types besides tensors that checkpoints of nerfstudio contain."""
_UNUSED_WEIGHT_PREFIXES = (
    'lpips.',
    'psnr.',
    'ssim.',
    'device_indicator_param',
    'camera_optimizer.',
)
"""Weights that rendering does not use: they may be missing from the model or the checkpoint."""


@dataclass(frozen=True)
class NerfstudioRun:
    """A trained model with its training cameras."""

    model: Any
    """Trained model, on the CPU until it is rendered."""
    field_from_world: FloatArray
    """(4, 4) Sim(3) from the world of the data to the frame of the model."""
    world_from_camera: FloatArray
    """(N, 4, 4) optical poses of the training cameras, corrected by the camera optimizer."""
    camera: Camera
    """Camera of the first training image, at full size."""
    names: list[str]
    """(N,) file names of the training images."""
    device: torch.device
    """Device of the rendering."""

    @property
    def sha256(self) -> str:
        """Hash of the cameras, which are read from data that may change beside the run."""
        digest = hashlib.sha256(repr((self.camera, self.names)).encode())
        for matrices in (self.field_from_world, self.world_from_camera):
            digest.update(np.ascontiguousarray(matrices).tobytes())
        return digest.hexdigest()

    def field(self, map_from_world: FloatArray) -> NerfstudioField:
        """Return the field in meters of a map."""
        field_from_map = self.field_from_world @ np.linalg.inv(map_from_world)
        return NerfstudioField(self.model, field_from_map, self.device)


def load_run(config: Path, device: torch.device) -> NerfstudioRun:
    """
    Load the model and the training cameras of a run, without its images.

    Parameters
    ----------
    config : Path
        The config.yml of ns-train, in the folder of the run. The data that it names must exist,
        because the cameras are read from them. Images need not, except for some parsers that
        open one, such as those of ScanNet, Blender and D-NeRF.
    device : torch.device
        Device of the rendering.

    Raises
    ------
    BuildError
        If the run is of another version or of a method that is not installed, if the device lacks
        its rasterizer, or if its checkpoint or its data are missing.
    ImageError
        If its intrinsics are those of no camera.
    """
    attributes = parse_run_config(config)
    pipeline: dict[str, Any] = attributes['pipeline'].values
    method = attributes.get('method_name') or 'unknown'
    manager, model_config = pipeline.get('datamanager'), pipeline.get('model')
    if not (isinstance(manager, PythonTag) and isinstance(model_config, PythonTag)):
        raise BuildError(
            f'{config} describes no model and data: give the config.yml that ns-train wrote'
        )
    kind = model_config.name.rpartition('.')[2].removesuffix('ModelConfig')
    if kind in _KERNELS:
        _check_cuda(method, device)
        _check_kernels(method, _KERNELS[kind])
    checkpoint = _find_checkpoint(config, attributes.get('relative_model_dir'))
    parsed = _parse_split(config, 'train')
    model = _load_model(instantiate_config(model_config, config), parsed, checkpoint, device)
    if is_gaussian_splatting(model):  # of an installed method that _KERNELS does not list
        _check_cuda(method, device)
        _check_kernels(method, _KERNELS['Splatfacto'])
    field_from_world = field_from_data(
        parsed.dataparser_transform.numpy(), parsed.dataparser_scale
    )
    _check_data_unchanged(config, field_from_world)
    poses = _apply_camera_optimizer(model, from_opengl(parsed.cameras.camera_to_worlds.numpy()))
    return NerfstudioRun(
        model.eval(),
        field_from_world,
        transform_poses(np.asarray(np.linalg.inv(field_from_world), np.float64), poses),
        _camera(parsed.cameras[0]),
        [path.name for path in parsed.image_filenames],
        device,
    )


def _camera(first: Any) -> Camera:
    """Convert a camera of nerfstudio, whose origin is the corner of the first pixel."""
    intrinsics = (float(first.fx), float(first.fy), float(first.cx - 0.5), float(first.cy - 0.5))
    source = IntrinsicsSource(
        'the camera of the run',
        'correct the intrinsics in its data, and train it again',
        'set w and h in its data to {width} and {height}, and train it again',
    )
    return make_camera((int(first.width), int(first.height)), intrinsics, source)[0]


def _load_model(settings: Any, parsed: Any, checkpoint: Path, device: torch.device) -> Any:
    """Set up the model of a configuration and load the weights of a checkpoint."""
    state = _load_state(checkpoint)
    if getattr(settings, 'implementation', None) in ('tcnn', 'torch'):
        # The config has the requested implementation; nerfstudio trains torch without tcnn.
        settings.implementation = 'tcnn' if _uses_tcnn(state) else 'torch'
    if _uses_tcnn(state):
        _check_tcnn(checkpoint, device)
    with no_downloads():
        model = settings.setup(
            scene_box=parsed.scene_box,
            num_train_data=len(parsed.image_filenames),
            metadata=parsed.metadata,
            device=device,
            grad_scaler=None,
            seed_points=None,
        )
    _load_weights(model, state, checkpoint)
    if hasattr(getattr(model, 'field', None), 'use_average_appearance_embedding'):
        model.field.use_average_appearance_embedding = True  # zeros were never trained
    return model


def _check_cuda(method: str, device: torch.device) -> None:
    """Raise BuildError if the device is not CUDA."""
    if device.type != 'cuda':
        raise BuildError(
            f'the run is of {method}, whose rasterizer runs on CUDA only, and the device is'
            f' {device.type}: build on a machine with an NVIDIA GPU, or take a run of nerfacto'
        )


def _check_kernels(method: str, package: str) -> None:
    """Load the CUDA code of a package, which compiles it if needed, or raise BuildError."""
    try:
        # Private module of gsplat and nerfacc as nerfstudio 1.1.5 requires them.
        if importlib.import_module(f'{package}.cuda._backend')._C is not None:
            return
        problem = 'is not compiled and finds no CUDA toolkit (nvcc) to compile itself with'
    except ModuleNotFoundError as error:
        problem = f'is not installed (no module {error.name})'
    except Exception as error:  # any error of the compiler
        problem = f'cannot be compiled ({" ".join(str(error).split())[:200]})'
    raise BuildError(
        f'the run is of {method}, whose renderer {package} {problem}: install a CUDA toolkit that'
        f' fits PyTorch, or a compiled wheel of {package}, or take a run of nerfacto'
    )


def _uses_tcnn(names: Iterable[str]) -> bool:
    """Return whether weights of these names are those of tiny-cuda-nn."""
    return any('tcnn' in name for name in names)


def _check_tcnn(checkpoint: Path, device: torch.device) -> None:
    """Raise BuildError if tiny-cuda-nn cannot run on a device."""
    if device.type != 'cuda':
        problem = f'which runs on CUDA only, and the device is {device.type}: build on a GPU'
    elif not external.TCNN_EXISTS:
        problem = 'which is not installed here, or cannot be loaded: install it'
    else:
        return
    raise BuildError(
        f'the checkpoint {checkpoint} was trained with tiny-cuda-nn, {problem}, or'
        f' {remedies.PORTABLE_NERFACTO}'
    )


def _find_checkpoint(config: Path, folder: Any) -> Path:
    """Return the checkpoint of the last step."""
    relative = Path(*folder.values) if isinstance(folder, PythonTag) else Path('nerfstudio_models')
    checkpoints = sorted((config.parent / relative).glob('step-*.ckpt'))
    if not checkpoints:
        raise BuildError(
            f'the run {config.parent} has no checkpoint {relative}/step-*.ckpt: copy the whole'
            ' folder of the run, or train it to its first checkpoint'
        )
    return checkpoints[-1]


def eval_image_names(config: Path) -> set[str]:
    """Return the names of the evaluation images of a run, of all splits that it has."""
    names: set[str] = set()
    for split in ('val', 'test'):
        with suppress(BuildError):  # few parsers have both
            names |= {path.name for path in _parse_split(config, split).image_filenames}
    return names


def _parse_split(config: Path, split: str) -> Any:
    """Parse the cameras of a split with the dataparser of the run, without reading images."""
    attributes = parse_run_config(config)
    manager = attributes['pipeline'].values['datamanager'].values
    parser, data = manager.get('dataparser'), manager.get('data') or attributes.get('data')
    settings = instantiate_config(parser, config, downscale_factor=1, load_3D_points=False)
    folder = _data_folder(Path(instantiate_config(data, config) or settings.data), config)
    settings.data = folder
    try:
        with pickle_disabled():
            return settings.setup().get_dataparser_outputs(split)
    except Exception as error:  # a dataparser may raise anything
        raise BuildError(
            f'the cameras of the run {config} cannot be read from {folder}: {error!s}; give the'
            ' data that it was trained with'
        ) from error


def _data_folder(recorded: Path, config: Path) -> Path:
    """
    Find the data of a run, whose config.yml may be from another machine.

    The recorded path is used if it exists. Otherwise the folders above the run are searched, from
    the nearest one up, for the same relative path or for the same name.
    """
    if recorded.exists():
        return recorded
    above = config.absolute().parents
    candidates = [recorded] * (not recorded.is_absolute()) + [Path(recorded.name)]
    for folder in (parent / name for name in candidates for parent in above):
        # A run lies in a folder with the name of its data as well, which contains no data.
        if folder.exists() and (folder not in above or (folder / 'transforms.json').exists()):
            break
    else:
        places = ' or '.join(dict.fromkeys(map(str, candidates)))
        raise BuildError(
            f'the data {recorded} of the run {config} do not exist, and its training cameras are'
            ' read from them: put them there, or as'
            f' {places} in {config.parent} or a folder above it (transforms.json suffices where'
            ' there is one; some parsers, such as those of ScanNet, Blender and D-NeRF, open an'
            ' image too)'
        )
    if not (config.parent / TRANSFORMS_FILE).exists():
        raise BuildError(
            f'the data {recorded} of the run {config} do not exist, and {folder} cannot be'
            f' compared with them, because {TRANSFORMS_FILE} is missing beside the config: copy'
            ' the whole folder of the run'
        )
    return folder


def _load_state(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Load the weights of the model without those of the optimizers; run no pickled code."""
    try:
        with torch.serialization.safe_globals(_SAFE_GLOBALS):
            checkpoint_dict = torch.load(
                checkpoint, map_location='cpu', weights_only=True, mmap=is_zipfile(checkpoint)
            )
        named = checkpoint_dict['pipeline'].items()
    except (OSError, EOFError, RuntimeError, KeyError, AttributeError, TypeError) as error:
        raise BuildError(f'the checkpoint {checkpoint} is damaged ({error}): copy it again') from (
            error
        )
    except UnpicklingError as error:
        raise BuildError(
            f'the checkpoint {checkpoint} is damaged, or contains more than weights, which could'
            ' run code: copy it again, or save it again with nerfstudio'
        ) from error
    plain = {name.replace('module.', ''): value for name, value in named}
    return {n.removeprefix('_model.'): v for n, v in plain.items() if n.startswith('_model.')}


def _load_weights(model: Any, state: dict[str, torch.Tensor], checkpoint: Path) -> None:
    """Load weights into a model; raise BuildError if names or shapes differ."""
    try:
        model.load_state_dict(state, strict=False)
    except (RuntimeError, KeyError) as error:  # splatfacto reads its means first
        reason = ' '.join(str(error).split())[:300]
        raise BuildError(
            f'the checkpoint {checkpoint} does not fit the model and the data of its config.yml'
            f' ({reason}): give those that it was trained with'
        ) from error
    # Compared here, because splatfacto loads incomplete weights without an error.
    unmatched = sorted(
        n for n in model.state_dict().keys() ^ state if not n.startswith(_UNUSED_WEIGHT_PREFIXES)
    )
    if _uses_tcnn(unmatched):
        raise BuildError(
            f'the checkpoint {checkpoint} was trained without tiny-cuda-nn, but its method uses it'
            ' if it is installed, as here: build where it is not installed'
        )
    if unmatched:
        raise BuildError(
            f'the checkpoint {checkpoint} is not of nerfstudio {VERSION}: {unmatched[0]} and'
            f' {len(unmatched) - 1} other weights are missing or too many; train the run again'
        )


def _check_data_unchanged(config: Path, field_from_world: FloatArray) -> None:
    """Raise BuildError if the transform that the trainer wrote differs from that of the data."""
    path = config.parent / TRANSFORMS_FILE
    if not path.exists():
        return
    try:
        recorded = json.loads(path.read_text(encoding='utf-8'))
        transform, scale = np.array(recorded['transform']), float(recorded['scale'])
        recorded_field_from_world = field_from_data(transform, scale)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise BuildError(f'{path} is damaged ({error!s}): copy the run again') from error
    # Compared in the frame of the model, where lengths are near 1 for any unit of the data.
    difference = recorded_field_from_world @ np.linalg.inv(field_from_world)
    if not np.allclose(difference, np.eye(4), atol=1e-3):
        raise BuildError(
            f'the data of the run {config} have changed since it was trained: its cameras differ'
            f' from {path}; give the data that it was trained with'
        )


@torch.no_grad()
def _apply_camera_optimizer(model: Any, field_from_camera: FloatArray) -> FloatArray:
    """Apply the pose corrections of the camera optimizer of a run (N, 4, 4)."""
    optimizer = getattr(model, 'camera_optimizer', None)
    if optimizer is None or optimizer.config.mode == 'off':
        return field_from_camera
    # get_correction_matrices of nerfstudio 1.1.5 reads this attribute, which .to() does not set.
    optimizer.device = optimizer.pose_adjustment.device
    correction = optimizer.get_correction_matrices().double().cpu().numpy()
    out = field_from_camera.copy()
    out[:, :3, :3] = correction[:, :, :3] @ out[:, :3, :3]
    out[:, :3, 3] += correction[:, :, 3]
    return out
