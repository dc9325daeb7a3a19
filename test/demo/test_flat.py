"""The flat of the renderer: its plan, its rooms and the walks through it. No Mitsuba is needed."""

from functools import cache
from itertools import combinations

import numpy as np
import pytest
from scipy.spatial import cKDTree

from demo.building import add_shell, Opening
from demo.flat.furnishing import furnish_room
from demo.flat.layout import lay_out, overlap
from demo.flat.merging import merge
from demo.flat.plan import CORRIDOR, FloorPlan, plan_flat, Space, WALL_M
from demo.flat.recordings import PAIR, plan, specify, worlds
from demo.flat.truth import describe
from demo.room import Part, Room
from demo.shapes import box, panel
from demo.specification import RoomSpec
from demo.trajectories import Trajectory
from nerf_reversal_ros.core.geometry import inverse, transform_points

FLATS = [(PAIR, 1), (4, 1), (8, 1), (8, 2), (11, 3)]
"""Numbers of rooms, and seeds."""
WALKED = [(PAIR, 1), (8, 1)]
"""Those whose walks are followed."""
CLEARANCE_M = 0.15
"""The camera is not nearer to a thing: else it would see into it."""


@cache
def drawn(rooms: int, seed: int) -> tuple[FloorPlan, RoomSpec]:
    """Return a plan and its recordings, computed once for all tests."""
    flat = plan(rooms, seed)
    return flat, specify(flat)


@cache
def walked(rooms: int, seed: int) -> dict[str, Trajectory]:
    """Return the true poses of all recordings, computed once for all tests."""
    recordings = drawn(rooms, seed)[1].recordings
    return {name: recording.trajectory() for name, recording in recordings.items()}


def positions(rooms: int, seed: int, name: str) -> np.ndarray:
    """Return the camera positions (N, 3) of a recording in the flat."""
    return walked(rooms, seed)[name].room_from_camera[:, :3, 3]


def floor(space: Space) -> tuple[float, float, float, float]:
    return *space.low_m, *space.high_m


@pytest.mark.parametrize('rooms, seed', FLATS)
def test_rooms_do_not_overlap_and_have_walls_between_them(rooms, seed):
    flat, _ = drawn(rooms, seed)
    assert len(flat.rooms) == rooms
    for one, other in combinations(flat.spaces, 2):
        assert not overlap(floor(one), floor(other))
        gap = np.maximum(np.array(floor(one)[:2]), floor(other)[:2]) - np.minimum(
            np.array(floor(one)[2:]), floor(other)[2:]
        )
        assert gap.max() > WALL_M - 1e-6


@pytest.mark.parametrize('rooms, seed', FLATS)
def test_a_door_leads_through_the_wall_between_its_two_spaces(rooms, seed):
    flat, _ = drawn(rooms, seed)
    assert {door.rooms[0] for door in flat.doors} | {flat.doors[0].rooms[1]} == {
        space.name for space in flat.spaces
    }
    half = Opening(0.0).width / 2
    for door in flat.doors:
        for side in (-half, half):
            jamb = np.array([[door.center_m[0] + side, door.center_m[1], 0.0]])
            for name in door.rooms:
                assert flat.space(name).distance_m(jamb) == pytest.approx([WALL_M / 2])


def test_the_same_seed_gives_the_same_flat_and_another_seed_another():
    assert plan_flat(8, 1) == plan_flat(8, 1)
    assert plan_flat(8, 1) != plan_flat(8, 2)
    flat = plan_flat(8, 1)
    layouts, walks = [], []
    for _ in range(2):
        lay_out.cache_clear()
        layouts.append([lay_out(space) for space in flat.rooms])
        walks.append(specify(flat).recordings['test_1'].trajectory().room_from_camera)
    assert layouts[0] == layouts[1]
    assert (walks[0] == walks[1]).all()


def test_a_flat_has_room_for_twins():
    with pytest.raises(ValueError, match='a flat has 4 rooms or more, not 3'):
        plan_flat(3, 1)


@pytest.mark.parametrize('rooms, seed', FLATS[1:])
def test_rooms_differ_except_for_one_pair_of_twins(rooms, seed):
    flat, _ = drawn(rooms, seed)
    twins = [space for space in flat.rooms if space.twin]
    assert [space.twin for space in twins] == [twins[1].name, twins[0].name]
    assert twins[0].size_m == twins[1].size_m and twins[0].is_turned == twins[1].is_turned
    assert lay_out(twins[0]) == lay_out(twins[1])
    assert len({space.seed for space in flat.spaces}) == rooms  # with the corridor, less a twin
    assert len({space.marks_seed for space in flat.spaces}) == rooms + 1


def test_twins_are_drawn_alike_but_for_a_picture_vases_and_a_box():
    twins = [space for space in plan_flat(8, 1).rooms if space.twin]
    parts = []
    for space in twins:
        room = Room(space.size_m, space.seed)
        furnish_room(room, space)
        parts.append(room.parts)

    def is_same(one: Part, other: Part) -> bool:
        same_mesh = np.array_equal(one.mesh.vertices, other.mesh.vertices)
        return same_mesh and np.array_equal(one.material, other.material)

    alike = [is_same(one, other) for one, other in zip(*parts, strict=False)]
    first = alike.index(False)
    assert all(alike[:first]) and first > 50
    different = {part.key.rsplit('_', 1)[0] for some in parts for part in some[first:]}
    assert different == {'poster', 'vase', 'parcel'}


@pytest.mark.parametrize('rooms, seed', WALKED)
def test_walks_stay_on_free_floor_and_go_through_the_doors(rooms, seed):
    flat, spec = drawn(rooms, seed)
    door_half = Opening(0.0).width / 2 - 0.2
    for name in spec.recordings:
        walk = positions(rooms, seed, name)
        names = np.array(flat.names_at(walk))
        for space in flat.spaces:
            own = transform_points(inverse(space.flat_from_room), walk[names == space.name])
            (x, y), (wide, deep, _) = own[:, :2].T, space.size_m
            inside = (np.minimum(x, wide - x) > 0.25) & (np.minimum(y, deep - y) > 0.25)
            if space.kind == CORRIDOR:
                doors = [door.center_m[0] - space.low_m[0] for door in flat.doors]
                passes = np.abs(x[:, None] - doors).min(axis=1) < door_half
            else:
                passes = np.abs(x - space.door_m) < door_half
                for placed in lay_out(space).furniture:
                    x0, y0, x1, y1 = placed.covers
                    on_it = (x > x0 - 0.1) & (x < x1 + 0.1) & (y > y0 - 0.1) & (y < y1 + 0.1)
                    assert not on_it.any()
            assert (inside | passes).all()


@pytest.mark.parametrize('rooms, seed', WALKED)
def test_mapping_walks_look_out_of_their_door_and_test_walks_visit_every_room(rooms, seed):
    flat, spec = drawn(rooms, seed)
    for space in flat.rooms:
        names = flat.names_at(positions(rooms, seed, space.name))
        assert names[0] == names[-1] == space.name
        neighbor = next(door.rooms for door in flat.doors if space.name in door.rooms)
        assert set(names) == set(neighbor)
        assert 0.5 < names.count(space.name) / len(names) < 0.9
    tests = [name for name in spec.recordings if name.startswith('test')]
    visited = [set(flat.names_at(positions(rooms, seed, name))) for name in tests]
    assert set.union(*visited) == {space.name for space in flat.spaces}
    assert min(map(len, visited)) >= 2


@pytest.fixture(scope='module')
def pair() -> Room:
    """Return the two rooms, furnished."""
    return drawn(PAIR, 1)[1].build()


def test_the_camera_keeps_clear_of_all_things(pair):
    things = cKDTree(np.concatenate([part.mesh.vertices for part in pair.parts]))
    for name in drawn(PAIR, 1)[1].recordings:
        distance_m, _ = things.query(positions(PAIR, 1, name))
        assert distance_m.min() > CLEARANCE_M


def test_the_walls_hold_everything_and_all_lights_are_named(pair):
    _, spec = drawn(PAIR, 1)
    vertices = np.concatenate([part.mesh.vertices for part in pair.parts])
    assert (vertices > -0.05).all() and (vertices < np.array(spec.size_m) + 0.05).all()
    lights = {part.key.rsplit('_', 1)[0] for part in pair.parts if part.is_light}
    for recording in spec.recordings.values():
        assert recording.lighting.keys() == lights


def test_the_truth_names_the_world_of_each_walk_and_the_room_of_each_test_image():
    (flat, _), walks = drawn(8, 1), walked(8, 1)
    truth = describe(flat, walks, worlds(flat, walks), every=1)
    for space in flat.spaces:
        walk = walks[space.name].room_from_camera
        world_from_flat = np.array(truth['rooms'][space.name]['world_from_flat'])
        start = transform_points(world_from_flat, walk[0, :3, 3])
        assert start == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)
    images = sum(len(test['frames']) for test in truth['tests'].values())
    assert images >= 300
    twins = [name for name, room in truth['rooms'].items() if room['twin']]
    rooms = [frame['room'] for test in truth['tests'].values() for frame in test['frames']]
    assert all(rooms.count(name) >= 15 for name in twins)


def test_a_wall_is_cut_at_its_doors_and_its_paint_goes_on():
    room = Room((4.0, 3.0, 2.5), seed=1)
    ramp = np.tile(np.arange(200, dtype=np.uint8)[None, :, None], (50, 1, 3))
    walls = dict.fromkeys(('south', 'north', 'west', 'east'), ramp)
    doors = [Opening(3.0), Opening(1.0)]
    add_shell(room, ramp, walls, skirting=(0.1, 0.1, 0.1), openings={'south': doors})
    pieces = [part.mesh for part in room.parts if part.key.startswith('wall')]
    south = [mesh for mesh in pieces if mesh.vertices[:, 1].max() < 1e-6]
    sizes = [np.ptp(mesh.vertices, axis=0) for mesh in south]
    area = sum(size[0] * size[2] for size in sizes)
    assert area == pytest.approx(4.0 * 2.5 - 2 * doors[0].width * doors[0].height)
    for mesh in south:  # seen from inside, the texture runs from east to west
        assert mesh.uv[:, 0] == pytest.approx(1 - mesh.vertices[:, 0] / 4.0)
        assert mesh.uv[:, 1] == pytest.approx(mesh.vertices[:, 2] / 2.5)
    strips = [part.mesh.vertices for part in room.parts if part.key.startswith('skirting')]
    low = [vertices for vertices in strips if vertices[:, 1].max() < 0.1]
    assert sorted(round(np.ptp(vertices[:, 0]), 2) for vertices in low) == [0.55, 0.55, 1.1]


def colors(part: Part) -> np.ndarray:
    """Return the color of a part in the middle of each triangle (M, 3), sRGB."""
    if not isinstance(part.material, np.ndarray):
        linear = np.array(part.material)
        srgb = 255 * (1.055 * linear ** (1 / 2.4) - 0.055)
        return np.broadcast_to(srgb, (len(part.mesh.triangles), 3))
    uv = part.mesh.uv[part.mesh.triangles].mean(axis=1)
    height, width = part.material.shape[:2]
    column, row = np.floor(uv * (width, height)).astype(int).T
    return part.material[height - 1 - row % height, column % width]


def test_parts_that_are_joined_look_as_before():
    room, rng = Room((4.0, 3.0, 2.5), seed=1), np.random.default_rng(1)
    stripes = [np.repeat(rng.integers(0, 255, (3, 4, 3), np.uint8), 20, axis=1) for _ in range(3)]
    for number, material in enumerate([*stripes, (0.2, 0.5, 0.1), (0.7, 0.1, 0.4)]):
        room.add('thing', panel(0.5, 0.5).translate(number, 1.0, 1.0), material)
    room.add('repeated', box(0.5, 0.5, 0.5, 0.3, 4).translate(1.0, 2.0), stripes[0])
    room.add('vase', panel(0.2, 0.2).translate(3.0, 2.0, 1.0), stripes[1], gloss=1.0)
    room.add('lamp_desk', panel(0.2, 0.2), (0.8, 0.8, 0.8), light=True)
    merged = merge(room)
    assert len(merged.parts) == 4
    assert [part.key.rsplit('_', 1)[0] for part in merged.parts if part.is_light] == ['lamp_desk']
    assert [part.gloss for part in merged.parts if part.key.startswith('vase')] == [1.0]

    def middles_and_colors(some: Room) -> np.ndarray:
        rows = [
            np.column_stack([p.mesh.vertices[p.mesh.triangles].mean(axis=1), colors(p)])
            for p in some.parts
        ]
        table = np.concatenate(rows)
        return table[np.lexsort(table[:, :3].round(6).T)]

    assert middles_and_colors(merged) == pytest.approx(middles_and_colors(room), abs=1.0)
