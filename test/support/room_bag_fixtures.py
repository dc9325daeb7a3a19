"""Fixtures of bags of the box room; the conftest of a folder imports them."""

import pytest
from room_bags import rewrite, write_room_bag


@pytest.fixture(scope='session')
def room_bag(tmp_path_factory):
    """Write a bag of 24 frames of the room, whose world frame is that of the room."""
    return write_room_bag(tmp_path_factory.mktemp('bags') / 'room')


@pytest.fixture
def edit_bag(room_bag, tmp_path):
    """Return a function that copies the bag of the room through an edit of its messages."""

    def edit(change, **options):
        return rewrite(room_bag, tmp_path / 'edited', change, **options)

    return edit
