"""Compiled loops of earlier releases do not pile up, and those in use stay."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path

from mlops import kernels
from tests.conftest import NOON


def folder(root: Path, name: str, age: timedelta) -> Path:
    path = root / name
    path.mkdir()
    (path / "loop.nbi").write_bytes(b"compiled")
    at = (NOON - age).timestamp()
    os.utime(path, (at, at))
    return path


def test_only_folders_that_nobody_began_with_for_days_are_deleted(tmp_path: Path) -> None:
    own = folder(tmp_path, "engine-of-now", timedelta(days=30))
    other = folder(tmp_path, "engine-of-another-release", timedelta(days=1))
    old = folder(tmp_path, "engine-of-long-ago", timedelta(days=4))
    foreign = folder(tmp_path, "somebody-elses", timedelta(days=400))

    assert kernels.forget_stale(NOON, own=own) == [old.name]

    assert (own.exists(), other.exists(), foreign.exists()) == (True, True, True)
    assert kernels.forget_stale(NOON + timedelta(days=2), own=other) == [], "it was used two days ago"


def test_where_nothing_was_compiled_yet_nothing_happens(tmp_path: Path) -> None:
    assert kernels.forget_stale(NOON, own=tmp_path / "engine-new") == []
