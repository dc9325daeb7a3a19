"""Poses are read from the file that localize and evaluate write."""

import json

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.camera import Camera
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.geometry import make_pose
from nerf_reversal_ros.core.outcome import PoseEstimate, Rejection, RejectionReason
from nerf_reversal_ros.localization.pose_files import LocalizedImage, write_pose_file
from nerf_reversal_ros.view.page_text import plain
from nerf_reversal_ros.view.shapes import ellipsoids, frustums
from nerf_reversal_ros.view.shown_poses import read_poses

POSE = make_pose(Rotation.from_euler('z', 90, degrees=True), (1.0, 2.0, 3.0))


def test_poses_reasons_and_names_survive_the_file(small_map, tmp_path):
    file = tmp_path / 'poses.json'
    outcomes = [
        LocalizedImage(PoseEstimate(POSE, np.diag([1.0, 2, 3, 4, 5, 6])), name='a.jpg'),
        LocalizedImage(Rejection(RejectionReason.LOW_CONTRAST, 'contrast 1.0'), 7),
    ]
    write_pose_file(file, small_map, outcomes)
    accepted, rejected = read_poses(file)
    assert accepted.label == 'a.jpg' and rejected.label == '7'
    assert isinstance(accepted.outcome, PoseEstimate)
    np.testing.assert_allclose(accepted.outcome.map_from_camera, POSE, atol=1e-12)
    np.testing.assert_allclose(np.diag(accepted.outcome.covariance), [1, 2, 3, 4, 5, 6])
    assert isinstance(rejected.outcome, Rejection)
    assert rejected.outcome.reason is RejectionReason.LOW_CONTRAST
    assert rejected.outcome.detail == 'contrast 1.0'


@pytest.mark.parametrize(
    'content',
    [
        'no JSON',
        '[]',
        '{"poses": [1]}',
        '{"poses": [{}]}',
        json.dumps({'poses': [{'map_from_camera': {'position': [1, 2]}}]}),
        json.dumps(
            {
                'poses': [
                    {
                        'map_from_camera': {'position': [1, 2, 3], 'orientation_xyzw': [0] * 4},
                        'covariance': np.eye(6).tolist(),
                    }
                ]
            }
        ),
    ],
)
def test_another_file_is_refused_with_what_to_give(tmp_path, content):
    file = tmp_path / 'poses.json'
    file.write_text(content)
    with pytest.raises(ConfigError) as error:
        read_poses(file)
    assert str(error.value).startswith(f'{file} is no file of poses')
    assert str(error.value).endswith(remedies.POSES_JSON)  # the test above reads such a one
    with pytest.raises(ConfigError, match='No such file'):
        read_poses(tmp_path / 'nowhere.json')


def test_an_ellipsoid_reaches_three_standard_deviations_along_its_axes():
    vertices, faces = ellipsoids(np.array([[1.0, 2.0, 3.0]]), np.diag([4.0, 1.0, 0.01])[None])
    offset = vertices - [1, 2, 3]
    assert np.abs(offset).max(0) == pytest.approx([6.0, 3.0, 0.3], rel=1e-5)
    assert faces.max() == len(vertices) - 1


def test_a_frustum_spans_the_image_at_its_height():
    vertices, faces = frustums(POSE[None], Camera(200, 100, 100.0, 100.0, 99.5, 49.5), 2.0)
    assert vertices[0] == pytest.approx([1, 2, 3])
    # x of the camera is y of the map, and y is -x; the image is 4 m wide and 2 m high 2 m away.
    assert vertices[1] == pytest.approx([2, 0, 5]) and vertices[3] == pytest.approx([0, 4, 5])
    assert faces.shape == (4, 3)


def test_text_of_others_is_shown_and_not_run():
    assert plain('{a} <b>\n![c](d)') == r'\{a\} \<b\> \!\[c\]\(d\)'
    assert plain('import a') == '\u200bimport a'  # else MDX takes it for code
