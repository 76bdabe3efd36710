"""Says in a terminal or a log what a long start is doing: a line a step, its share every two seconds."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

EVERY_S = 2.0


@contextmanager
def step(words: str) -> Iterator[Callable[[float, str], None]]:
    """Tells that a step begins, how far it is (a share in 0..1 and words) and how long it took."""
    began = said_at = time.monotonic()
    is_terminal = sys.stdout.isatty()
    width = 0

    def tell(share: float, detail: str = "") -> None:
        nonlocal said_at, width
        now = time.monotonic()
        if now - said_at < (0.2 if is_terminal else EVERY_S):
            return
        said_at = now
        line = f"  {words} … {share:4.0%} {detail}".rstrip()
        if is_terminal:
            width = max(width, len(line))
            print(f"\r{line.ljust(width)}", end="", flush=True)  # noqa: T201
        else:
            print(line, flush=True)  # noqa: T201

    if is_terminal:
        print(f"  {words} …", end="", flush=True)  # noqa: T201
    try:
        yield tell
    except BaseException:
        print(flush=True)  # noqa: T201
        raise
    done = f"✓ {words} ({time.monotonic() - began:.1f} s)"
    print(f"\r{done.ljust(width + 2)}" if is_terminal else done, flush=True)  # noqa: T201
