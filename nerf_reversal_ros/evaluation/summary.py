"""A result in words and as a table, for the terminal and for the report."""

import math
from typing import Any

TABLE_RECALLS = ('2cm_2deg', '5cm_5deg', '10cm_10deg')
"""Of the recalls, those in the table; metrics.json has them all."""


def summary_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """Return the headline table, its head first, for the report and for the terminal."""
    head = ['', 'answered', 'median cm', 'median deg', '2cm 2deg', '5cm 5deg', '10cm 10deg',
            '0.1 m', 'worst cm', 'worst deg', 'ms', 'map MB', 'mapping s']  # fmt: skip
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
        marks = '' if turned else '\u2020'
        marks += '' if block['images'] == metrics['images'] else '\u2021'
        rows.append(
            [
                name.replace('_', ' ') + marks,
                f'{block["published"]}/{block["images"]}',
                format_number(block['median_translation_m'], 100),
                format_number(block['median_rotation_deg'] if turned else None),
                *(
                    format_percent(block['recall'][name]) if turned else format_number(None)
                    for name in TABLE_RECALLS
                ),
                format_percent(block['accuracy_0.1m']),
                format_number(block['worst_published_translation_m'], 100),
                format_number(block['worst_published_rotation_deg'] if turned else None),
                format_number(block['latency_ms']['p50']),
                format_number(block.get('map_mb')),
                format_number(block.get('mapping_s')),
            ]
        )
    return rows


def position_only_baselines(metrics: dict[str, Any]) -> list[str]:
    """Return the baselines whose rotation means nothing."""
    return [name for name, block in metrics['baselines'].items() if block['position_only']]


def table_notes(metrics: dict[str, Any]) -> list[str]:
    """Say what the marks and the less known columns of the table mean."""
    blocks = metrics['baselines'].values()
    fewer = sorted({b['images'] for b in blocks if b['images'] != metrics['images']})
    said = ['* an oracle that is told the true pose: the walked pose nearest to it']
    if position_only_baselines(metrics):
        said.append('\u2020 tells a position only')
    if fewer:
        asked = ' or '.join(str(count) for count in fewer)
        said.append(f'\u2021 slow, and asked about {asked} of the pictures only, evenly spread')
    measured = {'published': metrics, **metrics['baselines']}
    shares = [
        f'{name.replace("_", " ")} {format_percent(measured[name]["accuracy_0.1m"])}'
        for name in ('published', 'seed_cnn', 'seed_mlp')
        if name in measured
    ]
    said.append(
        f'0.1 m: positions within it, the measure of the seed project: {", ".join(shares)}'
    )
    return said


def summary_text(metrics: dict[str, Any]) -> str:
    """Return the result for the terminal: the verdict, the table, and what is behind it."""
    rows = summary_rows(metrics)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [headline(metrics), '']
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append(f'{name.ljust(widths[0])}  {"  ".join(padded)}')
    lines += [*table_notes(metrics), '']
    lines += _rejection_and_covariance_lines(metrics)
    if metrics['psnr_db'] is not None:
        lines.append(
            f'field {format_number(metrics["psnr_db"])} dB PSNR at true poses with exposure and white'
            f' balance matched, {format_number(metrics["psnr_plain_db"])} dB without'
        )
    return '\n'.join(lines)


def localizer_summary_text(metrics: dict[str, Any]) -> str:
    """Return a result that is of published poses alone, for the terminal."""
    recall = ', '.join(
        f'{name.replace("_", " ")} {format_percent(metrics["recall"][name])}'
        for name in TABLE_RECALLS
    )
    return '\n'.join(
        [headline(metrics), f'within {recall}', *_rejection_and_covariance_lines(metrics)]
    )


def _rejection_and_covariance_lines(metrics: dict[str, Any]) -> list[str]:
    """Say why pictures were rejected, and how far the covariance of the others is right."""
    lines = [f'rejected {n}: {why}' for why, n in metrics['rejected'].items()]
    if (coverage := metrics['sigma_coverage']) is not None:
        said = 'infinite' if metrics['anees'] is None else format_number(metrics['anees'] / 6)
        within = '; '.join(
            f'{what} {", ".join(format_percent(shares[k]) for k in "123")}'
            for what, shares in (
                ('positions', coverage['translation']),
                ('rotations', coverage['rotation']),
            )
        )
        lines.append(f'ANEES/6 {said} (1 is perfect); within 1, 2, 3 sigma: {within}')
    return lines


def headline(metrics: dict[str, Any]) -> str:
    """Say the result in one or two sentences."""
    said = f'{metrics["published"]} of {metrics["images"]} pictures were localized'
    if metrics['median_translation_m'] is not None:
        said += (
            f'; half of all are within {format_number(metrics["median_translation_m"], 100)} cm and'
            f' {format_number(metrics["median_rotation_deg"])}\u00b0'
        )
    if metrics['published']:
        metres, degrees = 'worst_published_translation_m', 'worst_published_rotation_deg'
        said += (
            f'. The worst published answer is {format_number(metrics[metres], 100)} cm and'
            f' {format_number(metrics[degrees])}\u00b0 off'
        )
    return said + '.'


def format_number(value: float | None, scale: float = 1.0) -> str:
    """Write a figure with three digits that count; a dash for what is infinite or unknown."""
    if value is None or not math.isfinite(value):
        return '\u2013'
    scaled = value * scale
    if 0 < abs(scaled) < 0.005:
        return '<0.01'
    return f'{scaled:.0f}' if abs(scaled) >= 100 else f'{scaled:.3g}'


def format_percent(fraction: float) -> str:
    """Write a share in whole percent, and what is nearly all or nothing with a decimal."""
    if 0.995 <= fraction < 1 or 0 < fraction < 0.005:
        return f'{min(99.9, max(0.1, 100 * fraction)):.1f} %'
    return f'{100 * fraction:.0f} %'
