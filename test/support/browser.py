"""A real browser without a window, which looks at a page of this machine."""

from collections.abc import Iterator
from contextlib import contextmanager
import io
import shutil
from typing import Any

import numpy as np
from PIL import Image
import pytest

PATIENCE_MS = 120_000
"""Time that a busy machine has to draw what a test waits for."""
NAMES = ('chromium', 'chromium-browser', 'google-chrome')
ARGUMENTS = [
    '--no-sandbox',
    '--use-angle=swiftshader',
    '--enable-unsafe-swiftshader',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--no-first-run',
]


@contextmanager
def open_browser(url: str, width: int = 900, height: int = 600) -> Iterator[Any]:
    """Open a page in Chromium; skip the test where there is none."""
    api = pytest.importorskip('playwright.sync_api', reason='pip install playwright')
    found = [path for name in NAMES if (path := shutil.which(name))]
    if not found:
        pytest.skip('no Chromium: apt install chromium')
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found[0], args=ARGUMENTS)
        try:
            page = browser.new_page(viewport={'width': width, 'height': height})
            page.set_default_timeout(PATIENCE_MS)
            page.on('pageerror', lambda error: print(f'error in the page: {error}'))
            page.goto(url)
            yield page
        finally:
            browser.close()


def pixels(page: Any) -> np.ndarray:
    """Return what the page shows (H, W, 3)."""
    with Image.open(io.BytesIO(page.screenshot())) as image:
        return np.asarray(image.convert('RGB'))
