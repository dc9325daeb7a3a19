"""
The map folder: staged, resumable writing, and verified reading.

`map_folder` reads and verifies, `map_writer` writes, `map_addition` adds a file to a finished map,
and `map_export` copies one for a robot. Nothing here interprets the binary files;
`mapping` computes them, and `localization` and `evaluation` read them.
"""
