"""Names of the formats that `exchange_files` writes, for programs that only parse arguments."""

FORMATS = ('ply', 'glb', 'tum', 'colmap')
