"""Radiance fields: the protocol and its implementations."""

FIELDS = ('voxel',)
"""What can be built; the names of ``--field``."""
