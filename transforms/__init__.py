"""Bytes to lines to events to lake to marts: plain functions over data."""
