"""Turns `python -m tests.rig` into a run."""

import sys

from .run import main

if __name__ == "__main__":
    sys.exit(main())
