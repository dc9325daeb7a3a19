"""
From a capture to a map, one call a stage.

Other folders start at `pipeline`. A stage calls the folders below; it has no maths of its own.
"""
