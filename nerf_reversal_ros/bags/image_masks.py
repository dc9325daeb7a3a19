"""Leave masked pixels out of color and depth."""

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


def kept_pixels(mask: NDArray[Any], width: int, height: int) -> NDArray[np.bool_]:
    """
    Return the pixels (height, width) that a mask keeps, which may be of another size.

    Parameters
    ----------
    mask : (h, w) or (h, w, channels) array
        0 and any other value, such as 1 or 255, with compression artifacts between.
    """
    if mask.ndim == 3:
        mask = mask[..., :3].max(2)
    kept = (mask > mask.max() / 2).astype(np.uint8)
    return cv2.resize(kept, (width, height), interpolation=cv2.INTER_NEAREST) > 0


def fill_masked(rgb: NDArray[np.uint8], valid: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """
    Fill masked pixels smoothly from the valid ones around them, by pull and push.

    The fill has no texture of its own, so that no keypoint is found in it.

    Parameters
    ----------
    rgb : (H, W, 3) array
    valid : (H, W) array
        Pixels to keep.

    References
    ----------
    Gortler et al., "The Lumigraph", SIGGRAPH 1996, section 3.4.
    """
    if valid.all():
        return rgb
    weight = valid.astype(np.float32)
    filled = _pull_push(rgb.astype(np.float32) * weight[..., None], weight)
    return np.where(valid[..., None], rgb, np.clip(np.rint(filled), 0, 255).astype(np.uint8))


def mask_depth(depth: NDArray[np.float32], valid: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Set depth (h, w) to 0 where a pixel of the same view overlaps a masked one (H, W)."""
    size = (depth.shape[1], depth.shape[0])
    kept = cv2.resize(valid.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.where(kept > 0.999, depth, np.float32(0))


def _pull_push(color: NDArray[Any], weight: NDArray[Any]) -> NDArray[Any]:
    """Return the mean color where there is weight, else that of a coarser level."""
    mean = color / np.maximum(weight, 1e-6)[..., None]
    if weight.all() or max(weight.shape) <= 2:
        return np.asarray(mean)
    coarse = _pull_push(cv2.pyrDown(color), cv2.pyrDown(weight))
    size = (weight.shape[1], weight.shape[0])
    upsampled = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    return np.where(weight[..., None] > 1e-3, mean, upsampled)
