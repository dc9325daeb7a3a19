"""
Generate procedural textures of buildings: boards with knots, tiles, concrete, bricks, signs.

As in `demo.textures`, functions take a seeded generator and return an sRGB image (H, W, 3).
"""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw

from demo.textures import clouds, font, Generator, grain, Texture, tint, to_uint8


def board(
    rng: Generator, height: int, width: int, knots: int, shade: Sequence[float] = (1, 1, 1)
) -> Texture:
    """One board with knots, the grain along x; ``shade`` multiplies red, green and blue."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    bend, dark = np.zeros((2, height, width), np.float32)
    for _ in range(knots):
        cx, cy = rng.uniform(0, width), rng.uniform(0.1, 0.9) * height
        radius = rng.uniform(0.05, 0.13) * height
        bend += np.exp(-(((x - cx) / (4.5 * radius)) ** 2) - ((y - cy) / (2.2 * radius)) ** 2)
        distance = np.hypot((x - cx) / (1.2 * radius), (y - cy) / (0.8 * radius))
        dark += np.exp(-(distance**4)) * (0.85 + 0.15 * np.sin(9 * distance))
    wood = grain(rng, height, width, 0.9 * bend) * (1 - 0.6 * np.minimum(dark, 1)[..., None])
    return to_uint8(wood * np.asarray(shade, np.float32))


def tiles(
    rng: Generator, height: int, width: int, tile: int, color: Sequence[float], varied: float
) -> Texture:
    """Square tiles of ``tile`` pixels with joints; their tones differ by a fraction ``varied``."""
    rows, columns = -(-height // tile), -(-width // tile)
    tone = 1 + varied * rng.standard_normal((rows, columns))
    factor = np.repeat(np.repeat(tone, tile, axis=0), tile, axis=1)[:height, :width]
    factor = factor + 0.03 * clouds(rng, height, width, tile / 2)
    joint = max(1, tile // 40)
    joints = (np.arange(height)[:, None] % tile < joint) | (np.arange(width) % tile < joint)
    return tint(color, np.where(joints, 0.55, factor))


def concrete(rng: Generator, height: int, width: int, color: Sequence[float]) -> Texture:
    """Poured floor or pillar: stains, pores and a few cracks."""
    factor = 1 + 0.10 * clouds(rng, height, width, 140, 6)
    factor += 0.05 * rng.standard_normal((height, width))
    image = tint(color, factor)
    for _ in range(height * width // 60000 + 2):
        steps = rng.normal(0, 7, (14, 2)) + rng.normal(0, 6, 2)
        crack = np.cumsum(steps, axis=0) + rng.uniform(0, 1, 2) * (width, height)
        tone = int(rng.uniform(40, 100))
        cv2.polylines(image, [crack.astype(np.int32)], False, (tone,) * 3, 1, cv2.LINE_AA)
    return image


def bricks(rng: Generator, height: int, width: int, brick: int) -> Texture:
    """Brick wall; a brick is ``brick`` pixels long."""
    out = np.full((height, width, 3), (0.62, 0.60, 0.56), np.float32)
    course, joint = max(4, brick // 3), max(1, brick // 24)
    for row, top in enumerate(range(0, height, course)):
        for left in range(-(row % 2) * brick // 2, width, brick):
            tone = np.array((0.52, 0.27, 0.20)) * rng.uniform(0.65, 1.2)
            rows = slice(top, top + course - joint)
            out[rows, max(left, 0) : max(left + brick - joint, 0)] = tone
    return to_uint8(out * (1 + 0.12 * clouds(rng, height, width, 24, 5)[..., None]))


def sign(text: str, color: tuple[int, int, int], height: int, width: int) -> Texture:
    """Sign beside a door: a bar of color, an arrow and a few letters."""
    image = Image.new('RGB', (width, height), (236, 236, 230))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, 0, width, height * 0.3], fill=color)
    middle = height * 0.15
    draw.line([width * 0.1, middle, width * 0.4, middle], fill='white', width=height // 24)
    draw.polygon(
        [(width * 0.52, middle), (width * 0.36, height * 0.05), (width * 0.36, height * 0.25)],
        fill='white',
    )
    draw.text(
        (width / 2, height * 0.64), text, fill=(30, 32, 40), font=font(height // 3), anchor='mm'
    )
    return np.array(image)


def pegboard(rng: Generator, height: int, width: int, pitch: int) -> Texture:
    """Board with a hole at every ``pitch`` pixels, scratched."""
    image = tint((0.66, 0.58, 0.44), 1 + 0.08 * clouds(rng, height, width, 60, 5))
    for y in range(pitch // 2, height, pitch):
        for x in range(pitch // 2, width, pitch):
            cv2.circle(image, (x, y), max(1, pitch // 7), (38, 30, 24), -1, cv2.LINE_AA)
    return image


def metal(rng: Generator, height: int, width: int, color: Sequence[float]) -> Texture:
    """Brushed or painted metal with scratches and spots of rust."""
    brushed = cv2.blur(rng.standard_normal((height, width)).astype(np.float32), (25, 1))
    image = tint(color, 1 + 0.3 * brushed + 0.06 * clouds(rng, height, width, 50))
    rust = clouds(rng, height, width, 40, 5) > 1.05
    image[rust] = (image[rust] * (0.8, 0.55, 0.4)).astype(np.uint8)
    return image


def screw(rng: Generator, size: int) -> Texture:
    """Head of a screw with its slot at any angle, for a disc."""
    middle, angle = size / 2, rng.uniform(0, np.pi)
    y, x = np.mgrid[:size, :size] - middle
    image = tint((0.55, 0.53, 0.5), 1.05 - 0.5 * (np.hypot(x, y) / middle) ** 4)
    reach = 0.8 * middle * np.array([np.cos(angle), np.sin(angle)])
    ends = [tuple((middle + side * reach).astype(int).tolist()) for side in (-1, 1)]
    cv2.line(image, ends[0], ends[1], (28, 26, 24), max(1, size // 7), cv2.LINE_AA)
    return image


def folds(rng: Generator, height: int, width: int, color: Sequence[float]) -> Texture:
    """Soft cloth with faint, wide folds and nothing sharp: bedding."""
    warp = clouds(rng, height, width, 90, 3)
    crease = np.sin(5 * warp + 2 * clouds(rng, height, width, 160, 2))
    weave = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.0)
    return tint(color, 1 + 0.05 * crease + 0.03 * warp + 0.03 * weave)
