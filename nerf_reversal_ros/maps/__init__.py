"""
The map folder: written whole, resumed after a kill, opened with every checksum verified.

Other folders start at `map_store`. Nothing here interprets what the files hold.
"""
