"""Tests of maillag."""
