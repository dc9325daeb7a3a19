"""Text and pictures of a panel, as the Markdown that viser evaluates in the browser."""

import base64
import re

import cv2
import numpy as np
from numpy.typing import NDArray

PHOTO_ORDER, ANSWERS_ORDER, SHOW_ORDER, COVERAGE_ORDER = 1, 2, 3, 4
"""Places of the folders of a panel, from above."""
_SPECIAL = re.compile(r'([!-/:-@\[-`{-~])')


def plain(text: str) -> str:
    """Escape a text: names of files and the like shall be read, not run as MDX."""
    return _SPECIAL.sub(r'\\\1', ' '.join(text.split()))


def picture(rgb: NDArray[np.uint8], text: str = '') -> str:
    """Return Markdown that holds an image (H, W, 3) as JPEG."""
    _, encoded = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))
    return f'![{text}](data:image/jpeg;base64,{base64.b64encode(encoded.tobytes()).decode()})'
