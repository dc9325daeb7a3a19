"""Rooms are loaded beside the work, within the limit, and without those that are damaged."""

from collections.abc import Iterator
from dataclasses import replace
import logging
from pathlib import Path
import time

import numpy as np
import pytest
from rooms import walk
from small_map import CAMERA
from twin_rooms import join_rooms, other_map, render_without

from nerf_reversal_ros.building.room_cache import MB, neighbors_of, RoomCache
from nerf_reversal_ros.core.config import LocalizerConfig
from nerf_reversal_ros.core.errors import ConfigError
from nerf_reversal_ros.core.memory import array_bytes
from nerf_reversal_ros.localization.localizer import Localizer
from nerf_reversal_ros.maps.building_folder import Building
from nerf_reversal_ros.maps.map_folder import Map

CONFIG = LocalizerConfig(device='cpu')


@pytest.fixture
def opened() -> Iterator:
    """Return what makes a cache that is closed after the test."""
    caches = []

    def open_cache(building: Building, limit_mb: float = 1000) -> RoomCache:
        caches.append(RoomCache(building, replace(CONFIG, memory_limit_mb=int(limit_mb))))
        return caches[-1]

    yield open_cache
    for cache in caches:
        cache.close()


@pytest.fixture(scope='module')
def row(small_map: Map, tmp_path_factory: pytest.TempPathFactory) -> Building:
    """Return a building of four rooms in a row, each linked with the next."""
    folder = tmp_path_factory.mktemp('row')
    maps = {f'r{n}': other_map(small_map, folder / f'r{n}.map', seed=n) for n in range(4)}
    links = [{'rooms': [f'r{n}', f'r{n + 1}'], 'taken': True} for n in range(3)]
    return join_rooms(folder / 'row', maps, links=links)


def wait_until(condition, seconds: float = 60.0) -> bool:
    """Wait for a condition; return whether it came true."""
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(condition())


def size_mb(building: Building, opened) -> float:
    """Return the size of one room in memory."""
    cache = opened(building)
    cache.localizer(next(iter(building.rooms)))
    return cache.nbytes / MB


def test_the_device_is_that_of_all_rooms(row: Building, opened) -> None:
    cache = opened(row)
    cache.localizer('r0')
    assert cache.device == 'cpu'
    cache.to('auto')
    localizers = [cache.localizer(name) for name in ('r0', 'r1')]
    assert [localizer.device for localizer in localizers] == [cache.device] * 2
    if cache.device == 'cpu':
        with pytest.raises(ConfigError, match='no usable GPU'):
            cache.to('cuda')
        assert cache.localizer('r2').device == 'cpu'


def test_the_size_is_that_of_the_arrays(small_localizer: Localizer) -> None:
    small_localizer.prepare()
    atlas, landmarks = small_localizer.atlas, small_localizer.refiner.landmarks_of_map
    arrays = atlas.descriptors.nbytes + atlas.points.nbytes + landmarks.descriptors.nbytes
    assert arrays < array_bytes(small_localizer) < 3 * arrays
    whole = np.zeros(1000)
    assert array_bytes([whole[:10], whole[5:], {'again': whole}]) == 8000


def test_a_room_is_loaded_once_and_localizes(flat: Building, opened) -> None:
    cache = opened(flat)
    east = cache.localizer('east')
    assert east is not None and cache.localizer('east') is east
    room = cache.room('east')
    assert room is not None and room.localizer is east
    assert cache.loaded == ['east'] and not cache.is_loading
    assert cache.nbytes == array_bytes(east) + room.seen_sides.nbytes
    assert east.localize(render_without(walk(37)[2], CAMERA, 0), CAMERA).diagnostics.scores


def test_the_caller_need_not_wait(flat: Building, opened) -> None:
    cache = opened(flat)
    assert cache.localizer('west', wait=False) is None
    assert wait_until(lambda: cache.loaded == ['west'])
    assert cache.localizer('west', wait=False) is not None


def test_the_least_recently_used_room_is_let_go(row: Building, opened) -> None:
    limit_mb = 4.5 * size_mb(row, opened)  # a room that is loaded counts with four times its file
    cache = opened(row, limit_mb)
    for name in ('r0', 'r1', 'r0', 'r2', 'r3'):
        assert cache.localizer(name) is not None
        assert cache.nbytes <= limit_mb * MB
    assert 'r3' in cache.loaded and 'r1' not in cache.loaded[1:]


def test_a_limit_below_one_room_keeps_one(row: Building, opened) -> None:
    cache = opened(row, 1)
    for name in ('r0', 'r1', 'r2'):
        assert cache.localizer(name) is not None and cache.loaded == [name]


def test_neighbors_are_loaded_and_stay_with_the_present_room(row: Building, opened) -> None:
    assert neighbors_of(row, 'r1') == ['r0', 'r2'] and neighbors_of(row, 'r3') == ['r2']
    cache = opened(row)
    cache.localizer('r1')
    cache.stay_in('r1')
    assert wait_until(lambda: {*cache.loaded} == {'r0', 'r1', 'r2'})


def test_the_present_room_stays_longest(row: Building, opened) -> None:
    cache = opened(row, 2.2 * size_mb(row, opened))
    cache.localizer('r0')
    cache.stay_in('r0')
    for name in ('r2', 'r3', 'r2'):
        cache.localizer(name)
    cache.stay_in('r3')
    cache.localizer('r3')
    assert 'r3' in cache.loaded and cache.nbytes <= cache._limit


def test_a_link_that_was_refused_makes_no_neighbor(flat: Building) -> None:
    assert neighbors_of(flat, 'east') == ['hall'] and neighbors_of(flat, 'west') == []


def test_a_damaged_room_is_told_once_and_the_others_go_on(
    small_map: Map, tmp_path: Path, opened, caplog: pytest.LogCaptureFixture
) -> None:
    maps = {name: other_map(small_map, tmp_path / name, seed=1) for name in ('good', 'bad')}
    building = join_rooms(tmp_path / 'flat', maps)
    with open(tmp_path / 'bad' / 'atlas.safetensors', 'r+b') as file:
        file.seek(2000)
        file.write(b'damaged')
    cache = opened(building)
    with caplog.at_level(logging.WARNING):
        assert cache.localizer('bad') is None and cache.localizer('bad') is None
    assert 'atlas.safetensors have changed' in cache.failures['bad']
    assert [r.getMessage()[:28] for r in caplog.records] == ['the room bad is left out: th']
    assert cache.localizer('good') is not None


def test_after_the_end_no_room_is_given(flat: Building) -> None:
    cache = RoomCache(flat, CONFIG)
    cache.localizer('east')
    cache.close()
    assert cache.loaded == [] and cache.localizer('east') is None


def test_what_an_earlier_image_wanted_is_not_loaded_any_more(row: Building, opened) -> None:
    cache = opened(row)
    names = ['r0', 'r1', 'r2', 'r3']
    for name in names[:3]:
        assert cache.room(name, wait=False) is None
    cache.forget_wanted()
    assert cache.room('r3', wait=False) is None
    assert wait_until(lambda: 'r3' in cache.loaded)
    assert {*cache.loaded} < {*names}  # of the others at most the one that had been begun
