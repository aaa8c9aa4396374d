"""Gives memory that is no longer used back to the system, between the stages of a run."""

import ctypes
from contextlib import suppress

import pyarrow as pa


def release_memory() -> None:
    """Return free memory to the system. Allocators keep it otherwise: half of what reading takes."""
    pa.default_memory_pool().release_unused()
    with suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
