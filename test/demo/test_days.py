"""The demo room on other days: what changes, and that all else stays. No Mitsuba is needed."""

from copy import copy

import numpy as np
import pytest
from scipy.spatial import cKDTree

from demo.days import COMBINED, day_spec, DAYS, move_the_sofa
from demo.rearranging import center, changed_parts, kind, take_away
from demo.rooms.demo_room import SPEC


@pytest.fixture(scope='module')
def ever():
    return SPEC.build()


@pytest.fixture(scope='module')
def changed():
    """Return the room of the day on which everything changes."""
    return day_spec('all').build()


def test_a_day_changes_what_it_says_and_nothing_else(ever, changed):
    gone, came = changed_parts(ever, changed)
    kinds = {kind(part) for part in gone + came}
    assert {'sofa', 'chair', 'table', 'screen', 'tv', 'door', 'person', 'book'} <= kinds
    assert not kinds & {'wall', 'floor', 'ceiling', 'window', 'shelf', 'desk', 'cupboard', 'rug'}
    assert len({part.key for part in changed.parts}) == len(changed.parts)
    small = {'book', 'mug', 'paper', 'magazine', 'fruit', 'bowl', 'vase', 'photo', 'box'}
    count = sum(kind(part) in small for part in ever.parts)
    kept = {part.key for part in changed.parts}
    lost = sum(kind(part) in small and part.key not in kept for part in ever.parts)
    assert lost / count == pytest.approx(1 / 3, abs=0.1)


def test_the_sofa_moves_with_everything_on_it(ever):
    room = copy(ever)  # parts are never changed in place
    move_the_sofa(room)
    gone, came = changed_parts(ever, room)
    assert {kind(part) for part in gone} == {'sofa', 'pillow', 'throw'}
    before = {part.key: center(part) for part in gone}
    for part in came:
        assert center(part) - before[part.key] == pytest.approx([0.3, 0.05, 0.0])


def test_the_camera_keeps_clear_of_all_things_of_the_fullest_day(changed):
    things = cKDTree(np.concatenate([part.mesh.vertices for part in changed.parts]))
    for recording in day_spec('all').recordings.values():
        positions = recording.trajectory().room_from_camera[:, :3, 3]
        assert things.query(positions)[0].min() > 0.3


def test_each_day_has_walks_of_its_own_and_names_the_lights_of_the_room(ever):
    lights = {kind(part) for part in ever.parts if part.is_light} | {'sun'}
    seeds = [
        recording.path_seed
        for spec in map(day_spec, DAYS)
        for recording in spec.recordings.values()
    ]
    assert len(set(seeds)) == len(seeds)
    for name in DAYS:
        for recording in day_spec(name).recordings.values():
            assert recording.lighting.keys() == lights
    assert set(COMBINED) < DAYS.keys() and len(DAYS) - len(COMBINED) >= 6


def test_what_is_not_there_cannot_be_taken_away(ever):
    with pytest.raises(AssertionError, match='nothing to take away'):
        take_away(ever, lambda part: kind(part) == 'piano')
