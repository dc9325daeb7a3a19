"""Alignment of a nerfstudio run to meters, by images of a bag and by known positions."""

from dataclasses import replace

from nerfstudio_runs import (
    CAMERA,
    load,
    needs_nerfstudio,
    POSES,
    WORLD_FROM_MAP,
    write_positions,
)
import numpy as np
import pytest
from room_bags import write_room_bag
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.config import BuildConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import make_pose, pose_errors
from nerf_reversal_ros.fields.base import Rendering
from nerf_reversal_ros.fields.sim3 import scale_of, transform_poses
from nerf_reversal_ros.mapping.pipeline import build_map
from nerf_reversal_ros.mapping.run_alignment import align_to_capture, align_to_positions
from nerf_reversal_ros.mapping.sim3_alignment import (
    fit_sim3_to_points,
    fit_sim3_to_poses,
    locate_in_renderings,
    read_known_positions,
)

pytestmark = needs_nerfstudio


def test_poses_of_two_worlds_are_aligned_despite_a_third_of_outliers():
    in_world = transform_poses(WORLD_FROM_MAP, POSES)
    in_world[::3, :3, 3] += np.random.default_rng(0).normal(size=(8, 3))
    aligned = fit_sim3_to_poses(POSES, in_world)
    assert aligned.correspondence_count == 16 and aligned.error_m < 1e-9
    np.testing.assert_allclose(aligned.map_from_world @ WORLD_FROM_MAP, np.eye(4), atol=1e-9)


def test_images_of_a_bag_are_located_in_renderings_of_another_scale(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', walk(31)[:12], CAMERA, up_axis='z')
    frames = list(open_capture(bag, CaptureConfig()))
    views = []
    for pose in POSES[:12]:
        rgb, depth = render_box_room(pose, CAMERA)
        world_from_camera = transform_poses(WORLD_FROM_MAP, pose[None])[0]
        views.append((Rendering(rgb, 0.4 * depth, np.ones_like(depth)), world_from_camera))
    aligned = fit_sim3_to_poses(*locate_in_renderings(frames, views, CAMERA))
    assert aligned.correspondence_count >= 10 and aligned.error_m < 0.02
    assert scale_of(aligned.map_from_world) == pytest.approx(2.5, rel=0.02)


def test_images_of_a_bag_align_a_run_to_its_meters(tmp_path):
    bag = write_room_bag(tmp_path / 'bag', walk(31)[:12], CAMERA, up_axis='z')
    rendered = [render_box_room(pose, CAMERA) for pose in POSES[:12]]
    rgb = np.stack([view[0] for view in rendered])
    depth = np.stack([0.4 * view[1] for view in rendered]).astype(np.float16)
    in_world = transform_poses(WORLD_FROM_MAP, POSES[:12])
    capture = open_capture(bag, CaptureConfig())
    aligned = align_to_capture(capture, np.arange(12), rgb, depth, in_world, CAMERA)
    errors = pose_errors(transform_poses(aligned.map_from_world, in_world), POSES[:12])
    assert errors.translation.max() < 0.05 and np.degrees(errors.rotation).max() < 1.0


def test_poses_of_another_room_are_not_aligned():
    rng = np.random.default_rng(0)
    other_room = np.array(
        [make_pose(Rotation.random(rng=rng), tuple(rng.normal(size=3))) for _ in POSES]
    )
    with pytest.raises(
        BuildError, match=r'24 images of the bag .* check that both show the same room'
    ):
        fit_sim3_to_poses(POSES, other_room)


def test_known_points_determine_the_sim3_unless_they_are_collinear():
    points = POSES[:5, :3, 3]
    in_world = points @ WORLD_FROM_MAP[:3, :3].T + WORLD_FROM_MAP[:3, 3]
    aligned = fit_sim3_to_points(points, in_world)
    np.testing.assert_allclose(aligned.map_from_world @ WORLD_FROM_MAP, np.eye(4), atol=1e-9)
    line = np.outer([0.0, 1.0, 2.0, 5.0], [1.0, 2.0, 3.0])
    for few in (line, points[:2], points[:0]):
        with pytest.raises(BuildError, match='give at least three that are not collinear'):
            fit_sim3_to_points(few, 2 * few)


def test_known_points_of_another_run_raise_an_error():
    points = POSES[:12, :3, 3]
    with pytest.raises(
        BuildError, match='do not fit the cameras of the run: the best alignment has'
    ):
        fit_sim3_to_points(points, np.random.default_rng(0).permutation(points))


@pytest.mark.parametrize('line', ['a.png,1,2', 'a.png,1,2,z', 'a.png,1,nan,3'])
def test_a_malformed_position_raises_its_line_number(tmp_path, line):
    path = tmp_path / 'positions.csv'
    path.write_text(f'# picture,x,y,z\n\nb.png,0,0,0\n{line}\n')
    with pytest.raises(BuildError, match=f"line 4 of .* is '{line}': write image,x,y,z"):
        read_known_positions(path)


def test_positions_of_a_spreadsheet_are_read_and_duplicates_raise_an_error(tmp_path):
    path = tmp_path / 'positions.csv'
    path.write_bytes('\ufeffa.png, 1, 2, 3\r\nb.png,4,5,6\r\n'.encode())
    assert {name: xyz.tolist() for name, xyz in read_known_positions(path).items()} == {
        'a.png': [1, 2, 3],
        'b.png': [4, 5, 6],
    }
    path.write_text('a.png,1,2,3\nb.png,4,5,6\na.png,1,2,3\n')
    with pytest.raises(BuildError, match=r'line 3 of .* gives a\.png again: give it once'):
        read_known_positions(path)


def align_by_positions(path, config):
    """Align a run to known positions; return the alignment and the reported notes."""
    from nerf_reversal_ros.fields.nerfstudio.run import eval_image_names

    reports = []
    alignment, *_ = align_to_positions(
        path, load(config), lambda: eval_image_names(config), reports.append
    )
    return alignment, [progress.note for progress in reports]


def test_positions_of_evaluation_images_are_skipped_and_counted(trained_run, tmp_path):
    trained_on = {int(name[6:11]) for name in load(trained_run.config).names}
    assert len(trained_on) == 22
    path = write_positions(tmp_path / 'positions.csv', range(1, 25))
    aligned, notes = align_by_positions(path, trained_run.config)
    assert (
        aligned.correspondence_count == 22
        and aligned.skipped_count == 2
        and aligned.error_m < 1e-4
    )
    assert notes == ['skipping 2 of 24 known positions: the run was not trained on their images']


def test_unknown_image_names_are_listed_up_to_five(trained_run, tmp_path):
    unknown = [f'{letter}.png,0,0,0' for letter in 'gfedcba']
    path = write_positions(tmp_path / 'positions.csv', [1, 5, 11, 18], *unknown)
    with pytest.raises(
        BuildError,
        match=r'names a\.png, b\.png, c\.png, d\.png, e\.png and 2 more: no such image is',
    ):
        align_by_positions(path, trained_run.config)


@pytest.mark.parametrize(
    ('content', 'sentence'),
    [(None, 'cannot read the known positions'), ('a.png,0,0,0\n', 'names a.png: no such image')],
)
def test_positions_of_another_run_raise_an_error_before_any_rendering_or_output(
    trained_run, tmp_path, content, sentence
):
    path = tmp_path / 'positions.csv'
    if content is not None:
        path.write_text(content)
    reports = []
    with pytest.raises(BuildError, match=sentence):
        build_map(
            None,
            tmp_path / 'room.map',
            BuildConfig(),
            field=f'nerfstudio:{trained_run.config}',
            positions=path,
            progress=reports.append,
        )
    assert {progress.stage for progress in reports} <= {'run'}
    assert not list(tmp_path.glob('room.map*'))


def test_a_position_of_an_ambiguous_image_name_raises_an_error(trained_run, tmp_path):
    path = tmp_path / 'positions.csv'
    run = load(trained_run.config)
    path.write_text(f'{run.names[0]},0,0,0\n')
    twice = replace(run, names=[run.names[0]] * len(run.names))
    with pytest.raises(BuildError, match='22 images of the run have that name: give positions'):
        align_to_positions(path, twice, set, print)
