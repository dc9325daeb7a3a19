"""Radiance fields: the protocol and its implementations."""

FIELD_KINDS = ('voxel', 'nerfacto', 'depth-nerfacto')
"""What can be built; the names of ``--field``."""

NERFSTUDIO_RUN_PREFIX = 'nerfstudio:'
"""Before the config.yml of a run of nerfstudio, it is the name of the field that the run holds."""
