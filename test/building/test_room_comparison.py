"""What decides between rooms that look alike, by counts as a rendered flat gives them."""

import pytest

from nerf_reversal_ros.building.room_comparison import RoomComparison, RoomEvidence


def evidence(
    found: int, shown: int, rate: float, similarity: float, elsewhere: float, pixels: int
) -> RoomEvidence:
    return RoomEvidence(found, shown, rate, similarity, elsewhere, pixels)


def compared(first: RoomEvidence, second: RoomEvidence) -> float:
    return RoomComparison(first, second, 0.1).lead


RIGHT = evidence(59, 325, 0.16, 0.81, 0.78, 263)
REFUTED = evidence(33, 232, 0.16, 0.36, 0.75, 717)


def test_the_room_whose_part_is_seen_leads_and_the_order_of_the_rooms_does_not_matter() -> None:
    lead = compared(RIGHT, REFUTED)
    assert lead > 1
    assert compared(REFUTED, RIGHT) == pytest.approx(-lead)


@pytest.mark.parametrize(
    ('first', 'second'),
    [
        # As much is found in both, and both look like the image.
        (
            evidence(135, 410, 0.37, 0.70, 0.82, 85),
            evidence(128, 379, 0.38, 0.73, 0.84, 830),
        ),
        # Next to nothing is shown where they differ.
        (evidence(0, 3, 0.23, 0.55, 0.79, 27), evidence(0, 3, 0.24, 0.78, 0.86, 93)),
        # A similarity alone tells too little.
        (evidence(0, 0, 0.22, 0.80, 0.80, 300), evidence(0, 0, 0.22, 0.10, 0.80, 300)),
    ],
)
def test_what_does_not_tell_rooms_apart_gives_no_lead(
    first: RoomEvidence, second: RoomEvidence
) -> None:
    assert compared(first, second) == 0


def test_a_room_that_explains_only_its_own_part_of_the_image_does_not_lead() -> None:
    """From a corridor, through a door: most of the image is of neither room."""
    other = evidence(2, 75, 0.109, 0.18, 0.85, 32)
    assert compared(evidence(10, 36, 0.110, 0.75, 0.76, 194), other) == 0
    assert compared(evidence(10, 36, 0.200, 0.75, 0.76, 194), other) > 1
