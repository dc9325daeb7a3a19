"""
Fields that nerfstudio trains, or has trained: configuration, models, rendering, runs.

Only this folder imports nerfstudio, which is optional; `dependency` says so where it is missing.
"""
