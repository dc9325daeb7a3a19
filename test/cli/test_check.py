"""``nerf-reversal check`` says what a build would make of a bag."""

from pathlib import Path

from command_line import run_command
import cv2
import numpy as np
import pytest
from small_room import walk, write_bag

from nerf_reversal_ros.mapping.mapping_capture import MIN_FRAMES


def refusal(*arguments: object) -> str:
    """Return the error of a command, which follows its progress."""
    done = run_command(*arguments)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


def test_a_good_bag_is_described_and_its_walk_drawn(tmp_path: Path) -> None:
    bag, picture = write_bag(tmp_path / 'walk', walk(14)), tmp_path / 'walk.png'
    text = run_command('check', bag, '--picture', picture).stdout
    assert '14 of 14 images' in text
    assert 'Camera: 240x180, focal length' in text
    assert 'which fit the depth to' in text
    assert f'A map can be built from {bag}.' in text
    pixels = cv2.imread(str(picture))
    assert pixels is not None and np.ptp(pixels) > 200


def test_a_bag_that_cannot_be_built_from_is_refused_like_a_build(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'flat', walk(14), depth=False)
    config = tmp_path / 'flat.yaml'
    config.write_text("capture: {depth_topic: '', pose_convention: optical}")
    picture = tmp_path / 'walk.png'
    checked = refusal('check', bag, '--config', config, '--picture', picture)
    assert checked == refusal('build', bag, tmp_path / 'flat.map', '--config', config)
    assert cv2.imread(str(picture)) is not None  # the walk as recorded shows what is wrong


@pytest.mark.parametrize('count', [1, 2, 4, MIN_FRAMES - 1])
def test_few_frames_are_refused_by_check_and_build(tmp_path: Path, count: int) -> None:
    bag = write_bag(tmp_path / 'few', walk(count))
    for command in (
        ('check', bag, '--picture', tmp_path / 'few.png'),
        ('build', bag, tmp_path / 'few.map'),
    ):
        assert f'only {count} frame' in refusal(*command)


def test_a_picture_that_cannot_be_written_is_told_first(tmp_path: Path) -> None:
    bag = write_bag(tmp_path / 'few', walk(4))
    text = refusal('check', bag, '--picture', tmp_path / 'nowhere' / 'walk.png')
    assert f'cannot write {tmp_path}/nowhere/walk.png' in text
