"""Write the sections of the report about uncertainty: risk and coverage, and the covariance."""

import math
from typing import NamedTuple

from matplotlib.axes import Axes
import numpy as np
from scipy.special import erf

from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import (
    correct_mask,
    error_vectors,
    result_errors,
    results_from_poses,
)
from nerf_reversal_ros.core.outcome import CORRECT_WITHIN_DEG, CORRECT_WITHIN_M, PoseEstimate
from nerf_reversal_ros.evaluation.evaluation import Evaluation
from nerf_reversal_ros.evaluation.html_page import html_figure, html_table
from nerf_reversal_ros.evaluation.report_plots import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    plain_ticks,
    RED,
    svg_figure,
)
from nerf_reversal_ros.evaluation.summary import (
    anees_text,
    DEGREES_OF_FREEDOM,
    format_number,
    format_percent,
    UNKNOWN,
)

PROBABILITY_THRESHOLDS = (0.5, 0.9, 0.98, 0.995, 0.999)
"""Values of ``min_probability`` in the table."""

MAX_SIGMAS = 4.0
"""Right end of the calibration curve: a Gaussian error is within 4 sigma in 99.99 %."""


class RiskCoverage(NamedTuple):
    """Errors if the k most probable of N images were accepted, for k = 1 to K."""

    coverage: FloatArray
    """(K,) fraction of all images that is accepted, k / N."""
    probability: FloatArray
    """(K,) correctness probability of the k-th image, descending; NaN where the gate had none."""
    risk: FloatArray
    """(K,) fraction of the k poses beyond `CORRECT_WITHIN_M` or `CORRECT_WITHIN_DEG`."""
    median_m: FloatArray
    """(K,) median position error of the k poses."""
    largest_m: FloatArray
    """(K,) largest position error of the k poses."""


def risk_coverage(evaluation: Evaluation) -> RiskCoverage:
    """
    Compute the risk-coverage curve: errors of the k images of highest correctness probability.

    The pose of an accepted image is the accepted one, that of a rejected image the refined one.
    Poses that were rejected before the gate had a probability come last, in no order. Images
    without a refined pose are excluded, so that K may be less than N. See El-Yaniv and Wiener, On
    the Foundations of Noise-free Selective Classification, JMLR 2010.
    """
    poses, probability = [], []
    for outcome in evaluation.outcomes:
        refined = outcome.diagnostics.refined_pose
        pose = outcome.map_from_camera if isinstance(outcome, PoseEstimate) else refined
        poses.append((pose, math.nan))
        probability.append(outcome.diagnostics.scores.get('probability', math.nan))
    results = results_from_poses(poses)
    errors = result_errors(results, evaluation.map_from_camera_gt)
    probabilities = np.array(probability)
    order = np.argsort(-probabilities, kind='stable')  # NaN sorts last
    order = order[results.is_accepted[order]]
    error_m = errors.translation[order]
    count = np.arange(1, len(order) + 1)
    return RiskCoverage(
        count / len(probabilities),
        probabilities[order],
        np.cumsum(~correct_mask(errors)[order]) / count,
        np.array([np.median(error_m[:k]) for k in count]),
        np.maximum.accumulate(error_m),
    )


def risk_section(evaluation: Evaluation) -> str:
    """Plot and tabulate errors by the threshold of the probability; empty if there is none."""
    curve = risk_coverage(evaluation)
    if not np.isfinite(curve.probability).any():
        return ''
    caption = (
        'Images accepted in the order of their correctness probability: fraction of incorrect'
        f' poses (beyond {100 * CORRECT_WITHIN_M:g} cm or {CORRECT_WITHIN_DEG:g}\u00b0) and'
        ' position errors. The vertical line marks what the gate accepted.'
    )
    if unordered := int(np.isnan(curve.probability).sum()):
        caption += f' Dashed: poses rejected before the gate had a probability ({unordered}).'
    if without_pose := len(evaluation.outcomes) - len(curve.coverage):
        caption += f' Images without a refined pose: {without_pose}.'
    figure = html_figure(_risk_plot(evaluation, curve), caption)
    return figure + html_table(_threshold_rows(curve))


def covariance_section(evaluation: Evaluation) -> str:
    """Compare errors with the reported covariance: ANEES, and fractions within k sigma."""
    coverage = evaluation.metrics['sigma_coverage']
    if coverage is None:
        return '<p>No image was accepted, so there is no covariance to check.</p>'
    gaussian = {k: math.erf(int(k) / math.sqrt(2)) for k in '123'}
    rows = [
        ['', *(f'within {k} sigma' for k in '123')],
        *(
            [name, *(format_percent(fractions[k]) for k in '123')]
            for name, fractions in (
                ('position', coverage['translation']),
                ('rotation', coverage['rotation']),
                ('Gaussian error', gaussian),
            )
        ),
    ]
    return (
        '<p>Average normalized estimation error squared, per degree of freedom'
        f' (ANEES/{DEGREES_OF_FREEDOM}): <b>{anees_text(evaluation.metrics["anees"])}</b>.'
        ' 1 is consistent; a larger value is overconfident, a smaller one underconfident.</p>'
        + html_table(rows)
        + html_figure(
            _calibration_plot(evaluation),
            'Fraction of error components within k of their standard deviations, compared with a'
            ' Gaussian.',
        )
    )


def _threshold_rows(curve: RiskCoverage) -> list[list[str]]:
    """Return a table of the accepted poses at each of `PROBABILITY_THRESHOLDS`."""
    rows = [['min_probability', 'accepted', 'incorrect', 'median cm', 'largest cm']]
    for threshold in PROBABILITY_THRESHOLDS:
        count = int((curve.probability >= threshold).sum())
        last = count - 1
        cells = [format_percent(0.0), '0', UNKNOWN, UNKNOWN]
        if count:
            cells = [
                format_percent(curve.coverage[last]),
                str(round(count * curve.risk[last])),
                format_number(curve.median_m[last], 100),
                format_number(curve.largest_m[last], 100),
            ]
        rows.append([f'{threshold:g}', *cells])
    return rows


def _risk_plot(evaluation: Evaluation, curve: RiskCoverage) -> str:
    """Draw the fraction of incorrect poses, and median and largest error, over the coverage."""
    coverage = 100 * curve.coverage
    accepted = 100 * evaluation.localizer_results.is_accepted.mean()
    known = np.isfinite(curve.probability)
    ends = [np.flatnonzero(known)[-1], len(coverage) - 1]  # a line: poses between have no order
    with svg_figure(6.6, 4.8) as drawing:
        above, below = drawing.axes(2, 1, sharex=True)
        for axes, values, color, label in (
            (above, 100 * curve.risk, RED, 'incorrect'),
            (below, 100 * curve.median_m, BLUE, 'median'),
            (below, 100 * curve.largest_m, ORANGE, 'largest'),
        ):
            axes.plot(coverage[known], values[known], color=color, lw=2, label=label)
            axes.plot(coverage[ends], values[ends], '--', color=color, lw=1.4)
        for axes, label in ((above, 'accepted'), (below, '_hidden')):
            axes.axvline(accepted, color=INK, lw=1, alpha=0.6, label=label)
        above.set(ylabel='incorrect poses [%]', ylim=(-0.5, max(5.0, 110 * curve.risk.max())))
        below.set(xlabel='fraction of all images accepted [%]', ylabel='position error [cm]')
        below.set(yscale='log', ylim=_decades_cm(curve), xlim=(0, 102))
        plain_ticks(below.yaxis)
        drawing.figure.legend(loc='outside upper center', ncols=4)
    return drawing.svg


def _decades_cm(curve: RiskCoverage) -> tuple[float, float]:
    """Return the whole decades that hold median and largest errors, for a logarithmic axis."""
    range_cm = 100 * np.array([curve.median_m.min(), curve.largest_m.max()]).clip(1e-4)
    low, high = np.floor(np.log10(range_cm[0])), np.ceil(np.log10(range_cm[1]))
    return 10**low, 10 ** max(high, low + 1)


def _calibration_plot(evaluation: Evaluation) -> str:
    """Draw the fraction of errors within k sigma over k, compared with a Gaussian."""
    results, poses_gt = evaluation.localizer_results, evaluation.map_from_camera_gt
    accepted = results.is_accepted
    with svg_figure(6.6, 3.6) as drawing:
        (axes,) = drawing.axes()
        k = np.linspace(0, MAX_SIGMAS, 81)
        axes.plot(k, 100 * erf(k / np.sqrt(2)), '--', color=FAINT, label='Gaussian')
        if results.covariance is not None and accepted.any():
            sigma = np.sqrt(np.diagonal(results.covariance[accepted], axis1=1, axis2=2))
            errors = error_vectors(results.map_from_camera[accepted], poses_gt[accepted])
            ratio = np.abs(errors) / sigma
            _plot_fraction_within(axes, k, ratio[:, :3], BLUE, 'position')
            _plot_fraction_within(axes, k, ratio[:, 3:], ORANGE, 'rotation')
        axes.set(
            xlabel='error in standard deviations k',
            ylabel='fraction within k [%]',
            ylim=(0, 102),
            xlim=(0, MAX_SIGMAS),
        )
        axes.legend(loc='lower right')
    return drawing.svg


def _plot_fraction_within(
    axes: Axes, k: FloatArray, ratio: FloatArray, color: str, label: str
) -> None:
    fraction = np.mean(ratio.ravel()[:, None] <= k, axis=0)
    axes.plot(k, 100 * fraction, color=color, lw=2, label=label)
