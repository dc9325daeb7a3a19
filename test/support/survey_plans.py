"""Plans of surveys with the settings of the tiny build."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from tiny_build import SETTINGS
import yaml


def write_survey_plan(folder: Path, rooms: dict[str, Any], **entries: Any) -> Path:
    """Write ``plan.yaml``: builds of a second, with one thread, in little memory."""
    plan = {
        'settings': asdict(SETTINGS),
        'device': 'cpu',
        'resources': {'cpus': 1, 'memory_gb': 0.1},
        'rooms': rooms,
        **entries,
    }
    file = folder / 'plan.yaml'
    file.write_text(yaml.safe_dump(plan, sort_keys=False))
    return file
