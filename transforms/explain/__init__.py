"""One restart, from the published tables back to its log lines."""
