"""Recorded logs with lines lost or doubled, and what maillag makes of them: no verdict may turn."""
