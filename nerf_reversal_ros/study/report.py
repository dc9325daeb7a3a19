"""Report of a study: one HTML file with tables and plots."""

from collections.abc import Sequence
import html
from typing import Any

from matplotlib.ticker import LogLocator
import numpy as np

from nerf_reversal_ros.evaluation.html_page import (
    html_figure,
    html_note,
    html_page,
    html_table,
    ReportSection,
)
from nerf_reversal_ros.evaluation.report_plots import (
    BLUE,
    ORANGE,
    plain_ticks,
    retained_variance,
    svg_figure,
)
from nerf_reversal_ros.study.table import best_row_text, codec_table, conclusions, results_table

ORIGINAL_NOTE = (
    'The original project: 14,000 views in one flat, split at random, PCA of 150 components (88 %'
    ' of the variance), 200 epochs, a field of about 18 dB. Its threshold of 0.1 is in units of'
    ' its own scene, here it is in meters, and the rooms differ: compare trends, not values.'
)
LEAK_NOTE = (
    'LEAKING: evaluated on real frames drawn at random. Training frames and synthetic views are'
    ' all around them, and the field was trained on them. This is the result of a random split,'
    ' not the accuracy of localization.'
)
SPLITS = (('stretch', '-', BLUE, 'held-out segment'), ('leaking', '--', ORANGE, 'LEAKING split'))
"""Name in the results, line style, color and label of each evaluated split."""
COLUMNS = 3
"""Panels in a line of `epochs_plot`."""


def study_html(result: dict[str, Any], *, command: str) -> str:
    """
    Make the report, as the text of one HTML file.

    Parameters
    ----------
    result : dict
        Result of `run_study`.
    command : str
        Command line that made the report.
    """
    rows = result['rows']
    sections = [
        ReportSection(
            'results',
            'Results',
            html_table(results_table(result)) + html_note(_table_notes(result)),
        ),
        ReportSection(
            'conclusions',
            'Conclusions',
            ''.join(f'<p>{html.escape(sentence)}</p>' for sentence in conclusions(result)),
        ),
        ReportSection(
            'accuracy',
            'Accuracy by epoch',
            html_figure(
                epochs_plot(rows, 'accuracy_0.1m', 100.0, 'within 0.1 m [%]'),
                'Fraction of positions within 0.1 m after each epoch: held-out segment (solid) and'
                ' LEAKING random split (dashed).',
            ),
        ),
        ReportSection(
            'loss',
            'Loss by epoch',
            html_figure(
                epochs_plot(rows, 'loss', 1.0, 'mean squared error'),
                'Mean squared error of standardized position and rotation: in training, with'
                ' dropout (dotted), on the held-out segment (solid) and on the LEAKING random'
                ' split (dashed).',
            ),
        ),
        ReportSection('views', 'Number of views', _views_section(rows)),
        ReportSection('codecs', 'Image codecs', _codec_section(result)),
        ReportSection('command', 'Command', f'<pre>{html.escape(command)}</pre>'),
    ]
    title = f'Study of the original project on {result["bag"]}'
    return html_page(title, best_row_text(result), sections)


def epochs_plot(rows: Sequence[dict[str, Any]], name: str, scale: float, label: str) -> str:
    """Plot a score of all experiments by epoch, one panel each."""
    lines = -(-len(rows) // COLUMNS)
    with svg_figure(9.0, 0.6 + 1.9 * lines) as drawing:
        panels = drawing.axes(lines, COLUMNS, sharex=True, sharey=True)
        for axes, row in zip(panels, rows, strict=False):
            history = row['history']
            epochs = np.arange(1, len(history['train_loss']) + 1)
            if name == 'loss':
                axes.plot(epochs, history['train_loss'], ':', color='black', label='training')
                axes.set_yscale('log')
                axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                plain_ticks(axes.yaxis)
            for split, style, color, split_label in SPLITS:
                values = [scale * scores[name] for scores in history[split]]
                axes.plot(epochs, values, style, color=color, label=split_label)
            axes.set_title(row['name'].replace(', ', '\n', 1), fontsize=9)
        for axes in panels[len(rows) :]:
            axes.set_visible(False)
        drawing.figure.supxlabel('epoch', fontsize=10)
        drawing.figure.supylabel(label, fontsize=10)
        handles = panels[0].get_legend_handles_labels()
        drawing.figure.legend(*handles, loc='outside upper center', ncols=3)
    return drawing.svg


def views_plot(rows: Sequence[dict[str, Any]]) -> str:
    """Plot accuracy and median error of experiments over their number of views."""
    with svg_figure(9.0, 3.2) as drawing:
        panels = drawing.axes(1, 2)
        views = [row['views'] for row in rows]
        for split, style, color, split_label in SPLITS:
            for axes, name in zip(panels, ('accuracy_0.1m', 'median_translation_m'), strict=True):
                values = [100 * row[split][name] for row in rows]
                axes.plot(views, values, f'o{style}', color=color, label=split_label)
        for axes, label in zip(panels, ('within 0.1 m [%]', 'median error [cm]'), strict=True):
            axes.set(xlabel='views', ylabel=label, xscale='log', ylim=(0, None))
            axes.set_xticks(views)
            plain_ticks(axes.xaxis)
        panels[0].legend()
    return drawing.svg


def _views_section(rows: Sequence[dict[str, Any]]) -> str:
    """Compare CNNs on PCA reconstructions by their number of views; empty if there is one."""
    compared = [
        row
        for row in rows
        if row['network'] == 'cnn' and row['sees'] == 'PCA reconstruction' and row['filtered']
    ]
    if len(compared) < 2:
        return ''
    caption = (
        'Fraction of positions within 0.1 m, and median error, by the number of views (CNN on PCA'
        ' reconstructions): held-out segment (solid), LEAKING random split (dashed).'
    )
    return html_figure(views_plot(sorted(compared, key=lambda row: int(row['views']))), caption)


def _codec_section(result: dict[str, Any]) -> str:
    """Report the quality of the image codecs; empty if no experiment has one."""
    rows = [row for row in result['rows'] if 'compression_quality' in row]
    if not rows:
        return ''
    content = html_table(codec_table(result))
    for row in [row for row in rows if row['compression'] == 'pca'][:1]:
        plot = retained_variance(row['compression_quality']['retained_training'])
        caption = f'Variance of the training images retained by PCA, {row["views"]} views.'
        content += html_figure(plot, caption)
    return content


def _table_notes(result: dict[str, Any]) -> list[str]:
    """List the conditions of the results: splits, epochs, device, field, rejected poses."""
    frames, field, plan = result['frames'], result['field'], result['plan']
    rejection_counts: dict[str, int] = next(
        (row['rejected'] for row in result['rows'] if row['filtered']), {}
    )
    reasons = ', '.join(f'{name}: {count}' for name, count in rejection_counts.items())
    return [
        LEAK_NOTE,
        ORIGINAL_NOTE,
        f'{result["bag"]}: {frames["learned"]} training frames beside the synthetic views,'
        f' {frames["stretch"]} evaluated frames of the held-out segment and {frames["leaking"]} of'
        f' the leaking split. A training ends after {plan["patience"]} epochs that do not improve'
        f' {frames["validation"]} other held-out frames, at most {plan["epochs"]} epochs (original'
        ' project: 200). One random seed, on'
        f' {result["device"]}{", CNNs in bfloat16" if plan["bfloat16"] else ""}.'
        f' Field on the held-out segment: {field["psnr_db"]:.1f} dB with exposure matched,'
        f' {field["psnr_plain_db"]:.1f} dB without.',
        f'Rejected poses: {reasons or "none"}.',
    ]
