"""Build the HTML page of a report: style, tables, embedded images and figures."""

import base64
from collections.abc import Mapping, Sequence
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
<p class="headline">{headline}</p>
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
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 64rem; background: #fff;
  color: var(--ink); font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.5rem 0 .5rem; }
.headline { font-size: 1.15rem; margin: 0 0 1rem; max-width: 44rem; }
.warning { border-left: .25rem solid #b45309; padding-left: .75rem; max-width: 44rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; font-size: .9rem; }
a { color: var(--blue); text-decoration: none; } a:hover { text-decoration: underline; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .5rem; text-align: right; border-bottom: 1px solid var(--line); }
.wide td { white-space: nowrap; }
thead th { color: var(--faint); font-weight: 500; vertical-align: bottom; }
thead th:first-child { text-align: left; }
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

JPEG_QUALITY = 82
"""Of 100: artifacts are hardly visible, and a report stays at a few megabytes."""


@dataclass(frozen=True)
class ReportSection:
    """A titled part of a report."""

    name: str
    """Anchor of the section in the page."""
    title: str
    body: str
    """HTML; a section with an empty body is skipped."""


def html_page(
    title: str, headline: str, sections: Sequence[ReportSection], warnings: Sequence[str] = ()
) -> str:
    """Assemble the text of one HTML file; sections with an empty body are skipped."""
    filled = [section for section in sections if section.body]
    return PAGE.format(
        title=html.escape(title),
        style=STYLE,
        headline=html.escape(headline),
        warnings=''.join(f'<p class="warning">{html.escape(text)}</p>\n' for text in warnings),
        contents=' '.join(f'<a href="#{s.name}">{html.escape(s.title)}</a>' for s in filled),
        sections='\n'.join(
            f'<section id="{s.name}"><h2>{html.escape(s.title)}</h2>\n{s.body}</section>'
            for s in filled
        ),
    )


def html_table(rows: Sequence[Sequence[str]], main: int | None = None) -> str:
    """Return a ``table`` element of texts, column titles first; row ``main`` is emphasized."""
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


def html_facts(facts: Mapping[str, str]) -> str:
    """Return a ``table`` element of names and values, a row each."""
    rows = ''.join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(value)}</td></tr>'
        for name, value in facts.items()
    )
    return f'<table class="facts"><tbody>{rows}</tbody></table>'


def html_parts(parts: Mapping[str, str]) -> str:
    """Return bodies (HTML) below each other, each under its title."""
    return ''.join(f'<h3>{html.escape(title)}</h3>\n{body}' for title, body in parts.items())


def html_note(sentences: Sequence[str]) -> str:
    """Return a paragraph in small print, one line a sentence."""
    return f'<p class="note">{"<br>".join(html.escape(text) for text in sentences)}</p>'


def resize_image(rgb: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Resize an image (H, W, 3) by averaging over areas."""
    resized: Any = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(resized, dtype=np.uint8)


def html_image(rgb: NDArray[np.uint8] | Any, alt: str) -> str:
    """Return an ``img`` element with an embedded image (H, W, 3), as JPEG."""
    bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    _, encoded = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    data = base64.b64encode(encoded.tobytes()).decode()
    height, width = rgb.shape[:2]
    return (
        f'<img src="data:image/jpeg;base64,{data}" alt="{html.escape(alt)}" width="{width}"'
        f' height="{height}">'
    )


def html_figure(svg: str, caption: str) -> str:
    """Return a ``figure`` element with an embedded SVG drawing and its caption."""
    data, text = base64.b64encode(svg.encode()).decode(), html.escape(caption)
    return (
        '<figure><div class="wide"><img class="plot"'
        f' src="data:image/svg+xml;base64,{data}" alt="{text}"></div>'
        f'<figcaption>{text}</figcaption></figure>'
    )
