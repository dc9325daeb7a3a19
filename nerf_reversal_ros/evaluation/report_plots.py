"""Draw the plots of a report with matplotlib; each function returns SVG text."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
import io
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, MaxNLocator, NullFormatter
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
ERROR_COLORMAP = LinearSegmentedColormap.from_list('small to large', [BLUE, '#d97706', RED])
ACCEPTED = 'accepted'
"""Name of the curve of the localizer with its gate."""
POSITION_RANGE_CM, ROTATION_RANGE_DEG = (0.3, 300), (0.05, 180)
"""Axes of the error distributions, [cm] and [deg]: from below the best to across a room."""
MIN_COLOR_RANGE_CM = 5.0
"""Upper end of the error colors [cm], at least: smaller errors are not exaggerated."""
PLOT_STYLE: dict[Any, Any] = {
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
    """A matplotlib figure; ``svg`` holds its text after the ``with`` block of `svg_figure`."""

    def __init__(self, width: float, height: float) -> None:
        self.figure = Figure(figsize=(width, height), layout='constrained')
        self.svg = ''

    def axes(self, rows: int = 1, columns: int = 1, **options: Any) -> list[Axes]:
        """Return rows x columns axes as a flat list."""
        return list(self.figure.subplots(rows, columns, squeeze=False, **options).ravel())


@contextmanager
def svg_figure(width: float = 6.6, height: float = 3.6) -> Iterator[SvgFigure]:
    """Open a figure of a size in inches, in the style of the report, and render it to SVG."""
    with matplotlib.rc_context(PLOT_STYLE):
        drawing = SvgFigure(width, height)
        yield drawing
        out = io.StringIO()
        drawing.figure.savefig(out, format='svg', metadata={'Date': None, 'Creator': None})
        drawing.svg = out.getvalue()


def trajectories(evaluation: Evaluation, mapping_poses: FloatArray) -> str:
    """Draw mapping positions, ground truth and estimates from above, with error vectors."""
    positions_gt = evaluation.map_from_camera_gt[:, :2, 3]
    results = evaluation.localizer_results
    error_cm, _ = _errors_cm_deg(results, evaluation.map_from_camera_gt)
    accepted = results.is_accepted
    estimated = results.map_from_camera[accepted, :2, 3]
    with svg_figure(6.6, 6.0) as drawing:
        (axes,) = drawing.axes()
        axes.plot(*mapping_poses[:, :2, 3].T, 'o', color='#c5cad3', ms=5, mew=0, label='mapping')
        axes.plot(*positions_gt.T, color=INK, lw=1.2, label='ground truth')
        for start, end in zip(positions_gt[accepted], estimated, strict=True):
            axes.plot(*np.stack([start, end]).T, color=FAINT, lw=0.6)
        if accepted.any():
            largest_cm = float(np.percentile(error_cm[accepted], 95))
            dots = axes.scatter(
                estimated[:, 0],
                estimated[:, 1],
                c=error_cm[accepted],
                cmap=ERROR_COLORMAP,
                vmin=0,
                vmax=max(MIN_COLOR_RANGE_CM, largest_cm),
                s=22,
                zorder=3,
                label='estimated',
            )
            bar = drawing.figure.colorbar(dots, ax=axes, shrink=0.7, extend='max')
            bar.set_label('position error [cm]')
        rejected = positions_gt[~accepted]
        axes.plot(*rejected.T, 'x', color=RED, ms=6, mew=1.4, label='rejected (ground truth)')
        axes.set_aspect('equal', adjustable='datalim')
        axes.set(xlabel='map x [m]', ylabel='map y [m]')
        axes.legend(loc='upper center', bbox_to_anchor=(0.5, 1.12), ncols=4)
    return drawing.svg


def errors_over_time(evaluation: Evaluation) -> str:
    """Draw errors of the regressor and of accepted poses over time, and mark rejections."""
    time_s = (evaluation.stamps_ns - evaluation.stamps_ns[0]) / 1e9
    poses_gt = evaluation.map_from_camera_gt
    accepted = evaluation.localizer_results.is_accepted
    regressed = _errors_cm_deg(evaluation.stages['regressor'], poses_gt)
    localized = _errors_cm_deg(evaluation.localizer_results, poses_gt)
    labels = ('position error [cm]', 'rotation error [deg]')
    with svg_figure(6.6, 4.8) as drawing:
        panels = drawing.axes(2, 1, sharex=True)
        for axes, label, coarse, fine in zip(panels, labels, regressed, localized, strict=True):
            coarse = np.where(np.isfinite(coarse), coarse, np.nan)
            axes.plot(time_s, coarse, '-', color=ORANGE, lw=1, alpha=0.8, label='regressor alone')
            axes.plot(time_s[accepted], fine[accepted], '.', color=BLUE, ms=6, label='accepted')
            for rejected_s in time_s[~accepted]:
                axes.axvline(rejected_s, color=RED, alpha=0.25, lw=1.5)
            axes.plot([], [], color=RED, alpha=0.4, lw=2, label='rejected')
            axes.set_yscale('log')
            axes.set_ylabel(label)
            plain_ticks(axes.yaxis)
        panels[0].legend(loc='upper center', bbox_to_anchor=(0.5, 1.25), ncols=3)
        panels[1].set_xlabel('time [s]')
    return drawing.svg


def error_distribution(evaluation: Evaluation) -> str:
    """Draw the cumulative distribution of position and rotation errors of every method."""
    without_rotation = position_only_baselines(evaluation.metrics)
    with svg_figure(6.6, 4.2) as drawing:
        position_axes, rotation_axes = drawing.axes(1, 2, sharey=True)
        for name, color, results in method_curves(evaluation):
            poses_gt = evaluation.map_from_camera_gt
            if name in evaluation.evaluated_indices:
                poses_gt = evaluation.baseline_poses_gt(name)
            error_cm, error_deg = _errors_cm_deg(results, poses_gt)
            _plot_distribution(position_axes, error_cm, results, POSITION_RANGE_CM, name, color)
            if name not in without_rotation:
                _plot_distribution(
                    rotation_axes, error_deg, results, ROTATION_RANGE_DEG, name, color
                )
        for axes, limits, label in (
            (position_axes, POSITION_RANGE_CM, 'position error [cm]'),
            (rotation_axes, ROTATION_RANGE_DEG, 'rotation error [deg]'),
        ):
            axes.set_xscale('log')
            axes.set_xlim(*limits)
            axes.set_xlabel(label)
            plain_ticks(axes.xaxis)
        position_axes.set(ylabel='fraction of all images [%]', ylim=(0, 102))
        handles = position_axes.get_legend_handles_labels()
        drawing.figure.legend(*handles, loc='outside upper center', ncols=4)
    return drawing.svg


def method_curves(evaluation: Evaluation) -> list[tuple[str, str, MethodResults]]:
    """Return name, color and results of every method; a method keeps its color in all plots."""
    stages = [
        (ACCEPTED, BLUE, evaluation.localizer_results),
        ('refined', GREEN, evaluation.stages['refined']),
        ('regressor', ORANGE, evaluation.stages['regressor']),
    ]
    baselines = [
        (name, BASELINE_COLORS[k % len(BASELINE_COLORS)], results)
        for k, (name, results) in enumerate(evaluation.baselines.items())
    ]
    return stages + baselines


def latency_histogram(evaluation: Evaluation) -> str:
    """Draw the distribution of the time for one image, by method."""
    with svg_figure(6.6, 4.0) as drawing:
        (axes,) = drawing.axes()
        for name, color, results in method_curves(evaluation):
            times_ms = results.latency_ms[np.isfinite(results.latency_ms)]
            if name in ('refined', 'mean_pose', 'nearest_reference') or not len(times_ms):
                continue
            bins = np.geomspace(0.8, max(1000.0, 1.2 * times_ms.max()), 60).tolist()
            label = f'{name.replace("_", " ")}, {format_number(float(np.median(times_ms)))} ms'
            axes.hist(times_ms.clip(0.8), bins=bins, color=color, alpha=0.65, label=label)
        axes.set_xscale('log')
        axes.set(xlabel='time of one image [ms]', ylabel='images')
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        plain_ticks(axes.xaxis)
        drawing.figure.legend(loc='outside upper center', ncols=3, title='medians')
    return drawing.svg


def retained_variance(fractions: Sequence[float]) -> str:
    """Draw the fraction of the image variance that the first k PCA components retain."""
    with svg_figure(6.6, 3.0) as drawing:
        (axes,) = drawing.axes()
        percent = 100 * np.asarray(fractions, dtype=np.float64)
        axes.plot(np.arange(1, len(percent) + 1), percent, color=BLUE, lw=2)
        axes.annotate(
            f'{len(percent)} components retain {percent[-1]:.1f} %',
            (len(percent), percent[-1]),
            xytext=(-8, -22),
            textcoords='offset points',
            ha='right',
        )
        axes.set(
            xlabel='PCA components', ylabel='variance retained [%]', ylim=(0, 102), xlim=(0, None)
        )
    return drawing.svg


def training_curves(
    field: Mapping[str, Sequence[float]], regressor: Mapping[str, Sequence[float]]
) -> str:
    """Draw the training losses and the regressor's validation errors; empty without any."""
    curves = (
        ('field', 'step', field, 'loss', 'training loss', BLUE),
        ('regressor', 'epoch', regressor, 'train_loss', 'training loss', BLUE),
        ('regressor', 'epoch', regressor, 'val_translation_m', 'validation median [m]', ORANGE),
        ('regressor', 'epoch', regressor, 'val_rotation_deg', 'validation median [deg]', ORANGE),
    )
    panels = [curve for curve in curves if curve[2].get(curve[3])]
    if not panels:
        return ''
    rows = (len(panels) + 1) // 2
    with svg_figure(6.6, 2.5 * rows) as drawing:
        grid = drawing.axes(rows, 2)
        for axes, (title, time, report, key, label, color) in zip(grid, panels, strict=False):
            axes.plot(report[time], report[key], color=color, lw=1.6, label=label)
            axes.set(title=title, xlabel=time)
            axes.title.set_fontsize(11)
            axes.legend()
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
    return drawing.svg


def plain_ticks(axis: Any) -> None:
    """Label a logarithmic axis with plain numbers instead of powers of ten."""
    axis.set_major_formatter(FormatStrFormatter('%g'))
    axis.set_minor_formatter(NullFormatter())


def _errors_cm_deg(
    results: MethodResults, map_from_camera_gt: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return position errors [cm] and rotation errors [deg], (N,) each; infinite if rejected."""
    errors = result_errors(results, map_from_camera_gt)
    return 100 * errors.translation, np.degrees(errors.rotation)


def _plot_distribution(
    axes: Axes,
    errors: FloatArray,
    results: MethodResults,
    limits: tuple[float, float],
    name: str,
    color: str,
) -> None:
    """Draw the fraction of all images within an error, for one method; nothing without poses."""
    localized = np.sort(errors[results.is_accepted])
    if not len(localized):
        return
    fraction = np.arange(1, len(localized) + 1) / len(errors)
    is_main = name == ACCEPTED
    axes.step(
        np.r_[limits[0], localized, limits[1]],
        np.r_[0, fraction, fraction[-1]] * 100,
        where='post',
        color=color,
        lw=2.4 if is_main else 1.4,
        label=name.replace('_', ' '),
        zorder=3 if is_main else 2,
    )
