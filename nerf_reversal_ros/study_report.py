"""The report of the study: one HTML file, its plots, and a table beside the seed's figures."""

from collections.abc import Iterable, Sequence
import html
from typing import Any

import numpy as np

from nerf_reversal_ros.report_page import figure, PAGE, STYLE
from nerf_reversal_ros.report_plots import (
    BLUE,
    drawn,
    GREEN,
    ORANGE,
    OTHERS,
    plain_numbers,
    retained_variance,
)

SEED = (
    ('CNN 192x144', 0.629, 0.151),
    ('CNN 960x720', 0.131, 0.137),
    ('MLP 192x144', 0.0, 0.0),
)
"""The seed's own: share of positions within 0.1 units of its scene, in training and in test."""
SEED_NOTE = (
    'The seed project: 14,000 views in one flat, split at random, PCA of 150 components (88 % of'
    ' the variance), 200 epochs, a field of some 18 dB. Its 0.1 is in units of its own scene, ours'
    ' in metres, and the rooms differ: its lines are no rivals, but what is compared in kind.'
)
LEAK_NOTE = (
    'LEAKING: judged on a random seventh of the pictures, whose neighbours are learned from. It is'
    ' what a random split makes of the same network, not how well it localizes.'
)
COLOURS = (BLUE, ORANGE, GREEN, *OTHERS)
Cells = tuple[str, ...]

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


def table(result: dict[str, Any]) -> list[Cells]:
    """Return the study's table as texts, its header first, the seed's figures last."""
    rows = result['rows']
    out: list[Cells] = [HEADER]
    for row in rows:
        size = 'x'.join(map(str, row['size']))
        views = f'{row["views"]}{"" if row["filtered"] else " unfiltered"}'
        out.append(
            (
                f'{row["network"].upper()} {size}',
                row['sees'],
                views,
                f'{row["train"]["accuracy_0.1m"]:.1%}',
                f'{row["stretch"]["accuracy_0.1m"]:.1%}',
                _median(row['stretch']),
                f'{row["leaking"]["accuracy_0.1m"]:.1%}',
                _median(row['leaking']),
                f'{row["seconds"] / 60:.1f} min',
            )
        )
    most = max(rows, key=lambda row: (row['filtered'], row['views']))
    for name, told in (('mean_pose', 'always the mean pose'),
                       ('nearest_pose', 'nearest pose learned from (oracle)')):  # fmt: skip
        stretch, leaking = (most['trivial'][split][name] for split in ('stretch', 'leaking'))
        out.append(
            (
                told,
                '',
                str(most['views']),
                '',
                f'{stretch["accuracy_0.1m"]:.1%}',
                _median(stretch),
                f'{leaking["accuracy_0.1m"]:.1%}',
                _median(leaking),
                '',
            )
        )
    for name, train, test in SEED:
        out.append(
            (
                f'the seed: {name}',
                'PCA reconstruction',
                '14000',
                f'{train:.1%}',
                '',
                '',
                f'{test:.1%}',
                '',
                '',
            )
        )
    return out


def compression_table(result: dict[str, Any]) -> list[Cells]:
    """Return what PCA and autoencoder leave of pictures, as texts, the header first."""
    out: list[Cells] = [
        (
            'code',
            'views',
            'retained of held-out stretch',
            'PSNR',
            'retained of random split, LEAKING',
            'PSNR (LEAKING)',
        )
    ]
    seen = set()
    for row in result['rows']:
        if 'compression_quality' not in row:
            continue
        views = f'{row["views"]}{"" if row["filtered"] else " unfiltered"}'
        if (row['compression'], views) in seen:
            continue
        seen.add((row['compression'], views))
        quality = [row['compression_quality'][split] for split in ('stretch', 'leaking')]
        cells = [(f'{q["retained"]:.1%}', f'{q["psnr_db"]:.1f} dB') for q in quality]
        out.append((row['compression'].upper(), views, *cells[0], *cells[1]))
    return out


def verdicts(result: dict[str, Any]) -> list[str]:
    """Say in sentences what the figures show: failures, the leak, and PCA against VAE."""
    out = []
    rows = result['rows']
    for row in rows:
        mean = row['trivial']['stretch']['mean_pose']['median_translation_m']
        if not row['stretch']['median_translation_m'] < mean:
            out.append(
                f'{row["name"]}: no better on the held-out stretch than always the mean pose'
                f' ({100 * row["stretch"]["median_translation_m"]:.1f} cm, mean pose'
                f' {100 * mean:.1f} cm).'
            )
    leak = [row['leaking']['accuracy_0.1m'] - row['stretch']['accuracy_0.1m'] for row in rows]
    out.append(
        f'In the mean of all rows the leaking random split, rendered views among it, gives'
        f' {100 * float(np.mean(leak)):+.1f} points of accuracy at 0.1 m against the held-out'
        ' stretch.'
    )
    kept = {}
    for row in rows:
        if row['filtered'] and 'compression_quality' in row:
            kept[row['compression'], row['views']] = row['compression_quality']['stretch']
    for (kind, views), quality in kept.items():
        if kind == 'vae' and ('pca', views) in kept:
            pca = kept['pca', views]['retained']
            good = quality['retained'] >= pca
            judged = 'as good as the PCA or better' if good else 'NOT as good as the PCA'
            out.append(
                f'The autoencoder is {judged} at {views} views: it retains'
                f' {quality["retained"]:.1%} of the held-out stretch, the PCA {pca:.1%}.'
            )
    return out


def study_html(result: dict[str, Any], *, command: str) -> str:
    """Write the report as the text of one HTML file."""
    rows, plan = result['rows'], result['plan']
    field = result['field']
    budget = (
        f'{result["bag"]}: {result["frames"]["learned"]} frames learned from,'
        f' {result["frames"]["stretch"]} real frames of another stretch judged, {plan["epochs"]}'
        f' epochs (the seed: 200), one seed, on {result["device"]}. Field on the stretch:'
        f' {field.get("psnr_db", float("nan")):.1f} dB with exposure matched,'
        f' {field.get("psnr_plain_db", float("nan")):.1f} dB without.'
    )
    rejected: dict[str, int] = next((row['rejected'] for row in rows if row['filtered']), {})
    reasons = ', '.join(f'{name}: {count}' for name, count in rejected.items())
    said = f'Drawn poses rejected: {reasons or "none"}.'
    pca = [row for row in rows if row['compression'] == 'pca'][:1]
    sections = [
        (
            'figures',
            'In figures',
            _html_table(table(result)) + _notes([LEAK_NOTE, SEED_NOTE, budget, said]),
        ),
        ('verdicts', 'What they show', _list(verdicts(result))),
        (
            'epochs',
            'Epoch by epoch',
            figure(
                epochs_plot(rows),
                'Loss and share of positions within 0.1 m, on training pictures (loss, dotted), on'
                ' the held-out stretch (solid) and on the LEAKING random split (dashed).',
            ),
        ),
        (
            'views',
            'More views',
            figure(
                views_plot(rows),
                'Share of positions within 0.1 m by the number of views (CNN on PCA'
                ' reconstructions): held-out stretch (solid), LEAKING random split (dashed).',
            ),
        ),
        (
            'codes',
            'What a code retains',
            _html_table(compression_table(result))
            + ''.join(
                figure(
                    retained_variance(row['compression_quality']['retained_training']),
                    f'Variance of the training pictures kept by PCA, {row["views"]} views.',
                )
                for row in pca
            ),
        ),
        ('command', 'How this report was made', f'<pre>{html.escape(command)}</pre>'),
    ]
    best = max(rows, key=lambda row: row['stretch']['accuracy_0.1m'])
    return PAGE.format(
        title=html.escape(f"The seed's study on {result['bag']}"),
        style=STYLE,
        verdict=html.escape(
            f'Best on the held-out stretch: {best["name"]}, {best["stretch"]["accuracy_0.1m"]:.1%}'
            f' within 0.1 m, {_median(best["stretch"])} in the median.'
        ),
        contents=' '.join(f'<a href="#{name}">{title}</a>' for name, title, _ in sections),
        sections='\n'.join(
            f'<section id="{name}"><h2>{title}</h2>\n{body}</section>'
            for name, title, body in sections
        ),
    )


def epochs_plot(rows: Sequence[dict[str, Any]]) -> str:
    """Draw loss and accuracy of all rows by epoch."""
    with drawn(6.6, 4.6 + 0.2 * len(rows)) as drawing:
        loss, accuracy = drawing.axes(1, 2)
        for number, row in enumerate(rows):
            history, colour = row['history'], COLOURS[number % len(COLOURS)]
            epochs = np.arange(1, len(history['train_loss']) + 1)
            loss.plot(epochs, history['train_loss'], ':', color=colour, lw=1.2)
            for split, style in (('stretch', '-'), ('leaking', '--')):
                told = history[split]
                label = row['name'] if split == 'stretch' else None
                loss.plot(epochs, [t['loss'] for t in told], style, color=colour, lw=1.4,
                          label=label)  # fmt: skip
                accuracy.plot(
                    epochs, [100 * t['accuracy_0.1m'] for t in told], style, color=colour, lw=1.4
                )
        loss.set(xlabel='epoch', ylabel='mean squared error', yscale='log')
        accuracy.set(xlabel='epoch', ylabel='within 0.1 m [%] (dashed: LEAKING)', ylim=(0, None))
        drawing.figure.legend(*loss.get_legend_handles_labels(), loc='outside upper center')
    return drawing.svg


def views_plot(rows: Sequence[dict[str, Any]]) -> str:
    """Draw what more views give the CNN that sees PCA reconstructions."""
    alike = sorted(
        (
            row
            for row in rows
            if row['network'] == 'cnn' and row['sees'] == 'PCA reconstruction' and row['filtered']
        ),
        key=lambda row: int(row['views']),
    )
    with drawn(6.6, 3.2) as drawing:
        (axes,) = drawing.axes()
        for split, style, label in (
            ('stretch', 'o-', 'held-out stretch'),
            ('leaking', 's--', 'random split, LEAKING'),
        ):
            axes.plot(
                [row['views'] for row in alike],
                [100 * row[split]['accuracy_0.1m'] for row in alike],
                style,
                color=BLUE if split == 'stretch' else ORANGE,
                label=label,
            )
        axes.set(xlabel='views', ylabel='within 0.1 m [%]', xscale='log', ylim=(0, None))
        plain_numbers(axes.xaxis)
        axes.legend()
    return drawing.svg


def markdown(cells: Iterable[Cells]) -> str:
    """Write a table's texts as Markdown."""
    head, *body = cells
    lines = [head, ('---',) * len(head), *body]
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def _median(scores: dict[str, float]) -> str:
    metres, degrees = scores['median_translation_m'], scores['median_rotation_deg']
    return f'{100 * metres:.1f} cm / {degrees:.1f} deg'


def _html_table(cells: Sequence[Cells]) -> str:
    head = ''.join(f'<th scope="col">{html.escape(cell)}</th>' for cell in cells[0])
    body = ''.join(
        f'<tr><th scope="row">{html.escape(line[0])}</th>'
        + ''.join(f'<td>{html.escape(cell)}</td>' for cell in line[1:])
        + '</tr>'
        for line in cells[1:]
    )
    return (
        f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
        '</div>'
    )


def _notes(sentences: Iterable[str]) -> str:
    return f'<p class="note">{"<br>".join(map(html.escape, sentences))}</p>'


def _list(sentences: Iterable[str]) -> str:
    return '<ul>' + ''.join(f'<li>{html.escape(said)}</li>' for said in sentences) + '</ul>'
