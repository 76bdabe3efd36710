"""One import at a time: who holds the lock is alive, and whoever is said to import without it is not."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from django.conf import settings
from django.db import connection

from ingestion.importing.looking import CannotImport

LOCK = 0x51E15  # PostgreSQL's advisory lock of imports


class AnotherImport(CannotImport):
    """Somebody else is importing at this moment."""


@contextmanager
def alone() -> Iterator[None]:
    """Holds the only place for an import: two at once would each wait for the other's partitions. Dies with us."""
    is_ours = _in_postgres() if connection.vendor == "postgresql" else _in_folder()
    with is_ours as got_it:
        if not got_it:
            raise AnotherImport("another import is under way; wait until it has ended, then repeat this one")
        yield


@contextmanager
def _in_postgres() -> Iterator[bool]:
    own = connection.copy()  # the lock lives as long as its connection, and the runner closes the shared one
    try:
        with own.cursor() as cursor:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", [LOCK])
            yield bool(cursor.fetchone()[0])
    finally:
        own.close()


@contextmanager
def _in_folder() -> Iterator[bool]:
    with Path(settings.SIEIS_DATA, "import.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
        else:
            yield True
