"""Fixtures of the tests of the command line."""

from pathlib import Path

import pytest
from small_room import walk, write_bag


@pytest.fixture(scope='session')
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a bag of four frames; tests do not change it."""
    return write_bag(tmp_path_factory.mktemp('bags') / 'walk', walk(4))
