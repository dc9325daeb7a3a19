"""The metadata of a Record3D recording: pose, intrinsics and stamp of each frame."""

from pathlib import Path
from typing import Any

import numpy as np

from nerf_reversal_ros.bags.image_decoding import MAX_PIXELS
from nerf_reversal_ros.converters.image_shapes import is_same_shape
from nerf_reversal_ros.converters.left_out import LeftOutReason, UnusableFrameError
from nerf_reversal_ros.converters.poses import is_pose
from nerf_reversal_ros.converters.stamps import check_stamp, stamp_from_seconds
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.camera_validation import IntrinsicsSource, make_camera
from nerf_reversal_ros.core.errors import CaptureError, ImageError
from nerf_reversal_ros.core.geometry import FloatArray, pose_from_quaternion

DEFAULT_RATE_HZ = 30.0
_KEYS = ('w', 'h', 'dw', 'dh', 'K', 'fps', 'poses', 'frameTimestamps', 'perFrameIntrinsicCoeffs')
_INTRINSICS = IntrinsicsSource(
    'K of the metadata',
    'export it again',
    'set w and h of the metadata to {width} and {height}, or export it again',
)
"""Words for messages about the intrinsics of a recording."""


class Record3dMetadata:
    """
    Pose, intrinsics and stamp of a frame by its number.

    Raises
    ------
    CaptureError
        If the values are not those of Record3D, or of the FaceID camera.
    """

    def __init__(self, values: dict[str, Any], source: Path) -> None:
        unused = sorted(key for key in values if key not in _KEYS)
        listed = ', '.join(map(str, unused[:20]))
        self.notes = (f'metadata of {source} that are not used: {listed}',) if unused else ()
        """Sentence about values that are not used."""
        try:
            self._width, self._height = int(values['w']), int(values['h'])
            self._k = [float(value) for value in np.ravel(values['K'])]
            self._poses = [_seven_numbers(pose) for pose in _as_list(values['poses'])]
            rate_hz = float(values.get('fps') or DEFAULT_RATE_HZ)
            self._rate_hz = rate_hz if 0 < rate_hz < 1e6 else DEFAULT_RATE_HZ
            self._times_s = _as_list(values.get('frameTimestamps') or [])
            self._coefficients = _as_list(values.get('perFrameIntrinsicCoeffs') or [])
            self.depth_shape = (int(values.get('dh', 256)), int(values.get('dw', 192)))
            """(rows, columns) of the depth images."""
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise CaptureError(
                f'the metadata of {source} are not of Record3D ({error!r}): export again'
            ) from error
        rows, columns = self.depth_shape
        if min(rows, columns) < 1 or rows * columns > MAX_PIXELS:
            raise CaptureError(
                f'the metadata of {source} claim a depth of {self.depth_shape}: export again'
            )
        if len(self._k) != 9:
            raise CaptureError(
                f'K in the metadata of {source} has {len(self._k)} numbers, not 9: export again'
            )
        known = np.array([pose for pose in self._poses if pose is not None])
        if len(known) > 1 and np.ptp(known, axis=0).max() < 1e-6:
            raise CaptureError(
                f'all poses of {source} are the same, as of the FaceID camera: record with the'
                ' LiDAR camera'
            )

    def world_from_camera(self, number: int) -> FloatArray:
        """Return the pose (4, 4), OpenGL axes, y-up world; UnusableFrameError if unknown."""
        if number >= len(self._poses):
            raise UnusableFrameError(
                LeftOutReason.NO_POSE, f'the metadata have {len(self._poses)} poses: export again'
            )
        pose = self._poses[number]
        if pose is None or not is_pose(pose[4:], pose[:4]):
            raise UnusableFrameError(
                LeftOutReason.BAD_POSE, 'its pose is not a quaternion and a position'
            )
        return pose_from_quaternion(pose[4:], pose[:4])

    def fits(self, size: tuple[int, int]) -> bool:
        """Whether images of this size (width, height) are those of the intrinsics."""
        return is_same_shape((self._width, self._height), size)

    def camera(self, number: int, size: tuple[int, int]) -> Camera:
        """Return the intrinsics of an image of (width, height); UnusableFrameError if invalid."""
        # K is column-major and of the first frame; per-frame coefficients are [fx, fy, cx, cy].
        values: Any = [self._k[0], self._k[4], self._k[6], self._k[7]]
        if number < len(self._coefficients):
            values = self._coefficients[number]
        if not self.fits(size):
            raise UnusableFrameError(
                LeftOutReason.IMAGE_SIZE,
                f'it is {size[0]}x{size[1]}, but its metadata say {self._width}x{self._height}:'
                ' export again without rotating the images',
            )
        try:
            fx, fy, cx, cy = (float(value) for value in values)
            camera, _ = make_camera((self._width, self._height), (fx, fy, cx, cy), _INTRINSICS)
        except (ImageError, TypeError, ValueError, OverflowError) as error:
            raise UnusableFrameError(
                LeftOutReason.BAD_CAMERA, f'its intrinsics: {error}'
            ) from error
        return camera.scaled_to(*size)

    def check_stamp(self, number: int) -> None:
        """Raise UnusableFrameError if the stamp of a frame is invalid."""
        check_stamp(self.stamp_ns(number), 'its stamp in frameTimestamps', 'export again')

    def stamp_ns(self, number: int) -> int:
        """Return the stamp of a frame [ns]; 0 if it is invalid."""
        try:
            is_stored = number < len(self._times_s)
            stamp_s = float(self._times_s[number]) if is_stored else number / self._rate_hz
        except (TypeError, ValueError, OverflowError):
            return 0
        return stamp_from_seconds(stamp_s) or 0


def _as_list(values: Any) -> list[Any]:
    if not isinstance(values, list):
        raise ValueError(f'{str(values)[:40]!r} is not a list')
    return values


def _seven_numbers(pose: Any) -> FloatArray | None:
    """Return qx, qy, qz, qw, x, y, z as an array; None if it is something else."""
    try:
        values = np.array(pose, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return None
    return values if values.shape == (7,) else None
