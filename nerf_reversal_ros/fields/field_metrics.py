"""Quality of a field: PSNR, coverage and depth error of renderings against images."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.metrics import psnr_db
from nerf_reversal_ros.core.parallel import parallel_stream
from nerf_reversal_ros.fields.base import RadianceField, Rendering
from nerf_reversal_ros.fields.training_data import TrainingData


class PsnrScores(NamedTuple):
    """Peak signal-to-noise ratios of a rendering against an image."""

    psnr_db: float
    """After matching exposure and white balance of the image."""
    psnr_plain_db: float
    """Without matching."""
    psnr_covered_db: float
    """Matched, over the pixels that the field covers; NaN if it covers none."""


def channel_gains(
    image: NDArray[np.uint8], rendering: Rendering, min_fraction: float = 0.05
) -> NDArray[np.float64]:
    """
    Estimate exposure and white balance of an image relative to the field: (3,) factors.

    They are the least-squares factors from the rendered to the observed colors, over the pixels
    that the field covers, limited to [0.25, 4]. They are 1 where it covers less than
    ``min_fraction``.
    """
    covered = rendering.opacity > 0.5
    if covered.mean() < min_fraction:
        return np.ones(3)
    rendered = rendering.rgb[covered].astype(np.float64)
    observed = image[covered].astype(np.float64)
    scale = np.maximum((rendered**2).sum(0), 1.0)
    gains: NDArray[np.float64] = (rendered * observed).sum(0) / scale
    return np.clip(gains, 0.25, 4.0)


def compute_psnr(
    image: NDArray[np.uint8], rendering: Rendering, valid: NDArray[np.bool_] | None = None
) -> PsnrScores:
    """Compare an image (H, W, 3), where it is valid, with the rendering at its pose and size."""
    compared = np.ones(image.shape[:2], bool)
    if valid is not None:
        size = (image.shape[1], image.shape[0])
        compared = cv2.resize(valid.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST) > 0
    matched = np.minimum(rendering.rgb * channel_gains(image, rendering), 255.0)
    covered = (rendering.opacity > 0.5) & compared
    return PsnrScores(
        psnr_db(matched[compared], image[compared]),
        psnr_db(rendering.rgb[compared], image[compared]),
        psnr_db(matched[covered], image[covered]) if covered.any() else np.nan,
    )


def measure_field(
    field: RadianceField, data: TrainingData, max_count: int = 20, longer_side: int = 640
) -> dict[str, Any]:
    """
    Render held-out frames and compare them with the images.

    Parameters
    ----------
    field : RadianceField
        Field to measure.
    data : TrainingData
        Images with their held-out mask.
    max_count : int
        Maximum number of frames, evenly spaced.
    longer_side : int
        Maximum size of the comparison [px].

    Returns
    -------
    dict
        Means over the frames of the fields of `PsnrScores`, of ``coverage`` (fraction of pixels
        that the field covers) and of ``depth_error_m`` (median, absolute). A value is None if no
        frame gives it. ``held_out_frames`` and ``measured_frames`` are counts. Empty without
        held-out frames.
    """

    def rendered() -> Iterator[tuple[int, Camera, Rendering]]:
        for index in data.sample_indices(max_count, held_out=True):
            camera = data.camera(index).downscaled_to(longer_side)
            yield index, camera, field.render(data.map_from_camera[index][None], camera)[0]

    def compare(item: tuple[int, Camera, Rendering]) -> tuple[PsnrScores, float, float]:
        index, camera, rendering = item
        view = data.view(index)
        valid = None if data.valid is None else data.valid[index]
        scores = compute_psnr(downscale_image(view.rgb, camera), rendering, valid)
        coverage = float((rendering.opacity > 0.5).mean())
        height, width = rendering.depth.shape
        measured = cv2.resize(view.depth, (width, height), interpolation=cv2.INTER_NEAREST)
        both = (measured > 0) & (rendering.depth > 0)
        error_m = np.abs(measured - rendering.depth)[both]
        return scores, coverage, float(np.median(error_m)) if len(error_m) else np.nan

    compared = list(parallel_stream(compare, rendered()))
    if not compared:
        return {}
    scores, coverage, depth_error = zip(*compared, strict=True)
    metrics = dict(zip(PsnrScores._fields, np.transpose(scores), strict=True))
    metrics |= {'coverage': np.array(coverage), 'depth_error_m': np.array(depth_error)}
    known = {name: values[np.isfinite(values)] for name, values in metrics.items()}
    means = {name: float(values.mean()) if len(values) else None for name, values in known.items()}
    counts = {'held_out_frames': int(data.held_out.sum()), 'measured_frames': len(scores)}
    return {**means, **counts}
