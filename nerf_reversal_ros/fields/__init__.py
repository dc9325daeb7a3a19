"""Radiance fields: the protocol and its implementations."""
