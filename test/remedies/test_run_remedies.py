"""Remedies of nerfstudio runs and of a wrong focal length, followed to an alignment or a pose."""

from dataclasses import asdict, replace
from pathlib import Path
import re

import numpy as np
import pytest
from room_bags import edit_topic, INFO, rewrite, write_room_bag
from rooms import render_box_room, walk
from tiny_build import SETTINGS
import torch

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.errors import BuildError, ConfigError
from nerf_reversal_ros.core.progress import no_progress
from nerf_reversal_ros.mapping.build_request import validate_request
from nerf_reversal_ros.mapping.build_stages import adjustment_stage
from nerf_reversal_ros.mapping.run_alignment import alignment_from_guess, RunRenderings
from nerf_reversal_ros.mapping.sim3_alignment import fit_sim3_to_points, fit_sim3_to_poses
from nerf_reversal_ros.maps.map_writer import MapWriter

CAMERA = Camera(64, 48, 52.0, 52.0, 31.5, 23.5)
POSES = walk(12)


def test_a_run_of_a_hall_keeps_its_meters_when_deeper_depth_is_allowed():
    views = [render_box_room(pose, CAMERA) for pose in POSES]
    depth = np.stack([10 * depth for _, depth in views]).astype(np.float16)  # about 20 m
    renderings = RunRenderings(np.stack([rgb for rgb, _ in views]), depth, POSES, CAMERA)
    (guess,) = alignment_from_guess(renderings, CaptureConfig(up_axis='z')).warnings
    assert remedies.DEEPER_RUN in guess and guess.endswith(remedies.SCALE_OF_RUN)
    deeper = CaptureConfig(up_axis='z', max_depth_m=40.0)
    (kept,) = alignment_from_guess(renderings, deeper).warnings
    assert 'a guess' not in kept and kept.endswith(remedies.SCALE_OF_RUN)


def test_a_run_that_no_bag_aligns_is_aligned_by_positions(tmp_path):
    with pytest.raises(BuildError) as error:
        fit_sim3_to_poses(POSES[:3], POSES[:3])
    assert str(error.value).endswith(remedies.ALIGN_BY_POSITIONS)
    positions = POSES[:, :3, 3]
    assert fit_sim3_to_points(positions, 0.5 * positions).error_m < 1e-6
    # "instead of BAG": both are refused.
    request = {'device': 'cpu', 'field_kind': 'nerfstudio:config.yml', 'positions': tmp_path}
    with pytest.raises(ConfigError, match='both determine the scale'):
        validate_request(tmp_path, BuildConfig(), **request)


def test_the_portable_nerfacto_is_an_option_of_its_trainer():
    pytest.importorskip('nerfstudio')
    from nerfstudio.models.nerfacto import NerfactoModelConfig
    from nerfstudio.pipelines.base_pipeline import VanillaPipelineConfig

    from nerf_reversal_ros.fields.nerfstudio.run import _check_tcnn

    with pytest.raises(BuildError) as error:
        _check_tcnn(Path('step.ckpt'), torch.device('cpu'))
    assert str(error.value).endswith(remedies.PORTABLE_NERFACTO)
    option, value = re.search(r'--pipeline\.model\.(\w+) (\w+)', str(error.value)).groups()
    pipeline = VanillaPipelineConfig(model=NerfactoModelConfig(**{option: value}))
    assert pipeline.model.implementation == 'torch'


def test_a_wrong_focal_length_is_built_without_the_adjustment(tmp_path):
    pytest.importorskip('gtsam')

    def lengthen(info, _):
        info.k = info.k * np.array([1.1, 1, 1, 1, 1.1, 1, 1, 1, 1])

    camera = Camera(200, 150, 160.0, 160.0, 99.5, 74.5)
    bag = write_room_bag(tmp_path / 'right', walk(24), camera, up_axis='z')
    wrong = rewrite(bag, tmp_path / 'wrong', edit_topic(INFO, lengthen))
    capture = open_capture(wrong, CaptureConfig(pose_convention='optical', up_axis='z'))

    def adjust(config, name):
        with MapWriter(tmp_path / name, {}) as writer:
            return adjustment_stage(capture, config, writer, no_progress)

    with pytest.raises(BuildError) as error:
        adjust(BuildConfig(), 'first')
    assert str(error.value).endswith(remedies.SKIP_ADJUSTMENT)
    off = replace(SETTINGS.capture, adjust_poses='off')
    assert len(adjust(replace(SETTINGS, capture=off), 'second').frames) == len(capture)
    assert asdict(off)['adjust_poses'] in remedies.SKIP_ADJUSTMENT
