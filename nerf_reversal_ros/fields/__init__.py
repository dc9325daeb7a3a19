"""Radiance fields: the protocol and its implementations."""

FIELDS = ('voxel', 'nerfacto', 'depth-nerfacto')
"""What can be built; the names of ``--field``."""

OF_RUN = 'nerfstudio:'
"""Before the config.yml of a run of nerfstudio, it is the name of the field that the run holds."""
