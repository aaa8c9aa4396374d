"""Lines to typed events, by patterns that are data."""
