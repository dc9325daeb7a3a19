"""The heat map says where views of the field are localized."""

import numpy as np
import pytest
from rooms import walk

from nerf_reversal_ros.core.outcome import Rejection, RejectionReason
from nerf_reversal_ros.fields.base import Occupancy
from nerf_reversal_ros.fields.voxel import VoxelField
from nerf_reversal_ros.maps.map_folder import FIELD_FILE
from nerf_reversal_ros.view.coverage import covered_places, free_places
from nerf_reversal_ros.view.coverage_panel import coverage_colors, coverage_text


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

    center = walk(48)[:1, :3, 3]
    camera = small_map.capture_camera
    (seen,) = covered_places(field, small_localizer, camera, center, headings=4)
    (blind,) = covered_places(field, Blind(), camera, center, headings=4)
    assert seen.localized >= 0.5 and len(seen.stds_m) == 4 * seen.localized
    assert max(seen.stds_m) < 0.05
    assert blind.localized == 0 and blind.stds_m == ()
    text = coverage_text([seen, blind], 7)
    assert text.startswith(
        f'2 of 7 places: {seen.localized / 2:.0%} of the views are localized, h'
    )
    assert coverage_text([blind], 1) == '1 of 1 places: 0% of the views are localized'


def test_colors_go_from_red_to_green():
    assert coverage_colors(np.array([0.0, 1.0])).tolist() == [[200, 40, 40], [40, 160, 70]]
