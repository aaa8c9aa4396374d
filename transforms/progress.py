"""Tells whoever waits in the same process how far the work has come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_LISTENER: ContextVar[Callable[[float], None] | None] = ContextVar("listener", default=None)


def advance(amount: float) -> None:
    """Tell that a part of the work is done, in the unit of the listener; does nothing without one."""
    if listener := _LISTENER.get():
        listener(amount)


@contextmanager
def listening(listener: Callable[[float], None]) -> Iterator[None]:
    """Call `listener(amount)` for each part of the work that is done in this process."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)
