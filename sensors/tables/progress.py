"""How far an import is: a bar with rate and estimate in a terminal, a line every few seconds anywhere else."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

Tell = Callable[[str, int, int], None]  # a step, rows done, rows in all
EVERY_S = 5.0


@contextmanager
def shown(write: Callable[[str], object], *, clock: Callable[[], float] = time.monotonic) -> Iterator[Tell]:
    """Takes (step, rows done, rows in all)."""
    console = Console()
    if console.is_terminal:
        with _bar(console) as tell:
            yield tell
    else:
        yield _Lines(write, clock)


@contextmanager
def _bar(console: Console) -> Iterator[Tell]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"))
    steps: dict[str, tuple[int, float]] = {}
    with Progress(*columns, TimeRemainingColumn(), console=console) as progress:

        def tell(step: str, done: int, total: int) -> None:
            if step not in steps:
                steps[step] = int(progress.add_task(step, total=total, rate="")), time.monotonic()
            task, began = steps[step]
            rate = done / max(time.monotonic() - began, 0.01)
            progress.update(progress.task_ids[task], completed=done, total=total, rate=f"{rate:,.0f}/s")

        yield tell


class _Lines:
    """A line when the time has come, and one when a step is done."""

    def __init__(self, write: Callable[[str], object], clock: Callable[[], float]) -> None:
        self.write, self.clock = write, clock
        self.step, self.began, self.said = "", 0.0, 0.0

    def __call__(self, step: str, done: int, total: int) -> None:
        now = self.clock()
        if step != self.step:
            self.step, self.began, self.said = step, now, now
        if done < total and now - self.said < EVERY_S:
            return
        if done >= total and self.said == float("inf"):
            return
        self.said = float("inf") if done >= total else now
        rate = done / max(now - self.began, 0.01)
        left = f", about {(total - done) / rate:,.0f} s left" if 0 < done < total else ""
        self.write(f"{step}: {done:,} of {total:,} rows, {rate:,.0f}/s{left}")
