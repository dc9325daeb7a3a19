"""The report of the study: one HTML file with its tables and plots."""

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
    'The seed project: 14,000 views in one flat, split at random, PCA of 150 components (88 % of'
    ' the variance), 200 epochs, a field of some 18 dB. Its 0.1 is in units of its own scene, ours'
    ' in metres, and the rooms differ: its lines are no rivals, but what is compared in kind.'
)
LEAK_NOTE = (
    'LEAKING: judged on real frames drawn at random, on all sides of which frames are learned from'
    ' and views rendered, by a field that has seen them. It is what a random split makes of the'
    ' same network, not how well it localizes.'
)
SPLITS = (('stretch', '-', BLUE, 'held-out stretch'), ('leaking', '--', ORANGE, 'LEAKING split'))
COLUMNS = 3


def study_html(result: dict[str, Any], *, command: str) -> str:
    """
    Write the report as the text of one HTML file.

    Parameters
    ----------
    result : dict
        What `run_study` returned.
    command : str
        The command line that made the report.
    """
    rows = result['rows']
    sections = [
        ReportSection(
            'figures',
            'In figures',
            html_table(results_table(result)) + html_note(list(_table_notes(result))),
        ),
        ReportSection(
            'verdicts',
            'What they show',
            ''.join(f'<p>{html.escape(said)}</p>' for said in conclusions(result)),
        ),
        ReportSection(
            'accuracy',
            'Accuracy by epoch',
            html_figure(
                epochs_plot(rows, 'accuracy_0.1m', 100.0, 'within 0.1 m [%]'),
                'Share of positions within 0.1 m after each epoch: held-out stretch (solid) and'
                ' LEAKING random split (dashed).',
            ),
        ),
        ReportSection(
            'loss',
            'Loss by epoch',
            html_figure(
                epochs_plot(rows, 'loss', 1.0, 'mean squared error'),
                'Mean squared error of standardized position and rotation: while training, with'
                ' dropout (dotted), on the held-out stretch (solid) and on the LEAKING random'
                ' split (dashed).',
            ),
        ),
        ReportSection('views', 'More views', _views_section(rows)),
        ReportSection('codes', 'What a code retains', _codec_section(result)),
        ReportSection('command', 'How this report was made', f'<pre>{html.escape(command)}</pre>'),
    ]
    return html_page(f"The seed's study on {result['bag']}", best_row_text(result), sections)


def epochs_plot(rows: Sequence[dict[str, Any]], name: str, scale: float, label: str) -> str:
    """Draw a score of all rows by epoch, a panel for each row."""
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
            for split, style, colour, told in SPLITS:
                values = [scale * scores[name] for scores in history[split]]
                axes.plot(epochs, values, style, color=colour, label=told)
            axes.set_title(row['name'].replace(', ', '\n', 1), fontsize=9)
        for axes in panels[len(rows) :]:
            axes.set_visible(False)
        drawing.figure.supxlabel('epoch', fontsize=10)
        drawing.figure.supylabel(label, fontsize=10)
        handles = panels[0].get_legend_handles_labels()
        drawing.figure.legend(*handles, loc='outside upper center', ncols=3)
    return drawing.svg


def views_plot(rows: Sequence[dict[str, Any]]) -> str:
    """Draw accuracy and median of rows that differ in the number of views."""
    with svg_figure(9.0, 3.2) as drawing:
        panels = drawing.axes(1, 2)
        views = [row['views'] for row in rows]
        for split, style, colour, told in SPLITS:
            for axes, name in zip(panels, ('accuracy_0.1m', 'median_translation_m'), strict=True):
                values = [100 * row[split][name] for row in rows]
                axes.plot(views, values, f'o{style}', color=colour, label=told)
        for axes, label in zip(panels, ('within 0.1 m [%]', 'median error [cm]'), strict=True):
            axes.set(xlabel='views', ylabel=label, xscale='log', ylim=(0, None))
            axes.set_xticks(views)
            plain_ticks(axes.xaxis)
        panels[0].legend()
    return drawing.svg


def _views_section(rows: Sequence[dict[str, Any]]) -> str:
    """Show what more views give the CNN that sees PCA reconstructions, if there are several."""
    alike = [
        row
        for row in rows
        if row['network'] == 'cnn' and row['sees'] == 'PCA reconstruction' and row['filtered']
    ]
    if len(alike) < 2:
        return ''
    said = (
        'Share of positions within 0.1 m, and median error, by the number of views (CNN on PCA'
        ' reconstructions): held-out stretch (solid), LEAKING random split (dashed).'
    )
    return html_figure(views_plot(sorted(alike, key=lambda row: int(row['views']))), said)


def _codec_section(result: dict[str, Any]) -> str:
    """Show what codes retain; empty if no row has one."""
    coded = [row for row in result['rows'] if 'compression_quality' in row]
    if not coded:
        return ''
    shown = html_table(codec_table(result))
    for row in [row for row in coded if row['compression'] == 'pca'][:1]:
        drawn_share = retained_variance(row['compression_quality']['retained_training'])
        said = f'Variance of the training pictures kept by PCA, {row["views"]} views.'
        shown += html_figure(drawn_share, said)
    return shown


def _table_notes(result: dict[str, Any]) -> list[str]:
    """Tell what the figures stand on."""
    frames, field, epochs = result['frames'], result['field'], result['plan']['epochs']
    rejected: dict[str, int] = next(
        (row['rejected'] for row in result['rows'] if row['filtered']), {}
    )
    reasons = ', '.join(f'{name}: {count}' for name, count in rejected.items())
    return [
        LEAK_NOTE,
        ORIGINAL_NOTE,
        f'{result["bag"]}: {frames["learned"]} frames learned from beside the views,'
        f' {frames["stretch"]} real frames of another stretch judged and {frames["leaking"]} of'
        f' the leaking split, {epochs} epochs (the seed: 200), one seed, on {result["device"]}.'
        f' Field on the stretch: {field["psnr_db"]:.1f} dB with exposure matched,'
        f' {field["psnr_plain_db"]:.1f} dB without.',
        f'Drawn poses rejected: {reasons or "none"}.',
    ]
