"""Open a bag as the capture of a build; `nerf-reversal check` does the same and stops there."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nerf_reversal_ros.bags.bag_reader import BagReader
from nerf_reversal_ros.bags.camera_poses import CameraPoses
from nerf_reversal_ros.capture.capture import Capture
from nerf_reversal_ros.capture.mapping_data import SplitCapture
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.errors import NerfReversalError
from nerf_reversal_ros.core.geometry import FloatArray
from nerf_reversal_ros.core.progress import ProgressCallback
from nerf_reversal_ros.fields.voxel_training import check_has_depth
from nerf_reversal_ros.regressor.image_codec_training import check_component_count

MIN_FRAMES = 12
"""Fewest frames of a map: with fewer, nothing is learned."""
NO_MOUNTING = '0 0 0 0 0 0 1'
"""Leaves poses in the frame that they are recorded of."""


def open_mapping_capture(
    bag: Path, config: BuildConfig, field_kind: str, progress: ProgressCallback
) -> Capture:
    """
    Open a bag and check all that can be checked before long work.

    Its poses are compared with the motions of its images; see `Capture.findings`.

    Parameters
    ----------
    bag : Path
        A mapping bag.
    config : BuildConfig
        Settings of the build.
    field_kind : str
        Value of ``--field``.
    progress : callback
        Receives one report per image.

    Raises
    ------
    CaptureError, ConfigError, BuildError
        If no map can be built from the bag with these settings.
    """
    capture = open_capture(
        bag, config.capture, compare_poses=True, min_frames=MIN_FRAMES, progress=progress
    )
    if field_kind == 'voxel':
        check_has_depth(capture)
    split = SplitCapture.split(capture, config.field.validation_share)
    check_regressor_settings(len(split.training_frames), capture.camera, config)
    return capture


def recorded_walk(bag: Path, config: CaptureConfig) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return the poses (N, 4, 4) of a bag as recorded, and their stamps [ns]; none on an error."""
    try:
        with BagReader(bag) as reader:
            as_recorded = replace(config, mounting=NO_MOUNTING, camera_time_offset_s=0.0)
            poses = CameraPoses(reader, as_recorded, '')
            return poses.at(poses.stamps_ns).poses, poses.stamps_ns
    except NerfReversalError:
        return np.empty((0, 4, 4)), np.empty(0, np.int64)


def check_regressor_settings(frames: int, camera: Camera, config: BuildConfig) -> None:
    """Raise early what the regressor's stage would raise for too many components."""
    small = camera.downscaled_to(config.synthesis.width)
    values = 3 * small.width * small.height
    check_component_count(config.regressor.components, config.synthesis.views + frames, values)
