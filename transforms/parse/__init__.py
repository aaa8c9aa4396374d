"""Lines to typed events: patterns are data, one file a program."""
