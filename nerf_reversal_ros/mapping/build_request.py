"""What a user asks a build for: validation before long work, and the fingerprint for resuming."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from nerf_reversal_ros import __version__
from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.devices import resolve_device
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.fields import FIELD_KINDS, NERFSTUDIO_RUN_PREFIX
from nerf_reversal_ros.fields.nerfstudio.config import parse_run_config
from nerf_reversal_ros.fields.nerfstudio.dependency import require_nerfstudio
from nerf_reversal_ros.mapping.sim3_alignment import read_known_positions


@dataclass(frozen=True)
class BuildRequest:
    """Sources, settings and device of a build; made by `validate_request`."""

    bag: Path | None
    run_config: Path | None
    """The config.yml of a nerfstudio run."""
    positions: Path | None
    """Known positions of the run's cameras, see `read_known_positions`."""
    field_kind: str
    """Value of ``--field``."""
    config: BuildConfig
    device: torch.device

    @property
    def source_name(self) -> str:
        """
        Name of the source for the manifest: the bag, or the run.

        A run is named ``<experiment>/<method>/<time>``, because the name of its last folder is
        often not unique.
        """
        if self.bag is not None:
            return self.bag.name
        assert self.run_config is not None
        return '/'.join(self.run_config.absolute().parts[-4:-1])

    def fingerprint(self, run_sha256: str | None) -> dict[str, Any]:
        """
        Describe the inputs that determine the result, as JSON.

        ``run_sha256`` is the checksum of the run's cameras, which are read from data outside of
        the run's folder.
        """
        run_inputs = [] if self.run_config is None else run_files(self.run_config)
        sources = [path for path in (self.bag, *run_inputs, self.positions) if path is not None]
        return {
            'bag': describe_files(sources),
            'config': asdict(self.config),
            'field': self.field_kind,
            'device': self.device.type,
            'cameras': run_sha256,
            'version': __version__,
        }


def validate_request(
    bag: Path | None,
    config: BuildConfig,
    *,
    device: str,
    field_kind: str,
    positions: Path | None,
) -> BuildRequest:
    """
    Validate what can be validated before anything is written.

    Raises
    ------
    ConfigError, CaptureError, BuildError
        If a value is unknown, sources do not go together, or a source cannot be opened.
    """
    run_config = None
    if field_kind.startswith(NERFSTUDIO_RUN_PREFIX):
        run_config = Path(field_kind.removeprefix(NERFSTUDIO_RUN_PREFIX))
    elif field_kind not in FIELD_KINDS:
        raise ConfigError(
            f'field must be one of {", ".join(FIELD_KINDS)}, {NERFSTUDIO_RUN_PREFIX}CONFIG.yml,'
            f' got {field_kind!r}'
        )
    request = BuildRequest(
        None if bag is None else Path(bag),
        run_config,
        positions,
        field_kind,
        config,
        resolve_device(device),
    )
    if field_kind != 'voxel':
        require_nerfstudio()
    _check_combination(request)
    _check_readable(request)
    return request


def describe_files(sources: Iterable[Path]) -> list[list[Any]]:
    """Return name, size and time of modification of files, and of all files in folders."""
    files = [
        file
        for source in sources
        for file in (sorted(source.rglob('*')) if source.is_dir() else [source])
        if file.is_file()
    ]
    return [[f.name, f.stat().st_size, f.stat().st_mtime_ns] for f in files]


def run_files(run_config: Path) -> list[Path]:
    """Return the files of a nerfstudio run that determine its renderings."""
    transforms = run_config.parent / 'dataparser_transforms.json'
    checkpoints = sorted(run_config.parent.rglob('step-*.ckpt'))
    return [run_config, *checkpoints, *([transforms] if transforms.exists() else [])]


def _check_combination(request: BuildRequest) -> None:
    """Raise ConfigError for sources and settings that exclude each other."""
    field_kind, has_run = request.field_kind, request.run_config is not None
    if not has_run and request.bag is None:
        raise ConfigError(f'field {field_kind} needs a bag: give one')
    if request.config.nerfstudio.max_std_m > 0 and (has_run or field_kind == 'voxel'):
        raise ConfigError(
            'nerfstudio.max_std_m limits the uncertainty of nerfacto and depth-nerfacto, and the'
            f' field is {field_kind}: leave it at 0'
        )
    if not has_run and request.positions is not None:
        raise ConfigError(
            f'known positions need the cameras of a nerfstudio run, and the field is {field_kind}:'
            f' {remedies.FIELD_OF_POSITIONS}'
        )
    if request.bag is not None and request.positions is not None:
        raise ConfigError('a bag and known positions both determine the scale: give one of them')


def _check_readable(request: BuildRequest) -> None:
    """Open each source once, so that an unreadable one fails early."""
    if request.run_config is not None:
        parse_run_config(request.run_config)
    if request.positions is not None:
        read_known_positions(request.positions)
    if request.bag is not None:
        with BagReader(request.bag):
            pass
