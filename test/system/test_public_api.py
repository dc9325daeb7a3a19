"""The public API is light to import, complete, typed, and works as README says."""

import ast
import doctest
from pathlib import Path
import subprocess
import sys

import numpy as np
from photos import write_photo, write_video
from PIL import Image
import pytest
from rooms import render_box_room
from small_map import CAMERA
from small_room import walk

import nerf_reversal_ros

ROOT = Path(__file__).resolve().parents[2]


def test_importing_the_package_loads_nothing_heavy():
    code = (
        'import sys, nerf_reversal_ros; '
        'print([m for m in ("torch", "numpy", "cv2", "rclpy", "scipy") if m in sys.modules])'
    )
    result = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert result.stdout.strip() == '[]', result.stderr


@pytest.mark.parametrize('name', nerf_reversal_ros.__all__)
def test_each_public_name_can_be_imported_and_says_what_it_is(name):
    value = getattr(nerf_reversal_ros, name)
    assert name == 'Outcome' or value.__doc__


def test_names_for_type_checkers_are_the_public_names():
    tree = ast.parse(Path(nerf_reversal_ros.__file__).read_text(encoding='utf-8'))
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'
    )
    imported = {
        (alias.asname, node.module)
        for node in block.body
        for alias in node.names
        if alias.asname == alias.name
    }
    modules = nerf_reversal_ros._MODULES
    assert imported == {(name, f'nerf_reversal_ros.{module}') for name, module in modules.items()}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match='nerf_reversal_ros'):
        _ = nerf_reversal_ros.no_such_name


def test_the_lines_of_the_readme_localize_an_image(small_map, tmp_path, monkeypatch):
    images = [render_box_room(pose, CAMERA)[0] for pose in walk(48)[20:25]]
    write_photo(tmp_path / 'photo.jpg', images[0])
    write_video(tmp_path / 'walk.avi', images).rename(tmp_path / 'walk.mp4')
    (tmp_path / 'room.map').symlink_to(small_map.path)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(ROOT / 'README.md'), module_relative=False)
    assert tried >= 5 and failed == 0


def test_arrays_files_and_batches_give_the_same_poses(small_localizer, tmp_path):
    poses = walk(48)[[3, 13, 23]]
    images = [render_box_room(pose, CAMERA)[0] for pose in poses]
    files = [tmp_path / f'{number}.png' for number in range(3)]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    numbers = f'{CAMERA.fx} {CAMERA.fy} {CAMERA.cx} {CAMERA.cy}'
    expected = [small_localizer.localize(image, CAMERA).map_from_camera for image in images]
    for given, camera in ((files, CAMERA), (tmp_path, numbers), (np.stack(images), CAMERA)):
        answers = list(small_localizer.localize_all(given, camera))
        found = [answer.outcome.map_from_camera for answer in answers]
        np.testing.assert_allclose(found, expected, atol=1e-9)
    alone = small_localizer.localize(files[0], CAMERA)
    np.testing.assert_allclose(alone.map_from_camera, expected[0], atol=1e-9)


def test_the_camera_of_arrays_is_found_from_all_of_them(small_localizer):
    images = [render_box_room(pose, CAMERA)[0] for pose in walk(48)[3:40:9]]
    answers = list(small_localizer.localize_all(images))
    assert {answer.camera for answer in answers} == {answers[0].camera}
    assert answers[0].camera.fx == pytest.approx(CAMERA.fx, rel=0.01)
    assert all(isinstance(a.outcome, nerf_reversal_ros.PoseEstimate) for a in answers)


def test_what_is_no_image_is_told(small_localizer, tmp_path):
    gray = np.zeros((30, 40), np.uint8)
    (answer,) = small_localizer.localize_all([gray], CAMERA)
    assert answer.outcome.detail == (
        'image 0 is (30, 40) uint8: give an RGB array (H, W, 3) of uint8'
    )
    with pytest.raises(nerf_reversal_ros.CaptureError, match=r'no image .*none.jpg'):
        small_localizer.localize(tmp_path / 'none.jpg')
    with pytest.raises(nerf_reversal_ros.CaptureError, match='give one kind at a time'):
        list(small_localizer.localize_all(['a.jpg', gray]))
