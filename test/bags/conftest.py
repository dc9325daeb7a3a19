"""Bags of the box room."""

from room_bag_fixtures import edit_bag, room_bag  # noqa: F401  (pytest finds them here)
from stored_bags import recordings, write_bag  # noqa: F401  (pytest finds them here)
