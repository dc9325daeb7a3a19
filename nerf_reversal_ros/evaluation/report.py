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
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import result_errors
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.evaluation import report_plots as plots
from nerf_reversal_ros.evaluation.evaluation import Evaluation
from nerf_reversal_ros.evaluation.html_page import (
    html_figure,
    html_image,
    html_note,
    html_page,
    html_table,
    ReportSection,
    resize_image,
)
from nerf_reversal_ros.evaluation.report_uncertainty import covariance_section, risk_section
from nerf_reversal_ros.evaluation.summary import format_number, headline, summary_rows, table_notes
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.maps.map_folder import Map

IMAGE_WIDTH_PX = 400
MAX_REJECTED_IMAGES = 12
RANKS = ('best', 'good', 'median', 'poor', 'worst')
"""Which of the published answers are shown, evenly by position error."""


def report_html(
    evaluation: Evaluation,
    map_: Map,
    capture: Capture,
    field: RadianceField,
    mapping_poses: FloatArray,
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
    mapping_poses : (M, 4, 4) array
        Poses that the map was built from.
    command : str
        The command line that made the report.
    """
    sections = [
        ReportSection('figures', 'In figures', _headline_table(evaluation.metrics)),
        ReportSection('pictures', 'Real against rendered', _gallery(evaluation, capture, field)),
        ReportSection(
            'trajectories',
            'Where',
            html_figure(
                plots.trajectories(evaluation, mapping_poses),
                'Trajectories seen from above: walked when the map was built, true, and'
                ' estimated, coloured by position error.',
            ),
        ),
        ReportSection(
            'time',
            'When',
            html_figure(
                plots.errors_over_time(evaluation),
                'Position and rotation error of every picture over time, on logarithmic axes. A'
                ' red line is a picture that was rejected.',
            ),
        ),
        ReportSection(
            'distribution',
            'How far off, how often',
            html_figure(
                plots.error_distribution(evaluation),
                'Share of all pictures within an error, for the published answers, the stages'
                ' before the gate, and the baselines. A curve ends at the share answered.',
            ),
        ),
        ReportSection('rejected', 'Rejected pictures', _rejected_section(evaluation, capture)),
        ReportSection(
            'calibration', 'Can the covariance be believed?', covariance_section(evaluation)
        ),
        ReportSection('risk', 'If more were published, or less', risk_section(evaluation)),
        ReportSection(
            'latency',
            'How long a picture takes',
            html_figure(
                plots.latency_histogram(evaluation),
                'Histogram of the time from decoded pixels to the answer, by method.',
            ),
        ),
        ReportSection('build', 'How the map was built', _build_section(map_)),
        ReportSection('command', 'How this report was made', f'<pre>{html.escape(command)}</pre>'),
    ]
    title = f'{map_.path.name} judged on {capture.source.name}'
    warnings = map_.manifest.get('warnings', [])
    return html_page(title, headline(evaluation.metrics), sections, warnings)


def _headline_table(metrics: dict[str, Any]) -> str:
    psnr = format_number(metrics['psnr_db']), format_number(metrics['psnr_plain_db'])
    said = [
        'Medians and shares are over all pictures; one without an answer counts as infinitely'
        ' far. Worst is over the answers given. Times are medians.',
        *table_notes(metrics),
        f'Field against the judged pictures at their true poses: {psnr[0]} dB PSNR with exposure'
        f' and white balance matched, {psnr[1]} dB without.',
    ]
    return html_table(summary_rows(metrics), main=0) + html_note(said)


def _gallery(evaluation: Evaluation, capture: Capture, field: RadianceField) -> str:
    """Show pictures from the best to the worst answer, and one that was rejected."""
    errors = result_errors(evaluation.localizer_results, evaluation.map_from_camera_gt)
    shown = np.flatnonzero(evaluation.localizer_results.is_accepted)
    order = shown[np.argsort(errors.translation[shown])]
    chosen = [int(index) for index in order[evenly_spaced_indices(len(order), len(RANKS))]]
    titles = {}
    for index in chosen:
        off_cm, off_deg = 100 * errors.translation[index], math.degrees(errors.rotation[index])
        titles[index] = f'{off_cm:.1f} cm, {off_deg:.2f}\u00b0'
    if len(chosen) == len(RANKS):
        titles = {i: f'{rank}: {titles[i]}' for i, rank in zip(chosen, RANKS, strict=True)}
    for index, outcome in enumerate(evaluation.outcomes):
        if isinstance(outcome, Rejection) and _best_pose(outcome) is not None:
            titles[index] = f'rejected: {outcome.reason}'
            break
    rows = []
    for index, title in titles.items():
        frame, pose = capture.frame(index), _best_pose(evaluation.outcomes[index])
        if pose is None:
            continue
        camera = frame.camera.scaled_to_width(min(IMAGE_WIDTH_PX, frame.camera.width))
        real = resize_image(frame.rgb, camera.width, camera.height)
        rendered = field.render(pose[None], camera)[0].rgb
        difference = cv2.absdiff(real, rendered)
        rows.append(
            '<figure class="trio">'
            + html_image(real, f'Picture {index}, real')
            + html_image(rendered, f'Picture {index}, the field rendered at the estimated pose')
            + html_image(difference, f'Picture {index}, difference of the two')
            + f'<figcaption><b>{html.escape(title)}</b> \u00b7 picture {index}: real, rendered at'
            ' the estimated pose, and their difference</figcaption></figure>'
        )
    return ''.join(rows)


def _best_pose(outcome: PoseEstimate | Rejection) -> FloatArray | None:
    """Return the pose that was published, or else the last one that was tried."""
    if isinstance(outcome, PoseEstimate):
        return outcome.map_from_camera
    told = outcome.diagnostics
    return told.regressed_pose if told.refined_pose is None else told.refined_pose


def _rejected_section(evaluation: Evaluation, capture: Capture) -> str:
    rejected = [k for k, o in enumerate(evaluation.outcomes) if isinstance(o, Rejection)]
    if not rejected:
        return '<p>None.</p>'
    counts = evaluation.metrics['rejected']
    listed = ''.join(
        f'<li>{count} \u00d7 {html.escape(why)}</li>' for why, count in counts.items()
    )
    cards = []
    for index in [rejected[k] for k in evenly_spaced_indices(len(rejected), MAX_REJECTED_IMAGES)]:
        outcome, frame = evaluation.outcomes[index], capture.frame(index)
        assert isinstance(outcome, Rejection)
        height = round(240 * frame.camera.height / frame.camera.width)
        told = f'{outcome.reason}: {outcome.detail}' if outcome.detail else outcome.reason
        cards.append(
            f'<figure>{html_image(resize_image(frame.rgb, 240, height), f"Picture {index}, rejected")}'
            f'<figcaption>picture {index} \u00b7 {html.escape(told)}</figcaption></figure>'
        )
    few = ''
    if len(cards) < len(rejected):
        few = f'<p class="note">{len(cards)} of {len(rejected)} are shown.</p>'
    return f'<ul>{listed}</ul><div class="cards">{"".join(cards)}</div>{few}'


def _build_section(map_: Map) -> str:
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
        f'<tr><th scope="row">{html.escape(name)}</th><td>{html.escape(_format_fact(value))}</td></tr>'
        for name, value in facts.items()
        if value not in (None, '')
    )
    share = kept.get('pca', {}).get('retained_variance', [])
    losses = plots.training_curves(kept.get('field', {}), kept.get('regressor', {}))
    return (
        f'<table class="facts"><tbody>{rows}</tbody></table>'
        + (html_figure(losses, 'Training of the field and of the regressor.') if losses else '')
        + (
            html_figure(
                plots.retained_variance(share), 'Variance of the pictures kept by the PCA.'
            )
            if len(share)
            else ''
        )
    )


def _format_fact(value: Any) -> str:
    if isinstance(value, dict):
        return ', '.join(
            f'{name.replace("_", " ")} {_format_fact(v)}' for name, v in value.items()
        )
    return format_number(value) if isinstance(value, float) else str(value)
