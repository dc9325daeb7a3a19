"""
Write an evaluation as a recording for Rerun: map, images, accepted poses and errors over time.

The package rerun-sdk is optional, see ``requirements/rerun.txt``.
"""

from pathlib import Path
from types import ModuleType
from typing import Any

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.capture import Capture, Frame
from nerf_reversal_ros.capture.image_resampling import downscale_image
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.geometry import error_ellipsoid, FloatArray, pose_errors
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate
from nerf_reversal_ros.evaluation.evaluation import Evaluation
from nerf_reversal_ros.localization.surface import Surface
from nerf_reversal_ros.maps.map_folder import Map

IMAGE_WIDTH_PX = 320
"""Width of the recorded images [px], at most: it limits the size of the file."""
JPEG_QUALITY = 80
FRUSTUM_M = 0.2
"""Length of a drawn camera [m]."""
GT_COLOR, ACCEPTED_COLOR, MAPPING_COLOR = (120, 120, 255), (25, 200, 60), (120, 120, 120)


def import_rerun() -> ModuleType:
    """Return the module ``rerun``; NerfReversalError if it is not installed."""
    try:
        import rerun
    except ImportError as error:
        raise NerfReversalError(
            f'a recording for Rerun needs rerun-sdk, which cannot be imported ({error}):'
            f' {remedies.INSTALL_RERUN}'
        ) from error
    return rerun


def write_rerun(file: Path, evaluation: Evaluation, map_: Map, capture: Capture) -> None:
    """
    Write a recording, whole or not at all.

    Parameters
    ----------
    file : Path
        File to write, ``.rrd``.
    evaluation : Evaluation
        The outcomes and the ground truth.
    map_ : Map
        The map, for its surface and its mapping trajectory.
    capture : Capture
        The images of the evaluation.

    Raises
    ------
    NerfReversalError
        If rerun-sdk is not installed, or the file cannot be written.
    """
    rerun = import_rerun()
    temporary = file.with_name(f'.{file.name}.partial')
    try:
        with rerun.RecordingStream('nerf_reversal_ros') as recording:
            recording.save(temporary)
            _log_map(rerun, recording, map_, evaluation)
            for frame, outcome, pose_gt, stamp_ns in zip(
                capture,
                evaluation.outcomes,
                evaluation.map_from_camera_gt,
                evaluation.stamps_ns.tolist(),
                strict=True,
            ):
                recording.set_time('stamp', timestamp=np.datetime64(stamp_ns, 'ns'))
                _log_image(rerun, recording, frame, pose_gt)
                _log_outcome(rerun, recording, outcome, pose_gt, frame.camera)
            recording.disconnect()
        temporary.replace(file)
    except OSError as error:
        raise NerfReversalError(f'cannot write {file}: {error.strerror or error}') from error
    except (RuntimeError, ValueError, AttributeError, TypeError) as error:  # of another version
        raise NerfReversalError(
            f'rerun-sdk cannot write {file} ({error}): {remedies.INSTALL_RERUN}'
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def _log_map(rerun: Any, recording: Any, map_: Map, evaluation: Evaluation) -> None:
    surface = Surface.of_map(map_)
    points = surface.points + surface.origin_m
    recording.log('map', rerun.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    recording.log(
        'map/surface',
        rerun.Points3D(points, colors=surface.colours, radii=surface.spacing_m / 2),
        static=True,
    )
    paths = (
        ('map/walk', map_.mapping_poses, MAPPING_COLOR),
        ('map/truth', evaluation.map_from_camera_gt, GT_COLOR),
    )
    for name, poses, color in paths:
        strip = rerun.LineStrips3D([poses[:, :3, 3]], colors=[color])
        recording.log(name, strip, static=True)


def _log_image(rerun: Any, recording: Any, frame: Frame, pose_gt: FloatArray) -> None:
    width = min(IMAGE_WIDTH_PX, frame.camera.width)
    height = max(1, round(width * frame.camera.height / frame.camera.width))
    camera = frame.camera.scaled_to(width, height)
    bgr = cv2.cvtColor(downscale_image(frame.rgb, camera), cv2.COLOR_RGB2BGR)
    data = cv2.imencode('.jpg', bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()
    _log_camera(rerun, recording, 'map/image', pose_gt, camera)
    recording.log('map/image', rerun.EncodedImage(contents=data, media_type='image/jpeg'))


def _log_outcome(
    rerun: Any, recording: Any, outcome: Outcome, pose_gt: FloatArray, camera: Camera
) -> None:
    if not isinstance(outcome, PoseEstimate):
        recording.log('map/answer', rerun.Clear(recursive=True))
        text = ': '.join(filter(None, (str(outcome.reason), outcome.detail)))
        recording.log('outcome', rerun.TextLog(text, level='WARN'))
        return
    pose = outcome.map_from_camera
    errors = pose_errors(pose[None], pose_gt[None])
    error_m, error_deg = float(errors.translation[0]), float(np.degrees(errors.rotation[0]))
    _log_camera(rerun, recording, 'map/answer/camera', pose, camera)
    half_axes, axes = error_ellipsoid(outcome.covariance[:3, :3])
    ellipsoid = rerun.Ellipsoids3D(
        half_sizes=[half_axes],
        centers=[pose[:3, 3]],
        quaternions=[Rotation.from_matrix(axes).as_quat()],
        colors=[ACCEPTED_COLOR],
    )
    recording.log('map/answer/three_sigma', ellipsoid)
    recording.log('error/position_m', rerun.Scalars(error_m))
    recording.log('error/rotation_deg', rerun.Scalars(error_deg))
    text = f'{error_m * 100:.1f} cm, {error_deg:.2f} deg from the ground truth'
    recording.log('outcome', rerun.TextLog(text, level='INFO'))


def _log_camera(rerun: Any, recording: Any, name: str, pose: FloatArray, camera: Camera) -> None:
    recording.log(name, rerun.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
    image_from_camera = camera.matrix
    image_from_camera[:2, 2] += 0.5  # the origin of Rerun is the corner of the first pixel
    pinhole = rerun.Pinhole(
        image_from_camera=image_from_camera,
        resolution=[camera.width, camera.height],
        image_plane_distance=FRUSTUM_M,
    )
    recording.log(name, pinhole)
