"""How long each step of the path took, by the clock. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Steps:
    """Seconds by step, each added by one thread at a time."""

    def __init__(self, clock: Callable[[], float], *names: str) -> None:
        self.clock = clock
        self.seconds = dict.fromkeys(names, 0.0)

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        began = self.clock()
        yield
        self.seconds[name] += self.clock() - began
