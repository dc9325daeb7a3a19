"""Synthetic views: sampled poses, rejections, interruption."""

import json

from box_room import BoxRoom, CAMERA, HIGH, walk
import numpy as np
import pytest

from nerf_reversal_ros.core.config import SynthesisConfig
from nerf_reversal_ros.core.errors import BuildError
from nerf_reversal_ros.core.geometry import look_at, pose_errors
from nerf_reversal_ros.fields.pose_sampling import (
    find_pose_rejections,
    relative_depths,
    sample_poses,
    SampledPoses,
)
from nerf_reversal_ros.synthesis.view_synthesis import find_view_rejection, synthesize_views

FACING_THE_WALL = look_at(np.array([HIGH[0] - 0.1, 0.0, 1.2]), np.array([5.0, 0.0, 1.2]))
MIDDLE = look_at(np.array([0.0, 0.0, 1.2]), np.array([5.0, 0.0, 1.2]))


def rejection_of(start, goal, clearance_m=0.15):
    sampled = SampledPoses(np.eye(4)[None] + 0.0, np.array([start]), np.ones(1))
    sampled.map_from_camera[0, :3, 3] = goal
    return find_pose_rejections(BoxRoom(), sampled, clearance_m)[0]


def synthesize(work_dir, views=600, **settings):
    seed = settings.pop('seed', 3)
    progress = settings.pop('progress', lambda _: None)
    return synthesize_views(
        BoxRoom(),
        walk(20),
        CAMERA,
        SynthesisConfig(views=views, **settings),
        seed=seed,
        work_dir=work_dir,
        progress=progress,
    )


def test_a_camera_inside_a_surface_is_rejected():
    assert rejection_of((0, 0, 1), (2.2, 0, 1)) == 'inside matter'


def test_a_camera_behind_a_wall_is_rejected():
    class Partition(BoxRoom):
        def occupancy(self, points):
            return np.where(np.abs(points[:, 0] - 1.0) < 0.03, 2, super().occupancy(points))

    sampled = SampledPoses(np.eye(4)[None] + 0.0, np.array([[0.5, 0.0, 1.0]]), np.ones(1))
    sampled.map_from_camera[0, :3, 3] = (1.5, 0.0, 1.0)
    assert find_pose_rejections(Partition(), sampled, 0.15) == ['behind matter']


def test_a_camera_within_the_clearance_is_rejected():
    assert rejection_of((0, 0, 1), (1.9, 0, 1)) == 'too close to matter'
    assert rejection_of((0, 0, 1), (1.9, 0, 1), clearance_m=0.05) is None
    assert rejection_of((0, 0, 1), (1.5, 0, 1)) is None


def test_a_view_close_to_a_wall_is_rejected():
    view = BoxRoom().render(FACING_THE_WALL[None], CAMERA)[0]
    assert find_view_rejection(view, SynthesisConfig(near_m=0.25)) == 'too near'


def test_a_view_of_unknown_space_is_rejected():
    view = BoxRoom(unknown_above_m=1.0).render(MIDDLE[None], CAMERA)[0]
    assert find_view_rejection(view, SynthesisConfig()) == 'too much unseen'
    assert (
        find_view_rejection(BoxRoom().render(MIDDLE[None], CAMERA)[0], SynthesisConfig()) is None
    )


def test_sampled_poses_stay_near_the_mapping_poses_and_upright():
    config = SynthesisConfig(between_share=0.0, translation_m=0.3, rotation_deg=10.0)
    sampled = sample_poses(MIDDLE[None], 2000, config, np.random.default_rng(0))
    errors = pose_errors(sampled.map_from_camera, np.broadcast_to(MIDDLE, (2000, 4, 4)))
    assert errors.translation.max() <= 0.3
    moved = np.abs(sampled.map_from_camera[:, :3, 3] - MIDDLE[:3, 3])
    assert moved[:, :2].max() == pytest.approx(0.3, rel=0.05)
    assert moved[:, 2].max() == pytest.approx(0.15, rel=0.05)
    roll_deg = np.degrees(np.arcsin(sampled.map_from_camera[:, 2, 0]))
    forward = sampled.map_from_camera[:, :3, 2]
    yaw_deg = np.degrees(np.arctan2(forward[:, 1], forward[:, 0]))
    assert yaw_deg.std() == pytest.approx(10.0, rel=0.1)
    assert roll_deg.std() == pytest.approx(10.0 / 3.0, rel=0.15)


def test_poses_are_also_sampled_between_and_beyond_mapping_poses():
    ends = np.stack([MIDDLE, MIDDLE])
    ends[1, 0, 3] = 1.0
    config = SynthesisConfig(between_share=1.0, translation_m=0.0)
    x = sample_poses(ends, 1000, config, np.random.default_rng(0)).map_from_camera[:, 0, 3]
    assert x.min() < -0.3 and x.max() > 1.3
    assert np.mean((x > 0.2) & (x < 0.8)) > 0.1


def test_views_are_the_renderings_at_their_poses(tmp_path):
    views = synthesize(tmp_path, views=30)
    again = BoxRoom().render(views.map_from_camera, CAMERA)
    np.testing.assert_array_equal(views.rgb, [view.rgb for view in again])
    np.testing.assert_allclose(views.depth, [view.depth for view in again], rtol=1e-3)
    assert views.valid.all() and len(views) == 30


def test_every_rejection_is_counted_by_its_reason(tmp_path):
    views = synthesize(tmp_path, views=300, translation_m=1.5, clearance_m=0.15)
    assert views.rejection_counts['inside matter'] > 10
    assert views.rejection_counts['too close to matter'] > 10
    assert views.rejection_counts['too much unseen'] == 0


def test_an_interrupted_synthesis_resumes_and_ends_the_same(tmp_path):
    class InterruptedSynthesisError(Exception):
        pass

    def interrupt_after_first_chunk(report):
        raise InterruptedSynthesisError

    with pytest.raises(InterruptedSynthesisError):
        synthesize(tmp_path / 'killed', progress=interrupt_after_first_chunk)
    reports = []
    resumed = synthesize(tmp_path / 'killed', progress=reports.append)
    whole = synthesize(tmp_path / 'whole')
    np.testing.assert_array_equal(resumed.rgb, whole.rgb)
    np.testing.assert_array_equal(resumed.depth, whole.depth)
    np.testing.assert_array_equal(resumed.map_from_camera, whole.map_from_camera)
    assert resumed.rejection_counts == whole.rejection_counts
    assert [report.done for report in reports] == [250, 500, 600]


def test_views_of_another_seed_are_replaced(tmp_path):
    synthesize(tmp_path, views=20, seed=1)
    np.testing.assert_array_equal(
        synthesize(tmp_path, views=20, seed=2).map_from_camera,
        synthesize(tmp_path / 'new', views=20, seed=2).map_from_camera,
    )


def test_views_of_an_older_version_without_depth_are_replaced(tmp_path):
    whole = synthesize(tmp_path, views=20)
    depth = np.array(whole.depth)
    request = json.loads((tmp_path / 'request.json').read_text())
    del request['arrays']
    (tmp_path / 'request.json').write_text(json.dumps(request))
    (tmp_path / 'depth.npy').unlink()
    np.testing.assert_array_equal(synthesize(tmp_path, views=20).depth, depth)


def test_a_field_without_usable_views_raises_the_counts(tmp_path):
    with pytest.raises(BuildError, match=r'only 0 of \d+ sampled poses .*too much unseen: \d+'):
        synthesize_views(
            BoxRoom(unknown_above_m=0.0),
            walk(20),
            CAMERA,
            SynthesisConfig(views=10),
            seed=0,
            work_dir=tmp_path,
        )


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(BuildError, match=r'cannot write the synthetic views to .*file'):
        synthesize(tmp_path / 'file' / 'below', views=10)


def test_lengths_follow_the_depth_of_the_scene_at_each_mapping_pose():
    near = look_at(np.array([HIGH[0] - 0.3, 0.0, 1.2]), np.array([5.0, 0.0, 1.2]))
    poses = np.stack([MIDDLE, MIDDLE, near])
    scales = relative_depths(BoxRoom(), poses, CAMERA)
    assert scales[:2] == pytest.approx([1.0, 1.0])
    assert scales[2] == pytest.approx(0.3 / HIGH[0], rel=0.1)
    config = SynthesisConfig(between_share=0.0, translation_m=0.5)
    sampled = sample_poses(poses, 500, config, np.random.default_rng(0), scales)
    moved = np.linalg.norm(sampled.map_from_camera[:, :3, 3] - sampled.source_positions, axis=1)
    assert moved[sampled.scales < 1].max() <= 0.5 * scales[2]
    assert find_pose_rejections(BoxRoom(), sampled, 0.25).count('too close to matter') == 0
    view = BoxRoom().render(near[None], CAMERA)[0]
    assert find_view_rejection(view, SynthesisConfig(near_m=0.5)) == 'too near'
    assert find_view_rejection(view, SynthesisConfig(near_m=0.5), scales[2]) is None
