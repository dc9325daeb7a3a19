"""
Radiance fields: their protocol, the voxel field, its training, and baking into it.

`base` holds the protocol and the types that all fields share; `nerfstudio` is a folder of its own.
Views for learning are made in `synthesis`; a capture becomes frames in `capture`.
"""

FIELD_KINDS = ('voxel', 'nerfacto', 'depth-nerfacto')
"""Kinds of field that can be built: the values of ``--field``."""

NERFSTUDIO_RUN_PREFIX = 'nerfstudio:'
"""Prefix of a ``--field`` value that names the config.yml of a nerfstudio run."""
