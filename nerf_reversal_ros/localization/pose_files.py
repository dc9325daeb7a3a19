"""
Outcomes of images as text: a line for a person, and JSON, CSV, TUM and COLMAP files.

JSON and CSV hold every image, TUM and COLMAP the accepted ones. The covariance is of x, y, z in
meters and of rotations about the fixed axes of the map in radians.
"""

from collections.abc import Callable, Iterable, Sequence
import csv
from dataclasses import dataclass
from io import StringIO
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from nerf_reversal_ros.capture.camera_origin import CameraOrigin
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.files import write_output
from nerf_reversal_ros.core.geometry import FloatArray, quaternion_xyzw
from nerf_reversal_ros.core.outcome import Outcome, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.pose_text import (
    colmap_camera_line,
    COLMAP_HEADER,
    colmap_lines,
    TUM_HEADER,
    tum_line,
)
from nerf_reversal_ros.maps.building_folder import Building
from nerf_reversal_ros.maps.map_folder import Map

_COLUMNS = (
    *('image', 'stamp_ns', 'x_m', 'y_m', 'z_m', 'qx', 'qy', 'qz', 'qw', 'heading_deg'),
    *('std_position_m', 'std_rotation_rad', 'rejected', 'detail', 'focal_px', 'focal_std'),
)
"""Columns of a CSV file; standard deviations are those of the least certain direction. The focal
length is given where it was found from images; its standard deviation is relative."""


@dataclass(frozen=True)
class LocalizedImage:
    """An image with its outcome."""

    outcome: Outcome
    stamp_ns: int | None = None
    """Stamp [ns]; None for an image file, which has a name alone."""
    name: str = ''
    """File, or source and number of the frame; empty for an image of a bag."""
    camera: Camera | None = None
    """Intrinsics; None of an image that could not be read."""
    focal_std: float | None = None
    """Relative standard deviation of a focal length that was found from images."""


def check_pose_file(file: Path | None) -> None:
    """Raise ConfigError if the suffix of an output file is none of `SUFFIXES`; None is fine."""
    if file is not None and _suffix(file) not in SUFFIXES:
        remedy = remedies.POSE_FILE.format(suffixes=', '.join(SUFFIXES))
        raise ConfigError(f'cannot write {file}, its format is unknown: {remedy}')


def check_frames(file: Path | None, map_: Map | Building) -> None:
    """Raise ConfigError if a file of poses in one frame is to hold those of several."""
    if file is None or isinstance(map_, Map) or _suffix(file) in SUFFIXES_OF_FRAMES:
        return
    if len(map_.frames) > 1:
        raise ConfigError(
            f'{file} can hold poses in one frame alone, and rooms of {map_.path} are in'
            f' {", ".join(map_.frames)}: {remedies.FILE_OF_FRAMES}'
        )


def write_pose_file(file: Path, map_: Map | Building, images: Sequence[LocalizedImage]) -> None:
    """
    Write outcomes in the format of the suffix, without one in JSON; whole or not at all.

    Raises
    ------
    ConfigError
        If the suffix is none of `SUFFIXES`.
    NerfReversalError
        If the file cannot be written.
    """
    check_pose_file(file)
    write_output(file, _FORMATS[_suffix(file)](map_, images))


def _suffix(file: Path) -> str:
    """Return the suffix of a file, that of JSON if it has none."""
    return file.suffix.lower() or '.json'


def describe_outcome(
    outcome: Outcome, origin: CameraOrigin = CameraOrigin.CAMERA_INFO, *, remedy: str = ''
) -> str:
    """
    Say in one line where an image was taken and how surely, or why not and what to do.

    Parameters
    ----------
    outcome : Outcome
    origin : CameraOrigin
        Where its intrinsics come from.
    remedy : str
        Stands for what the origin advises.
    """
    if isinstance(outcome, Rejection):
        reason = outcome.reason
        detail = outcome.detail.replace('camera_info', origin.words)
        detail = f' ({detail})' if detail else ''
        if reason == RejectionReason.INVALID_IMAGE:  # its detail ends in the remedy
            return f'{reason}: {outcome.detail}'
        remedy = remedy or origin.remedy_of(outcome)
        return f'not localized, {reason}{detail}' + (f': {remedy}' if remedy else '')
    x, y, z = outcome.map_from_camera[:3, 3]
    position_m, rotation_rad = _standard_deviations(outcome)
    text = (
        f'x {x:.3f} y {y:.3f} z {z:.3f} m, heading {heading_deg(outcome.map_from_camera):.1f} deg,'
        f' sure to {100 * position_m:.1f} cm, {math.degrees(rotation_rad):.2f} deg'
    )
    room, frame = outcome.diagnostics.room, outcome.diagnostics.frame
    if room is not None:
        text = f'{room}{"" if frame == "map" else " (a frame of its own)"}: {text}'
    probability = outcome.diagnostics.scores.get('probability')
    return text if probability is None else f'{text}, probability {probability:.2f}'


def heading_deg(map_from_camera: FloatArray) -> float:
    """Return the direction of view about z of the map [deg], from x, positive toward y."""
    forward = map_from_camera[:3, 2]
    return math.degrees(math.atan2(forward[1], forward[0]))


def pose_entry(image: LocalizedImage) -> dict[str, Any]:
    """Return the entry of one image in ``poses.json``."""
    outcome = image.outcome
    entry: dict[str, Any] = {'image': image.name} if image.name else {}
    if image.stamp_ns is not None:
        sec, nanosec = divmod(int(image.stamp_ns), 1_000_000_000)
        entry |= {'stamp_ns': int(image.stamp_ns), 'stamp': {'sec': sec, 'nanosec': nanosec}}
    if image.camera is not None and image.focal_std is not None:
        entry |= {'camera': {**image.camera.as_dict(), 'focal_std': image.focal_std}}
    if isinstance(outcome, Rejection):
        return {**entry, 'rejected': outcome.reason, 'detail': outcome.detail}
    if outcome.diagnostics.room is not None:
        entry |= {'room': outcome.diagnostics.room, 'frame': outcome.diagnostics.frame}
    return {
        **entry,
        'map_from_camera': {
            'position': outcome.map_from_camera[:3, 3].tolist(),
            'orientation_xyzw': quaternion_xyzw(outcome.map_from_camera).tolist(),
        },
        'covariance': outcome.covariance.tolist(),
    }


def _standard_deviations(estimate: PoseEstimate) -> tuple[float, float]:
    """Return the largest standard deviations in any direction: position [m], rotation [rad]."""
    blocks = estimate.covariance[:3, :3], estimate.covariance[3:, 3:]
    position_m, rotation_rad = (
        math.sqrt(max(0.0, float(np.linalg.eigvalsh(block)[-1]))) for block in blocks
    )
    return position_m, rotation_rad


def _json_text(map_: Map | Building, images: Sequence[LocalizedImage]) -> str:
    convention = map_.convention if isinstance(map_, Map) else None
    of_bag = convention is not None and convention.of_bag
    document = {
        'map': str(map_.path),
        'frame_id': 'map',
        'map_from_world': convention.map_from_world.tolist() if convention and of_bag else None,
        'poses': [pose_entry(image) for image in images],
    }
    return json.dumps(document, indent=1, allow_nan=False) + '\n'


def _csv_text(map_: Map | Building, images: Sequence[LocalizedImage]) -> str:
    text = StringIO()
    rows = csv.writer(text, lineterminator='\n')
    has_rooms = not isinstance(map_, Map)
    rows.writerow((*_COLUMNS, *(('room', 'frame') if has_rooms else ())))
    for image in images:
        outcome = image.outcome
        found = outcome.diagnostics
        start = (image.name, '' if image.stamp_ns is None else image.stamp_ns)
        focal: tuple[str, str] = ('', '')
        if image.camera is not None and image.focal_std is not None:
            focal = (f'{image.camera.fx:.9g}', f'{image.focal_std:.3g}')
        if isinstance(outcome, Rejection):
            room = ('', '') if has_rooms else ()
            rows.writerow((*start, *[''] * 10, outcome.reason, outcome.detail, *focal, *room))
            continue
        pose = outcome.map_from_camera
        numbers = (*pose[:3, 3], *quaternion_xyzw(pose), heading_deg(pose))
        deviations = _standard_deviations(outcome)
        values = (f'{number:.9g}' for number in (*numbers, *deviations))
        room = (str(found.room), found.frame) if has_rooms else ()
        rows.writerow((*start, *values, '', '', *focal, *room))
    return text.getvalue()


def _tum_text(_: Map | Building, images: Sequence[LocalizedImage]) -> str:
    """Write stamp [s] x y z qx qy qz qw; the stamp of an image file is its number."""
    lines = [TUM_HEADER.format(stamp='stamp')]
    for number, image, pose in _accepted(images):
        stamp_ns = number * 1_000_000_000 if image.stamp_ns is None else image.stamp_ns
        seconds = '{}.{:09d}'.format(*divmod(int(stamp_ns), 1_000_000_000))
        lines.append(tum_line(seconds, pose))
    return '\n'.join(lines) + '\n'


def _colmap_text(_: Map | Building, images: Sequence[LocalizedImage]) -> str:
    """Write ``images.txt``: camera_from_map, without points; the cameras are in comments."""
    cameras: dict[Camera | None, int] = {}
    rows: list[str] = []
    for number, image, pose in _accepted(images):
        camera_id = cameras.setdefault(image.camera, len(cameras) + 1)
        rows += colmap_lines(number + 1, pose, camera_id, image.name or str(image.stamp_ns))
    header = [COLMAP_HEADER]
    for camera, camera_id in cameras.items():
        if camera is not None:
            header.append(f'# {colmap_camera_line(camera_id, camera)}')
    return '\n'.join([*header, *rows]) + '\n'


def _accepted(
    images: Iterable[LocalizedImage],
) -> Iterable[tuple[int, LocalizedImage, FloatArray]]:
    for number, image in enumerate(images):
        if isinstance(image.outcome, PoseEstimate):
            yield number, image, image.outcome.map_from_camera


_FORMATS: dict[str, Callable[[Map | Building, Sequence[LocalizedImage]], str]] = {
    '.json': _json_text,
    '.csv': _csv_text,
    '.tum': _tum_text,
    '.txt': _colmap_text,
}
SUFFIXES = tuple(_FORMATS)
"""Endings of the files that `write_pose_file` writes; ``.txt`` is ``images.txt`` of COLMAP."""
SUFFIXES_OF_FRAMES = '.json', '.csv'
"""Endings of those that say the room and the frame of each pose in a building."""
