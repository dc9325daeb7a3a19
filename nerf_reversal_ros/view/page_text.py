"""Text and pictures of a panel, as the Markdown that viser evaluates in the browser."""

import base64
import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

PHOTO_ORDER, WALK_IMAGE_ORDER, ANSWERS_ORDER, SHOW_ORDER, COVERAGE_ORDER = range(1, 6)
"""Places of the folders of a panel, from above."""
_SPECIAL = re.compile(r'([!-/:-@\[-`{-~])')
_WIDE, _WIDTH, _NARROW_WIDTH = 1.2, '100%', '60%'
"""Width over height from which an image has the whole width of its panel, and the widths."""
_GAP_PX = 6
_CODE = re.compile(r'^(?=(?:import|export)\b)')
"""Begin of a block that MDX takes for code."""
_ZERO_WIDTH_SPACE = '\u200b'


def plain(text: str) -> str:
    """Escape a text: names of files and the like shall be read, not run as MDX."""
    return _CODE.sub(_ZERO_WIDTH_SPACE, _SPECIAL.sub(r'\\\1', ' '.join(text.split())))


def encode_jpeg(rgb: NDArray[Any]) -> bytes:
    """Return an image (H, W, 3) of uint8 as JPEG."""
    _, encoded = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return encoded.tobytes()


def pictures(*images: NDArray[Any] | None) -> str:
    """Return Markdown of images (h, w, 3) of one height, side by side; empty without any."""
    given = [image for image in images if image is not None]
    if not given:
        return ''
    gap = np.full((len(given[0]), _GAP_PX, 3), 255, np.uint8)
    row = [part for image in given for part in (gap, image)][1:]
    joined = np.hstack(row)
    height, width = joined.shape[:2]
    jpeg = base64.b64encode(encode_jpeg(joined)).decode()
    shown = _WIDTH if width > _WIDE * height else _NARROW_WIDTH
    # viser shrinks an image of Markdown to 240 px; `maw` lifts that in 1.1.1, a tag in 0.2.7.
    return f'\n\n<img src="data:image/jpeg;base64,{jpeg}" width="{shown}" maw="100%" />'
