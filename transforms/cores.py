"""How many threads this process may compute with."""

import os

# polars reads it when it is loaded; DuckDB and Python's own pools are given thread_count().
THREADS = "POLARS_MAX_THREADS"


def thread_count() -> int:
    """Return the threads that POLARS_MAX_THREADS allows, by default all cores that the process may use."""
    return int(os.environ.get(THREADS) or len(os.sched_getaffinity(0)))


def limit_threads(count: int) -> None:
    """Limit what this process loads from now on; polars that is loaded already keeps its threads."""
    # Arrow reads the other one.
    os.environ |= {THREADS: str(count), "OMP_NUM_THREADS": str(count)}
