"""Bags are read in any layout; missing topics and damage are reported with a remedy."""

import numpy as np
import pytest
from room_bags import DEPTH, IMAGE, INFO, POSE, write_room_bag, Z_UP

from nerf_reversal_ros.capture.open_capture import open_capture
from nerf_reversal_ros.core import remedies
from nerf_reversal_ros.core.capture_config import CaptureConfig
from nerf_reversal_ros.core.errors import CaptureError


@pytest.mark.parametrize(
    ('setting', 'topics', 'alternative'),
    [
        ('image_topic', f'{DEPTH} (CompressedImage), {IMAGE} (CompressedImage)', ''),
        (
            'depth_topic',
            f'{DEPTH} (CompressedImage), {IMAGE} (CompressedImage)',
            ', or to nothing, to go without depth',
        ),
        (
            'camera_info_topic',
            f'{INFO} (CameraInfo)',
            f', or {remedies.CALIBRATION}',
        ),
        ('pose_topic', f'{POSE} (PoseStamped)', ''),
    ],
)
def test_a_missing_topic_is_rejected_with_those_of_its_type(
    room_bag, setting, topics, alternative
):
    with pytest.raises(CaptureError) as caught:
        open_capture(room_bag, CaptureConfig(**{setting: '/nowhere'}))
    remedy = remedies.TOPIC.format(setting=setting, topics=topics)
    assert str(caught.value).endswith(f'no topic /nowhere: {remedy}{alternative}')
    topic = topics.split(' (')[0] if setting != 'image_topic' else IMAGE
    assert open_capture(room_bag, CaptureConfig(**{setting: topic})).has_depth


def test_a_bag_without_any_topic_of_the_type_says_so(edit_bag):
    bag = edit_bag(lambda topic, item, _: [] if topic == INFO else [(topic, item)])
    with pytest.raises(CaptureError, match='it has none of type CameraInfo, record one, or give'):
        open_capture(bag, Z_UP)


def test_a_topic_of_another_type_is_rejected(room_bag):
    with pytest.raises(CaptureError, match='holds CameraInfo, but must hold PoseStamped or'):
        open_capture(room_bag, CaptureConfig(pose_topic=INFO))


def test_an_empty_bag_is_rejected(edit_bag):
    with pytest.raises(CaptureError, match='is empty'):
        open_capture(edit_bag(lambda *_: []), Z_UP)


def test_random_damage_to_a_bag_raises_capture_errors_only(tmp_path, room_bag):
    data = next(room_bag.glob('*.mcap')).read_bytes()
    file = tmp_path / 'damaged.mcap'
    generator = np.random.default_rng(5)
    for _ in range(12):
        damaged = bytearray(data)
        for offset in generator.integers(0, len(data), 20):
            damaged[offset] = generator.integers(0, 256)
        file.write_bytes(damaged)
        try:
            assert len(list(open_capture(file, Z_UP))) <= 24
        except CaptureError:
            pass


@pytest.mark.parametrize('name', ['nothing', 'text.txt', 'folder'])
def test_a_path_that_is_no_bag_is_rejected(tmp_path, name):
    (tmp_path / 'text.txt').write_text('hello')
    (tmp_path / 'folder').mkdir()
    with pytest.raises(CaptureError, match=r'there is no bag at|is not a bag'):
        open_capture(tmp_path / name, Z_UP)


def test_a_folder_without_metadata_is_read_from_its_files(room_bag, tmp_path):
    """ros2 bag writes metadata.yaml last, so that a killed recording has none."""
    file = next(room_bag.glob('*.mcap'))
    (tmp_path / 'killed').mkdir()
    (tmp_path / 'killed' / file.name).write_bytes(file.read_bytes())
    assert len(open_capture(tmp_path / 'killed', Z_UP)) == 24
    assert len(open_capture(file, Z_UP)) == 24


def test_a_folder_named_like_a_bag_of_ros_1_is_read(tmp_path):
    """``nerf-reversal convert SOURCE kitchen.bag`` writes such a folder."""
    write_room_bag(tmp_path / 'walk.bag')
    assert len(open_capture(tmp_path / 'walk.bag', CaptureConfig())) > 0
