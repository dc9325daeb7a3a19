"""The coverage of a map says where views of the field are localized."""

import numpy as np
import pytest
from rooms import walk

from nerf_reversal_ros.core.errors import MapError
from nerf_reversal_ros.core.outcome import Rejection, RejectionReason
from nerf_reversal_ros.fields.base import Occupancy
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.localization.coverage import Coverage
from nerf_reversal_ros.localization.coverage_measurement import free_places, measure_coverage
from nerf_reversal_ros.maps.map_folder import FIELD_FILE


@pytest.fixture(scope='module')
def field(small_map):
    return VoxelField.load(small_map.file(FIELD_FILE))


def test_places_are_free_at_the_height_of_the_walk_and_as_many_as_wanted(small_map, field):
    places = free_places(field, small_map.mapping_poses, 30)
    assert 15 <= len(places) <= 30
    assert np.all(field.occupancy(places) == Occupancy.FREE)
    assert np.ptp(places[:, 2]) == 0
    assert places[0, 2] == pytest.approx(np.median(small_map.mapping_poses[:, 2, 3]))


def test_views_from_the_walk_are_localized_and_what_is_rejected_is_not(
    small_map, field, small_localizer
):
    class Blind:
        def localize(self, rgb, camera, *, expected_pose=None):
            return Rejection(RejectionReason.LOW_CONTRAST)

    places = walk(48)[:2, :3, 3]
    camera = small_map.capture_camera
    (seen,) = measure_coverage(field, small_localizer, camera, places[:1], headings=4)
    first, blind = measure_coverage(field, Blind(), camera, places, headings=2)
    assert (len(first), len(blind)) == (1, 2)
    np.testing.assert_array_equal(blind.positions_m, places)
    assert seen.localized[0] >= 0.5 and 0.0 < seen.std_m[0] < 0.05
    assert blind.localized.tolist() == [0.0, 0.0] and np.isnan(blind.std_m).all()


def test_what_is_kept_is_read_again(tmp_path):
    places = np.array([[1000.0, 2.0, 3.0], [1001.0, 2.5, 3.0]])
    coverage = Coverage(places, np.array([0.25, 0.0]), np.array([0.01, np.nan]))
    file = tmp_path / 'coverage.safetensors'
    file.write_bytes(coverage.encode())
    loaded = Coverage.load(file)
    np.testing.assert_allclose(loaded.positions_m, places, atol=1e-6)
    np.testing.assert_array_equal(loaded.localized, coverage.localized)
    np.testing.assert_allclose(loaded.std_m, coverage.std_m, atol=1e-6)
    file.write_bytes(b'12345678')
    with pytest.raises(MapError, match='is not the coverage of a map'):
        Coverage.load(file)


def test_colors_go_from_red_to_green():
    places = np.zeros((3, 3))
    colors = Coverage(places, np.array([0.0, 0.5, 1.0]), np.zeros(3)).colors()
    assert colors.tolist() == [[200, 40, 40], [240, 210, 60], [40, 160, 70]]
