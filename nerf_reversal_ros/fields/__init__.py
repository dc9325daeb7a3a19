"""Radiance fields: the protocol and its implementations."""

FIELDS = ('voxel', 'nerfacto', 'depth-nerfacto')
"""What can be built; the names of ``--field``."""
