"""A folder that all processes of a test session share, made by the first that needs it."""

from collections.abc import Callable
import os
from pathlib import Path
import shutil

from filelock import FileLock
import pytest


def make_once(
    tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]
) -> Path:
    """
    Return a folder that ``make`` has filled, once for all workers; tests do not change its files.

    Parameters
    ----------
    tmp_path_factory : pytest.TempPathFactory
        Of a worker, or of the only process.
    name : str
        Of the folder, unique among all tests.
    make : callable
        Fills the folder, which is empty. Where it fails, the next worker starts anew.
    """
    base = tmp_path_factory.getbasetemp()
    if os.environ.get('PYTEST_XDIST_WORKER'):  # the parent is that of all workers
        base = base.parent
    folder, finished = base / name, base / f'{name}.finished'
    with FileLock(f'{folder}.lock'):
        if not finished.exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            finished.touch()
    return folder
