"""Import the scripts of ``benchmark/`` as they are started: their folder is first on the path."""

from collections.abc import Iterator
from contextlib import contextmanager
import importlib
from pathlib import Path
import sys
from types import ModuleType

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / 'benchmark').glob('*.py'))


@contextmanager
def imported_script(name: str) -> Iterator[ModuleType]:
    """Import a script and what it imports; hide other modules of the same names meanwhile."""
    stems = [script.stem for script in SCRIPTS]
    hidden = {stem: sys.modules.pop(stem) for stem in stems if stem in sys.modules}
    sys.path.insert(0, str(SCRIPTS[0].parent))
    try:
        yield importlib.import_module(name)
    finally:
        sys.path.remove(str(SCRIPTS[0].parent))
        for stem in stems:
            sys.modules.pop(stem, None)
        sys.modules.update(hidden)
