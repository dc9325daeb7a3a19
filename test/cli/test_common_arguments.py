"""The settings of ``localize`` and ``evaluate``: of the command line, the file and the map."""

import argparse
from pathlib import Path

from command_line import write_map
import pytest

from nerf_reversal_ros.cli.common_arguments import query_config
from nerf_reversal_ros.core.errors import ConfigError, MapError


def query_arguments(**options: object) -> argparse.Namespace:
    return argparse.Namespace(**{'device': None, 'config': None, **options})


def test_a_bag_is_read_with_the_topics_of_the_mapping_bag(tmp_path: Path) -> None:
    map_ = write_map(tmp_path / 'm', config={'capture': {'image_topic': '/cam'}})
    config = query_config(map_, query_arguments(device='cpu'))
    assert config.capture.image_topic == '/cam'
    assert config.localizer.device == 'cpu'


def test_a_settings_file_overrides_the_map(tmp_path: Path) -> None:
    map_ = write_map(tmp_path / 'm', config={'capture': {'image_topic': '/cam'}})
    settings = tmp_path / 'query.yaml'
    settings.write_text('capture: {image_topic: /other}\nlocalizer: {max_std_m: 0.1}')
    config = query_config(map_, query_arguments(config=settings))
    assert config.capture.image_topic == '/other'
    assert config.localizer.max_std_m == 0.1
    settings.write_text('localiser: {}')
    with pytest.raises(ConfigError, match='did you mean localizer'):
        query_config(map_, query_arguments(config=settings))
    settings.write_text('capture: 5')
    with pytest.raises(ConfigError, match=r'capture must hold names and values, got 5'):
        query_config(map_, query_arguments(config=settings))
    settings.write_text('localizer: fast')
    with pytest.raises(ConfigError, match=r"localizer must hold names and values, got 'fast'"):
        query_config(map_, query_arguments(config=settings, device='cpu'))


def test_empty_sections_of_settings_change_nothing(tmp_path: Path) -> None:
    map_ = write_map(tmp_path / 'm', config={'capture': {'image_topic': '/cam'}})
    settings = tmp_path / 'query.yaml'
    settings.write_text('capture:\nlocalizer:\n')
    assert query_config(map_, query_arguments(config=settings)) == query_config(
        map_, query_arguments()
    )


def test_unknown_settings_of_a_map_are_an_error(tmp_path: Path) -> None:
    map_ = write_map(tmp_path / 'm', config={'capture': {'picture_topic': '/cam'}})
    with pytest.raises(MapError, match=r'settings unknown here: unknown setting capture\.picture'):
        query_config(map_, query_arguments())
