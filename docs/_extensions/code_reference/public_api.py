"""The public Python API: what the package exports, documented by autodoc."""

from collections.abc import Iterable
import inspect
from typing import Any

PACKAGE = 'nerf_reversal_ros'
KINDS = (
    ('Functions', 'autofunction'),
    ('Classes', 'autoclass'),
    ('Settings', 'autoclass'),
    ('Errors', 'autoexception'),
    ('Types', 'autodata'),
)
"""Headings, in their order, and the directives of autodoc for what is below them."""


def exported() -> dict[str, Any]:
    """Return what the package exports, by name, in the order of ``__all__``."""
    import nerf_reversal_ros

    names: Iterable[str] = nerf_reversal_ros.__all__
    return {name: getattr(nerf_reversal_ros, name) for name in names if not name.startswith('__')}


def heading(item: Any) -> str:
    """Return the heading that an exported object belongs under."""
    if not inspect.isclass(item):
        return 'Functions' if inspect.isfunction(item) else 'Types'
    if issubclass(item, Exception):
        return 'Errors'
    return 'Settings' if item.__name__.endswith('Config') else 'Classes'


def api_markdown() -> list[str]:
    """Return directives of autodoc for everything that the package exports."""
    items, lines = exported(), []
    for title, directive in KINDS:
        names = [name for name, item in items.items() if heading(item) == title]
        if names:
            lines += [f'## {title}', '', '```{eval-rst}']
            for name in names:
                lines += [f'.. {directive}:: {PACKAGE}.{name}']
                lines += ['   :members:'] if title == 'Classes' else []
                lines += ['']
            lines += ['```', '']
    return lines
