"""``nerf-reversal localize``: its sources, its lines, and what it writes."""

from collections.abc import Iterator
import json
import math
from pathlib import Path
import re

from command_line import run_command, user_error
import numpy as np
from photos import write_photo, write_video
from PIL import Image
import pytest
from room_bags import write_room_bag
from rooms import render_box_room, walk
from scipy.spatial.transform import Rotation
from small_map import CAMERA

from nerf_reversal_ros.capture import image_sources
from nerf_reversal_ros.capture.image_sources import SourceImage
from nerf_reversal_ros.cli.main import main
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.geometry import make_pose, transform_points
from nerf_reversal_ros.core.outcome import Diagnostics, PoseEstimate, Rejection
from nerf_reversal_ros.localization.pose_files import LocalizedImage, pose_entry
from nerf_reversal_ros.localization.pose_pictures import PosePictures
from nerf_reversal_ros.maps.map_folder import Map, open_map


def test_the_entry_of_an_accepted_image_holds_stamp_pose_and_covariance() -> None:
    map_from_camera = make_pose(Rotation.from_euler('z', 180, degrees=True), (1, 2, 3))
    entry = pose_entry(
        LocalizedImage(PoseEstimate(map_from_camera, np.eye(6)), 1_700_000_000_123_456_789)
    )
    assert entry['stamp_ns'] == 1_700_000_000_123_456_789
    assert entry['stamp'] == {'sec': 1_700_000_000, 'nanosec': 123_456_789}
    assert entry['map_from_camera']['position'] == [1, 2, 3]
    assert entry['map_from_camera']['orientation_xyzw'] == pytest.approx([0, 0, 1, 0])
    assert entry['covariance'] == np.eye(6).tolist()
    json.dumps(entry)


def test_the_entry_of_a_rejected_image_holds_the_reason() -> None:
    entry = pose_entry(LocalizedImage(Rejection('too few inliers', '12 < 30'), 5))
    assert entry['rejected'] == 'too few inliers' and entry['detail'] == '12 < 30'
    assert 'map_from_camera' not in entry


def test_track_finds_images_whose_regressed_pose_alone_is_too_far(
    small_map: Map, tmp_path: Path
) -> None:
    turned = [make_pose(Rotation.from_euler('z', 20 * k, degrees=True)) for k in range(8)]
    bag = write_room_bag(tmp_path / 'turning', walk(96)[23:31] @ turned, CAMERA, up_axis='z')
    config, file = tmp_path / 'query.yaml', tmp_path / 'poses.json'
    localize = ['localize', str(small_map.path), str(bag), '--config', str(config)]
    localize += ['--out', str(file)]

    def count_accepted(*options: str) -> int:
        assert main([*localize, *options]) == 0
        return sum('map_from_camera' in pose for pose in json.loads(file.read_text())['poses'])

    config.write_text('localizer: {hypotheses: 0, retry_size: 0}')
    assert 0 < count_accepted() < count_accepted('--track') == 8
    config.write_text('localizer: {hypotheses: 0, retry_size: 0, tracking_timeout_s: 0.0}')
    assert count_accepted('--track') == count_accepted()


def test_photos_are_localized_turned_upright_with_the_focal_length_of_exif(
    small_map: Map, tmp_path: Path
) -> None:
    photos, shown, out = tmp_path / 'photos', tmp_path / 'shown', tmp_path / 'poses.json'
    photos.mkdir()
    poses = walk(37)[[3, 9, 14]]
    focal_length_35mm = round(CAMERA.fx / 200 * math.hypot(36, 24))  # of 160x120 pixels
    for name, pose, orientation in zip('abc', poses, (1, 6, 1), strict=True):
        rgb, _ = render_box_room(pose, CAMERA)
        write_photo(photos / f'{name}.jpg', rgb, orientation, focal_length_35mm)
    (photos / 'd.jpg').write_bytes(b'no image')
    completed = run_command('localize', small_map.path, photos, '--out', out, '--show', shown)
    assert completed.returncode == 0, completed.stderr
    *lines, unreadable, summary = completed.stdout.splitlines()
    assert summary == f'3 of 4 images were localized: wrote {out}'
    assert unreadable.startswith(f'{photos / "d.jpg"}: invalid image: a file of 8 bytes is no')
    for line, pose in zip(lines, poses, strict=True):
        found = re.search(r'jpg: x (\S+) y (\S+) z (\S+) m, heading (\S+) deg, sure to', line)
        assert found is not None, line
        assert [float(number) for number in found.groups()[:3]] == pytest.approx(
            pose[:3, 3], abs=0.05
        )
    entries = json.loads(out.read_text())['poses']
    assert [Path(entry['image']).name for entry in entries] == [f'{n}.jpg' for n in 'abcd']
    assert 'stamp_ns' not in entries[0] and entries[3]['rejected'] == 'invalid image'
    pictures = sorted(shown.iterdir())
    assert [picture.name for picture in pictures] == [
        f'0000{k + 1}_{"abc"[k]}.jpg' for k in (0, 1, 2)
    ]
    for picture in pictures:
        with Image.open(picture) as opened:
            image, rendering = np.split(np.asarray(opened, float)[:120], 2, axis=1)
        assert np.corrcoef(image.ravel(), rendering.ravel())[0, 1] > 0.8


def test_a_focal_length_that_nothing_states_is_found_and_told(
    small_map: Map, tmp_path: Path
) -> None:
    for number, pose in enumerate(walk(37)[[3, 9, 14]]):
        write_photo(tmp_path / f'{number}.jpg', render_box_room(pose, CAMERA)[0])
    completed = run_command('localize', small_map.path, tmp_path)
    told, *_, summary = completed.stdout.splitlines()
    found = re.fullmatch(
        r'focal length (\S+) px \+- \S+ % \(field of view (\d+) deg\), found from 3 images', told
    )
    assert found is not None, told
    assert float(found[1]) == pytest.approx(CAMERA.fx, rel=0.02) and found[2] == '63'
    assert summary == '3 of 3 images were localized'


def test_a_rounded_focal_length_of_exif_is_refined_by_enough_photos(
    small_map: Map, tmp_path: Path
) -> None:
    rounded = 1 + round(CAMERA.fx / 200 * math.hypot(36, 24))  # as if it was 0.5 mm shorter
    for number, pose in enumerate(walk(37)[3:33:5]):
        write_photo(tmp_path / f'{number}.jpg', render_box_room(pose, CAMERA)[0], 1, rounded)
    told, *_, summary = run_command('localize', small_map.path, tmp_path).stdout.splitlines()
    found = re.match(r'focal length (\S+) px .*, found from 6 images of ', told)
    assert found is not None, told
    assert float(found[1]) == pytest.approx(CAMERA.fx, rel=0.01)
    assert summary == '6 of 6 images were localized'


def test_frames_of_a_video_are_tracked_by_their_times(small_map: Map, tmp_path: Path) -> None:
    images = [render_box_room(pose, CAMERA)[0] for pose in walk(96)[23:27]]
    video = write_video(tmp_path / 'walk.avi', images)
    numbers = f'{CAMERA.fx} {CAMERA.fy} {CAMERA.cx} {CAMERA.cy}'
    out = tmp_path / 'poses.tum'
    completed = run_command(
        'localize', small_map.path, video, '--camera', numbers, '--track', '--out', out
    )
    assert completed.stdout.startswith(f'{video}#0: x ')
    assert '4 of 4 images were localized' in completed.stdout
    assert np.diff(np.loadtxt(out)[:, 0]) == pytest.approx(0.1)


def test_ctrl_c_ends_a_webcam_and_writes_what_was_localized(
    small_map: Map, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb, _ = render_box_room(walk(37)[3], CAMERA)

    class Webcam:
        has_camera_info, is_endless = False, True

        def images(self) -> Iterator[SourceImage]:
            yield SourceImage('webcam:0#0', rgb, CAMERA, 1_000_000_000)
            raise KeyboardInterrupt

        def samples(self, _: int) -> Iterator[SourceImage]:
            return iter(())

    monkeypatch.setattr(image_sources, 'open_sources', lambda *_: [Webcam()])
    out = tmp_path / 'poses.csv'
    completed = run_command('localize', small_map.path, 'webcam:0', '--out', out)
    assert completed.returncode == 0 and out.read_text().count('webcam:0#0') == 1


def test_a_bad_output_is_told_before_the_images_are_localized(
    small_map: Map, tmp_path: Path
) -> None:
    photo = write_photo(tmp_path / 'a.jpg', np.zeros((30, 40, 3), np.uint8))
    assert 'its format is unknown: give the file a name that ends in .json' in user_error(
        'localize', small_map.path, photo, '--out', tmp_path / 'poses.xml'
    )
    assert 'for pictures (File exists): name another' in user_error(
        'localize', small_map.path, photo, '--show', photo
    )


def test_the_camera_of_a_bag_is_stated_in_the_settings(small_map: Map, tmp_path: Path) -> None:
    bag = write_room_bag(tmp_path / 'bag', walk(37)[3:5], CAMERA, up_axis='z')
    numbers = f'{CAMERA.fx} 0 {CAMERA.cx} 0 {CAMERA.fy} {CAMERA.cy} 0 0 1'.replace(' ', ', ')
    calibration, config = tmp_path / 'camera.yaml', tmp_path / 'query.yaml'
    calibration.write_text(
        f'{{image_width: 160, image_height: 120, camera_matrix: {{data: [{numbers}]}}}}'
    )
    error = user_error('localize', small_map.path, bag, '--camera', calibration)
    assert error.endswith(f'{remedies.CAMERA_OF_BAG}\n')
    config.write_text(f'capture: {{camera_info_file: {calibration}}}')
    completed = run_command('localize', small_map.path, bag, '--config', config)
    assert completed.stdout.endswith('2 of 2 images were localized\n')


def test_a_map_without_its_field_is_shown_by_its_surface(small_map: Map, tmp_path: Path) -> None:
    robot = tmp_path / 'robot.map'
    assert run_command('export', small_map.path, robot, '--to', 'robot').returncode == 0
    pose = walk(37)[3]
    pictures = PosePictures(tmp_path / 'shown', open_map(robot))
    rgb, _ = render_box_room(pose, CAMERA)
    file = pictures.add('a.png', rgb, CAMERA, PoseEstimate(pose, np.eye(6)), 'a.png: here')
    with Image.open(file) as opened:
        image, rendering = np.split(np.asarray(opened, float)[:120], 2, axis=1)
    assert np.corrcoef(image.ravel(), rendering.ravel())[0, 1] > 0.6


def test_inliers_are_drawn_where_the_landmarks_are_in_the_rendering(
    small_map: Map, tmp_path: Path
) -> None:
    pose = walk(37)[3]
    rgb, _ = render_box_room(pose, CAMERA)
    points = transform_points(pose, CAMERA.unproject(np.array([[30.0, 40.0]]), np.array([2.0])))
    found = Diagnostics(
        refined_pose=pose, inlier_points=points, inlier_pixels=np.array([[33.0, 40.0]])
    )
    pictures = PosePictures(tmp_path, small_map)
    plain, marked = (
        pictures.add('a', rgb, CAMERA, PoseEstimate(pose, np.eye(6), diagnostics), '')
        for diagnostics in (Diagnostics(), found)
    )
    with Image.open(plain) as first, Image.open(marked) as second:
        difference = np.abs(np.asarray(first, float) - np.asarray(second, float)).max(2)
    changed = np.argwhere(difference > 60)
    image, rendering = (changed[(changed[:, 1] < 160) == is_left] for is_left in (True, False))
    assert image.mean(0) == pytest.approx([40, 33], abs=1)
    assert rendering.mean(0) == pytest.approx([40, 160 + 30], abs=1)
