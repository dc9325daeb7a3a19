"""The study in figures and sentences: its tables beside the seed's figures, and what they show."""

from collections.abc import Sequence
from typing import Any

import numpy as np

ORIGINAL_RESULTS = (
    ('CNN 192x144', 0.629, 0.151),
    ('CNN 960x720', 0.131, 0.137),
    ('MLP 192x144', 0.0, 0.0),
)
"""The seed's own: share of positions within 0.1 units of its scene, in training and in test."""
HEADER = (
    'network',
    'sees',
    'views',
    'training 0.1 m',
    'held-out stretch 0.1 m',
    'median',
    'random split, LEAKING, 0.1 m',
    'median (LEAKING)',
    'took',
)
CODEC_HEADER = (
    'code',
    'views',
    'retained of training',
    'retained of held-out stretch',
    'PSNR',
    'retained of random split, LEAKING',
    'PSNR (LEAKING)',
)
Cells = tuple[str, ...]


def results_table(result: dict[str, Any]) -> list[Cells]:
    """Return the study's table as texts, its header first, the seed's figures last."""
    rows = result['rows']
    out: list[Cells] = [HEADER]
    for row in rows:
        size = 'x'.join(map(str, row['size']))
        train, took = f'{row["train"]["accuracy_0.1m"]:.1%}', f'{row["seconds"] / 60:.1f} min'
        judged = _format_scores(row['stretch']) + _format_scores(row['leaking'])
        out.append(
            (
                f'{row["network"].upper()} {size}',
                row['sees'],
                _format_views(row),
                train,
                *judged,
                took,
            )
        )
    most = max(rows, key=lambda row: (row['filtered'], row['views']))
    for name, told in (
        ('mean_pose', 'always the mean pose'),
        ('nearest_pose', 'nearest pose learned from (oracle)'),
    ):
        stretch, leaking = (most['trivial'][split][name] for split in ('stretch', 'leaking'))
        out.append(
            (
                told,
                '',
                _format_views(most),
                '',
                *_format_scores(stretch),
                *_format_scores(leaking),
                '',
            )
        )
    for name, training, test in ORIGINAL_RESULTS:
        figures = (f'{training:.1%}', '', '', f'{test:.1%}', '', '')
        out.append((f'the seed: {name}', 'PCA reconstruction', '14000', *figures))
    return out


def codec_table(result: dict[str, Any]) -> list[Cells]:
    """Return what PCA and autoencoder leave of pictures, as texts, the header first."""
    lines: dict[tuple[str, str], Cells] = {}
    for row in result['rows']:
        if 'compression_quality' in row:
            quality = row['compression_quality']
            cells = [f'{quality["retained_training"][-1]:.1%}']
            for split in ('stretch', 'leaking'):
                told = quality[split]
                cells += [f'{told["retained"]:.1%}', f'{told["psnr_db"]:.1f} dB']
            lines[row['compression'].upper(), _format_views(row)] = tuple(cells)
    return [CODEC_HEADER, *((*name, *cells) for name, cells in lines.items())]


def conclusions(result: dict[str, Any]) -> list[str]:
    """Say in sentences what the figures show: failures, the leak, and PCA against VAE."""
    rows = result['rows']
    out = []
    for row in rows:
        mean = row['trivial']['stretch']['mean_pose']['median_translation_m']
        found = row['stretch']['median_translation_m']
        if not found < mean:
            out.append(
                f'{row["name"]}: no better on the held-out stretch than always the mean pose'
                f' ({100 * found:.1f} cm, mean pose {100 * mean:.1f} cm).'
            )
    nearer = [
        row['stretch']['median_translation_m'] / row['leaking']['median_translation_m']
        for row in rows
    ]
    gained = [row['leaking']['accuracy_0.1m'] - row['stretch']['accuracy_0.1m'] for row in rows]
    out.append(
        f'Judged on as many real pictures, {result["frames"]["leaking"]}, but drawn at random, the'
        f' same networks show {100 * float(np.mean(gained)):+.1f} points of accuracy at 0.1 m and'
        f' {float(np.exp(np.mean(np.log(nearer)))):.2f} times smaller medians, in the mean of all'
        ' rows: the leak, as far as the two sets are alike.'
    )
    kept = {
        (row['compression'], row['views']): row['compression_quality']['stretch']['retained']
        for row in rows
        if row['filtered'] and 'compression_quality' in row
    }
    for (kind, views), retained in kept.items():
        if kind == 'vae' and ('pca', views) in kept:
            pca = kept['pca', views]
            told = 'as good as the PCA or better' if retained >= pca else 'NOT as good as the PCA'
            out.append(
                f'The autoencoder is {told} at {views} views: it retains {retained:.2%} of the'
                f' held-out stretch, the PCA {pca:.2%}.'
            )
    return out


def best_row_text(result: dict[str, Any]) -> str:
    """Tell the row that is best on the stretch."""
    row = min(result['rows'], key=lambda row: row['stretch']['median_translation_m'])
    near, median = _format_scores(row['stretch'])
    return (
        f'Best on the held-out stretch: {row["name"]}, {median} in the median, {near} within 0.1 m'
        ' (seen afterwards: nothing was chosen by it).'
    )


def markdown(cells: Sequence[Cells]) -> str:
    """Write a table's texts as Markdown."""
    lines = [cells[0], ('---',) * len(cells[0]), *cells[1:]]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _format_views(row: dict[str, Any]) -> str:
    return f'{row["views"]}{"" if row["filtered"] else " unfiltered"}'


def _format_scores(scores: dict[str, float]) -> tuple[str, str]:
    """Return accuracy and medians."""
    metres, degrees = scores['median_translation_m'], scores['median_rotation_deg']
    return f'{scores["accuracy_0.1m"]:.1%}', f'{100 * metres:.1f} cm / {degrees:.1f} deg'
