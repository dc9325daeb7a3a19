"""Outcomes as lines and files: the numbers are those of a pose that can be checked in the head."""

import csv
from pathlib import Path

from command_line import write_map
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import inverse, look_at, make_pose
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.pose_files import (
    check_pose_file,
    describe_outcome,
    heading_deg,
    LocalizedImage,
    pose_entry,
    SUFFIXES,
    write_pose_file,
)

POSE = look_at(np.array([1.0, 2.0, 1.5]), np.array([1.0, 4.0, 1.0]))
COVARIANCE = np.diag([1e-4, 4e-4, 1e-4, 1e-6, 1e-6, 4e-6])
ESTIMATE = PoseEstimate(POSE, COVARIANCE, Diagnostics(scores={'probability': 0.987}))
REJECTION = Rejection(RejectionReason.TOO_FEW_INLIERS, '12 < 30')
CAMERA = Camera(40, 30, 35.0, 36.0, 19.5, 14.5)
IMAGES = [
    LocalizedImage(REJECTION, None, 'a.jpg', CAMERA),
    LocalizedImage(ESTIMATE, None, 'b, c.jpg', CAMERA),
    LocalizedImage(ESTIMATE, 2_500_000_000, 'v.mp4#1', CAMERA),
]


@pytest.fixture(scope='module')
def map_(tmp_path_factory):
    return write_map(tmp_path_factory.mktemp('map') / 'm')


def test_a_line_tells_position_heading_and_certainty():
    assert describe_outcome(ESTIMATE) == (
        'x 1.000 y 2.000 z 1.500 m, heading 90.0 deg, sure to 2.0 cm, 0.11 deg, probability 0.99'
    )


def test_a_line_tells_the_reason_and_its_remedy():
    assert describe_outcome(REJECTION) == (
        f'not localized, too few inliers (12 < 30): {RejectionReason.TOO_FEW_INLIERS.remedy}'
    )
    unreadable = Rejection(RejectionReason.INVALID_IMAGE, 'it is no JPEG: convert it')
    assert describe_outcome(unreadable) == 'invalid image: it is no JPEG: convert it'


def test_the_heading_is_the_direction_of_view_from_x_toward_y():
    for target, expected in (((9, 2, 1), 0.0), ((1, 9, 1), 90.0), ((1, -9, 1), -90.0)):
        pose = look_at(np.array([1.0, 2.0, 1.5]), np.array(target, dtype=float))
        assert heading_deg(pose) == pytest.approx(expected)


def test_an_image_of_a_file_has_its_name_and_no_stamp():
    assert list(pose_entry(IMAGES[1])) == ['image', 'map_from_camera', 'covariance']
    assert list(pose_entry(IMAGES[2]))[:3] == ['image', 'stamp_ns', 'stamp']


def test_csv_has_a_row_for_each_image(map_, tmp_path):
    write_pose_file(tmp_path / 'p.csv', map_, IMAGES)
    with (tmp_path / 'p.csv').open(newline='') as file:
        rejected, accepted, frame = csv.DictReader(file)
    assert (rejected['rejected'], rejected['detail'], rejected['x_m']) == (
        *('too few inliers', '12 < 30'),
        '',
    )
    assert (accepted['image'], accepted['stamp_ns'], accepted['rejected']) == ('b, c.jpg', '', '')
    position = [float(accepted[name]) for name in ('x_m', 'y_m', 'z_m')]
    quaternion = [float(accepted[name]) for name in ('qx', 'qy', 'qz', 'qw')]
    read = make_pose(Rotation.from_quat(quaternion), np.array(position))
    assert read == pytest.approx(POSE)
    assert float(accepted['heading_deg']) == pytest.approx(90.0)
    assert float(accepted['std_position_m']) == pytest.approx(0.02)
    assert frame['stamp_ns'] == '2500000000'


def test_a_focal_length_that_was_found_is_written_with_its_uncertainty(map_, tmp_path):
    found = LocalizedImage(ESTIMATE, None, 'd.jpg', CAMERA, 0.004)
    assert pose_entry(found)['camera'] == {**CAMERA.as_dict(), 'focal_std': 0.004}
    write_pose_file(tmp_path / 'p.csv', map_, [*IMAGES, found])
    with (tmp_path / 'p.csv').open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert [row['focal_px'] for row in rows] == ['', '', '', '35']
    assert [row['focal_std'] for row in rows] == ['', '', '', '0.004']


def test_tum_has_the_accepted_images_with_stamps_or_numbers(map_, tmp_path):
    write_pose_file(tmp_path / 'p.tum', map_, IMAGES)
    rows = np.loadtxt(tmp_path / 'p.tum')
    assert rows[:, 0] == pytest.approx([1.0, 2.5])
    read = make_pose(Rotation.from_quat(rows[0, 4:]), rows[0, 1:4])
    assert read == pytest.approx(POSE)


def test_images_txt_of_colmap_holds_camera_from_map_and_the_cameras(map_, tmp_path):
    write_pose_file(tmp_path / 'images.txt', map_, IMAGES)
    lines = (tmp_path / 'images.txt').read_text().splitlines()
    assert lines[1] == '# 1 PINHOLE 40 30 35 36 20 15'
    first, empty, second, end = lines[2:]
    assert empty == end == ''
    number, *values, x, y, z, camera_id, name = first.split(' ', 9)
    assert (number, camera_id, name) == ('2', '1', 'b, c.jpg')
    w, *vector = map(float, values)
    read = make_pose(Rotation.from_quat([*vector, w]), np.array([x, y, z], dtype=float))
    assert read == pytest.approx(inverse(POSE))
    assert second.split()[0] == '3' and second.endswith(' 1 v.mp4#1')


def test_a_file_of_an_unknown_format_is_refused_before_any_work(map_, tmp_path):
    with pytest.raises(ConfigError, match='format is unknown') as error:
        check_pose_file(tmp_path / 'poses.xml')
    remedy = remedies.POSE_FILE.format(suffixes=', '.join(SUFFIXES))
    assert str(error.value).endswith(remedy)
    for suffix in SUFFIXES:
        check_pose_file(Path(f'poses{suffix.upper()}'))
        write_pose_file(tmp_path / f'poses{suffix}', map_, [])
    check_pose_file(None)
    write_pose_file(tmp_path / 'poses', map_, [])
    assert (tmp_path / 'poses').read_bytes() == (tmp_path / 'poses.json').read_bytes()
