"""A robot localizes with requirements/robot.txt alone, which holds no PyTorch."""

import os
from pathlib import Path
import re
import subprocess
import sys

from photos import write_photo
import pytest
from rooms import render_box_room, walk
from small_map import CAMERA

ROOT = Path(__file__).resolve().parents[2]
BEYOND = ('torch', 'sklearn', 'matplotlib', 'tqdm')
"""Modules of the packages that requirements.txt has beyond those of a robot."""
WITHOUT_TORCH = f"""
import sys

class Hidden:
    def find_spec(self, name, *_):
        if name.partition('.')[0] in {BEYOND}:
            raise ModuleNotFoundError('No module named ' + name, name=name)

sys.meta_path.insert(0, Hidden())
"""
ENVIRONMENT = {**os.environ, 'PYTHONPATH': os.pathsep.join([str(ROOT), *sys.path])}


def test_the_requirements_of_a_robot_are_those_of_all_without_four_packages():
    every, robot = (
        {line for line in (ROOT / file).read_text().splitlines() if not line.startswith('#')}
        for file in ('requirements.txt', 'requirements/robot.txt')
    )
    beyond = {re.split('[>=]', line)[0] for line in every - robot}
    assert robot < every and beyond == {'torch', 'scikit-learn', 'matplotlib', 'tqdm'}


def test_photos_are_localized_without_pytorch(small_map, tmp_path):
    for number, pose in enumerate(walk(37)[[3, 9, 14]]):
        write_photo(tmp_path / f'{number}.jpg', render_box_room(pose, CAMERA)[0])
    program = f'{WITHOUT_TORCH}from nerf_reversal_ros.cli.main import main; sys.exit(main())'
    words = ['localize', str(small_map.path), str(tmp_path), '--show', str(tmp_path / 'shown')]
    completed = subprocess.run(
        [sys.executable, '-c', program, *words], capture_output=True, text=True, env=ENVIRONMENT
    )
    assert completed.stdout.endswith('3 of 3 images were localized\n'), completed.stderr
    assert len(list((tmp_path / 'shown').iterdir())) == 3


def test_the_localizer_node_localizes_without_pytorch(small_map):
    pytest.importorskip('rclpy', reason='needs ROS 2: make test brings it')
    import cv2
    from localizer_rig import LocalizerRig
    from ros_rig import camera_info, wait_until
    from sensor_msgs.msg import CompressedImage

    program = (
        f'{WITHOUT_TORCH}from nerf_reversal_ros.ros.localizer_node import main; sys.exit(main())'
    )
    options = [f'map_dir:={small_map.path}', 'autostart:=true', 'reliability:=reliable']
    words = ['--ros-args', '-r', '__ns:=/bare', *(w for option in options for w in ('-p', option))]
    rgb, _ = render_box_room(walk(37)[3], CAMERA)
    _, jpeg = cv2.imencode('.jpg', rgb[..., ::-1])
    image = CompressedImage(format='jpeg', data=jpeg.tobytes())
    image.header.stamp.sec = 1
    rig = LocalizerRig('/bare')
    with subprocess.Popen([sys.executable, '-c', program, *words], env=ENVIRONMENT) as process:
        try:
            assert wait_until(lambda: rig.state == 'active')
            rig.publish('camera_info', camera_info((160, 120), CAMERA.fx))
            assert rig.localize(image).accepted
        finally:
            rig.close()
            process.terminate()
