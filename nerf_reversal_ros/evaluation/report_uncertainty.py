"""The parts of the report that tell how far the answers' own doubts can be believed."""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import erf

from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import error_vectors, result_errors, results_from_poses
from nerf_reversal_ros.core.outcome import CORRECT_WITHIN_DEG, CORRECT_WITHIN_M, PoseEstimate
from nerf_reversal_ros.evaluation.evaluation import Evaluation
from nerf_reversal_ros.evaluation.html_page import html_figure
from nerf_reversal_ros.evaluation.report_plots import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    plain_ticks,
    RED,
    svg_figure,
)
from nerf_reversal_ros.evaluation.summary import format_number, format_percent

DEGREES_OF_FREEDOM = 6
PROBABILITY_THRESHOLDS = (0.5, 0.9, 0.98, 0.995, 0.999)
"""Of ``min_probability``: what is at least so probable of what was found with the present one."""


class RiskCoverage(NamedTuple):
    """What would be wrong if the k most probable of N pictures were answered, k = 1 to K."""

    coverage: FloatArray
    """(K,) share of all pictures that is answered, k / N."""
    probability: FloatArray
    """(K,) what the gate gave the last of them, falling; NaN where it gave none."""
    risk: FloatArray
    """(K,) share of the answers that is further off than `CORRECT_WITHIN_M` or `CORRECT_WITHIN_DEG`."""
    median_m: FloatArray
    """(K,) median position error of the answers."""
    largest_m: FloatArray
    """(K,) largest position error of the answers."""


def risk_coverage(evaluation: Evaluation) -> RiskCoverage:
    """
    Order the pictures by the gate's probability and judge the first k of them, for every k.

    The poses are those that were published or, for a rejected picture, the best that was found.
    Poses that were rejected before a probability was known come last; pictures without a pose
    cannot be answered at all, so that K may be less than N. See El-Yaniv and Wiener, On the
    Foundations of Noise-free Selective Classification, JMLR 2010.
    """
    poses, probability = [], []
    for outcome in evaluation.outcomes:
        told = outcome.diagnostics
        pose = outcome.map_from_camera if isinstance(outcome, PoseEstimate) else told.refined_pose
        poses.append((pose, math.nan))
        probability.append(told.scores.get('probability', math.nan))
    answers = results_from_poses(poses)
    errors = result_errors(answers, evaluation.map_from_camera_gt)
    given = np.array(probability)
    order = np.argsort(-given, kind='stable')  # NaN sorts last
    order = order[answers.is_accepted[order]]
    metres, degrees = errors.translation[order], np.degrees(errors.rotation[order])
    count = np.arange(1, len(order) + 1)
    return RiskCoverage(
        count / len(given),
        given[order],
        np.cumsum((metres > CORRECT_WITHIN_M) | (degrees > CORRECT_WITHIN_DEG)) / count,
        np.array([np.median(metres[:k]) for k in count]),
        np.maximum.accumulate(metres),
    )


def risk_section(evaluation: Evaluation) -> str:
    """Return the part about the gate's probability; empty if it gave none."""
    found = risk_coverage(evaluation)
    if not np.isfinite(found.probability).any():
        return ''
    unknown = int(np.isnan(found.probability).sum())
    without = len(evaluation.outcomes) - len(found.coverage)
    notes = (
        f' Dashed: {unknown} poses that were rejected before a probability was known, in no order.'
        if unknown
        else ''
    ) + (f' {without} pictures have no pose and cannot be answered.' if without else '')
    return html_figure(
        _risk_plot(evaluation, found),
        'Pictures answered from the most probable to the least: the share of wrong answers'
        f' (beyond {100 * CORRECT_WITHIN_M:g} cm or {CORRECT_WITHIN_DEG:g}\u00b0), and the position errors of the'
        f' answers. The line marks what was published.{notes}',
    ) + _threshold_table(found)


def covariance_section(evaluation: Evaluation) -> str:
    """Return the part about the covariance."""
    metrics = evaluation.metrics
    coverage, anees = metrics['sigma_coverage'], metrics['anees']
    if coverage is None:
        return '<p>Nothing was published, so there is no covariance to judge.</p>'
    said = 'infinite' if anees is None else format_number(anees / DEGREES_OF_FREEDOM)
    gaussian = {k: math.erf(int(k) / math.sqrt(2)) for k in '123'}
    rows = ''.join(
        f'<tr><th scope="row">{name}</th>'
        + ''.join(f'<td>{format_percent(shares[k])}</td>' for k in '123')
        + '</tr>'
        for name, shares in (
            ('position', coverage['translation']),
            ('rotation', coverage['rotation']),
            ('a Gaussian error', gaussian),
        )
    )
    head = ''.join(f'<th scope="col">within {k} sigma</th>' for k in '123')
    return (
        f'<p>Mean normalised squared error a degree of freedom (ANEES/{DEGREES_OF_FREEDOM}):'
        f' <b>{said}</b>, where 1 is perfect; more means too sure of itself, less too modest.</p>'
        f'<table><thead><tr><th></th>{head}</tr></thead><tbody>{rows}</tbody></table>'
        + html_figure(
            _calibration_plot(evaluation),
            'Share of errors within k of their own standard deviations, beside the Gaussian.',
        )
    )


def _threshold_table(found: RiskCoverage) -> str:
    """Tell how right the poses that were found are from each of `PROBABILITY_THRESHOLDS` on."""
    heads = ('min_probability', 'answered', 'wrong', 'median cm', 'largest cm')
    rows = ''
    for limit in PROBABILITY_THRESHOLDS:
        count = int((found.probability >= limit).sum())
        at = count - 1
        cells = (
            [
                format_percent(found.coverage[at]),
                str(round(count * found.risk[at])),
                format_number(found.median_m[at], 100),
                format_number(found.largest_m[at], 100),
            ]
            if count
            else [format_percent(0.0), '0', format_number(None), format_number(None)]
        )
        rows += f'<tr><th scope="row">{limit:g}</th>'
        rows += ''.join(f'<td>{cell}</td>' for cell in cells) + '</tr>'
    head = ''.join(f'<th scope="col">{name}</th>' for name in heads)
    return f'<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>'


def _risk_plot(evaluation: Evaluation, found: RiskCoverage) -> str:
    """Draw wrong answers, and median and largest error, over the share answered."""
    published = evaluation.localizer_results.is_accepted
    share = 100 * found.coverage
    with svg_figure(6.6, 4.8) as drawing:
        above, below = drawing.axes(2, 1, sharex=True)
        for axes, values, colour, label in (
            (above, 100 * found.risk, RED, 'wrong answers'),
            (below, 100 * found.median_m, BLUE, 'median'),
            (below, 100 * found.largest_m, ORANGE, 'largest'),
        ):
            known = np.isfinite(found.probability)
            axes.plot(share[known], values[known], color=colour, lw=2, label=label)
            last = np.flatnonzero(known)[-1]  # the order of the rest is not known: one line
            ends = [last, len(share) - 1]
            axes.plot(share[ends], values[ends], '--', color=colour, lw=1.4)
        for axes, label in ((above, 'published'), (below, '_again')):
            axes.axvline(100 * published.mean(), color=INK, lw=1, alpha=0.6, label=label)
        above.set(ylabel='wrong answers [%]', ylim=(-0.5, max(5.0, 110 * found.risk.max())))
        below.set(xlabel='share of all pictures answered [%]', ylabel='position error [cm]')
        decades = np.log10(
            100 * np.array([found.median_m.min(), found.largest_m.max()]).clip(1e-4)
        )
        low, high = np.floor(decades[0]), np.ceil(decades[1])
        limits = 10**low, 10 ** max(high, low + 1)
        below.set(yscale='log', ylim=limits, xlim=(0, 102))
        plain_ticks(below.yaxis)
        drawing.figure.legend(loc='outside upper center', ncols=4)
    return drawing.svg


def _calibration_plot(evaluation: Evaluation) -> str:
    """Draw how often errors are within k of their own sigmas, beside what a Gaussian gives."""
    answers, true = evaluation.localizer_results, evaluation.map_from_camera_gt
    shown = answers.is_accepted
    with svg_figure(6.6, 3.6) as drawing:
        (axes,) = drawing.axes()
        k = np.linspace(0, 4, 81)
        axes.plot(k, 100 * erf(k / np.sqrt(2)), '--', color=FAINT, label='Gaussian, as promised')
        if answers.covariance is not None and shown.any():
            sigma = np.sqrt(np.diagonal(answers.covariance[shown], axis1=1, axis2=2))
            ratio = np.abs(error_vectors(answers.map_from_camera[shown], true[shown])) / sigma
            for name, colour, part in (
                ('translation', BLUE, ratio[:, :3]),
                ('rotation', ORANGE, ratio[:, 3:]),
            ):
                share = 100 * np.mean(part.ravel()[:, None] <= k, axis=0)
                axes.plot(k, share, color=colour, lw=2, label=name)
        axes.set(
            xlabel='error within so many of its own standard deviations',
            ylabel='share [%]',
            ylim=(0, 102),
            xlim=(0, 4),
        )
        axes.legend(loc='lower right')
    return drawing.svg
