"""
Fields that nerfstudio trains or has trained: configuration, models, rendering, runs.

Only this folder imports nerfstudio, which is optional; `dependency` checks that it is installed.
Baking such a field into a voxel field is in `fields.baking`.
"""
