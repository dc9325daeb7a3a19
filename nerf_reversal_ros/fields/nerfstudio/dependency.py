"""
Nerfstudio as a library: is it there, is it the right one, and what must be mended first.

Importing this needs no nerfstudio. The modules that do import it (`nerfstudio_field`,
`nerfstudio_training`, `nerfstudio_run`) are imported after `require_nerfstudio`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
import importlib
from importlib.metadata import PackageNotFoundError, version
import importlib.util
import pickle
from typing import Any
import warnings

import numpy as np
import torch

from nerf_reversal_ros.core.errors import BuildError

VERSION = '1.1.5'
"""The nerfstudio whose API this program uses."""

INSTALL_COMMAND = (
    'pip install -r requirements/nerfstudio.txt && pip install --no-deps -r'
    ' requirements/nerfstudio_itself.txt'
)

_TORCHVISION_OPERATORS = (
    'nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
    'qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor',
)
_libraries: list[torch.library.Library] = []


@cache
def require_nerfstudio() -> None:
    """
    Make sure that nerfstudio can be imported.

    Raises
    ------
    BuildError
        If it is not installed, or another version is, or a module that it needs is missing.
    """
    try:
        found = version('nerfstudio')
    except PackageNotFoundError as error:
        raise BuildError(
            f'this needs nerfstudio {VERSION}, which is not installed: {INSTALL_COMMAND}, or take --field'
            ' voxel'
        ) from error
    if found != VERSION:
        raise BuildError(
            f'nerfstudio {found} is installed and this program works with {VERSION}: {INSTALL_COMMAND}'
        )
    _patch_torchvision()
    warnings.filterwarnings('ignore', module='nerfstudio')  # what newer versions of torch say
    require_modules('nerfstudio.models.depth_nerfacto')


def require_modules(*names: str) -> list[Any]:
    """Import modules of nerfstudio; BuildError names the one that they lack."""
    try:
        return [importlib.import_module(name) for name in names]
    except ModuleNotFoundError as error:
        raise BuildError(
            f'nerfstudio is installed, but not {error.name}, which it needs: {INSTALL_COMMAND}'
        ) from error
    except ImportError as error:
        raise BuildError(
            f'nerfstudio is installed, but cannot be imported ({error}): {INSTALL_COMMAND}'
        ) from error


@contextmanager
def pickle_disabled() -> Iterator[None]:
    """
    Let the code of dataparsers read numbers from files, and no programs.

    A pickle runs what it names. Some parsers unpickle what somebody's data hold.
    """
    load, load_tensors, unpickle, unpickle_bytes = np.load, torch.load, pickle.load, pickle.loads

    def plain(file: Any, mmap_mode: Any = None, *_: Any, **settings: Any) -> Any:
        return load(file, mmap_mode, **{**settings, 'allow_pickle': False})

    def weights(*given: Any, **settings: Any) -> Any:
        return load_tensors(*given, **{**settings, 'weights_only': True})

    def refused(*_: Any, **__: Any) -> Any:
        raise ValueError('the data hold a pickle, which could be a program: refused')

    np.load, torch.load, pickle.load, pickle.loads = plain, weights, refused, refused
    try:
        yield
    finally:
        np.load, torch.load = load, load_tensors
        pickle.load, pickle.loads = unpickle, unpickle_bytes


def _patch_torchvision() -> None:
    """Declare operators that torchvision's own library would: it may not fit a CPU's torch."""
    if importlib.util.find_spec('torchvision') is None:
        return
    try:
        importlib.import_module('torchvision')
    except RuntimeError:
        library = torch.library.Library('torchvision', 'FRAGMENT')
        for schema in _TORCHVISION_OPERATORS:
            library.define(schema)
        _libraries.append(library)  # they are gone when it is


class _LpipsStub(torch.nn.Module):
    """Stands in for a metric that would fetch its weights from the net and is not used here."""

    def __init__(self, **_: Any) -> None:
        super().__init__()

    def forward(self, *_: torch.Tensor) -> torch.Tensor:
        """Return no number."""
        return torch.tensor(float('nan'))


@contextmanager
def no_downloads() -> Iterator[None]:
    """Set up models in this block: their constructors fetch nothing from the net."""
    lpip: Any = importlib.import_module('torchmetrics.image.lpip')
    real = lpip.LearnedPerceptualImagePatchSimilarity
    lpip.LearnedPerceptualImagePatchSimilarity = _LpipsStub
    try:
        yield
    finally:
        lpip.LearnedPerceptualImagePatchSimilarity = real
