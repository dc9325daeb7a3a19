"""The public API is light to import, complete, typed, and works as README says."""

import ast
import doctest
from pathlib import Path
import subprocess
import sys

import cv2
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
    rgb, _ = render_box_room(walk(48)[20], CAMERA)
    cv2.imwrite(str(tmp_path / 'image.png'), rgb[..., ::-1])
    (tmp_path / 'room.map').symlink_to(small_map.path)
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(ROOT / 'README.md'), module_relative=False)
    assert tried >= 6 and failed == 0
