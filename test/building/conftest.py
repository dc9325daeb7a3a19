"""The building of the twins, and its localizer."""

from flat_fixtures import (  # noqa: F401  (pytest finds them here)
    flat,
    flat_folder,
    flat_localizer,
    placement,
    room_maps,
)
