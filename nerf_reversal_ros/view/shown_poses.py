"""Poses to show: answers with their images, and those of ``poses.json``."""

from dataclasses import dataclass
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.capture.camera_origin import CameraOrigin
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import pose_from_quaternion
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.view.map_renderer import small_image
from nerf_reversal_ros.view.page_text import encode_jpeg


@dataclass(frozen=True)
class ShownPose:
    """The outcome of an image."""

    label: str
    """Name of the image, or its time."""
    outcome: Outcome
    camera: Camera | None = None
    """Intrinsics; None if they are unknown."""
    jpeg: bytes | None = None
    """Content of `thumbnail`."""
    note: str = ''
    """What was found of its camera."""
    lacks_focal_length: bool = False
    """Whether nothing tells its focal length."""
    origin: CameraOrigin = CameraOrigin.CAMERA_INFO
    """Where its intrinsics come from."""

    @property
    def thumbnail(self) -> NDArray[np.uint8] | None:
        """(h, w, 3) small image; None if there is none."""
        if self.jpeg is None:
            return None
        bgr = cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert bgr is not None
        return np.asarray(bgr[..., ::-1], dtype=np.uint8)


def encode_thumbnail(rgb: NDArray[np.uint8], camera: Camera) -> bytes:
    """Return an image (H, W, 3) reduced as `small_image` does, as JPEG."""
    return encode_jpeg(small_image(rgb, camera))


def read_poses(file: Path) -> list[ShownPose]:
    """
    Read a ``poses.json`` of ``localize`` or ``evaluate``.

    Raises
    ------
    ConfigError
        If the file cannot be read or is none.
    """
    try:
        entries = json.loads(file.read_text(encoding='utf-8'))['poses']
        return [_shown_pose(entry, number) for number, entry in enumerate(entries)]
    except (OSError, ValueError, RecursionError, KeyError, TypeError, AttributeError) as error:
        cause = getattr(error, 'strerror', None) or ' '.join(repr(error).split())[:120]
        raise ConfigError(
            f'{file} is no file of poses ({cause}): {remedies.POSES_JSON}'
        ) from error


def rejection_of(text: str, detail: str) -> Rejection:
    """Return the rejection of a text, which has a remedy if it is that of a known reason."""
    known = {reason.value: reason for reason in RejectionReason}
    return Rejection(known.get(text, text), detail)


def _shown_pose(entry: dict[str, Any], number: int) -> ShownPose:
    """Convert one entry; ValueError, KeyError or TypeError if it is none."""
    label = str(entry.get('image') or entry.get('stamp_ns') or f'image {number}')
    if 'rejected' in entry:
        rejection = rejection_of(str(entry['rejected']), str(entry.get('detail', '')))
        return ShownPose(label, rejection)
    pose = entry['map_from_camera']
    values = {
        name: np.array(stored, dtype=np.float64)
        for name, stored in (
            ('position', pose['position']),
            ('orientation_xyzw', pose['orientation_xyzw']),
            ('covariance', entry['covariance']),
        )
    }
    for (name, value), shape in zip(values.items(), ((3,), (4,), (6, 6)), strict=True):
        if value.shape != shape or not np.isfinite(value).all():
            raise ValueError(f'{name} of {label} is not {shape} of finite numbers')
    map_from_camera = pose_from_quaternion(values['position'], values['orientation_xyzw'])
    return ShownPose(label, PoseEstimate(map_from_camera, values['covariance']))
