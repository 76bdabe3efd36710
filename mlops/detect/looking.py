"""What a file's head shows, before all of it is read: what was recognised, and the first rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl

from mlops.detect.reading import CannotJudge, Request, read
from sensors.tables import files

HEAD_BYTES = 1 << 20
HEAD_ROWS = 5_000
SHOWN = 6


@dataclass(frozen=True, slots=True)
class Look:
    """`problem` says why the file cannot be judged like this; what could be read is there all the same."""

    columns: list[str]
    rows: list[list[str]]
    words: list[str]
    notes: list[str]
    channels: list[str]
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def look(path: Path, ask: Request) -> Look:
    """Raises CannotJudge for what is no table at all."""
    with TemporaryDirectory(prefix="sieis-head-") as folder:
        try:
            head = _head(path, Path(folder))
            table = files.read(head).table
        except files.BadFile as error:
            raise CannotJudge(str(error).replace(str(path), path.name).replace(folder + "/", "")) from None
        rows = [["" if cell is None else str(cell) for cell in row] for row in table.head(SHOWN).rows()]
        try:
            found = read(head, ask)
        except CannotJudge as problem:
            return Look(table.columns, rows, [], [], [], str(problem))
    words = [line for line in found.words if " rows; " not in line]
    kind = found.words[0].partition("; ")[2]
    return Look(table.columns, rows, [kind, *words], list(found.notes), list(found.names))


def _head(path: Path, folder: Path) -> Path:
    """A file of the same kind with the first rows only."""
    head = folder / path.name
    with path.open("rb") as file:
        raw = file.read(HEAD_BYTES)
        is_all = not file.read(1)
    if raw.startswith(b"PAR1"):
        try:
            pl.read_parquet(path, n_rows=HEAD_ROWS).write_parquet(head)
        except (pl.exceptions.PolarsError, OSError):
            return path  # files.read says what is wrong with it
    else:
        head.write_bytes(raw if is_all else raw[: raw.rfind(b"\n") + 1])
    return head
