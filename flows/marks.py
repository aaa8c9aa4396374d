"""The kinds of marks on the timeline of a restart, as sql/report/timelines.sql names them."""

MAIL = ("deferred", "flush_release", "queue_run_release", "unknown_release", "end")
"""The marks of a timeline that count mail; `end` counts none and is where the picture ends."""
INSTANTS = ("down", "due", "ordered", "marked", "flush", "queue_run")
"""The marks of a timeline that are instants with a label, if `is_told`."""
