"""Fixtures that several files of this folder share; each is set up once in a test session."""

import shutil

import nerfacto_room
from nerfstudio_runs import CAMERA, POSES, train_run, TrainedRun, WORLD_FROM_MAP, write_scene
import pytest
from room_bags import write_room_bag
import rooms

from nerf_reversal_ros.capture.held_out import held_out_mask
from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.fields.sim3 import transform_poses
from nerf_reversal_ros.fields.training_data import load_training_data, TrainingData


@pytest.fixture(scope='session')
def trained_run(tmp_path_factory) -> TrainedRun:
    """Train ten steps of a small Nerfacto with nerfstudio; nobody may change its files."""
    folder = tmp_path_factory.mktemp('runs')
    scene = write_scene(folder / 'scene', transform_poses(WORLD_FROM_MAP, POSES), POSES, CAMERA)
    return train_run(scene, folder / 'out', steps=10)


@pytest.fixture
def run_config(trained_run, tmp_path):
    """Return the config.yml of a copy of that run, which the test may change."""
    return shutil.copytree(trained_run.config.parent, tmp_path / 'run') / 'config.yml'


def _use_coarse_texture(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rooms, '_CELLS_M', (0.5, 0.13))


@pytest.fixture(scope='module')
def coarse_texture():
    """Leave out the finest texture of the room, which a Nerfacto takes minutes to learn."""
    with pytest.MonkeyPatch.context() as patch:
        _use_coarse_texture(patch)
        yield


@pytest.fixture(scope='session')
def bag(tmp_path_factory):
    """Record the room with its coarse texture."""
    with pytest.MonkeyPatch.context() as patch:
        _use_coarse_texture(patch)
        return write_room_bag(
            tmp_path_factory.mktemp('bags') / 'room',
            nerfacto_room.POSES,
            nerfacto_room.CAMERA,
            up_axis='z',
        )


@pytest.fixture(scope='session')
def data(bag, tmp_path_factory) -> TrainingData:
    """Load that bag as training data."""
    capture = open_capture(bag, CaptureConfig())
    held_out = held_out_mask(len(capture), nerfacto_room.SETTINGS.field.validation_share)
    return load_training_data(capture, held_out, tmp_path_factory.mktemp('data'), lambda _: None)
