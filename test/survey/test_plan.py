"""A plan is checked before anything is built; each defect is one sentence."""

import shutil

from command_line import write_map
import numpy as np
import pytest

from nerf_reversal_ros.core.errors import ConfigError, MapError
from nerf_reversal_ros.survey.plan import read_plan


@pytest.fixture
def folder(tmp_path, room_bags):
    """Return a folder with two bags, which a plan beside them names."""
    for name in ('hall', 'lab'):
        shutil.copytree(room_bags / name, tmp_path / 'bags' / name)
    return tmp_path


def plan_of(folder, text):
    (folder / 'plan.yaml').write_text(text)
    return read_plan(folder / 'plan.yaml')


def test_a_room_has_the_settings_of_the_plan_under_its_own(folder):
    plan = plan_of(
        folder,
        """
settings: {field: {steps: 7, voxel_m: 0.05}, seed: 3}
device: cpu
resources: {cpus: 4, memory_gb: 2}
rooms:
  hall: bags/hall
  lab:
    bags: [bags/lab]
    settings: {field: {steps: 9}}
    placement: 1 2 0 90
    resources: {gpus: 1}
""",
    )
    hall, lab = plan.rooms
    assert hall.bags == (folder / 'bags/hall',) and hall.building_from_room is None
    assert (hall.config.field.steps, hall.config.seed, hall.device) == (7, 3, 'cpu')
    assert (lab.config.field.steps, lab.config.field.voxel_m, lab.config.seed) == (9, 0.05, 3)
    assert (lab.resources.cpus, lab.resources.gpus, hall.resources.gpus) == (4, 1.0, 0.0)
    np.testing.assert_allclose(lab.building_from_room @ [1, 0, 0, 1], [1, 3, 0, 1], atol=1e-12)


def test_a_folder_of_bags_is_a_plan(folder):
    (folder / 'bags' / 'notes').mkdir()
    mcap = next((folder / 'bags/lab').glob('*.mcap'))
    shutil.copy(mcap, folder / 'bags' / 'office.mcap')
    plan = read_plan(folder / 'bags')
    assert [room.name for room in plan.rooms] == ['hall', 'lab', 'office']


def test_a_room_can_be_a_map(folder):
    write_map(folder / 'old.map')
    (room,) = plan_of(folder, 'rooms: {old: {map: old.map}}').rooms
    assert (room.map_dir, room.bags) == (folder / 'old.map', ())


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('rooms: {hall: bags/gone}', r'bags/gone of rooms.hall does not exist: correct it'),
        ('rooms: {hall: plan.yaml}', 'of rooms.hall is not a bag'),
        ('rooms: {hall: bags/hall, hall: bags/lab}', 'hall is in line 1 and again in line 1'),
        ('rooms: {hall: bags/hall, Hall: bags/lab}', 'two rooms are named hall and Hall'),
        ('rooms: {a b: bags/hall}', "'a b' cannot be the name of a room"),
        ('rooms: {map: bags/hall}', "'map' cannot be the name of a room"),
        ('rooms: {1: bags/hall}', 'room 1 is not named by a text'),
        ('rooms: {hall: bags/hall, lab: bags/hall}', 'named by two rooms, hall and lab'),
        ('rooms: {hall: {bagg: x}}', r'unknown setting rooms.hall.bagg: did you mean bag'),
        ('rooms: {hall: {bag: bags/hall, map: x}}', 'needs one of bag, bags and map, got 2'),
        ('rooms: {hall: {placement: 0 0 0 0}}', 'needs one of bag, bags and map, got 0'),
        ('rooms: {hall: {bags: 3}}', 'the bags of rooms.hall must be paths, got 3'),
        ('rooms: {hall: {bags: [bags/hall, bags/hall]}}', 'names one bag twice'),
        ('rooms: {hall: {bag: bags/hall, placement: 1 2}}', 'must be four numbers'),
        ('rooms: {hall: {bag: bags/hall, field: mesh}}', "field of rooms.hall must be .* 'mesh'"),
        ('rooms: {hall: {bag: bags/hall, device: tpu}}', "device of rooms.hall .* 'tpu'"),
        ('rooms: {hall: 7}', 'rooms.hall must be a bag, or hold names and values, got 7'),
        ('rooms: [hall]', r"rooms of the plan .* got \['hall'\]"),
        ('room: {hall: bags/hall}', 'unknown setting .*room: did you mean rooms'),
        ('settings: {seed: 1}', 'has no rooms: write under rooms'),
        ('{rooms: {hall: bags/hall}, settings: {fild: 1}}', 'rooms.hall: unknown setting fild'),
        ('{rooms: {hall: bags/hall}, settings: 3}', 'settings of rooms.hall must hold'),
        ('{rooms: {hall: bags/hall}, resources: {cpus: -1}}', 'cpus must be >= 0, got -1'),
        ('{rooms: {hall: {bag: bags/hall, resources: 3}}}', 'rooms.hall.resources must hold'),
    ],
)
def test_a_defect_of_a_plan_is_named(folder, text, message):
    with pytest.raises(ConfigError, match=message):
        plan_of(folder, text)


def test_a_map_that_is_none_and_one_that_is_unfinished_are_refused(folder):
    with pytest.raises(MapError, match=r'map of rooms.hall: .*bags/hall is not a map'):
        plan_of(folder, 'rooms: {hall: {map: bags/hall}}')
    write_map(folder / 'first.map', {'stage': 'first'})
    with pytest.raises(MapError, match=r'first.map of rooms.hall is unfinished'):
        plan_of(folder, 'rooms: {hall: {map: first.map}}')


def test_a_path_that_is_no_plan_is_refused(folder):
    (folder / 'empty').mkdir()
    for path, message in (
        (folder / 'none.yaml', 'there is no plan at'),
        (folder / 'empty', 'holds no bags'),
        (folder / 'bags' / 'hall', 'is one bag'),
    ):
        with pytest.raises(ConfigError, match=message):
            read_plan(path)


def test_the_settings_of_a_plan_are_those_of_a_build(folder):
    text = '{settings: {capture: {max_depth_m: 4}}, rooms: {hall: bags/hall}}'
    assert plan_of(folder, text).rooms[0].config.capture.max_depth_m == 4.0
