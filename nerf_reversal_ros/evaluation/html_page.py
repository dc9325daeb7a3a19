"""The page of a report: its style, and how tables, pictures and figures are put into it."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
import html
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<header>
<h1>{title}</h1>
<p class="verdict">{verdict}</p>
{warnings}<nav aria-label="Contents">{contents}</nav>
</header>
<main>
{sections}
</main>
</body>
</html>
"""

STYLE = """
:root { color-scheme: light; --ink: #1f2430; --faint: #6b7280; --line: #e5e7eb; --blue: #1d4ed8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 60rem; background: #fff;
  color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
.verdict { font-size: 1.15rem; margin: 0 0 1rem; max-width: 44rem; }
.warning { border-left: .25rem solid #b45309; padding-left: .75rem; max-width: 44rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; }
a { color: var(--blue); text-decoration: none; } a:hover { text-decoration: underline; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
.wide table { width: 100%; }
th, td { padding: .35rem .55rem; text-align: right; border-bottom: 1px solid var(--line); }
.wide td { white-space: nowrap; }
thead th { color: var(--faint); font-weight: 500; vertical-align: bottom; }
th[scope=row] { text-align: left; font-weight: 500; white-space: nowrap; }
.main { background: #eff4ff; } .main th, .main td { font-weight: 700; }
.facts td { text-align: left; overflow-wrap: anywhere; }
.note, figcaption { color: var(--faint); font-size: .85rem; }
figure { margin: 1rem 0; } img { display: block; max-width: 100%; height: auto; }
.plot { width: 100%; min-width: 30rem; max-width: none; }
figcaption { margin-top: .4rem; } figcaption b { color: var(--ink); }
.trio { display: grid; grid-template-columns: repeat(3, 1fr); gap: .35rem; }
.trio img { width: 100%; } .trio figcaption { grid-column: 1 / -1; margin-top: 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: 1rem; }
.cards figure { margin: 0; } .cards img { width: 100%; }
pre { background: #f6f7f9; padding: .8rem 1rem; overflow-x: auto; font-size: .85rem; }
"""


@dataclass(frozen=True)
class ReportSection:
    """A titled part of a report."""

    name: str
    title: str
    body: str


def html_page(
    title: str, headline: str, sections: Sequence[ReportSection], warnings: Sequence[str] = ()
) -> str:
    """Put together the text of one HTML file; sections without a body are left out."""
    shown = [section for section in sections if section.body]
    return PAGE.format(
        title=html.escape(title),
        style=STYLE,
        verdict=html.escape(headline),
        warnings=''.join(f'<p class="warning">{html.escape(told)}</p>\n' for told in warnings),
        contents=' '.join(f'<a href="#{s.name}">{html.escape(s.title)}</a>' for s in shown),
        sections='\n'.join(
            f'<section id="{s.name}"><h2>{html.escape(s.title)}</h2>\n{s.body}</section>'
            for s in shown
        ),
    )


def html_table(rows: Sequence[Sequence[str]], main: int | None = None) -> str:
    """Return a ``html_table`` element of texts, its head first; row ``main`` below it stands out."""
    head = ''.join(f'<th scope="col">{html.escape(cell)}</th>' for cell in rows[0])
    body = ''.join(
        f'<tr{" class=main" if number == main else ""}><th scope="row">{html.escape(row[0])}</th>'
        + ''.join(f'<td>{html.escape(cell)}</td>' for cell in row[1:])
        + '</tr>'
        for number, row in enumerate(rows[1:])
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        '</div>'
    )


def html_note(sentences: Sequence[str]) -> str:
    """Return small print, a line for each sentence."""
    return f'<p class="note">{"<br>".join(html.escape(said) for said in sentences)}</p>'


def resize_image(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) at another size, averaged over areas."""
    small: Any = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, dtype=np.uint8)


def html_image(rgb: NDArray[np.uint8] | Any, alt: str) -> str:
    """Return an ``img`` element that holds a picture (H, W, 3)."""
    _, encoded = cv2.imencode('.jpg', cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR),
                              [cv2.IMWRITE_JPEG_QUALITY, 82])  # fmt: skip
    data = base64.b64encode(encoded.tobytes()).decode()
    height, width = rgb.shape[:2]
    return (
        f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(alt)}" width="{width}"'
        f' height="{height}">'
    )


def html_figure(svg: str, caption: str) -> str:
    """Return a ``html_figure`` element that holds a drawing and its caption."""
    data, said = base64.b64encode(svg.encode()).decode(), html.escape(caption)
    return (
        '<figure><div class="wide"><img class="plot"'
        f' src="data:image/svg+xml;base64,{data}" alt="{said}"></div>'
        f'<figcaption>{said}</figcaption></figure>'
    )
