"""An image finds its room among the views of all rooms."""

from dataclasses import replace
from pathlib import Path
import shutil

import numpy as np
import pytest
from rooms import walk
import safetensors.numpy
from small_map import CAMERA
from twin_rooms import render_without

from nerf_reversal_ros.building.view_descriptors import ViewIndex
from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.localization.atlas import Atlas
from nerf_reversal_ros.localization.matching import make_query
from nerf_reversal_ros.maps.building_folder import Building
from nerf_reversal_ros.maps.map_folder import Map


@pytest.fixture(scope='module')
def index(flat: Building) -> ViewIndex:
    """Return the view descriptors of the building, as they were written."""
    return ViewIndex.load(flat.views_file)


def keypoints(number: int, without: int) -> np.ndarray:
    """Return the descriptors of an image of a twin."""
    return make_query(render_without(walk(37)[number], CAMERA, without), CAMERA).keypoints[2]


@pytest.mark.parametrize('number', [2, 11, 20, 29])
def test_an_image_ranks_its_room_and_the_twin_before_another_room(
    index: ViewIndex, number: int
) -> None:
    scores = index.rank(keypoints(number, without=0))
    assert {score.name for score in scores[:2]} == {'east', 'west'}
    assert scores[2].name == 'hall' and scores[2].score < scores[1].score


def test_the_most_similar_view_looks_the_same_way(index: ViewIndex, room_maps: dict) -> None:
    poses = walk(37)[[2, 11, 20, 29]]
    turned_deg = []
    for number, pose in zip((2, 11, 20, 29), poses, strict=True):
        best = index.rank(keypoints(number, without=0))[0]
        assert index.names[index.rooms[best.view]] == best.name
        seen = room_maps[best.name].mapping_poses[index.frames[best.view]]
        turned_deg.append(np.degrees(np.arccos(np.clip(seen[:3, 2] @ pose[:3, 2], -1, 1))))
    assert np.median(turned_deg) < 25


def test_the_file_keeps_the_order_in_fewer_bytes(
    index: ViewIndex, room_maps: dict, flat: Building, tmp_path: Path
) -> None:
    built = ViewIndex.build(room_maps)
    (tmp_path / 'views.safetensors').write_bytes(built.to_bytes())
    read = ViewIndex.load(tmp_path / 'views.safetensors')
    assert built.to_bytes() == flat.views_file.read_bytes()  # of the same maps and seed
    assert len(built.to_bytes()) < 0.7 * built.nbytes
    for number in (5, 23):
        before, after = (i.rank(keypoints(number, 1)) for i in (built, read))
        assert [score.name for score in before] == [score.name for score in after]
        np.testing.assert_allclose([s.score for s in before], [s.score for s in after], atol=0.01)


def test_an_image_without_keypoints_ranks_all_rooms_alike(index: ViewIndex) -> None:
    scores = index.rank(np.empty((0, 128), np.float32))
    assert [score.score for score in scores] == [0.0, 0.0, 0.0]


def test_one_room_alone_is_ranked(small_map: Map) -> None:
    (score,) = ViewIndex.build({'only': small_map}).rank(keypoints(3, 0))
    assert score.name == 'only' and score.score > 0


def test_rooms_without_landmarks_are_ranked_nowhere(small_map: Map, tmp_path: Path) -> None:
    bare = tmp_path / 'bare.map'
    shutil.copytree(small_map.path, bare)
    atlas = Atlas.load(bare / 'atlas.safetensors')
    names = ('points', 'directions', 'distances', 'sizes', 'views', 'descriptors')
    empty = {name: getattr(atlas, name)[:0] for name in names}
    replace(atlas, **empty).save(bare / 'atlas.safetensors')
    maps = {'bare': Map(bare, small_map.manifest), 'room': small_map}
    ranked = ViewIndex.build(maps).rank(keypoints(3, 0))
    assert [score.name for score in ranked] == ['room']
    (tmp_path / 'none').write_bytes(ViewIndex.build({'bare': maps['bare']}).to_bytes())
    assert ViewIndex.load(tmp_path / 'none').rank(keypoints(3, 0)) == []


@pytest.mark.parametrize(
    'change',
    [
        lambda arrays: arrays.update(words=arrays['words'][:-1]),
        lambda arrays: arrays.update(rooms=arrays['rooms'] + 5),
        lambda arrays: arrays.update(vectors=arrays['vectors'][:, :-1]),
        lambda arrays: arrays.update(words=arrays['words'] * np.nan),
        lambda arrays: arrays.pop('frames'),
    ],
)
def test_malformed_arrays_are_told(change, flat: Building, tmp_path: Path) -> None:
    with safetensors.safe_open(flat.views_file, 'numpy') as file:
        metadata = file.metadata()
    arrays = safetensors.numpy.load_file(flat.views_file)
    change(arrays)
    safetensors.numpy.save_file(arrays, tmp_path / 'views.safetensors', metadata)
    with pytest.raises(MapError, match=r'views\.safetensors are malformed'):
        ViewIndex.load(tmp_path / 'views.safetensors')


def test_another_version_and_no_file_are_told(flat: Building, tmp_path: Path) -> None:
    arrays = safetensors.numpy.load_file(flat.views_file)
    safetensors.numpy.save_file(arrays, tmp_path / 'views', {'format': 'view descriptors 9'})
    for name, problem in (('views', "'view descriptors 9', not"), ('none', 'none are malformed')):
        with pytest.raises(MapError, match=problem):
            ViewIndex.load(tmp_path / name)
