"""The figures of the report: each function draws one and returns it as SVG text."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
import numpy as np

from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import MethodResults, result_errors
from nerf_reversal_ros.evaluation.evaluation import Evaluation
from nerf_reversal_ros.evaluation.summary import format_number, position_only_baselines

INK, FAINT, GRID = '#1f2430', '#6b7280', '#e5e7eb'
BLUE, ORANGE, RED, GREEN = '#1d4ed8', '#c2560c', '#b91c1c', '#0f766e'
BASELINE_COLORS = (
    '#7c3aed', '#0891b2', '#475569', '#be185d', '#4d7c0f', '#a16207',
    '#f472b6', '#22c55e', '#9ca3af', '#0c4a6e',
)  # fmt: skip
ERROR_COLORMAP = LinearSegmentedColormap.from_list('good to bad', [BLUE, '#d97706', RED])
_STYLE: dict[Any, Any] = {
    'font.family': 'sans-serif',
    'font.size': 11,
    'text.color': INK,
    'axes.edgecolor': FAINT,
    'axes.labelcolor': INK,
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.grid': True,
    'grid.color': GRID,
    'grid.linewidth': 0.8,
    'axes.axisbelow': True,
    'xtick.color': FAINT,
    'ytick.color': FAINT,
    'legend.frameon': False,
    'legend.fontsize': 10,
    'svg.hashsalt': 'nerf_reversal_ros',
}


class SvgFigure:
    """A figure being drawn; ``svg`` holds it when the block is left."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), layout='constrained')
        self.svg = ''

    def axes(self, rows: int = 1, columns: int = 1, **options: Any) -> list[Axes]:
        """Return rows x columns axes as a flat list."""
        return list(self.figure.subplots(rows, columns, squeeze=False, **options).ravel())


@contextmanager
def svg_figure(width: float = 6.6, height: float = 3.6) -> Iterator[SvgFigure]:
    """Begin a figure of a size in inches, in the style of the report."""
    with matplotlib.rc_context(_STYLE):
        drawing = SvgFigure(width, height)
        yield drawing
        out = io.StringIO()
        drawing.figure.savefig(out, format='svg', metadata={'Date': None, 'Creator': None})
        drawing.svg = out.getvalue()


def trajectories(evaluation: Evaluation, mapping_poses: FloatArray) -> str:
    """Draw from above where was walked, where the camera was, and where it was said to be."""
    true = evaluation.map_from_camera_gt[:, :2, 3]
    answers = evaluation.localizer_results
    centimetres = 100 * result_errors(answers, evaluation.map_from_camera_gt).translation
    shown = answers.is_accepted
    estimated = answers.map_from_camera[shown, :2, 3]
    with svg_figure(6.6, 6.0) as drawing:
        (axes,) = drawing.axes()
        axes.plot(*mapping_poses[:, :2, 3].T, 'o', color='#c5cad3', ms=5, mew=0, label='walked')
        axes.plot(*true.T, color=INK, lw=1.2, label='true')
        for start, end in zip(true[shown], estimated, strict=True):
            axes.plot(*np.stack([start, end]).T, color=FAINT, lw=0.6)
        if shown.any():
            largest = max(5.0, float(np.percentile(centimetres[shown], 95)))
            dots = axes.scatter(
                estimated[:, 0],
                estimated[:, 1],
                c=centimetres[shown],
                cmap=ERROR_COLORMAP,
                vmin=0,
                vmax=largest,
                s=22,
                zorder=3,
                label='estimated',
            )
            bar = drawing.figure.colorbar(dots, ax=axes, shrink=0.7, extend='max')
            bar.set_label('position error [cm]')
        axes.plot(*true[~shown].T, 'x', color=RED, ms=6, mew=1.4, label='rejected (true place)')
        axes.set_aspect('equal', adjustable='datalim')
        axes.set(xlabel='map x [m]', ylabel='map y [m]')
        axes.legend(loc='upper center', bbox_to_anchor=(0.5, 1.12), ncols=4)
    return drawing.svg


def errors_over_time(evaluation: Evaluation) -> str:
    """Draw translation and rotation errors over time, refined and published; rejections marked."""
    seconds = (evaluation.stamps_ns - evaluation.stamps_ns[0]) / 1e9
    true = evaluation.map_from_camera_gt
    shown = evaluation.localizer_results.is_accepted
    with svg_figure(6.6, 4.8) as drawing:
        both = drawing.axes(2, 1, sharex=True)
        rows = (
            ('translation', 100.0, 'position error [cm]'),
            ('rotation', 180 / np.pi, 'rotation error [deg]'),
        )
        for axes, (kind, scale, label) in zip(both, rows, strict=True):
            regressed = getattr(result_errors(evaluation.stages['regressor'], true), kind) * scale
            error = getattr(result_errors(evaluation.localizer_results, true), kind) * scale
            axes.plot(
                seconds,
                _nan_if_infinite(regressed),
                '-',
                color=ORANGE,
                lw=1,
                alpha=0.8,
                label='regressor alone',
            )
            axes.plot(seconds[shown], error[shown], '.', color=BLUE, ms=6, label='published')
            for second in seconds[~shown]:
                axes.axvline(second, color=RED, alpha=0.25, lw=1.5)
            axes.plot([], [], color=RED, alpha=0.4, lw=2, label='rejected')
            axes.set_yscale('log')
            axes.set_ylabel(label)
            plain_ticks(axes.yaxis)
        both[0].legend(loc='upper center', bbox_to_anchor=(0.5, 1.25), ncols=3)
        both[1].set_xlabel('time [s]')
    return drawing.svg


def error_distribution(evaluation: Evaluation) -> str:
    """Draw which share of all pictures is within an error, for every method."""
    true = evaluation.map_from_camera_gt
    without_rotation = position_only_baselines(evaluation.metrics)
    with svg_figure(6.6, 4.2) as drawing:
        both = drawing.axes(1, 2, sharey=True)
        columns = (
            ('translation', 100.0, 'position error [cm]', (0.3, 300)),
            ('rotation', 180 / np.pi, 'rotation error [deg]', (0.05, 180)),
        )
        for axes, (kind, scale, label, limits) in zip(both, columns, strict=True):
            for name, colour, answers in method_curves(evaluation):
                if kind == 'rotation' and name in without_rotation:
                    continue
                asked = (
                    true[evaluation.evaluated_indices[name]]
                    if name in evaluation.evaluated_indices
                    else true
                )
                error = getattr(result_errors(answers, asked), kind) * scale
                found = np.sort(error[answers.is_accepted])
                share = np.arange(1, len(found) + 1) / len(error)
                main = name == 'published'
                axes.step(
                    np.r_[limits[0], found, limits[1]],
                    np.r_[0, share, share[-1:] or [0]] * 100,
                    where='post',
                    color=colour,
                    lw=2.4 if main else 1.4,
                    label=name.replace('_', ' '),
                    zorder=3 if main else 2,
                ) if len(found) else None
            axes.set_xscale('log')
            axes.set_xlim(*limits)
            axes.set_xlabel(label)
            plain_ticks(axes.xaxis)
        both[0].set(ylabel='share of all pictures [%]', ylim=(0, 102))
        drawing.figure.legend(
            *both[0].get_legend_handles_labels(), loc='outside upper center', ncols=4
        )
    return drawing.svg


def method_curves(evaluation: Evaluation) -> list[tuple[str, str, MethodResults]]:
    """Return name, colour and answers of every method, always in the same colours."""
    fixed = [
        ('published', BLUE, evaluation.localizer_results),
        ('refined', GREEN, evaluation.stages['refined']),
        ('regressor', ORANGE, evaluation.stages['regressor']),
    ]
    others = [
        (name, BASELINE_COLORS[k % len(BASELINE_COLORS)], answers)
        for k, (name, answers) in enumerate(evaluation.baselines.items())
    ]
    return fixed + others


def latency_histogram(evaluation: Evaluation) -> str:
    """Draw how the time a picture takes is distributed, by method."""
    with svg_figure(6.6, 4.0) as drawing:
        (axes,) = drawing.axes()
        for name, colour, answers in method_curves(evaluation):
            timed = answers.latency_ms[np.isfinite(answers.latency_ms)]
            if name in ('refined', 'mean_pose', 'nearest_reference') or not len(timed):
                continue
            bins = np.geomspace(0.8, max(1000.0, 1.2 * timed.max()), 60).tolist()
            label = f'{name.replace("_", " ")}, {format_number(float(np.median(timed)))} ms'
            axes.hist(timed.clip(0.8), bins=bins, color=colour, alpha=0.65, label=label)
        axes.set_xscale('log')
        axes.set(xlabel='time of one picture [ms]', ylabel='pictures')
        plain_ticks(axes.xaxis)
        drawing.figure.legend(loc='outside upper center', ncols=3, title='medians')
    return drawing.svg


def retained_variance(fractions: Sequence[float]) -> str:
    """Draw which share of the pictures' variance so many PCA components keep."""
    with svg_figure(6.6, 3.0) as drawing:
        (axes,) = drawing.axes()
        percent = 100 * np.asarray(fractions, dtype=np.float64)
        axes.plot(np.arange(1, len(percent) + 1), percent, color=BLUE, lw=2)
        axes.annotate(
            f'{len(percent)} components keep {percent[-1]:.1f} %',
            (len(percent), percent[-1]),
            xytext=(-8, -22),
            textcoords='offset points',
            ha='right',
        )
        axes.set(
            xlabel='PCA components', ylabel='variance kept [%]', ylim=(0, 102), xlim=(0, None)
        )
    return drawing.svg


def training_curves(
    field: Mapping[str, Sequence[float]], regressor: Mapping[str, Sequence[float]]
) -> str:
    """Draw how the field's and the regressor's losses fell, as far as they were kept."""
    panels: list[tuple[str, str, str, list[tuple[str, str, Sequence[float]]]]] = []
    for values, at, title, wanted in (
        (field, 'step', 'field', [('loss', 'training loss', BLUE)]),
        (
            field,
            'psnr_step' if 'psnr_step' in field else 'step',
            'field',
            [('psnr_db', 'held-out PSNR [dB]', GREEN)],
        ),
        (
            regressor,
            'epoch',
            'regressor',
            [('train_loss', 'training loss', BLUE), ('val_loss', 'validation loss', ORANGE)],
        ),
        (
            regressor,
            'epoch',
            'regressor',
            [('val_translation_m', 'validation median [m]', ORANGE)],
        ),
        (
            regressor,
            'epoch',
            'regressor',
            [('val_rotation_deg', 'validation median [deg]', ORANGE)],
        ),
    ):
        lines = [
            (label, colour, values[name])
            for name, label, colour in wanted
            if len(values.get(name, ())) and len(values[name]) == len(values.get(at, ()))
        ]
        if lines:
            panels.append((title, at, at, lines))
    if not panels:
        return ''
    rows = (len(panels) + 1) // 2
    with svg_figure(6.6, 2.5 * rows) as drawing:
        grid = drawing.axes(rows, 2)
        for axes, (title, at, label, lines) in zip(grid, panels, strict=False):
            source = field if title == 'field' else regressor
            for name, colour, values_ in lines:
                axes.plot(source[at], values_, color=colour, lw=1.6, label=name)
            axes.set(title=title, xlabel=label.replace('psnr_', ''))
            axes.title.set_fontsize(11)
            axes.legend()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
    return drawing.svg


def _nan_if_infinite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)


def plain_ticks(axis: Any) -> None:
    """Write the numbers of a logarithmic axis as they are."""
    axis.set_major_formatter(matplotlib.ticker.FormatStrFormatter('%g'))
    axis.set_minor_formatter(matplotlib.ticker.NullFormatter())
