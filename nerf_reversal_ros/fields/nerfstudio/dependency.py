"""
Nerfstudio as an optional dependency: check it, and patch what a build must not run.

This module imports without nerfstudio. Import the modules that need it (`field`, `training`,
`run`) after `require_nerfstudio`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
import importlib
from importlib.metadata import PackageNotFoundError, version
import importlib.util
import pickle
import threading
from typing import Any
import warnings

import numpy as np
import torch

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.errors import BuildError

VERSION = '1.1.5'
"""Version of nerfstudio whose API this package uses, private names included."""

_TORCHVISION_OPERATORS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
"""Schemas of the operators that the Python part of torchvision registers kernels for."""
_libraries: list[torch.library.Library] = []
"""Keeps the declared operators alive: they are removed with their library."""
_patch_lock = threading.RLock()
"""Held while functions of other packages are replaced, so that patches cannot interleave."""


@cache
def require_nerfstudio() -> None:
    """
    Check that nerfstudio can be imported.

    Raises
    ------
    BuildError
        If it is not installed, has another version, or lacks a module that it needs.
    """
    try:
        installed = version('nerfstudio')
    except PackageNotFoundError as error:
        raise BuildError(
            f'nerfstudio {VERSION} is required and not installed: {remedies.INSTALL_NERFSTUDIO},'
            f' or {remedies.VOXEL_FIELD}'
        ) from error
    if installed != VERSION:
        raise BuildError(
            f'nerfstudio {installed} is installed, but {VERSION} is required:'
            f' {remedies.INSTALL_NERFSTUDIO}'
        )
    _declare_torchvision_operators()
    warnings.filterwarnings('ignore', module='nerfstudio')  # deprecations of newer torch
    require_modules('nerfstudio.models.depth_nerfacto')


def require_modules(*names: str) -> list[Any]:
    """Import modules of nerfstudio; raise BuildError with the name of a missing module."""
    try:
        return [importlib.import_module(name) for name in names]
    except ModuleNotFoundError as error:
        raise BuildError(
            f'nerfstudio is installed, but not its requirement {error.name}:'
            f' {remedies.INSTALL_NERFSTUDIO}'
        ) from error
    except ImportError as error:
        raise BuildError(
            f'nerfstudio is installed, but cannot be imported ({error}):'
            f' {remedies.INSTALL_NERFSTUDIO}'
        ) from error


@contextmanager
def pickle_disabled() -> Iterator[None]:
    """
    Disable pickles while the code of a dataparser reads the files of a run.

    A pickle runs the code that it names, and some dataparsers unpickle files of the data. Inside
    the block ``pickle.load`` and ``pickle.loads`` raise ValueError, ``np.load`` reads no object
    arrays, and ``torch.load`` reads weights only.

    The replaced functions are those of the process: other threads are restricted as well, and so
    are the threads that a dataparser starts, which a restriction of this thread alone would miss.
    A lock keeps two blocks in two threads from restoring each other's functions.
    """
    with _patch_lock:
        load_array, load_tensors = np.load, torch.load
        unpickle, unpickle_bytes = pickle.load, pickle.loads

        def load_plain_array(file: Any, mmap_mode: Any = None, *_: Any, **settings: Any) -> Any:
            return load_array(file, mmap_mode, **{**settings, 'allow_pickle': False})

        def load_weights(*arguments: Any, **settings: Any) -> Any:
            return load_tensors(*arguments, **{**settings, 'weights_only': True})

        def reject_pickle(*_: Any, **__: Any) -> Any:
            raise ValueError('the data contain a pickle, which could run code: remove it')

        np.load, torch.load = load_plain_array, load_weights
        pickle.load, pickle.loads = reject_pickle, reject_pickle
        try:
            yield
        finally:
            np.load, torch.load = load_array, load_tensors
            pickle.load, pickle.loads = unpickle, unpickle_bytes


def _declare_torchvision_operators() -> None:
    """Declare operators of torchvision if its compiled library does not fit the CPU torch."""
    if importlib.util.find_spec('torchvision') is None:
        return
    try:
        importlib.import_module('torchvision')
    except RuntimeError:
        library = torch.library.Library('torchvision', 'FRAGMENT')
        for schema in _TORCHVISION_OPERATORS:
            library.define(schema)
        _libraries.append(library)


class _LpipsStub(torch.nn.Module):
    """Replacement of the LPIPS metric, which downloads weights and is not evaluated here."""

    def __init__(self, **_: Any) -> None:
        super().__init__()

    def forward(self, *_: torch.Tensor) -> torch.Tensor:
        """Return NaN."""
        return torch.tensor(float('nan'))


@contextmanager
def no_downloads() -> Iterator[None]:
    """
    Set up models without downloads: their constructors get a stub of the LPIPS metric.

    The metric is replaced in the whole process while the block runs.
    """
    lpip: Any = importlib.import_module('torchmetrics.image.lpip')
    with _patch_lock:
        original = lpip.LearnedPerceptualImagePatchSimilarity
        lpip.LearnedPerceptualImagePatchSimilarity = _LpipsStub
        try:
            yield
        finally:
            lpip.LearnedPerceptualImagePatchSimilarity = original
