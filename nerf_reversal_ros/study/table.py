"""Results of a study as tables and sentences, beside those of the original project."""

from collections.abc import Sequence
from typing import Any

import numpy as np

ORIGINAL_RESULTS = (
    ('CNN 192x144', 0.629, 0.151),
    ('CNN 960x720', 0.131, 0.137),
    ('MLP 192x144', 0.0, 0.0),
)
"""Results of the original project: fraction of positions within 0.1 units of its scene, on its
training and test set."""
HEADER = (
    'network',
    'input',
    'views',
    'training 0.1 m',
    'held-out segment 0.1 m',
    'median',
    'random split, LEAKING, 0.1 m',
    'median (LEAKING)',
    'epochs',
    'duration',
)
CODEC_HEADER = (
    'codec',
    'views',
    'retained of training',
    'retained of held-out segment',
    'PSNR',
    'retained of random split, LEAKING',
    'PSNR (LEAKING)',
)
TRIVIAL_BASELINES = {
    'mean_pose': 'mean training pose',
    'nearest_pose': 'nearest training pose (oracle)',
}
"""Names in the results, and in the table."""
Cells = tuple[str, ...]


def results_table(result: dict[str, Any]) -> list[Cells]:
    """
    Return the table of a study as texts.

    Parameters
    ----------
    result : dict
        Result of `run_study`.

    Returns
    -------
    list of tuple of str
        The header, one line per experiment, the trivial baselines, and the original project.
    """
    rows = result['rows']
    table: list[Cells] = [HEADER]
    for row in rows:
        size = 'x'.join(map(str, row['size']))
        table.append(
            (
                f'{row["network"].upper()} {size}',
                row['sees'],
                _format_views(row),
                f'{row["train"]["accuracy_0.1m"]:.1%}',
                *_format_scores(row['stretch']),
                *_format_scores(row['leaking']),
                f'{row["best_epoch"]} of {len(row["history"]["train_loss"])}',
                f'{row["seconds"] / 60:.1f} min',
            )
        )
    largest = max(rows, key=lambda row: (row['filtered'], row['views']))
    for name, label in TRIVIAL_BASELINES.items():
        stretch, leaking = (
            _format_scores(largest['trivial'][split][name]) for split in ('stretch', 'leaking')
        )
        table.append((label, '', _format_views(largest), '', *stretch, *leaking, '', ''))
    for name, training, test in ORIGINAL_RESULTS:
        scores = (f'{training:.1%}', '', '', f'{test:.1%}', '', '', '')
        table.append((f'original project: {name}', 'PCA reconstruction', '14000', *scores))
    return table


def codec_table(result: dict[str, Any]) -> list[Cells]:
    """Return the reconstruction quality of PCA and VAE as texts, the header first."""
    lines: dict[tuple[str, str], Cells] = {}
    for row in result['rows']:
        if 'compression_quality' in row:
            quality = row['compression_quality']
            cells = [f'{quality["retained_training"][-1]:.1%}']
            for split in ('stretch', 'leaking'):
                scores = quality[split]
                cells += [f'{scores["retained"]:.1%}', f'{scores["psnr_db"]:.1f} dB']
            lines[row['compression'].upper(), _format_views(row)] = tuple(cells)
    return [CODEC_HEADER, *((*name, *cells) for name, cells in lines.items())]


def conclusions(result: dict[str, Any]) -> list[str]:
    """State the results in sentences: failed networks, the effect of the leak, PCA against VAE."""
    rows = result['rows']
    return [*_failures(rows), _leak(rows, result['frames']['leaking']), *_codec_comparison(rows)]


def _failures(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Name the experiments that are not more accurate than the mean pose."""
    sentences = []
    for row in rows:
        mean_pose_m = row['trivial']['stretch']['mean_pose']['median_translation_m']
        median_m = row['stretch']['median_translation_m']
        if not median_m < mean_pose_m:
            sentences.append(
                f'{row["name"]}: no better on the held-out segment than the mean pose'
                f' ({100 * median_m:.1f} cm, mean pose {100 * mean_pose_m:.1f} cm).'
            )
    return sentences


def _leak(rows: Sequence[dict[str, Any]], images: int) -> str:
    """Compare the scores on the random split with those on the held-out segment."""
    ratios = [
        row['stretch']['median_translation_m'] / row['leaking']['median_translation_m']
        for row in rows
    ]
    gains = [row['leaking']['accuracy_0.1m'] - row['stretch']['accuracy_0.1m'] for row in rows]
    return (
        f'On {images} randomly drawn real images, as many as in the held-out segment, the same'
        f' networks have {100 * float(np.mean(gains)):+.1f} points of accuracy at 0.1 m and'
        f' {float(np.exp(np.mean(np.log(ratios)))):.2f} times smaller medians, averaged over all'
        ' experiments: the effect of the leak, if both sets are equally difficult.'
    )


def _codec_comparison(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Compare the variance that VAE and PCA retain, for each number of views with both."""
    retained = {
        (row['compression'], row['views']): row['compression_quality']['stretch']['retained']
        for row in rows
        if row['filtered'] and 'compression_quality' in row
    }
    sentences = []
    for (kind, views), of_vae in retained.items():
        if kind == 'vae' and ('pca', views) in retained:
            of_pca = retained['pca', views]
            relation = 'at least as good as' if of_vae >= of_pca else 'NOT as good as'
            sentences.append(
                f'The autoencoder is {relation} the PCA at {views} views: it retains'
                f' {of_vae:.2%} of the held-out segment, the PCA {of_pca:.2%}.'
            )
    return sentences


def best_row_text(result: dict[str, Any]) -> str:
    """Describe the experiment of least median error on the held-out segment."""
    row = min(result['rows'], key=lambda row: row['stretch']['median_translation_m'])
    accuracy, median = _format_scores(row['stretch'])
    return (
        f'Best on the held-out segment: {row["name"]}, median {median}, {accuracy} within 0.1 m'
        ' (chosen after the evaluation; no training used it).'
    )


def markdown(cells: Sequence[Cells]) -> str:
    """Format a table as Markdown."""
    lines = [cells[0], ('---',) * len(cells[0]), *cells[1:]]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _format_views(row: dict[str, Any]) -> str:
    """Format the number of views, and whether they are unfiltered."""
    return f'{row["views"]}{"" if row["filtered"] else " unfiltered"}'


def _format_scores(scores: dict[str, float]) -> tuple[str, str]:
    """Format accuracy, and median errors."""
    median_m, median_deg = scores['median_translation_m'], scores['median_rotation_deg']
    return f'{scores["accuracy_0.1m"]:.1%}', f'{100 * median_m:.1f} cm / {median_deg:.1f} deg'
