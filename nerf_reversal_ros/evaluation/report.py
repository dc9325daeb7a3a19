"""
The report: one self-contained HTML file that shows how well a map localizes.

Pictures and figures lie inside the file as data addresses; nothing is loaded from elsewhere.
"""

import html
import json
import math
from typing import Any

import cv2
import numpy as np

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.core.geometry import Array
from nerf_reversal_ros.core.metrics import answer_errors
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejected
from nerf_reversal_ros.core.sampling import evenly
from nerf_reversal_ros.evaluation import report_plots as plots
from nerf_reversal_ros.evaluation.evaluation import Evaluation
from nerf_reversal_ros.evaluation.html_page import (
    figure,
    note,
    page,
    picture,
    resized,
    Section,
    table,
)
from nerf_reversal_ros.evaluation.report_uncertainty import calibration, risk
from nerf_reversal_ros.evaluation.summary import notes, number, summary_rows, verdict
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.maps.map_store import Map

PICTURE_WIDTH = 400
REJECTED_SHOWN = 12
RANKS = ('best', 'good', 'median', 'poor', 'worst')
"""Which of the published answers are shown, evenly by position error."""


def report_html(
    evaluation: Evaluation,
    map_: Map,
    capture: Capture,
    field: RadianceField,
    map_from_camera_walked: Array,
    *,
    command: str,
) -> str:
    """
    Write the report as the text of one HTML file.

    Parameters
    ----------
    evaluation : Evaluation
        What was measured.
    map_ : Map
        The map that was judged.
    capture : Capture
        The pictures that it was judged on.
    field : RadianceField
        The map's field, rendered at estimated poses beside the real pictures.
    map_from_camera_walked : (M, 4, 4) array
        Poses that the map was built from.
    command : str
        The command line that made the report.
    """
    sections = [
        Section('figures', 'In figures', _headline_table(evaluation.metrics)),
        Section('pictures', 'Real against rendered', _gallery(evaluation, capture, field)),
        Section(
            'trajectories',
            'Where',
            figure(
                plots.trajectories(evaluation, map_from_camera_walked),
                'Trajectories seen from above: walked when the map was built, true, and'
                ' estimated, coloured by position error.',
            ),
        ),
        Section(
            'time',
            'When',
            figure(
                plots.errors_over_time(evaluation),
                'Position and rotation error of every picture over time, on logarithmic axes. A'
                ' red line is a picture that was rejected.',
            ),
        ),
        Section(
            'distribution',
            'How far off, how often',
            figure(
                plots.error_distribution(evaluation),
                'Share of all pictures within an error, for the published answers, the stages'
                ' before the gate, and the baselines. A curve ends at the share answered.',
            ),
        ),
        Section('rejected', 'Rejected pictures', _rejected(evaluation, capture)),
        Section('calibration', 'Can the covariance be believed?', calibration(evaluation)),
        Section('risk', 'If more were published, or less', risk(evaluation)),
        Section(
            'latency',
            'How long a picture takes',
            figure(
                plots.latency(evaluation),
                'Histogram of the time from decoded pixels to the answer, by method.',
            ),
        ),
        Section('build', 'How the map was built', _build(map_)),
        Section('command', 'How this report was made', f'<pre>{html.escape(command)}</pre>'),
    ]
    title = f'{map_.path.name} judged on {capture.source.name}'
    warnings = map_.manifest.get('warnings', [])
    return page(title, verdict(evaluation.metrics), sections, warnings)


def _headline_table(metrics: dict[str, Any]) -> str:
    psnr = number(metrics['psnr_db']), number(metrics['psnr_plain_db'])
    said = [
        'Medians and shares are over all pictures; one without an answer counts as infinitely'
        ' far. Worst is over the answers given. Times are medians.',
        *notes(metrics),
        f'Field against the judged pictures at their true poses: {psnr[0]} dB PSNR with exposure'
        f' and white balance matched, {psnr[1]} dB without.',
    ]
    return table(summary_rows(metrics), main=0) + note(said)


def _gallery(evaluation: Evaluation, capture: Capture, field: RadianceField) -> str:
    """Show pictures from the best to the worst answer, and one that was rejected."""
    errors = answer_errors(evaluation.published, evaluation.map_from_camera_true)
    shown = np.flatnonzero(evaluation.published.published)
    order = shown[np.argsort(errors.translation[shown])]
    chosen = [int(index) for index in order[evenly(len(order), len(RANKS))]]
    titles = {}
    for index in chosen:
        off_cm, off_deg = 100 * errors.translation[index], math.degrees(errors.rotation[index])
        titles[index] = f'{off_cm:.1f} cm, {off_deg:.2f}\u00b0'
    if len(chosen) == len(RANKS):
        titles = {i: f'{rank}: {titles[i]}' for i, rank in zip(chosen, RANKS, strict=True)}
    for index, outcome in enumerate(evaluation.outcomes):
        if isinstance(outcome, Rejected) and _tried(outcome) is not None:
            titles[index] = f'rejected: {outcome.reason}'
            break
    rows = []
    for index, title in titles.items():
        frame, pose = capture.frame(index), _tried(evaluation.outcomes[index])
        if pose is None:
            continue
        camera = frame.camera.fitted_to(min(PICTURE_WIDTH, frame.camera.width))
        real = resized(frame.rgb, camera.width, camera.height)
        rendered = field.render(pose[None], camera)[0].rgb
        difference = cv2.absdiff(real, rendered)
        rows.append(
            '<figure class="trio">'
            + picture(real, f'Picture {index}, real')
            + picture(rendered, f'Picture {index}, the field rendered at the estimated pose')
            + picture(difference, f'Picture {index}, difference of the two')
            + f'<figcaption><b>{html.escape(title)}</b> \u00b7 picture {index}: real, rendered at'
            ' the estimated pose, and their difference</figcaption></figure>'
        )
    return ''.join(rows)


def _tried(outcome: PoseEstimate | Rejected) -> Array | None:
    """Return the pose that was published, or else the last one that was tried."""
    if isinstance(outcome, PoseEstimate):
        return outcome.map_from_camera
    told = outcome.diagnostics
    return told.regressed if told.refined is None else told.refined


def _rejected(evaluation: Evaluation, capture: Capture) -> str:
    rejected = [k for k, o in enumerate(evaluation.outcomes) if isinstance(o, Rejected)]
    if not rejected:
        return '<p>None.</p>'
    counts = evaluation.metrics['rejected']
    listed = ''.join(
        f'<li>{count} \u00d7 {html.escape(why)}</li>' for why, count in counts.items()
    )
    cards = []
    for index in [rejected[k] for k in evenly(len(rejected), REJECTED_SHOWN)]:
        outcome, frame = evaluation.outcomes[index], capture.frame(index)
        assert isinstance(outcome, Rejected)
        height = round(240 * frame.camera.height / frame.camera.width)
        told = f'{outcome.reason}: {outcome.detail}' if outcome.detail else outcome.reason
        cards.append(
            f'<figure>{picture(resized(frame.rgb, 240, height), f"Picture {index}, rejected")}'
            f'<figcaption>picture {index} \u00b7 {html.escape(told)}</figcaption></figure>'
        )
    few = ''
    if len(cards) < len(rejected):
        few = f'<p class="note">{len(cards)} of {len(rejected)} are shown.</p>'
    return f'<ul>{listed}</ul><div class="cards">{"".join(cards)}</div>{few}'


def _build(map_: Map) -> str:
    manifest = map_.manifest
    built, metrics = manifest.get('built', {}), manifest.get('metrics', {})
    size = sum(entry['bytes'] for entry in manifest['files'].values())
    facts: dict[str, Any] = {
        'built': built.get('date'),
        'field': built.get('field'),
        'from': manifest.get('capture', {}).get('source'),
        'device': built.get('device'),
        'seed': built.get('seed'),
        'size': f'{size / 1e6:.1f} MB in {len(manifest["files"])} files',
        **{f'{stage} took': f'{took:.0f} s' for stage, took in built.get('seconds', {}).items()},
        **{name.replace('_', ' '): value for name, value in metrics.items()},
    }
    kept: dict[str, Any] = {}
    if 'training.json' in manifest['files']:
        kept = json.loads(map_.file('training.json').read_text(encoding='utf-8'))
    if 'vae' in kept:
        facts['variance kept by the autoencoder'] = kept['vae']['retained_variance'][-1]
    rows = ''.join(
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(_fact(value))}</td></tr>'
        for name, value in facts.items()
        if value not in (None, '')
    )
    share = kept.get('pca', {}).get('retained_variance', [])
    losses = plots.training(kept.get('field', {}), kept.get('regressor', {}))
    return (
        f'<table class="facts"><tbody>{rows}</tbody></table>'
        + (figure(losses, 'Training of the field and of the regressor.') if losses else '')
        + (
            figure(plots.retained_variance(share), 'Variance of the pictures kept by the PCA.')
            if len(share)
            else ''
        )
    )


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(f'{name.replace("_", " ")} {_fact(v)}' for name, v in value.items())
    return number(value) if isinstance(value, float) else str(value)
