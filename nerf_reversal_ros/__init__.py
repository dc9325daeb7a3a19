"""
Camera relocalization in a NeRF-based map of a room, for Python and ROS 2.

The names in ``__all__`` are the public API. Each is imported when it is first used, so that
importing this package loads neither PyTorch nor ROS. Every other name and module is private: it
may change in any version.
"""

from importlib import import_module
import os
from pkgutil import extend_path
from typing import Any, TYPE_CHECKING

if TYPE_CHECKING:
    from nerf_reversal_ros.core.camera import Camera as Camera
    from nerf_reversal_ros.core.capture_config import CaptureConfig as CaptureConfig
    from nerf_reversal_ros.core.config import (
        AtlasConfig as AtlasConfig,
        BuildConfig as BuildConfig,
        load_build_config as load_build_config,
        LocalizerConfig as LocalizerConfig,
        NerfstudioConfig as NerfstudioConfig,
        QueryConfig as QueryConfig,
        RegressorConfig as RegressorConfig,
        SynthesisConfig as SynthesisConfig,
        VoxelFieldConfig as VoxelFieldConfig,
    )
    from nerf_reversal_ros.core.errors import (
        BuildError as BuildError,
        CaptureError as CaptureError,
        ConfigError as ConfigError,
        ImageError as ImageError,
        MapError as MapError,
        NerfReversalError as NerfReversalError,
    )
    from nerf_reversal_ros.core.outcome import (
        Diagnostics as Diagnostics,
        Outcome as Outcome,
        PoseEstimate as PoseEstimate,
        Rejection as Rejection,
        RejectionReason as RejectionReason,
    )
    from nerf_reversal_ros.core.progress import Progress as Progress
    from nerf_reversal_ros.evaluation.map_evaluation import (
        evaluate_map as evaluate_map,
        MapEvaluation as MapEvaluation,
    )
    from nerf_reversal_ros.localization.localizer import Localizer as Localizer
    from nerf_reversal_ros.localization.pose_files import LocalizedImage as LocalizedImage
    from nerf_reversal_ros.mapping.pipeline import build_map as build_map
    from nerf_reversal_ros.maps.building_folder import Building as Building
    from nerf_reversal_ros.maps.map_folder import Map as Map
    from nerf_reversal_ros.maps.opening import open_map as open_map

# Threads that spin while they wait make PyTorch many times slower as soon as anything else runs
# on the same cores, which on a robot is always. Threads that sleep at once make the training of a
# small network a third slower where nothing else runs. So they spin for some 0.1 ms.
# PyTorch reads this once, when it is loaded.
if 'OMP_WAIT_POLICY' not in os.environ:
    os.environ['OMP_WAIT_POLICY'] = 'PASSIVE'
    os.environ.setdefault('GOMP_SPINCOUNT', '6000')

# rosidl installs nerf_reversal_ros.msg beside these modules; a source tree that stands in front
# of the installed package on sys.path must not hide it.
__path__ = extend_path(__path__, __name__)

__version__ = '0.1.0'

_NAMES_BY_MODULE = {
    'core.camera': ('Camera',),
    'core.capture_config': ('CaptureConfig',),
    'core.config': (
        'AtlasConfig',
        'BuildConfig',
        'LocalizerConfig',
        'NerfstudioConfig',
        'QueryConfig',
        'RegressorConfig',
        'SynthesisConfig',
        'VoxelFieldConfig',
        'load_build_config',
    ),
    'core.errors': (
        'BuildError',
        'CaptureError',
        'ConfigError',
        'ImageError',
        'MapError',
        'NerfReversalError',
    ),
    'core.outcome': ('Diagnostics', 'Outcome', 'PoseEstimate', 'Rejection', 'RejectionReason'),
    'core.progress': ('Progress',),
    'evaluation.map_evaluation': ('MapEvaluation', 'evaluate_map'),
    'localization.localizer': ('Localizer',),
    'localization.pose_files': ('LocalizedImage',),
    'mapping.pipeline': ('build_map',),
    'maps.building_folder': ('Building',),
    'maps.map_folder': ('Map',),
    'maps.opening': ('open_map',),
}
_MODULES = {name: module for module, names in _NAMES_BY_MODULE.items() for name in names}

__all__ = sorted(_MODULES)


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    value = getattr(import_module(f'{__name__}.{_MODULES[name]}'), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names, imported or not."""
    return sorted({*globals(), *__all__})
