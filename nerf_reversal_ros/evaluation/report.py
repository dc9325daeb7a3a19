"""
Write the report of an evaluation: one self-contained HTML file, section by section.

Images and plots are embedded as data URLs; the page loads nothing from elsewhere.
"""

from collections.abc import Callable, Sequence
from functools import partial
import html
from pathlib import Path
from typing import Any

from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.evaluation import report_plots as plots
from nerf_reversal_ros.evaluation.evaluation import Evaluation
from nerf_reversal_ros.evaluation.html_page import (
    html_figure,
    html_note,
    html_page,
    html_parts,
    html_table,
    ReportSection,
)
from nerf_reversal_ros.evaluation.report_build import build_section
from nerf_reversal_ros.evaluation.report_images import rejections_section, renderings_section
from nerf_reversal_ros.evaluation.report_uncertainty import covariance_section, risk_section
from nerf_reversal_ros.evaluation.summary import (
    AFTER_MOTION,
    alignment_text,
    AS_THEY_ARE,
    field_psnr_text,
    headline,
    room_notes,
    room_rows,
    summary_rows,
    table_notes,
)
from nerf_reversal_ros.fields.base import RadianceField
from nerf_reversal_ros.maps.map_folder import Map


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
        Results and metrics of all methods.
    map_ : Map
        The evaluated map.
    capture : Capture
        The images that it was evaluated on.
    field : RadianceField
        The map's field, rendered at estimated poses for comparison with the images.
    mapping_poses : (M, 4, 4) array
        Poses that the map was built from.
    command : str
        The command line that made the report.
    """
    both = partial(_aligned_section, evaluation, evaluation.aligned())
    sections = [
        both('figures', 'Metrics', lambda e: _metrics_section(e.metrics)),
        both('images', 'Renderings', lambda e: renderings_section(e, capture, field)),
        both('trajectories', 'Trajectories', lambda e: _trajectories(e, mapping_poses)),
        *_result_sections(evaluation, capture),
        ReportSection('build', 'Map build', build_section(map_)),
    ]
    return _page(evaluation, map_.path, capture, sections, command, map_.manifest.get('warnings'))


def building_report_html(
    evaluation: Evaluation,
    building_dir: Path,
    capture: Capture,
    mapping_poses: FloatArray | None,
    *,
    command: str,
) -> str:
    """
    Write the report of an evaluation of a building, as `report_html` does of a map.

    ``mapping_poses`` (M, 4, 4) are in the one frame of all answers; None if there are several.
    """
    both = partial(_aligned_section, evaluation, evaluation.aligned())
    sections = [
        both('figures', 'Metrics', lambda e: _metrics_section(e.metrics)),
        both('rooms', 'Rooms', lambda e: _rooms_section(e.metrics)),
    ]
    if mapping_poses is not None:
        sections.append(
            both('trajectories', 'Trajectories', lambda e: _trajectories(e, mapping_poses))
        )
    sections += _result_sections(evaluation, capture)
    return _page(evaluation, building_dir, capture, sections, command)


def _result_sections(evaluation: Evaluation, capture: Capture) -> list[ReportSection]:
    """Write the sections on errors, rejections, uncertainty and time."""
    both = partial(_aligned_section, evaluation, evaluation.aligned())
    return [
        both('time', 'Errors over time', _errors_over_time),
        both('distribution', 'Error distribution', _error_distribution),
        ReportSection('rejected', 'Rejected images', rejections_section(evaluation, capture)),
        both('calibration', 'Covariance calibration', covariance_section),
        both('risk', 'Risk and coverage', risk_section),
        ReportSection('latency', 'Latency', _latency(evaluation)),
    ]


def _page(
    evaluation: Evaluation,
    map_dir: Path,
    capture: Capture,
    sections: Sequence[ReportSection],
    command: str,
    warnings: Sequence[str] | None = None,
) -> str:
    """Write the page of some sections, with the command at its end and warnings in front."""
    title = f'{map_dir.name} evaluated on {capture.source.name}'
    metrics, told = evaluation.metrics, list(warnings or ())
    if (after := metrics['aligned']) is not None:
        told += [alignment_text(after), f'{AFTER_MOTION}: {headline(after)}']
    how = ReportSection('command', 'Command', f'<pre>{html.escape(command)}</pre>')
    return html_page(title, headline(metrics), [*sections, how], told)


def _aligned_section(
    evaluation: Evaluation,
    aligned: Evaluation | None,
    name: str,
    title: str,
    write_body: Callable[[Evaluation], str],
) -> ReportSection:
    """Write a section; a second time, marked, where a rigid motion explains the poses."""
    body = write_body(evaluation)
    if aligned is not None and body:
        body = html_parts({AS_THEY_ARE: body, AFTER_MOTION: write_body(aligned)})
    return ReportSection(name, title, body)


def _metrics_section(metrics: dict[str, Any]) -> str:
    notes = [
        'Medians and recall are over all images: a rejected image counts as infinitely far. Worst'
        ' is over the localized images. Times are medians.',
        *table_notes(metrics),
        *([field_psnr_text(metrics)] if metrics['psnr_db'] is not None else []),
    ]
    return html_table(summary_rows(metrics), main=0) + html_note(notes)


def _rooms_section(metrics: dict[str, Any]) -> str:
    return html_table(room_rows(metrics)) + html_note(room_notes(metrics))


def _trajectories(evaluation: Evaluation, mapping_poses: FloatArray) -> str:
    return html_figure(
        plots.trajectories(evaluation, mapping_poses),
        'Positions seen from above: mapping capture, ground truth, and estimates colored by'
        ' position error.',
    )


def _errors_over_time(evaluation: Evaluation) -> str:
    return html_figure(
        plots.errors_over_time(evaluation),
        'Position and rotation error of every image over time, on logarithmic axes. A red line is'
        ' a rejected image.',
    )


def _error_distribution(evaluation: Evaluation) -> str:
    return html_figure(
        plots.error_distribution(evaluation),
        'Fraction of all images within an error: the accepted poses, the stages before the gate,'
        ' and the baselines. A curve ends at the fraction that the method localizes.',
    )


def _latency(evaluation: Evaluation) -> str:
    return html_figure(
        plots.latency_histogram(evaluation),
        'Histogram of the time from decoded pixels to the outcome, by method.',
    )
