"""Turns a scenario (settings, load, timed actions) into a real Postfix's logs with their truth."""
