"""How alike renders of a field and real pictures are."""

from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.metrics import psnr_db
from nerf_reversal_ros.fields.base import RadianceField, Rendering
from nerf_reversal_ros.fields.training_data import TrainingData


class PsnrScores(NamedTuple):
    """Peak signal-to-noise ratios of a render and the picture that it should be."""

    psnr_db: float
    """With the picture's exposure and white balance matched."""
    psnr_plain_db: float
    """As they are."""
    psnr_covered_db: float
    """Matched, over the pixels that the field covers; NaN where it covers none."""


def channel_gains(
    image: NDArray[np.uint8], rendering: Rendering, min_fraction: float = 0.05
) -> NDArray[np.float64]:
    """
    Exposure and white balance of a picture relative to the field: (3,) factors.

    They are the least-squares factors from the rendered colours to the picture's, over the
    pixels that the field covers; ones where it covers less than ``min_fraction``.
    """
    covered = rendering.opacity > 0.5
    if covered.mean() < min_fraction:
        return np.ones(3)
    seen = rendering.rgb[covered].astype(np.float64)
    shown = image[covered].astype(np.float64)
    gains: NDArray[np.float64] = (seen * shown).sum(0) / np.maximum((seen**2).sum(0), 1.0)
    return np.clip(gains, 0.25, 4.0)


def compute_psnr(image: NDArray[np.uint8], rendering: Rendering) -> PsnrScores:
    """Compare a picture (H, W, 3) with what the field renders at its pose, at its size."""
    matched = np.minimum(rendering.rgb * channel_gains(image, rendering), 255.0)
    covered = rendering.opacity > 0.5
    return PsnrScores(
        psnr_db(matched, image),
        psnr_db(rendering.rgb, image),
        psnr_db(matched[covered], image[covered]) if covered.any() else np.nan,
    )


def _resize_to_camera(picture: NDArray[np.uint8], camera: Camera) -> NDArray[np.uint8]:
    size = camera.width, camera.height
    if picture.shape[1::-1] == size:
        return picture
    return cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.uint8)


def measure_field(
    field: RadianceField, data: TrainingData, max_count: int = 20, longer_side: int = 640
) -> dict[str, Any]:
    """
    Render held-out frames and compare.

    Parameters
    ----------
    field : RadianceField
        What to render.
    data : TrainingData
        Where the frames are.
    max_count : int
        So many of them at most, evenly spread.
    longer_side : int
        They are compared at this size at most [px].

    Returns
    -------
    dict
        Means over the frames of the fields of `PsnrScores`, ``coverage`` (share of pixels that
        the field covers) and ``depth_error_m`` (median, absolute), None where nothing could be
        measured; ``held_out_mask``, and ``measured_frames``, over which the means are. Empty
        without held-out frames.
    """
    alike, coverage, depth_error = [], [], []
    for index in data.sample_indices(max_count, held_out=True):
        view = data.view(index)
        camera = view.camera.downscaled_to(longer_side)
        seen = field.render(view.map_from_camera[None], camera)[0]
        alike.append(compute_psnr(_resize_to_camera(view.rgb, camera), seen))
        coverage.append(float((seen.opacity > 0.5).mean()))
        height, width = seen.depth.shape
        measured = cv2.resize(view.depth, (width, height), interpolation=cv2.INTER_NEAREST)
        both = (measured > 0) & (seen.depth > 0)
        if both.any():
            depth_error.append(float(np.median(np.abs(measured - seen.depth)[both])))
    if not alike:
        return {}
    figures = dict(zip(PsnrScores._fields, np.transpose(alike), strict=True))
    figures |= {'coverage': np.array(coverage), 'depth_error_m': np.array(depth_error)}
    known = {name: values[np.isfinite(values)] for name, values in figures.items()}
    means = {name: float(values.mean()) if len(values) else None for name, values in known.items()}
    counts = {'held_out_frames': int(data.held_out.sum()), 'measured_frames': len(alike)}
    return {**means, **counts}
