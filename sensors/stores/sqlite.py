"""The embedded hot store: one SQLite file, a table a profile, its rows clustered by (mote, at)."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from threading import RLock

import polars as pl

from sensors.fleet import HOUR_US
from sensors.readings import INSTANT, Profile, micros, stored_schema
from sensors.stores import StoreRefused, StoreUnavailable
from sensors.stores.tables import conform, hourly, with_schema

SPARE_BYTES = 32 * 1024 * 1024
# What another try cannot cure. Everything else may pass (a full disk, a lock), and waiting loses nothing.
HOPELESS = {sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISMATCH, sqlite3.SQLITE_RANGE}
INSERT = "INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})"
# One seek a mote; GROUP BY would walk through every row there is.
LATEST = (
    "SELECT {columns} FROM (SELECT DISTINCT value AS mote FROM json_each(?)) AS sought CROSS JOIN {table} AS t "
    "ON t.mote = sought.mote AND t.at = (SELECT max(at) FROM {table} WHERE mote = sought.mote) ORDER BY t.mote"
)
BETWEEN = (
    "SELECT {columns} FROM {table} AS t WHERE mote IN (SELECT value FROM json_each(?)) AND at >= ? AND at < ? "
    "ORDER BY mote, at LIMIT ?"
)
EXISTING = (
    "SELECT {columns} FROM (SELECT DISTINCT value ->> 0 AS mote, value ->> 1 AS at FROM json_each(?)) AS sought "
    "CROSS JOIN {table} AS t ON t.mote = sought.mote AND t.at = sought.at ORDER BY t.mote, t.at"
)
# A loose scan over the motes, then a range each: a day of a month is counted without reading the month.
COUNT = (
    "WITH RECURSIVE motes(m) AS (SELECT min(mote) FROM {table} "
    "UNION ALL SELECT (SELECT min(mote) FROM {table} WHERE mote > m) FROM motes WHERE m IS NOT NULL) "
    "SELECT coalesce(sum((SELECT count(*) FROM {table} WHERE mote = m AND at >= ? AND at < ?)), 0) FROM motes"
)
COUNT_OF = (
    "SELECT coalesce(sum((SELECT count(*) FROM {table} WHERE mote = sought.mote AND at >= ? AND at < ?)), 0) "
    "FROM (SELECT DISTINCT value AS mote FROM json_each(?)) AS sought"
)
# A range each hour and mote: GROUP BY an hour would sort every row there is (four times as long for a month).
COUNTS = (
    "WITH RECURSIVE hours(h) AS (SELECT :first UNION ALL SELECT h + :hour FROM hours WHERE h + :hour < :end) "
    "SELECT h, sought.mote, (SELECT count(*) FROM {table} WHERE mote = sought.mote "
    "AND at >= max(h, :start) AND at < min(h + :hour, :end)) "
    "FROM (SELECT DISTINCT value AS mote FROM json_each(:motes)) AS sought CROSS JOIN hours"
)
FORGET = "DELETE FROM {table} WHERE mote = ? AND at < ?"
PRAGMAS = ("journal_mode=WAL", "synchronous=NORMAL", "cache_size=-65536", "wal_autocheckpoint=4000")


class SqliteStore:
    """Hot readings in one file: one writer behind a lock, as many readers as there are threads asking."""

    def __init__(self, path: Path | str, *, busy_s: float = 5.0) -> None:
        self.path = Path(path)
        self._busy_s = busy_s
        self._lock = RLock()
        self._connection: sqlite3.Connection | None = None
        self._columns: dict[str, set[str]] = {}
        self._idle: deque[sqlite3.Connection] = deque()
        self._is_closed = False

    def write(self, profile: Profile, table: pl.DataFrame) -> None:
        table = conform(profile, table)
        insert = _sql(INSERT, profile, columns=_names(table.columns), places=", ".join("?" * table.width))
        rows = zip(*(column.to_list() for column in _plain(table)), strict=True)
        with self._writing() as connection:
            self._ensure(connection, profile)
            connection.executemany(insert, rows)

    def latest(self, profile: Profile, motes: Sequence[int]) -> pl.DataFrame:
        return self._select(LATEST, profile, json.dumps(list(motes)))

    def between(
        self,
        profile: Profile,
        motes: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        limit: int | None = None,
    ) -> pl.DataFrame:
        first = -1 if limit is None else limit
        return self._select(BETWEEN, profile, json.dumps(list(motes)), micros(start), micros(end), first)

    def existing(self, profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
        sought = keys.select(pl.col("mote").cast(pl.Int64), pl.col("at").cast(pl.Int64)).rows()
        return self._select(EXISTING, profile, json.dumps(sought))

    def count(self, profile: Profile, start: datetime, end: datetime, *, motes: Sequence[int] | None = None) -> int:
        span = micros(start), micros(end)
        query, values = (COUNT, span) if motes is None else (COUNT_OF, (*span, json.dumps(list(motes))))
        with self._reading() as connection:
            if not _columns(connection, profile):
                return 0
            return int(connection.execute(_sql(query, profile), values).fetchone()[0])

    def counts(self, profile: Profile, motes: Sequence[int], start: datetime, end: datetime) -> pl.DataFrame:
        first, last = micros(start), micros(end)
        values = {"start": first, "end": last, "first": first // HOUR_US * HOUR_US, "hour": HOUR_US}
        with self._reading() as connection:
            if first >= last or not _columns(connection, profile):
                return hourly([])
            found = connection.execute(_sql(COUNTS, profile), {**values, "motes": json.dumps(list(motes))})
            return hourly([row for row in found if row[2]])

    def forget(self, profile: Profile, motes: Sequence[int], before: datetime) -> None:
        for mote in motes:  # a transaction each, so that the reading path waits for one mote at most
            with self._writing() as connection:
                if _columns(connection, profile):
                    connection.execute(_sql(FORGET, profile), (mote, micros(before)))

    def ping(self) -> None:
        with self._writing():
            pass
        free = shutil.disk_usage(self.path.parent).free
        if free < SPARE_BYTES:
            raise StoreUnavailable(f"the disk of {self.path} has {free // 1024} KB left; free some space")

    def close(self) -> None:
        self._is_closed = True
        self._close_idle()
        with self._lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    # ---- connections ----------------------------------------------------------------------------------------

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """The writer inside a transaction of its own, which holds all of the block or nothing."""
        with self._lock, self._translated():
            if self._connection is None:
                self._connection = self._connect(*PRAGMAS)
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                self._columns.clear()  # a table made in this transaction is gone
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """A reader that no other thread has at the moment; it sees everything committed."""
        with self._translated():
            try:
                connection = self._idle.pop()
            except IndexError:
                connection = self._connect("query_only=ON")
            try:
                yield connection
            finally:
                self._idle.append(connection)
                if self._is_closed:
                    self._close_idle()

    def _close_idle(self) -> None:
        try:
            while True:
                self._idle.pop().close()
        except IndexError:
            pass

    def _connect(self, *pragmas: str) -> sqlite3.Connection:
        if self._is_closed:
            raise StoreUnavailable(f"the hot store {self.path} is closed")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=self._busy_s, isolation_level=None, check_same_thread=False)
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")
        return connection

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in HOPELESS:
                raise StoreRefused(f"the hot store {self.path} cannot take this: {error}") from error
            raise StoreUnavailable(f"the hot store {self.path} cannot be used now: {error}") from error

    # ---- tables ---------------------------------------------------------------------------------------------

    def _ensure(self, connection: sqlite3.Connection, profile: Profile) -> None:
        """Creates the profile's table, or gives it the columns of a newer version."""
        schema = stored_schema(profile)
        known = self._columns.get(profile.code, set())
        if known.issuperset(schema):
            return
        known = _columns(connection, profile)
        if not known:
            columns = ", ".join(f"{_quoted(name)} {_sql_type(dtype)}" for name, dtype in schema.items())
            connection.execute(f"CREATE TABLE {_table(profile)} ({columns}, PRIMARY KEY (mote, at)) WITHOUT ROWID")
        for name in set(schema) - known if known else ():
            connection.execute(f"ALTER TABLE {_table(profile)} ADD COLUMN {_quoted(name)} {_sql_type(schema[name])}")
        self._columns[profile.code] = known | set(schema)

    def _select(self, statement: str, profile: Profile, *values: object) -> pl.DataFrame:
        """The rows of a SELECT as a stored table."""
        with self._reading() as connection:
            there = _columns(connection, profile)
            schema = {name: dtype for name, dtype in stored_schema(profile).items() if name in there}
            query = _sql(statement, profile, columns=_names(schema, of="t."))
            rows = connection.execute(query, values).fetchall() if there else []
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        return with_schema(
            profile,
            pl.DataFrame(
                [
                    pl.Series(name, column, pl.Float64 if dtype == pl.Float64 else pl.Int64)
                    for (name, dtype), column in zip(schema.items(), columns, strict=True)
                ]
            ),
        )


def _plain(table: pl.DataFrame) -> pl.DataFrame:
    """With instants and switches as the integers they are kept as."""
    return table.with_columns(pl.col(INSTANT, pl.Boolean).cast(pl.Int64))


def _columns(connection: sqlite3.Connection, profile: Profile) -> set[str]:
    """Of the profile's table as it is now; empty while there is none."""
    return {row[1] for row in connection.execute(f"PRAGMA table_info({_table(profile)})")}


def _sql(statement: str, profile: Profile, **parts: str) -> str:
    return statement.format(table=_table(profile), **parts)


def _table(profile: Profile) -> str:
    return _quoted(f"readings_{profile.code}")


def _names(columns: Iterable[str], of: str = "") -> str:
    return ", ".join(of + _quoted(name) for name in columns)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _sql_type(dtype: object) -> str:
    return "REAL" if dtype == pl.Float64 else "INTEGER"
