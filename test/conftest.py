"""Environment and shared fixtures of all tests: ROS 2 on the local machine, two threads."""

import gc
import importlib
import importlib.util
import os
from pathlib import Path
import pickle
import random
import shutil
import signal
import sys
from typing import NamedTuple

os.environ.setdefault('AMENT_PREFIX_PATH', sys.prefix)
os.environ.setdefault('ROS_DOMAIN_ID', str(random.randint(1, 100)))
if worker := os.environ.get('PYTEST_XDIST_WORKER', ''):  # gw0, gw1, ...: a domain each
    apart = 101 * int(worker.removeprefix('gw')) // int(os.environ['PYTEST_XDIST_WORKER_COUNT'])
    os.environ['ROS_DOMAIN_ID'] = str((int(os.environ['ROS_DOMAIN_ID']) + apart) % 101)
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
os.environ.setdefault('GOMP_SPINCOUNT', '0')
os.environ['ROS_AUTOMATIC_DISCOVERY_RANGE'] = 'LOCALHOST'
# The threads of NumPy spin on cores that other workers need, for products of small matrices too.
os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')

import pytest
from shared_folder import make_once
from small_map import build_small_map
import torch

from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.progress import Progress
from nerf_reversal_ros.localization.localizer import Localizer, open_localizer
from nerf_reversal_ros.maps.map_folder import Map, open_map

torch.set_num_threads(2)

# A background job of a shell ignores Ctrl-C, and so would processes that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# The nodes cannot be tested without ROS.
collect_ignore = [] if importlib.util.find_spec('rclpy') else ['ros']

LONGEST = (
    'localization/test_localizer.py',  # builds the small map, for which others need not wait then
    'fields/nerfstudio/test_nerfacto_map.py',  # needs no small map: nor waits the second worker
    'ros/test_localizer_lifecycle.py',
    'ros/test_evaluator_node.py',
    'mapping/test_pipeline.py',
    'ros/test_launch.py',
    'survey/test_ray_cluster.py',
    'survey/test_survey.py',
    'study/test_study.py',
    'building/test_placement.py',
    'building/test_building_localizer.py',
    'system/test_fuzz.py',
    'capture/test_pose_check.py',
    'mapping/test_pose_adjustment.py',
    'regressor/test_regressor.py',
    'demo/test_rooms.py',
    'demo/test_flat.py',
    'baselines/test_baselines.py',
    'baselines/test_inerf.py',
    'capture/test_depth_calibration.py',
    'evaluation/test_report.py',
    'system/test_soak.py',
    'baselines/test_original_networks.py',
    'system/test_parity.py',
)
"""The longest files, first: at the end no worker waits for another that has a long one left."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files in front; the order is the same for every worker."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(LONGEST)))


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """
    Return the folder of recorded rooms, which are too large for the repository.

    NERF_REVERSAL_DATA names it; the default is ../shared/data beside the repository.
    """
    beside = Path(__file__).resolve().parents[2] / 'shared' / 'data'
    folder = Path(os.environ.get('NERF_REVERSAL_DATA', beside))
    if not folder.is_dir():
        pytest.skip(f'no recorded rooms in {folder}: set NERF_REVERSAL_DATA to their folder')
    return folder


@pytest.fixture(scope='module')
def tf2_ros():
    """Return the installed tf2_ros, otherwise its stand-in."""
    from ros_rig import TF2_STANDIN

    pytest.importorskip('tf2_msgs', reason='needs tf2_msgs: `make setup` builds it')
    sys.path[:0] = TF2_STANDIN
    yield importlib.import_module('tf2_ros')
    for folder in TF2_STANDIN:  # other tests run without it
        sys.path.remove(folder)
        del sys.modules['tf2_ros']


class SmallBuild(NamedTuple):
    """The map of the box room, its first map, and the progress reports of its build."""

    map: Map
    first: Path
    reports: list[Progress]


@pytest.fixture(scope='session')
def small_build(tmp_path_factory: pytest.TempPathFactory) -> SmallBuild:
    """Build the map of the box room, once for all tests; tests do not change its files."""

    def build(folder: Path) -> None:
        reports: list[Progress] = []

        def progress(report: Progress) -> None:
            reports.append(report)
            if (report.stage, report.done) == ('first_map', 1):
                shutil.copytree(folder / 'room.map', folder / 'first.map')

        build_small_map(folder, progress)
        (folder / 'reports.pickle').write_bytes(pickle.dumps(reports))

    folder = make_once(tmp_path_factory, 'small_map', build)
    reports = pickle.loads((folder / 'reports.pickle').read_bytes())
    return SmallBuild(open_map(folder / 'room.map'), folder / 'first.map', reports)


@pytest.fixture(scope='session')
def small_map(small_build: SmallBuild) -> Map:
    """Return the map of the box room."""
    return small_build.map


@pytest.fixture(scope='session')
def small_localizer(small_map: Map) -> Localizer:
    """Return a localizer of the map of the box room."""
    return open_localizer(small_map, LocalizerConfig(device='cpu'))


@pytest.fixture(scope='module', autouse=True)
def few_objects() -> None:
    """Keep what is there out of garbage collections: builds start one at each stage."""
    gc.collect()
    gc.freeze()
