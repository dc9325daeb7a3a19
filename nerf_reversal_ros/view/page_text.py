"""Text and pictures of a panel, as the Markdown that viser evaluates in the browser."""

import base64
import re
from typing import Any

import cv2
from numpy.typing import NDArray

PHOTO_ORDER, ANSWERS_ORDER, SHOW_ORDER, COVERAGE_ORDER = 1, 2, 3, 4
"""Places of the folders of a panel, from above."""
_SPECIAL = re.compile(r'([!-/:-@\[-`{-~])')
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


def picture(jpeg: bytes, text: str = '') -> str:
    """Return Markdown that holds an image of the content of a JPEG file."""
    return f'![{text}](data:image/jpeg;base64,{base64.b64encode(jpeg).decode()})'
