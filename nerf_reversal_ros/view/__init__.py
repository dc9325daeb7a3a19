"""
A map in the browser: walls, walk, landmarks, the field as the browser's camera sees it, and poses.

`map_page` puts the page together. viser, an optional package, draws it. Only calls that it has
from 0.2.7 on are used: nerfstudio 1.1.5 pins that version.
"""
