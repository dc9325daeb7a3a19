"""Say why the poses of a bag do not fit its images, by measurements, and what to set."""

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.bags.camera_poses import CameraPoses
from nerf_reversal_ros.capture.capture import Finding
from nerf_reversal_ros.capture.depth_unit import format_unit
from nerf_reversal_ros.capture.frame_reading import (
    decode_depth,
    decode_rgb,
    FrameEntry,
    read_depth,
    read_message,
)
from nerf_reversal_ros.capture.motion_comparison import (
    compare_motions,
    fit_mounting,
    fit_scale,
    HandEye,
    MIN_MOTIONS,
    MotionComparison,
)
from nerf_reversal_ros.capture.visual_motion import (
    is_reversible,
    measure_motions,
    RgbdImage,
    STEP_S,
    timed_pairs,
    VisualMotions,
)
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.mounting import format_mounting

MIN_OFFSET_S = 0.025
"""Smallest offset of the clocks that is reported [s]."""
MIN_SCALE_ERROR = 0.1
"""Smallest deviation of the ratio of lengths from 1 that is reported."""
MIN_SCALE_DOUBT, MIN_MOVE_M = 0.2, 0.05
"""The same where the poses fit the depth, and the median motion that it takes [m]."""
MIN_FOCAL_ERROR = 0.08
"""Smallest deviation of the ratio of angles from 1 that is reported."""
MIN_AGREEING = 0.5
"""Smallest fraction of motions that agree with the poses, if the others are jumps of them."""
JUMP_DEG, JUMP_RATIO = 4.0, 6.0
"""Smallest difference of angles that is a jump, and relative to the median."""
MAX_UNIT_ERROR = 0.1
"""Largest error of a measured unit that is rounded to a usual one."""
DEPTH_RANGE_M = (0.15, 20.0)
"""Median depths that a room has; outside of them the unit of the depth is wrong."""
DEPTH_UNITS_M = (1.0, 0.01, 0.001, 0.0005, 0.00025, 0.0002, 0.000125, 0.0001)
"""Units of depth in use: meters to tenths of a millimeter, 1/5000 m of TUM's recordings."""


class PoseCheck:
    """
    Compare the poses of a bag with the motions of its images.

    Parameters
    ----------
    bag : BagReader
        An open bag.
    config : CaptureConfig
        Its settings.
    entries : list of FrameEntry
        All images.
    camera_poses : CameraPoses
        The recorded poses.
    """

    def __init__(
        self,
        bag: BagReader,
        config: CaptureConfig,
        entries: list[FrameEntry],
        camera_poses: CameraPoses,
    ) -> None:
        """Keep the sources; nothing is read yet."""
        self._bag = bag
        self._config = replace(config, max_depth_m=1e9)
        self._images = [entry.image for entry in entries]
        self._entries = [entry for entry in entries if entry.depth is not None]
        self._poses = camera_poses
        self._stamps_ns = np.array([entry.image.stamp_ns for entry in self._entries], np.int64)
        self._reading = Lock()

    @property
    def bag_path(self) -> Path:
        """Path of the bag."""
        return self._bag.path

    @cached_property
    def motions(self) -> VisualMotions:
        """Motions of the images, without the poses."""
        return measure_motions(self._image, timed_pairs(self._stamps_ns))

    def stamps_finding(self) -> Finding | None:
        """Return the offset of clocks whose stamps do not match; None if it is unknown."""
        poses_ns, images = self._poses.stamps_ns, self._images
        if not len(poses_ns) or not images:
            return None
        delay_ns = np.median([image.log_time_ns - image.stamp_ns for image in images])
        guess_ns = float(delay_ns - self._poses.log_delay_ns)
        stamps_ns = np.array([image.stamp_ns for image in images], np.int64)
        shifted = stamps_ns + guess_ns
        if shifted.max() < poses_ns.min() or shifted.min() > poses_ns.max():
            guess_ns = float(poses_ns[0] - stamps_ns[0])
        guess_s = guess_ns * 1e-9 - self._config.camera_time_offset_s
        if not self._entries or len(self.motions.pairs) < MIN_MOTIONS:
            return self._clocks(guess_s, 'by the times of recording')
        comparison = compare_motions(self.motions, self._poses_at, self._stamps_ns, guess_s)
        if abs(comparison.offset_s) < MIN_OFFSET_S:
            return None
        measured = 'by the motion of images and poses'
        source = measured if comparison.has_offset else 'by the times of recording'
        return self._clocks(comparison.offset_s, source)

    def misfit_finding(self) -> Finding:
        """Return the cause for which poses do not fit the depth in any convention."""
        motions = self.motions
        if len(motions.pairs) < MIN_MOTIONS:
            return Finding(
                'overlap',
                f'only {len(motions.pairs)} of {motions.attempts} pairs of images {STEP_S} s apart'
                ' match in color and depth: check that depth is aligned to color, or record more'
                ' slowly, in light, with more overlap',
            )
        comparison = self._comparison
        found = (
            self._angle_finding(comparison)
            or self._length_finding(comparison)
            or self._jump_finding(comparison)
        )
        return found or Finding(
            'depth',
            'the turns of the poses fit the images, their distances do not: the depth is not'
            ' aligned to color, so record aligned depth, or camera_info of the depth and'
            ' /tf_static',
        )

    def findings(self) -> tuple[Finding, ...]:
        """Return what is measurably wrong although the poses fit the depth."""
        if len(self.motions.pairs) < MIN_MOTIONS:
            return ()
        comparison = self._comparison
        found = self._angle_finding(comparison)
        if found is None and comparison.motions.moves(MIN_MOVE_M):
            fitted = fit_scale(comparison)
            if fitted is not None and abs(fitted[1] - 1) > MIN_SCALE_DOUBT:
                found = self._units(fitted[1])
        found = found or self._jump_finding(comparison)
        return () if found is None else (found,)

    @cached_property
    def _comparison(self) -> MotionComparison:
        return compare_motions(self.motions, self._poses_at, self._stamps_ns)

    def _angle_finding(self, comparison: MotionComparison) -> Finding | None:
        """Return what the angles of the motions show: clocks, focal length, other poses."""
        if comparison.has_offset and abs(comparison.offset_s) >= MIN_OFFSET_S:
            return self._clocks(comparison.offset_s, 'by the motion of images and poses')
        errors_deg = comparison.angle_errors_deg
        ratio = comparison.angle_ratio
        if not comparison.has_offset or abs(ratio - 1) < MIN_FOCAL_ERROR:
            if comparison.agrees_on_angles:
                return None
            return Finding(
                'other poses',
                f'poses and images turn by different angles (median difference'
                f' {np.median(errors_deg):.1f} deg): {remedies.OTHER_POSES}',
            )
        focal_px = self._entries[0].camera_model.camera.fx
        return Finding(
            'focal length',
            f'the images turn {ratio:.2f} times as far as the poses: camera_info has a focal'
            f' length of {focal_px:.0f} px, about {focal_px * ratio:.0f} px would fit;'
            f' {remedies.MEASURED_CALIBRATION}',
        )

    def _length_finding(self, comparison: MotionComparison) -> Finding | None:
        """Return what the lengths of the motions show: units or mounting."""
        if comparison.has_still_positions:
            return Finding(
                'positions',
                'the poses rotate as the images do, but their positions stay: record a tracker'
                ' that measures positions, too',
            )
        fitted = fit_scale(comparison)
        if fitted is not None:
            return self._units(fitted[1]) if abs(fitted[1] - 1) > MIN_SCALE_ERROR else None
        hand_eye = fit_mounting(comparison)
        if hand_eye is None:
            return None
        known = self._frame_remedy(hand_eye)
        mounting = format_mounting(hand_eye.pose_from_camera)
        note = '' if hand_eye.is_complete else ', where the walk leaves a direction open'
        return Finding(
            'mounting',
            'the poses are of another frame of the robot, to which the camera is fixed:'
            f' {remedies.MEASURED_MOUNTING.format(mounting=mounting)}, measured to'
            f' {hand_eye.error_deg:.1f} deg and {hand_eye.error_m * 100:.1f} cm{note}, or to'
            f' its known value{known}',
        )

    def _frame_remedy(self, hand_eye: HandEye) -> str:
        """Return what to set instead of a mounting that TF of the bag has, too."""
        frame = self._poses.frame_at(hand_eye.pose_from_camera)
        if not frame:
            return ''
        if self._config.pose_topic:
            return f', or {remedies.POSE_FRAME.format(frame=frame)}'
        return f', or {remedies.TF_CHILD.format(frame=self._poses.image_frame)}'

    def _units(self, scale: float) -> Finding:
        """Return which unit is wrong, where poses move ``scale`` times as far as depth says."""
        depth_m = self.motions.depth_m
        depth_unit = _round_unit(self._depth_unit_m() * scale)
        set_depth = remedies.DEPTH_UNIT.format(unit_m=format_unit(depth_unit))
        if (converted := self._converted_unit_m(scale)) is not None:
            again = remedies.CONVERTED_DEPTH_UNIT.format(unit_m=format_unit(converted))
            set_depth = f'{set_depth}, or {again}'
        pose_unit = _round_unit(self._config.pose_unit_m / scale)
        set_poses = remedies.POSE_UNIT.format(unit_m=format_unit(pose_unit))
        low, high = DEPTH_RANGE_M
        may_be_depth = low <= depth_m * scale <= high
        may_be_poses = low <= depth_m <= high
        if may_be_depth and (not may_be_poses or depth_unit in DEPTH_UNITS_M):
            other = f', or {set_poses} if depth is right' if may_be_poses else ''
            return Finding(
                'units',
                f'the depths (median {depth_m:.3g} m) are {1 / scale:.4g} times too large for the'
                f' poses: {set_depth}{other}',
            )
        other = f', or {set_depth} if poses are right' if may_be_depth else ''
        return Finding(
            'units',
            f'the lengths of the poses are {scale:.4g} times too large for the depth:'
            f' {set_poses}{other}',
        )

    def _depth_unit_m(self) -> float:
        """Return the length of one unit of depth that is in use, by the setting or the type."""
        entry = self._entries[0]
        assert entry.depth is not None
        raw = read_message(self._bag, entry.depth)
        used = read_depth(self._bag, raw, self._config.depth_unit_m).max()
        return float(used / max(read_depth(self._bag, raw, 1.0).max(), 1e-12)) or 1.0

    def _converted_unit_m(self, scale: float) -> float | None:
        """Return the unit that `converters` should have taken; None if they wrote no unit."""
        if self._config.depth_unit_m:
            return None
        try:
            unit_m = float(self._bag.custom_metadata.get('depth_unit_m', 0.0))
        except ValueError:
            return None
        return _round_unit(unit_m * scale) if 0.0 < unit_m < 1e3 else None

    def _clocks(self, offset_s: float, source: str) -> Finding:
        total_s = self._config.camera_time_offset_s + offset_s
        remedy = remedies.CLOCK_OFFSET.format(offset_s=total_s)
        return Finding(
            'clocks',
            f'the clocks of images and poses differ by {abs(offset_s):.2f} s, {source}: {remedy}',
        )

    def _jump_finding(self, comparison: MotionComparison) -> Finding | None:
        """Return the first jump of the poses, where most of the other motions agree with them."""
        errors_deg = comparison.angle_errors_deg
        wrong = errors_deg > max(JUMP_DEG, JUMP_RATIO * float(np.median(errors_deg)))
        if np.mean(~wrong) < MIN_AGREEING:
            return None
        for index in np.flatnonzero(wrong).tolist():
            first, second = comparison.motions.pairs[index].tolist()
            if not is_reversible(self._image, first, second):
                continue  # the images may be misjudged, not the poses
            seconds = (self._stamps_ns[first] - self._stamps_ns[0]) * 1e-9
            return Finding(
                'tracking',
                f'the poses jump by {errors_deg[index]:.0f} deg between the frames {first} and'
                f' {second} ({seconds:.1f} s), so tracking was lost: a build joins both parts'
                ' where matches allow it; where not, record again',
            )
        return None

    def _poses_at(self, stamps_ns: NDArray[np.int64]) -> NDArray[np.float64]:
        return self._poses.at(stamps_ns).poses

    def _image(self, index: int) -> RgbdImage:
        entry = self._entries[index]
        assert entry.depth is not None
        with self._reading:
            color, depth_message = (
                read_message(self._bag, ref) for ref in (entry.image, entry.depth)
            )
        rgb = decode_rgb(self._bag, color, entry.camera_model)
        depth = decode_depth(self._bag, depth_message, entry, self._config)
        return RgbdImage(rgb, entry.camera_model.camera, *depth)


def _round_unit(unit: float) -> float:
    """Round to a unit in use where it is near, or a power of ten, else to three digits."""
    usual = (*DEPTH_UNITS_M, 10.0 ** round(np.log10(unit)))
    nearest = min(usual, key=lambda other: abs(np.log(unit / other)))
    return float(nearest if abs(unit / nearest - 1) < MAX_UNIT_ERROR else f'{unit:.3g}')
