"""Rooms that the renderer knows, one module a room; `demo.rooms.table` lists them."""
