"""Format the metrics of an evaluation as sentences and as a table, for terminal and report."""

from collections.abc import Callable
import math
from typing import Any

DEGREES_OF_FREEDOM = 6
"""Of a pose: ANEES is reported divided by it, so that 1 is consistent."""

TABLE_RECALLS = ('2cm_2deg', '5cm_5deg', '10cm_10deg')
"""Recall thresholds in the table; ``metrics.json`` has all of them."""

AS_THEY_ARE = 'With the ground truth as it is'
AFTER_MOTION = 'After one rigid motion of the ground truth, fitted to the accepted poses'
"""Marks of the two sets of figures if the ground truth is in another frame."""

_ORACLE = 'oracle_nearest_reference'

UNKNOWN = '\u2013'
"""Printed for a number that is infinite or not available."""


def summary_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """Return the table of all methods as texts, column titles first."""
    head = ['', 'localized', 'median cm', 'median deg', '2cm 2deg', '5cm 5deg', '10cm 10deg',
            '0.1 m', 'worst cm', 'worst deg', 'ms', 'map MB', 'mapping s']  # fmt: skip
    blocks = {
        'accepted': metrics,
        'refined, no gate': metrics['stages']['refined'],
        'regressor alone': metrics['stages']['regressor'],
        **{name: b for name, b in metrics['baselines'].items() if name != 'nearest_reference'},
    }
    if metrics[_ORACLE] is not None:
        blocks['nearest reference pose*'] = metrics[_ORACLE]
    return [head, *(_summary_row(name, b, metrics['images']) for name, b in blocks.items())]


def _summary_row(name: str, block: dict[str, Any], image_count: int) -> list[str]:
    """Return the row of one method; its name is marked as explained by `table_notes`."""
    has_rotation = not block.get('position_only', False)
    marks = '' if has_rotation else '\u2020'
    marks += '' if block['images'] == image_count else '\u2021'
    recalls = [
        format_percent(block['recall'][threshold]) if has_rotation else UNKNOWN
        for threshold in TABLE_RECALLS
    ]
    return [
        name.replace('_', ' ') + marks,
        f'{block["published"]}/{block["images"]}',
        format_number(block['median_translation_m'], 100),
        format_number(block['median_rotation_deg'] if has_rotation else None),
        *recalls,
        format_percent(block['accuracy_0.1m']),
        format_number(block['worst_published_translation_m'], 100),
        format_number(block['worst_published_rotation_deg'] if has_rotation else None),
        format_number(block['latency_ms']['p50']),
        format_number(block.get('map_mb')),
        format_number(block.get('mapping_s')),
    ]


def position_only_baselines(metrics: dict[str, Any]) -> list[str]:
    """Return the names of the baselines that estimate no rotation."""
    return [name for name, block in metrics['baselines'].items() if block['position_only']]


def table_notes(metrics: dict[str, Any]) -> list[str]:
    """Explain the marks and the column ``0.1 m`` of the table, one sentence each."""
    notes = []
    if metrics[_ORACLE] is not None:
        notes.append('* oracle: the mapping pose nearest to the ground truth')
    if position_only_baselines(metrics):
        notes.append('\u2020 estimates a position only')
    blocks = metrics['baselines'].values()
    if fewer := sorted({b['images'] for b in blocks if b['images'] != metrics['images']}):
        counts = ' or '.join(str(count) for count in fewer)
        notes.append(f'\u2021 slow: evaluated on {counts} evenly spaced images only')
    compared = {'accepted': metrics, **metrics['baselines']}
    fractions = [
        f'{name.replace("_", " ")} {format_percent(compared[name]["accuracy_0.1m"])}'
        for name in ('accepted', 'seed_cnn', 'seed_mlp')
        if name in compared
    ]
    notes.append(
        f'0.1 m: positions within 0.1 m, the measure of the original project:'
        f' {", ".join(fractions)}'
    )
    return notes


def summary_text(metrics: dict[str, Any]) -> str:
    """
    Return headline, table, notes, rejections and covariance calibration, for the terminal.

    Metrics after a rigid motion of the ground truth follow those as they are.
    """
    return _with_aligned(metrics, _summary_of_all)


def localizer_summary_text(metrics: dict[str, Any]) -> str:
    """Return the summary of a localizer without stages and baselines, for the terminal."""
    return _with_aligned(metrics, _summary_of_localizer)


def alignment_text(aligned: dict[str, Any]) -> str:
    """Return what the block ``aligned`` of ``metrics.json`` means, with the remedy."""
    return (
        f'One rigid motion of {format_number(aligned["translation_m"])} m and'
        f' {format_number(aligned["rotation_deg"])}\u00b0 explains'
        f' {format_percent(aligned["explained"])} of the accepted poses: the ground truth is in'
        ' another frame than the map. Figures are given as they are and after this motion; for'
        ' figures without it, evaluate on a bag with poses in the world of the mapping bag.'
    )


def _with_aligned(
    metrics: dict[str, Any], summarize: Callable[[dict[str, Any]], list[str]]
) -> str:
    """Return a summary; with ``aligned``, what it means and both summaries under their marks."""
    if metrics['aligned'] is None:
        return '\n'.join(summarize(metrics))
    aligned = metrics['aligned']
    return '\n'.join(
        [
            alignment_text(aligned),
            *('', f'{AS_THEY_ARE}:', '', *summarize(metrics)),
            *('', f'{AFTER_MOTION}:', '', *summarize(aligned)),
        ]
    )


def _summary_of_all(metrics: dict[str, Any]) -> list[str]:
    """Return the lines of a summary of all methods."""
    lines = [headline(metrics), '', *_table_lines(summary_rows(metrics))]
    lines += [*table_notes(metrics), '']
    lines += _rejection_and_covariance_lines(metrics)
    if metrics['psnr_db'] is not None:
        lines.append(field_psnr_text(metrics))
    if 'rooms' in metrics:
        lines += ['', *_table_lines(room_rows(metrics)), *room_notes(metrics)]
    return lines


def _table_lines(rows: list[list[str]]) -> list[str]:
    """Align the columns of a table of texts: the first one left, the others right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for name, *cells in rows:
        padded = (cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))
        lines.append(f'{name.ljust(widths[0])}  {"  ".join(padded)}')
    return lines


def room_rows(metrics: dict[str, Any]) -> list[list[str]]:
    """Return the table of the rooms of a building as texts, column titles first."""
    has_truth = metrics['wrong_room'] is not None
    head = ['room', 'images', 'localized', 'median cm', '5cm 5deg', 'incorrect']
    rows = [[*head, *(['wrong room'] if has_truth else [])]]
    for name, block in metrics['rooms'].items():
        row = [
            name,
            str(block['images']),
            str(block['published']),
            format_number(block['median_translation_m'], 100),
            format_percent(block['recall']['5cm_5deg']),
            str(block['wrong_published']),
        ]
        rows.append([*row, *([str(block['wrong_room'])] if has_truth else [])])
    return rows


def room_notes(metrics: dict[str, Any]) -> list[str]:
    """Explain the table of rooms, and tell what could not be judged."""
    if metrics['wrong_room'] is None:
        notes = ['Rooms are those of the answers; which room an image was taken in is not given.']
    else:
        notes = [
            f'Rooms are those that the images were taken in; {metrics["wrong_room"]} of'
            f' {metrics["published"]} accepted poses are incorrect and in another room.'
        ]
    if metrics['not_judged']:
        counts = ', '.join(f'{count} in {name}' for name, count in metrics['not_judged'].items())
        notes.append(
            f'Not judged, as the true poses there are unknown, and counted as rejected: {counts}.'
        )
    return notes


def _summary_of_localizer(metrics: dict[str, Any]) -> list[str]:
    """Return the lines of a summary of the localizer alone."""
    recall = ', '.join(
        f'{name.replace("_", " ")} {format_percent(metrics["recall"][name])}'
        for name in TABLE_RECALLS
    )
    return [headline(metrics), f'within {recall}', *_rejection_and_covariance_lines(metrics)]


def headline(metrics: dict[str, Any]) -> str:
    """Return the number of localized images, the median and the worst errors as sentences."""
    text = f'{metrics["published"]} of {metrics["images"]} images were localized'
    if metrics['median_translation_m'] is not None:
        median_cm = format_number(metrics['median_translation_m'], 100)
        median_deg = format_number(metrics['median_rotation_deg'])
        text += f'; half of all are within {median_cm} cm and {median_deg}\u00b0'
    if metrics['published']:
        worst_cm = format_number(metrics['worst_published_translation_m'], 100)
        worst_deg = format_number(metrics['worst_published_rotation_deg'])
        text += f'. The largest errors of accepted poses are {worst_cm} cm and {worst_deg}\u00b0'
    return text + '.'


def anees_text(anees: float | None) -> str:
    """Return ANEES per degree of freedom; None is infinite in ``metrics.json``."""
    return 'infinite' if anees is None else format_number(anees / DEGREES_OF_FREEDOM)


def field_psnr_text(metrics: dict[str, Any]) -> str:
    """Return the PSNR of the field at ground-truth poses as a sentence."""
    return (
        f'field at ground-truth poses: {format_number(metrics["psnr_db"])} dB PSNR with exposure'
        f' and white balance matched, {format_number(metrics["psnr_plain_db"])} dB without'
    )


def format_number(value: float | None, scale: float = 1.0) -> str:
    """Write a number with three significant digits; a dash if it is infinite or unknown."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    scaled = value * scale
    if 0 < abs(scaled) < 0.005:
        return '<0.01'
    return f'{scaled:.0f}' if abs(scaled) >= 100 else f'{scaled:.3g}'


def format_percent(fraction: float) -> str:
    """Write a fraction in whole percent; with one decimal where that would be 0 or 100 %."""
    if 0.995 <= fraction < 1 or 0 < fraction < 0.005:
        return f'{min(99.9, max(0.1, 100 * fraction)):.1f} %'
    return f'{100 * fraction:.0f} %'


def _rejection_and_covariance_lines(metrics: dict[str, Any]) -> list[str]:
    """Return a line for each rejection reason, and one for the calibration of the covariance."""
    lines = [f'rejected {count}: {reason}' for reason, count in metrics['rejected'].items()]
    if (coverage := metrics['sigma_coverage']) is not None:
        within = '; '.join(
            f'{name} {", ".join(format_percent(fractions[k]) for k in "123")}'
            for name, fractions in (
                ('positions', coverage['translation']),
                ('rotations', coverage['rotation']),
            )
        )
        anees = anees_text(metrics['anees'])
        lines.append(
            f'ANEES/{DEGREES_OF_FREEDOM} {anees} (1 is consistent); within 1, 2, 3 sigma: {within}'
        )
    return lines
