"""What every test runs in: a ROS 2 that hears nothing but itself, and two threads."""

import importlib.util
import os
from pathlib import Path
import random
import sys

os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
os.environ.setdefault('ROS_DOMAIN_ID', str(random.randint(1, 100)))
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'

import pytest
import torch

torch.set_num_threads(2)

# Without ROS there is nothing that the nodes could be tried on.
collect_ignore_glob = [] if importlib.util.find_spec('rclpy') else ['test_ros_*.py']


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """
    Return the folder of the recorded rooms, which are too large for the repository.

    It is what NERF_REVERSAL_DATA names, else ../shared/data beside the repository.
    """
    beside = Path(__file__).resolve().parents[2] / 'shared' / 'data'
    folder = Path(os.environ.get('NERF_REVERSAL_DATA', beside))
    if not folder.is_dir():
        pytest.skip(f'no recorded rooms in {folder}: NERF_REVERSAL_DATA may name their folder')
    return folder
