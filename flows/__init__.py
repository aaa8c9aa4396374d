"""Timing and people: settings, the command line, and the only modules that know Prefect."""
