"""Fixtures of tests with a localizer process: one a test, or one shared by the tests of a file."""

import contextlib

from flat_fixtures import flat, flat_folder, placement  # noqa: F401  (pytest finds them here)
import pytest


@pytest.fixture
def rig():
    """Return the node of a test for a localizer of its own."""
    from localizer_rig import LocalizerRig

    with contextlib.closing(LocalizerRig()) as rig:
        yield rig


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a localizer and waits until it is active, if it is to be."""
    from localizer_rig import ACTIVE, localizer_process

    with contextlib.ExitStack() as stack:

        def start_localizer(*arguments, autostart=True, **parameters):
            process = localizer_process(tmp_path, *arguments, autostart=autostart, **parameters)
            stack.enter_context(process)
            if autostart:
                process.wait_for_output(ACTIVE)
            return process

        yield start_localizer


@pytest.fixture(scope='module')
def shared_process(tmp_path_factory):
    """Return one localizer with default parameters for the tests of a file."""
    from localizer_rig import localizer_process

    with localizer_process(tmp_path_factory.mktemp('maps'), '-r', '__ns:=/shared') as process:
        yield process


@pytest.fixture
def shared(shared_process):
    """Return a test node for the shared localizer, which has its CameraInfo and zero counts."""
    from localizer_rig import LocalizerRig
    from ros_rig import camera_info
    from std_srvs.srv import Trigger

    with contextlib.closing(LocalizerRig('/shared')) as rig:
        assert rig.call(Trigger, 'localizer/reset').success
        rig.publish('camera_info', camera_info())
        yield rig
