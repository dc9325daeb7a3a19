"""Write the sections of the report that show images: renderings at poses, and rejections."""

import html
import math

import cv2
import numpy as np

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.metrics import result_errors
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection
from nerf_reversal_ros.core.sampling import evenly_spaced_indices
from nerf_reversal_ros.evaluation.evaluation import Evaluation
from nerf_reversal_ros.evaluation.html_page import html_image, resize_image
from nerf_reversal_ros.fields.base import RadianceField

RENDERING_WIDTH_PX = 400
"""Width of an image beside its rendering [px], at most: three of them fit on the page."""

THUMBNAIL_WIDTH_PX = 240
"""Width of a rejected image [px]."""

MAX_REJECTED_IMAGES = 12
"""Number of rejected images in the report, evenly spaced, at most: it limits the file size."""

RANKS = ('best', 'good', 'median', 'poor', 'worst')
"""Accepted images in the report, evenly spaced in the order of their position errors."""


def renderings_section(evaluation: Evaluation, capture: Capture, field: RadianceField) -> str:
    """Compare images with renderings at their estimated poses, from the best to the worst."""
    captions = _accepted_captions(evaluation)
    for index, outcome in enumerate(evaluation.outcomes):
        if isinstance(outcome, Rejection) and _best_pose(outcome) is not None:
            captions[index] = f'rejected: {outcome.reason}'
            break
    figures = []
    for index, caption in captions.items():
        pose = _best_pose(evaluation.outcomes[index])
        if pose is not None:
            figures.append(_rendering_figure(capture.frame(index), index, pose, field, caption))
    return ''.join(figures)


def rejections_section(evaluation: Evaluation, capture: Capture) -> str:
    """List the rejection reasons with their counts, and show some of the rejected images."""
    rejections = {k: o for k, o in enumerate(evaluation.outcomes) if isinstance(o, Rejection)}
    if not rejections:
        return '<p>None.</p>'
    counts = ''.join(
        f'<li>{count} \u00d7 {html.escape(reason)}</li>'
        for reason, count in evaluation.metrics['rejected'].items()
    )
    indices = list(rejections)
    selected = [indices[k] for k in evenly_spaced_indices(len(indices), MAX_REJECTED_IMAGES)]
    cards = ''.join(
        _rejection_card(capture.frame(index), index, rejections[index]) for index in selected
    )
    omitted = ''
    if len(selected) < len(indices):
        omitted = f'<p class="note">Shown: {len(selected)} of {len(indices)}.</p>'
    return f'<ul>{counts}</ul><div class="cards">{cards}</div>{omitted}'


def _accepted_captions(evaluation: Evaluation) -> dict[int, str]:
    """Select accepted images by position error; return their indices with rank and errors."""
    errors = result_errors(evaluation.localizer_results, evaluation.map_from_camera_gt)
    accepted = np.flatnonzero(evaluation.localizer_results.is_accepted)
    order = accepted[np.argsort(errors.translation[accepted])]
    selected = [int(index) for index in order[evenly_spaced_indices(len(order), len(RANKS))]]
    captions = {
        index: f'{100 * errors.translation[index]:.1f} cm,'
        f' {math.degrees(errors.rotation[index]):.2f}\u00b0'
        for index in selected
    }
    if len(selected) < len(RANKS):
        return captions
    ranked = zip(RANKS, captions.items(), strict=True)
    return {index: f'{rank}: {caption}' for rank, (index, caption) in ranked}


def _best_pose(outcome: Outcome) -> FloatArray | None:
    """Return the accepted pose, else the refined one, else the regressed one."""
    if isinstance(outcome, PoseEstimate):
        return outcome.map_from_camera
    refined = outcome.diagnostics.refined_pose
    return outcome.diagnostics.regressed_pose if refined is None else refined


def _rendering_figure(
    frame: Frame, index: int, pose: FloatArray, field: RadianceField, caption: str
) -> str:
    """Return an image, the field rendered at a pose (4, 4), and their difference, as a figure."""
    camera = frame.camera.scaled_to_width(min(RENDERING_WIDTH_PX, frame.camera.width))
    image = resize_image(frame.rgb, camera.width, camera.height)
    rendered = field.render(pose[None], camera)[0].rgb
    return (
        '<figure class="trio">'
        + html_image(image, f'Image {index} of the camera')
        + html_image(rendered, f'Image {index}, the field rendered at the estimated pose')
        + html_image(cv2.absdiff(image, rendered), f'Image {index}, difference of the two')
        + f'<figcaption><b>{html.escape(caption)}</b> \u00b7 image {index}: camera, rendering at'
        ' the estimated pose, and their difference</figcaption></figure>'
    )


def _rejection_card(frame: Frame, index: int, rejection: Rejection) -> str:
    """Return a small image with the reason of its rejection."""
    height_px = round(THUMBNAIL_WIDTH_PX * frame.camera.height / frame.camera.width)
    thumbnail = resize_image(frame.rgb, THUMBNAIL_WIDTH_PX, height_px)
    detail = f': {rejection.detail}' if rejection.detail else ''
    return (
        f'<figure>{html_image(thumbnail, f"Image {index}, rejected")}'
        f'<figcaption>image {index} \u00b7 {html.escape(rejection.reason + detail)}</figcaption>'
        '</figure>'
    )
