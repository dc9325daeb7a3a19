"""
The map folder: staged, resumable writing, and verified reading.

`map_folder` reads and verifies, `map_writer` writes. Nothing here interprets the binary files;
`mapping` computes them, and `localization` and `evaluation` read them.
"""
