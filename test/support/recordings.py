"""Real recordings, for tests that are skipped without them."""

import os
from pathlib import Path

import pytest


def shared(name):
    """Return the folder of a real recording, or skip the test."""
    default = Path(__file__).resolve().parents[2].parent / 'shared' / 'data'
    folder = Path(os.environ.get('NERF_REVERSAL_DATA', default)) / name
    if not folder.exists():
        pytest.skip(f'no recording {folder}: set NERF_REVERSAL_DATA to the folder that holds it')
    return folder
