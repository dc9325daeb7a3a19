"""A result in words and as a table, for the terminal and for the report."""

import math
from typing import Any

from nerf_reversal_ros.metrics import RECALLS


def summary_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """Return the headline table, its head first, for the report and for the terminal."""
    head = ['', 'answered', 'median cm', 'median deg', '2cm 2deg', '5cm 5deg', '10cm 10deg',
            '25cm 2deg', '50cm 5deg', 'worst cm', 'worst deg', 'ms']  # fmt: skip
    named = {
        'published': metrics,
        'refined, no gate': metrics['stages']['refined'],
        'regressor alone': metrics['stages']['regressor'],
        **{name: b for name, b in metrics['baselines'].items() if name != 'nearest_reference'},
        'nearest reference pose*': metrics['oracle_nearest_reference'],
    }
    rows = [head]
    for name, block in named.items():
        turned = not block.get('position_only', False)
        recalls = (block['recall'][recall] for recall in RECALLS)
        rows.append(
            [
                name.replace('_', ' ') + ('' if turned else '\u2020'),
                f'{block["published"]}/{block["images"]}',
                number(block['median_translation_m'], 100),
                number(block['median_rotation_deg'] if turned else None),
                *(percent(recall) if turned else number(None) for recall in recalls),
                number(block['worst_published_translation_m'], 100),
                number(block['worst_published_rotation_deg'] if turned else None),
                number(block['latency_ms']['p50']),
            ]
        )
    return rows


def position_only(metrics: dict[str, Any]) -> list[str]:
    """Return the baselines whose rotation means nothing."""
    return [name for name, block in metrics['baselines'].items() if block.get('position_only')]


def summary_text(metrics: dict[str, Any]) -> str:
    """Return the result for the terminal: the verdict, the table, and what is behind it."""
    rows = summary_rows(metrics)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [verdict(metrics), '']
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append(f'{name.ljust(widths[0])}  {"  ".join(padded)}')
    lines.append('* an oracle: the walked pose nearest to the truth')
    lines += ['\u2020 tells a position only'] * bool(position_only(metrics)) + ['']
    lines += [f'rejected {n}: {why}' for why, n in metrics['rejected'].items()]
    if metrics['anees'] is not None:
        lines.append(f'ANEES {number(metrics["anees"])} (6 is perfect)')
    if metrics['psnr_db'] is not None:
        lines.append(
            f'field {number(metrics["psnr_db"])} dB PSNR at true poses with exposure and white'
            f' balance matched, {number(metrics["psnr_plain_db"])} dB without'
        )
    return '\n'.join(lines)


def verdict(metrics: dict[str, Any]) -> str:
    """Say the result in one or two sentences."""
    said = f'{metrics["published"]} of {metrics["images"]} pictures were localized'
    if metrics['median_translation_m'] is not None:
        said += (
            f'; half of all are within {number(metrics["median_translation_m"], 100)} cm and'
            f' {number(metrics["median_rotation_deg"])}\u00b0'
        )
    if metrics['published']:
        metres, degrees = 'worst_published_translation_m', 'worst_published_rotation_deg'
        said += (
            f'. The worst published answer is {number(metrics[metres], 100)} cm and'
            f' {number(metrics[degrees])}\u00b0 off'
        )
    return said + '.'


def number(value: float | None, scale: float = 1.0) -> str:
    """Write a figure with three digits that count; a dash for what is infinite or unknown."""
    if value is None or not math.isfinite(value):
        return '\u2013'
    scaled = value * scale
    if 0 < abs(scaled) < 0.005:
        return '<0.01'
    return f'{scaled:.0f}' if abs(scaled) >= 100 else f'{scaled:.3g}'


def percent(share: float) -> str:
    """Write a share in whole percent."""
    return f'{100 * share:.0f} %'
