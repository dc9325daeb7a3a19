"""
Generate procedural textures for the demo room: wood, cloth, paint, posters, book spines, a rug.

Functions take a seeded generator and return an sRGB image, uint8 (H, W, 3). The only files that
are read are the DejaVu fonts of matplotlib.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

Texture = NDArray[np.uint8]  # sRGB image (H, W, 3)
Generator = np.random.Generator

WORDS = (
    'north harbour signal lemon orbit velvet granite tango meadow copper winter atlas river'
    ' cobalt lantern echo saffron marble theory garden pixel comet walnut island rhythm paper'
    ' vector amber forest opera prism salt thunder violet engine coral mosaic summit cipher'
).split()


@cache
def font(size: int, bold: bool = True) -> ImageFont.FreeTypeFont:
    """Return DejaVu, sans and bold, or with serifs."""
    name = 'DejaVuSans-Bold.ttf' if bold else 'DejaVuSerif.ttf'
    folder = Path(matplotlib.get_data_path()) / 'fonts' / 'ttf'
    return ImageFont.truetype(str(folder / name), size)


def words(rng: Generator, count: int) -> str:
    """Return random words, for titles."""
    return ' '.join(rng.choice(WORDS, size=count))


def clouds(rng: Generator, height: int, width: int, cell: float, octaves: int = 4) -> NDArray:
    """Generate fractal noise (H, W), about -1 to 1; its largest features are ``cell`` pixels."""
    out = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        size = max(cell / 2**octave, 1.0)
        grid = rng.standard_normal((int(height / size) + 4, int(width / size) + 4))
        whole = cv2.resize(grid.astype(np.float32), None, fx=size, fy=size, interpolation=2)
        out += whole[:height, :width] * 0.5**octave
    return out / 2.0


def to_uint8(values: NDArray) -> Texture:
    """Convert colors from 0 to 1; others are clipped."""
    return np.clip(np.asarray(values) * 255.0, 0, 255).astype(np.uint8)


def tint(color: Sequence[float], factor: NDArray) -> Texture:
    """Multiply a color, 0 to 1, by a factor at each pixel (H, W)."""
    return to_uint8(np.asarray(color, np.float32) * factor[..., None])


def bright(rng: Generator, saturation: float = 0.6, value: float = 0.75) -> tuple[int, int, int]:
    """Return a random color as three integers."""
    hsv = np.array([[[rng.uniform(0, 360), saturation, value]]], np.float32)
    r, g, b = (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] * 255).astype(int)
    return int(r), int(g), int(b)


def paint(rng: Generator, color: Sequence[float], height: int, width: int) -> Texture:
    """Painted wall: one color, faint roller marks and stains."""
    marks = cv2.GaussianBlur(rng.standard_normal((height, width)).astype(np.float32), (0, 0), 1.2)
    return tint(color, 1 + 0.02 * clouds(rng, height, width, 150) + 0.03 * marks)


def stripes(rng: Generator, height: int, width: int) -> Texture:
    """Wallpaper with hand-painted, irregular stripes and leaves."""
    image = Image.fromarray(paint(rng, (0.80, 0.79, 0.72), height, width))
    draw = ImageDraw.Draw(image)
    x = 0.0
    while x < width:
        shade = int(rng.integers(172, 198))
        wide = rng.uniform(6, 26)
        draw.rectangle([x, 0, x + wide, height], fill=(shade, shade + 3, shade - 8))
        x += wide + rng.uniform(14, 46)
    for _ in range(height * width // 5200):
        cx, cy, angle = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(0, 2 * np.pi)
        for side in (-1, 1):
            tip = np.array([np.cos(angle + 0.5 * side), np.sin(angle + 0.5 * side)])
            end = (cx + tip[0] * 16, cy + tip[1] * 16)
            draw.line([(cx, cy), end], fill=(126, 142, 122), width=int(rng.integers(1, 5)))
    return np.array(image)


def planks(rng: Generator, height: int, width: int, plank: int, length: int) -> Texture:
    """Wooden floor or furniture front: rows of planks, each with its own tone and grain."""
    out = np.zeros((height, width, 3), np.float32)
    for top in range(0, height, plank):
        left = -int(rng.integers(0, length))
        while left < width:
            right = left + int(length * rng.uniform(0.7, 1.2))
            x0, x1, y1 = max(left, 0), min(right, width), min(top + plank, height)
            if x1 > x0:
                out[top:y1, x0:x1] = grain(rng, y1 - top, x1 - x0) * rng.uniform(0.72, 1.12)
                out[top : top + 1, x0:x1] *= 0.45
                out[top:y1, x0 : x0 + 1] *= 0.45
            left = right
    return to_uint8(out)


def grain(rng: Generator, height: int, width: int, bend: NDArray | float = 0.0) -> NDArray:
    """Wood as floats (H, W, 3), the grain along x; ``bend`` (H, W) leads it around knots."""
    stretched = cv2.resize(clouds(rng, height + 8, width // 10 + 8, 12), (width, height + 8))
    rings = np.sin(14 * (stretched[:height] + bend) + clouds(rng, height, width, 60) * 2)
    fine = cv2.resize(
        rng.standard_normal((height, width // 14 + 2)).astype(np.float32), (width, height)
    )
    factor = 0.86 + 0.09 * rings + 0.05 * fine + 0.08 * clouds(rng, height, width, 90)
    tone = np.array([0.66, 0.46, 0.29]) + rng.uniform(-0.03, 0.03, 3)
    return tone.astype(np.float32) * factor[..., None]


def wood(rng: Generator, height: int, width: int, shade: Sequence[float] = (1, 1, 1)) -> Texture:
    """One board, the grain along x."""
    return to_uint8(grain(rng, height, width) * np.asarray(shade, np.float32))


def cloth(rng: Generator, color: Sequence[float], height: int, width: int) -> Texture:
    """Woven cloth with worn places."""
    weave = rng.standard_normal((height, width)).astype(np.float32)
    thread = cv2.blur(weave, (7, 1)) + cv2.blur(weave[::-1], (1, 7))
    return tint(color, 1 + 0.16 * thread + 0.10 * clouds(rng, height, width, 70))


def patterned(rng: Generator, height: int, width: int, motifs: int) -> Texture:
    """Cloth printed with random leaves, dots and rings: cushions, curtains."""
    base = bright(rng, 0.35, 0.75)
    image = Image.fromarray(cloth(rng, np.array(base) / 255, height, width))
    draw = ImageDraw.Draw(image)
    for _ in range(motifs):
        x, y, r = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(4, height / 7)
        color = bright(rng, rng.uniform(0.1, 0.7), rng.uniform(0.3, 0.95))
        kind = rng.integers(4)
        if kind == 0:
            draw.ellipse([x - r, y - r, x + r, y + r], fill=color)
        elif kind == 1:
            draw.ellipse([x - r, y - r, x + r, y + r], outline=color, width=4)
        elif kind == 2:
            draw.ellipse([x - r, y - r / 3, x + r, y + r / 3], fill=color)
        else:
            corners = [(x, y), (x + r, y + r / 2), (x - r / 2, y + r)]
            draw.polygon(corners, fill=color)
    return np.array(image)


def rug(rng: Generator, height: int, width: int) -> Texture:
    """Draw a rug with borders and a field of motifs, none of them twice."""
    image = Image.fromarray(cloth(rng, (0.52, 0.16, 0.15), height, width))
    draw = ImageDraw.Draw(image)
    for inset, color in ((14, (196, 172, 128)), (30, (36, 44, 82)), (74, (190, 160, 112))):
        draw.rectangle([inset, inset, width - inset, height - inset], outline=color, width=7)
    for _ in range(230):
        x, y = rng.uniform(85, width - 85), rng.uniform(85, height - 85)
        count, r = int(rng.integers(3, 9)), rng.uniform(8, 34)
        rotation = rng.uniform(0, np.pi)
        angles = rotation + np.arange(2 * count) * np.pi / count
        radii = np.where(np.arange(2 * count) % 2, r, r * rng.uniform(0.3, 0.8))
        star = [(x + a * np.cos(t), y + a * np.sin(t)) for a, t in zip(radii, angles, strict=True)]
        draw.polygon(star, fill=bright(rng, 0.55, rng.uniform(0.35, 0.8)))
    for x in range(44, width - 44, 9):
        for y in (50, height - 62):
            draw.rectangle([x, y, x + 6, y + rng.uniform(3, 14)], fill=bright(rng, 0.5, 0.6))
    texture = 1 + 0.13 * rng.standard_normal((height, width, 1))
    return to_uint8(np.array(image) / 255.0 * texture)


def spine(rng: Generator, height: int, width: int) -> Texture:
    """Back of a book, the title along it."""
    color = bright(rng, rng.uniform(0.05, 0.8), rng.uniform(0.15, 0.9))
    image = Image.new('RGB', (height, width), color)
    draw = ImageDraw.Draw(image)
    ink = (245, 240, 225) if sum(color) < 380 else (25, 22, 30)
    for _ in range(int(rng.integers(1, 5))):
        x = rng.uniform(0, height)
        draw.rectangle([x, 0, x + rng.uniform(2, 14), width], fill=bright(rng))
    size = int(np.clip(width * 0.55, 9, 26))
    title = words(rng, int(rng.integers(1, 4))).title()
    draw.text((rng.uniform(8, 40), (width - size) / 2), title, fill=ink, font=font(size))
    return np.rot90(np.array(image)).copy()


def screen(rng: Generator, height: int, width: int) -> Texture:
    """Draw a desktop with windows of text and a plot."""
    image = Image.fromarray(to_uint8(_gradient(rng, height, width)))
    draw = ImageDraw.Draw(image)
    for left, top, right, bottom, paper in (
        (0.03, 0.06, 0.55, 0.9, (28, 30, 38)),
        (0.6, 0.1, 0.97, 0.5, (240, 240, 236)),
        (0.5, 0.58, 0.95, 0.94, (250, 250, 250)),
    ):
        x0, y0, x1, y1 = left * width, top * height, right * width, bottom * height
        draw.rectangle([x0, y0, x1, y1], fill=paper, outline=(90, 90, 90))
        for y in np.arange(y0 + 8, y1 - 12, 13):
            ink = bright(rng, 0.5, 0.9 if sum(paper) < 300 else 0.4)
            draw.text((x0 + 8 + 12 * rng.integers(3), y), words(rng, 3), fill=ink, font=font(9))
    return np.array(image)


def _gradient(rng: Generator, height: int, width: int) -> NDArray:
    top, bottom = np.array(bright(rng)) / 255, np.array(bright(rng, 0.4, 0.9)) / 255
    fraction = np.linspace(0, 1, height)[:, None, None]
    out: NDArray = (top * (1 - fraction) + bottom * fraction) * np.ones((1, width, 1))
    return out


def cardboard(rng: Generator, height: int, width: int) -> Texture:
    """Side of a parcel: brown paper, tape, a label, marks."""
    image = Image.fromarray(paint(rng, (0.64, 0.49, 0.33), height, width))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, height * 0.44, width, height * 0.56], fill=(178, 150, 108))
    x, y = rng.uniform(0.05, 0.4) * width, rng.uniform(0.08, 0.3) * height
    draw.rectangle([x, y, x + width * 0.5, y + height * 0.5], fill=(238, 236, 228))
    for row in range(5):
        text = words(rng, 2)
        draw.text((x + 5, y + 4 + row * height * 0.09), text, fill=(20, 20, 20), font=font(11))
    for bar in range(24):
        left = x + 6 + bar * 3.5
        draw.line([left, y + height * 0.4, left, y + height * 0.47], fill=0, width=1 + bar % 2)
    return np.array(image)


def pinboard(rng: Generator, height: int, width: int) -> Texture:
    """Cork with notes, photographs and tickets."""
    image = Image.fromarray(cloth(rng, (0.66, 0.47, 0.28), height, width))
    for _ in range(26):
        h, w = int(rng.uniform(0.12, 0.28) * height), int(rng.uniform(0.1, 0.2) * width)
        kind = rng.integers(3)
        if kind == 0:
            note = Image.new('RGB', (w, h), bright(rng, 0.45, 0.95))
            pen = ImageDraw.Draw(note)
            for y in range(6, h - 10, 12):
                pen.text((5, y), words(rng, 2), fill=(30, 30, 60), font=font(10, bold=False))
        else:
            scene = landscape(rng, h, w) if kind == 1 else stained_glass(rng, h, w, 12)
            note = Image.fromarray(cv2.copyMakeBorder(scene, 4, 4, 4, 4, 0, value=(245,) * 3))
        rotated = note.convert('RGBA').rotate(rng.uniform(-14, 14), expand=True)
        corner = int(rng.uniform(-0.02, 0.86) * width), int(rng.uniform(-0.02, 0.8) * height)
        image.paste(rotated, corner, rotated)
    return np.array(image)


def clock(rng: Generator, size: int) -> Texture:
    """Face of a wall clock."""
    image = Image.new('RGB', (size, size), (236, 232, 220))
    draw, middle = ImageDraw.Draw(image), size / 2
    draw.ellipse([4, 4, size - 4, size - 4], outline=(40, 40, 46), width=size // 22)
    for hour in range(1, 13):
        angle = np.pi / 6 * hour
        x, y = middle + 0.38 * size * np.sin(angle), middle - 0.38 * size * np.cos(angle)
        draw.text((x, y), str(hour), fill=0, font=font(size // 12), anchor='mm')
    for length, angle, width in ((0.24, 5.3, 7), (0.36, 1.1, 4)):
        end = (middle + length * size * np.sin(angle), middle - length * size * np.cos(angle))
        draw.line([(middle, middle), end], fill=(120, 20, 20), width=width)
    return np.array(image)


def landscape(rng: Generator, height: int, width: int) -> Texture:
    """Layered mountains under a sky with a sun."""
    out = _gradient(rng, height, width)
    y, x = np.mgrid[:height, :width]
    sun = np.hypot(y - rng.uniform(0.1, 0.4) * height, x - rng.uniform(0.15, 0.85) * width)
    out[sun < rng.uniform(0.05, 0.12) * height] = (1.0, 0.93, 0.7)
    shade = np.array(bright(rng, 0.5, 0.8)) / 255
    for layer in range(6):
        ridge = clouds(rng, 1, width, rng.uniform(0.1, 0.5) * width, 6)[0]
        top = height * (0.4 + 0.11 * layer + 0.13 * ridge)
        mottle = 1 + 0.18 * clouds(rng, height, width, 20)[..., None]
        below = y > top
        out[below] = (shade * (0.95 - 0.14 * layer) * mottle)[below]
    return to_uint8(out)


def stained_glass(rng: Generator, height: int, width: int, panes: int) -> Texture:
    """Colored cells around random seeds, with dark leads between them."""
    seeds = rng.uniform(0, 1, (panes, 2)) * (height, width)
    y, x = np.mgrid[:height, :width]
    distance = np.stack([np.hypot(y - a, x - b) for a, b in seeds])
    nearest = np.sort(distance, axis=0)[:2]
    colors = np.array([bright(rng, rng.uniform(0.2, 0.8), rng.uniform(0.3, 0.95)) for _ in seeds])
    out = colors[distance.argmin(axis=0)] / 255.0
    out[nearest[1] - nearest[0] < max(2.0, height / 120)] = 0.1
    return to_uint8(out * (1 + 0.08 * clouds(rng, height, width, 30)[..., None]))


def strokes(rng: Generator, height: int, width: int) -> Texture:
    """Paint an abstract picture: brush strokes that follow a random flow."""
    image = Image.fromarray(cloth(rng, (0.85, 0.8, 0.7), height, width))
    draw = ImageDraw.Draw(image)
    flow = clouds(rng, height, width, height / 2, 3) * 4
    hue = clouds(rng, height, width, height / 3, 3)
    for _ in range(1100):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        color = bright(np.random.default_rng(int(40 + 9 * hue[int(y), int(x)])), 0.7, 0.8)
        color = tuple(int(np.clip(c + rng.normal(0, 25), 0, 255)) for c in color)
        points = [(x, y)]
        for _ in range(9):
            angle = flow[int(np.clip(y, 0, height - 1)), int(np.clip(x, 0, width - 1))]
            x, y = x + 6 * np.cos(angle), y + 6 * np.sin(angle)
            points.append((x, y))
        draw.line(points, fill=color, width=int(rng.integers(2, 9)))
    return np.array(image)


def shapes(rng: Generator, height: int, width: int) -> Texture:
    """Draw a print of large geometric shapes with a title."""
    image = Image.fromarray(paint(rng, (0.92, 0.88, 0.78), height, width))
    draw = ImageDraw.Draw(image)
    for _ in range(26):
        x, y, r = rng.uniform(0, width), rng.uniform(0, 0.8 * height), rng.uniform(8, width / 4)
        color, kind = bright(rng, 0.75, rng.uniform(0.3, 0.9)), rng.integers(4)
        if kind == 0:
            draw.pieslice([x - r, y - r, x + r, y + r], *rng.uniform(0, 360, 2), fill=color)
        elif kind == 1:
            draw.rectangle([x, y, x + r * rng.uniform(0.2, 2), y + r], fill=color)
        elif kind == 2:
            draw.line([x, y, x + 2 * r, y + rng.uniform(-r, r)], fill=color, width=5)
        else:
            draw.ellipse([x - r, y - r, x + r, y + r], outline=color, width=6)
    title = words(rng, 2).upper()
    size = width // 13
    draw.text((width * 0.06, height * 0.86), title, fill=(30, 30, 30), font=font(size))
    return np.array(image)


def city_map(rng: Generator, height: int, width: int) -> Texture:
    """Draw a map: land, water, contour lines, roads and names."""
    relief = clouds(rng, height, width, height / 2.5, 5)
    land = np.stack([0.86 - 0.15 * relief, 0.87 - 0.05 * relief, 0.72 - 0.2 * relief], -1)
    land[relief < -0.25] = (0.60, 0.76, 0.88)
    land[np.abs((relief * 9) % 1 - 0.5) > 0.45] *= 0.8
    image = Image.fromarray(to_uint8(land))
    draw = ImageDraw.Draw(image)
    for road in range(16):
        bend = clouds(rng, 1, 64, 20, 3)[0] * height * 0.18
        along = np.linspace(-20, max(width, height) + 20, 64)
        across = rng.uniform(0, max(width, height)) + bend
        line = [(a, b) if road % 2 else (b, a) for a, b in zip(along, across, strict=True)]
        draw.line(line, fill=bright(rng, 0.7, 0.8), width=int(rng.integers(2, 7)))
    for _ in range(40):
        spot = rng.uniform(0, width * 0.9), rng.uniform(0, height * 0.95)
        size = int(rng.integers(9, 20))
        draw.text(spot, words(rng, 1).title(), fill=(40, 40, 50), font=font(size, bold=False))
    return np.array(image)


def concert(rng: Generator, height: int, width: int) -> Texture:
    """Draw a concert poster: big words over a sunburst."""
    y, x = np.mgrid[:height, :width]
    angle = np.arctan2(y - 0.6 * height, x - rng.uniform(0.3, 0.7) * width)
    rays = np.floor(angle * 6 + 0.8 * clouds(rng, height, width, 90)) % 3
    palette = np.array([bright(rng, 0.7, 0.85), bright(rng, 0.5, 0.5), bright(rng, 0.3, 0.95)])
    image = Image.fromarray(palette[rays.astype(int)].astype(np.uint8))
    draw, row = ImageDraw.Draw(image), 0.04 * height
    while row < 0.92 * height:
        size = int(rng.uniform(0.05, 0.16) * width)
        text = words(rng, 1 if size > 0.1 * width else 3).upper()
        ink = (250, 245, 230) if rng.random() < 0.6 else (20, 16, 30)
        draw.text((rng.uniform(0.03, 0.3) * width, row), text, fill=ink, font=font(size))
        row += size * 1.3
    return np.array(image)


def science(rng: Generator, height: int, width: int) -> Texture:
    """Draw a conference poster: a title, columns of text, plots."""
    image = Image.new('RGB', (width, height), (244, 244, 240))
    draw = ImageDraw.Draw(image)
    draw.rectangle([0, 0, width, 0.13 * height], fill=bright(rng, 0.7, 0.45))
    title = font(max(9, width // 17))
    draw.text((width * 0.04, height * 0.03), words(rng, 3).title(), fill='white', font=title)
    for column in range(2):
        x0, y = width * (0.04 + 0.49 * column), 0.16 * height
        while y < 0.93 * height:
            if rng.random() < 0.35 and y < 0.75 * height:
                y1 = y + 0.18 * height
                box = [x0, y, x0 + 0.43 * width, y1]
                draw.rectangle(box, fill=bright(rng, 0.12, 0.95), outline=(60, 60, 60))
                for _ in range(3):
                    curve = clouds(rng, 1, 40, 14, 4)[0] * 0.06 * height + (y + y1) / 2
                    across = np.linspace(x0, x0 + 0.43 * width, 40)
                    line = list(zip(across, curve, strict=True))
                    draw.line(line, fill=bright(rng, 0.8, 0.6), width=3)
                y = y1 + 8
            else:
                draw.text((x0, y), words(rng, 5), fill=(40, 40, 40), font=font(10, bold=False))
                y += 13
    return np.array(image)


def add_frame(image: Texture, border: int, color: tuple[int, int, int]) -> Texture:
    """Put a border of ``border`` pixels around an image."""
    return cv2.copyMakeBorder(image, *(border,) * 4, cv2.BORDER_CONSTANT, value=color)
