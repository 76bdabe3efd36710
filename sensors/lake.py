"""The lake: every message and every reading for good, as Delta tables in a folder or a bucket.

A table remembers, for each stream partition, the next offset that it waits for (Delta's application transactions), in
the same commit as the rows. So an append may be repeated, cut otherwise, or die half-way, and each row is there once.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from pathlib import Path
from threading import RLock
from typing import Any
from urllib.parse import unquote

import boto3
import polars as pl
import polars.selectors as cs
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from django.conf import settings
from django.core.signals import setting_changed

from sensors.readings import INSTANT
from sensors.stores import StoreRefused, StoreUnavailable

TRIES = 3  # of a commit that another one, under other application ids, came between
CHECKPOINT_EVERY = 50  # commits; a handle gathers what it has seen, so it is opened afresh as often
SPARE_BYTES = 32 * 1024 * 1024
KEEP = timedelta(days=7)
STORABLE = {pl.Float64, pl.Float32, pl.Boolean, pl.String, pl.Binary, pl.Date, INSTANT}
# Statistics that let readers skip files; those of payloads and channels would only swell the log.
SKIPPED_BY = ("partition", "offset", "mote", "at", "received_at")
COMPRESSION = WriterProperties(compression="ZSTD", compression_level=1)
# Which settings to mend, by what MinIO, delta-rs and botocore say when they are wrong.
SETTINGS = {
    "S3_BUCKET, or create the bucket": ("NoSuchBucket", "(404)"),
    "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY": ("403 Forbidden", "(403)", "Signature", "AccessKey", "AccessDenied"),
}
NAME = re.compile(r"[\w-]+(/[\w-]+)*")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class LakeFenced(Exception):
    """Somebody else has written under this application id meanwhile: what this process holds may be out of date."""


class NoSuchTable(Exception):
    """The lake has no table of this name (yet)."""


@dataclass
class _Writer:
    handle: DeltaTable
    commits: int = 0

    def recorded(self, app_ids: Mapping[int, str]) -> dict[int, int]:
        """The offset that each partition waits for; 0 where nothing was ever appended."""
        return {partition: self.handle.transaction_version(app_id) or 0 for partition, app_id in app_ids.items()}


class Lake:
    """Delta tables below a root: a folder, or s3://bucket/prefix with `s3` saying how to reach it."""

    def __init__(self, root: str, s3: Mapping[str, str] | None = None) -> None:
        self.root = root.rstrip("/")
        self._s3 = s3
        self._writers: dict[str, _Writer] = {}
        self._write_lock = RLock()
        self._readers: dict[str, DeltaTable] = {}
        self._read_lock = RLock()

    # ---- writing --------------------------------------------------------------------------------------------

    def append(
        self,
        table: str,
        data: pl.DataFrame,
        *,
        app_ids: Mapping[int, str],
        next_offsets: Mapping[int, int],
        partition_by: Sequence[str] = ("date",),
    ) -> None:
        """Adds the rows that are not there yet, and records how far each partition is, in one commit.

        `data` has columns partition and offset; rows below the recorded offset are there already. LakeFenced when
        another writer has committed under one of the ids since this one last looked (by `append` or `recorded`).
        """
        _check_offsets(table, data, app_ids, next_offsets)
        data = _storable(table, _dated(data))
        with self._write_lock, self._translated(self._writers):
            writer = self._writer(table, data, app_ids, partition_by)
            known = writer.recorded(app_ids)
            for _ in range(TRIES):
                try:
                    return self._commit(writer, table, data, app_ids, next_offsets)
                except CommitFailedError:
                    writer = self._reopen(table, app_ids, known)
            raise StoreUnavailable(f"{table} in the lake {self.root} is being changed by others all the time")

    def replace_dates(
        self, table: str, data: pl.DataFrame, dates: Collection[date], *, seen: int, marks: Mapping[str, int]
    ) -> int:
        """Puts the rows in the place of all that the table had of these dates, and records marks, in one commit.

        `seen` is the version that the rows were made from (-1: no table yet). StoreUnavailable when the table has
        changed since; what was made of an older one would undo that. Answers the new version.
        """
        with self._translated():
            handle = self._open_or_create(table, data, ("date",))
            if handle.version() > max(seen, 0):
                raise StoreUnavailable(f"{table} in the lake {self.root} is being written by another; try again")
            days = ", ".join(f"'{day.isoformat()}'" for day in sorted(dates))
            write_deltalake(
                handle,
                data,
                mode="overwrite",
                predicate=f"date IN ({days})",
                schema_mode="merge",
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(name, value) for name, value in marks.items()],
                    max_commit_retries=0,
                ),
                writer_properties=COMPRESSION,
            )
            return handle.version()

    def marks(self, table: str, names: Collection[str]) -> dict[str, int]:
        """What `replace_dates` recorded last; without those that it never did."""
        with self._translated():
            handle = self._newest(table)
            return {name: at for name in names if (at := handle.transaction_version(name)) is not None}

    def files(self, table: str, version: int | None = None) -> pl.DataFrame:
        """The data files of a version: path, date. NoSuchTable where there is none, or where it was forgotten."""
        with self._translated():
            handle = self._newest(table) if version is None else self._open(table, version)
            found = pl.DataFrame(handle.get_add_actions(flatten=True))
            return found.select("path", pl.col("partition.date").alias("date"))

    def scan_files(self, table: str, paths: Sequence[str]) -> pl.LazyFrame:
        """The rows of these data files of a table; columns by which it is partitioned are not among them."""
        places = [f"{self._address(table)}/{unquote(path)}" for path in paths]
        return pl.scan_parquet(
            places, storage_options=self._polars_options, missing_columns="insert", extra_columns="ignore"
        )

    def _commit(
        self,
        writer: _Writer,
        table: str,
        data: pl.DataFrame,
        app_ids: Mapping[int, str],
        next_offsets: Mapping[int, int],
    ) -> None:
        recorded = writer.recorded(app_ids)
        ahead = [Transaction(app_ids[p], offset) for p, offset in next_offsets.items() if offset > recorded[p]]
        if not ahead:
            return
        write_deltalake(
            writer.handle,
            _fitting(table, data.filter(pl.col("offset") >= _by_partition(recorded)), writer.handle),
            mode="append",
            schema_mode="merge",
            commit_properties=CommitProperties(app_transactions=ahead),
            writer_properties=COMPRESSION,
        )
        writer.commits += 1

    def mend(self, table: str, data: pl.DataFrame, *, app_id: str, after: int) -> None:
        """Adds rows that a table lacks, whichever partition they came by, as commit after + 1 of an application id.

        `after` is what `recorded` answered before the table was found to lack them (0 for None): LakeFenced when
        somebody has mended it since, so that no row comes twice.
        """
        with self._write_lock, self._translated(self._writers):
            rows = _storable(table, _dated(data))
            handle = self._open_or_create(table, rows, ("date",))
            try:
                if (handle.transaction_version(app_id) or 0) != after:
                    raise LakeFenced(
                        f"{table} in the lake {self.root} has been mended by another meanwhile: look again"
                    )
                write_deltalake(
                    handle,
                    _fitting(table, rows, handle),
                    mode="append",
                    schema_mode="merge",
                    commit_properties=CommitProperties(app_transactions=[Transaction(app_id, after + 1)]),
                    writer_properties=COMPRESSION,
                )
            except CommitFailedError as error:
                raise LakeFenced(f"{table} in the lake {self.root} is being mended by another: look again") from error

    def _writer(
        self, table: str, data: pl.DataFrame, app_ids: Mapping[int, str], partition_by: Sequence[str]
    ) -> _Writer:
        writer = self._writers.get(table)
        if writer is None:
            writer = self._writers[table] = _Writer(self._open_or_create(table, data, partition_by))
        elif writer.commits >= CHECKPOINT_EVERY:
            writer = self._reopen(table, app_ids, writer.recorded(app_ids))
        return writer

    def _reopen(self, table: str, app_ids: Mapping[int, str], known: Mapping[int, int]) -> _Writer:
        """The table as it is now, unless it shows that another writer has taken over."""
        writer = self._writers[table] = _Writer(self._open(table))
        recorded = writer.recorded(app_ids)
        for partition, app_id in app_ids.items():
            if recorded[partition] != known[partition]:
                raise LakeFenced(
                    f"{table} in the lake {self.root}: another writer has moved {app_id} "
                    f"from {known[partition]} to {recorded[partition]}; go on from the checkpoint"
                )
        return writer

    def _open_or_create(self, table: str, data: pl.DataFrame, partition_by: Sequence[str]) -> DeltaTable:
        try:
            return self._open(table)
        except NoSuchTable:
            DeltaTable.create(
                self._address(table),
                data.schema,
                mode="ignore",
                partition_by=list(partition_by),
                configuration={
                    "delta.checkpointInterval": str(CHECKPOINT_EVERY),
                    "delta.dataSkippingStatsColumns": ",".join(name for name in SKIPPED_BY if name in data.columns),
                },
                storage_options=self._options,
            )
            return self._open(table)

    def recorded(self, table: str, app_id: str) -> int | None:
        """The next offset that the table waits for under this id, read afresh; None if nothing was ever appended."""
        with self._write_lock, self._translated(self._writers):
            writer = self._writers.get(table)
            try:
                if writer is None:
                    writer = self._writers[table] = _Writer(self._open(table))
                else:
                    writer.handle.update_incremental()
            except NoSuchTable:
                return None
            return writer.handle.transaction_version(app_id)

    def compact(self, table: str, *, keep: timedelta = KEEP) -> None:
        """Turns many small files into few, and deletes those that no version younger than `keep` needs."""
        with self._translated():
            handle = self._open(table, slow=True)
            handle.optimize.compact()
            hours = int(keep.total_seconds() // 3600)
            # full: also what an append left behind that was killed before its commit
            handle.vacuum(hours, dry_run=False, enforce_retention_duration=False, full=True)
            handle.create_checkpoint()
            handle.cleanup_metadata()

    # ---- reading --------------------------------------------------------------------------------------------

    def scan(self, table: str, version: int | None = None) -> pl.LazyFrame:
        """All rows, newest version or an older one, as a lazy table; NoSuchTable if there is none."""
        with self._translated():
            handle = self._newest(table) if version is None else self._open(table, version)
            return pl.scan_delta(handle, storage_options=self._polars_options)

    def version(self, table: str) -> int:
        """The number of the newest version."""
        with self._translated():
            return self._newest(table).version()

    def exists(self, table: str) -> bool:
        try:
            self.version(table)
        except NoSuchTable:
            return False
        return True

    def tables(self) -> list[str]:
        """Names of all tables."""
        if self._s3 is None:
            root = Path(self.root)
            return sorted(str(log.parent.relative_to(root)) for log in root.glob("**/_delta_log"))
        with self._translated():
            return sorted(self._below(self._prefix))

    def _newest(self, table: str) -> DeltaTable:
        with self._read_lock:
            if table not in self._readers:
                self._readers[table] = self._open(table)
            else:
                self._readers[table].update_incremental()
            return self._readers[table]

    # ---- reaching it ----------------------------------------------------------------------------------------

    def ping(self) -> None:
        """Returns if the lake can be reached and written, raises StoreUnavailable otherwise."""
        with self._translated():
            if self._s3 is None:
                self._ping_folder()
            else:
                self._client.head_bucket(Bucket=self._bucket)

    def _ping_folder(self) -> None:
        Path(self.root).mkdir(parents=True, exist_ok=True)
        if not os.access(self.root, os.W_OK):
            raise StoreUnavailable(f"the lake {self.root} cannot be written: check who owns the folder")
        free = shutil.disk_usage(self.root).free
        if free < SPARE_BYTES:
            raise StoreUnavailable(f"the disk of the lake {self.root} has {free // 1024} KB left; free some space")

    def _open(self, table: str, version: int | None = None, *, slow: bool = False) -> DeltaTable:
        options = {**self._options, "timeout": "120s"} if slow and self._options else self._options
        try:
            return DeltaTable(self._address(table), version=version, storage_options=options)
        except TableNotFoundError as error:
            raise NoSuchTable(f"the lake {self.root} has no table {table}: nothing was written to it yet") from error

    def _address(self, table: str) -> str:
        if not NAME.fullmatch(table):
            raise ValueError(f"“{table}” is no name of a table; expected one such as bronze or silver/indoor")
        return f"{self.root}/{table}"

    @property
    def _bucket(self) -> str:
        return self.root.removeprefix("s3://").partition("/")[0]

    @property
    def _prefix(self) -> str:
        return self.root.removeprefix("s3://").partition("/")[2]

    def _below(self, prefix: str) -> Iterator[str]:
        """Names of the tables below a prefix of the bucket; nothing inside a table is walked through."""
        pages = self._client.get_paginator("list_objects_v2").paginate(
            Bucket=self._bucket, Prefix=f"{prefix}/", Delimiter="/"
        )
        folders = [folder["Prefix"].rstrip("/") for page in pages for folder in page.get("CommonPrefixes", ())]
        if f"{prefix}/_delta_log" in folders:
            yield prefix.removeprefix(f"{self._prefix}/")
            return
        for folder in folders:
            yield from self._below(folder)

    @cached_property
    def _client(self) -> Any:
        options = {name: value or None for name, value in (self._s3 or {}).items()}
        return boto3.client(
            "s3",
            endpoint_url=options.get("endpoint_url"),
            aws_access_key_id=options.get("access_key"),
            aws_secret_access_key=options.get("secret_key"),
            region_name=options.get("region_name"),
            config=Config(
                connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}
            ),
        )

    @cached_property
    def _options(self) -> dict[str, str] | None:
        if self._s3 is None:
            return None
        endpoint = self._s3.get("endpoint_url", "")
        options = {
            "aws_endpoint_url": endpoint,
            "aws_access_key_id": self._s3.get("access_key", ""),
            "aws_secret_access_key": self._s3.get("secret_key", ""),
            "aws_region": self._s3.get("region_name", ""),
            "aws_allow_http": str(endpoint.startswith("http://")).lower(),
            "aws_virtual_hosted_style_request": "false",
            # Two commits of the same version: the second is refused by the server itself.
            "aws_conditional_put": "etag",
            # A dead server is noticed within ten seconds; trying on is the caller's.
            "connect_timeout": "2s",
            "timeout": "5s",
            "max_retries": "1",
            "retry_timeout": "5s",
        }
        return {name: value for name, value in options.items() if value}

    @cached_property
    def _polars_options(self) -> dict[str, Any] | None:
        if self._options is None:
            return None
        ours = {"timeout": "60s", "connect_timeout": "2s", "max_retries": 1}  # a scan reads whole files at once
        theirs = {name: value for name, value in self._options.items() if name.startswith("aws_")}
        return {**theirs, **ours}

    @contextmanager
    def _translated(self, known: dict[str, Any] | None = None) -> Iterator[None]:
        """Errors as what can be done about them; after one, nothing is trusted that was known of the tables."""
        try:
            yield
        except (OSError, DeltaError, BotoCoreError, ClientError) as error:
            (self._readers if known is None else known).clear()
            raise StoreUnavailable(f"the lake {self.root}{self._where} cannot be used now: {_words(error)}") from error

    @property
    def _where(self) -> str:
        return f" at {self._s3.get('endpoint_url')}" if self._s3 else ""


def _words(error: Exception) -> str:
    """What the drivers say, on one line."""
    said = " ".join(COLOURS.sub("", str(error)).replace("↳", "-").split())[:500]
    for setting, marks in SETTINGS.items():
        if any(mark in said for mark in marks):
            return f"check {setting} ({said})"
    return said


# ---- rows ---------------------------------------------------------------------------------------------------


def _by_partition(offsets: Mapping[int, int]) -> pl.Expr:
    return pl.col("partition").replace_strict(dict(offsets), default=None, return_dtype=pl.Int64)


def _check_offsets(table: str, data: pl.DataFrame, app_ids: Mapping[int, str], next_offsets: Mapping[int, int]) -> None:
    """A row at or beyond its partition's next offset would be there twice after a replay, or lost."""
    if set(app_ids) != set(next_offsets):
        raise ValueError(f"app_ids name partitions {sorted(app_ids)}, next_offsets {sorted(next_offsets)}")
    if not app_ids:
        raise ValueError(f"{table}: an append names at least one partition")
    beyond = data.filter((pl.col("offset") < _by_partition(next_offsets)).fill_null(False).not_())
    if len(beyond):
        partition, offset = beyond.select("partition", "offset").row(0)
        raise ValueError(
            f"{table}: a row of partition {partition} has offset {offset}; "
            f"expected one below the next offset, which is {next_offsets.get(partition, 'not given')}"
        )


def _dated(data: pl.DataFrame) -> pl.DataFrame:
    """With the UTC date of measurement, or of arrival where that is not known."""
    if "date" in data.columns:
        return data
    instants = [name for name in ("at", "received_at") if name in data.columns]
    return data.with_columns(date=pl.coalesce(instants).dt.date())


def _storable(table: str, data: pl.DataFrame) -> pl.DataFrame:
    """With unsigned integers as signed ones, for Delta has no others; StoreRefused for types that it lacks."""
    for name, dtype in data.schema.items():
        if dtype not in STORABLE and not dtype.is_integer():
            raise StoreRefused(f"column {name} of {table} was given {dtype}, which a lake cannot hold")
    return _cast(table, data, {name: pl.Int64() for name in data.select(cs.unsigned_integer()).columns})


def _fitting(table: str, data: pl.DataFrame, handle: DeltaTable) -> pl.DataFrame:
    """The rows in the table's own types; StoreRefused for others, which Delta would bend or cut."""
    expected = pl.Schema(handle.schema().to_arrow())
    casts = {name: expected[name] for name, dtype in data.schema.items() if dtype != expected.get(name, dtype)}
    for name, stored in casts.items():
        if not (data.schema[name].is_integer() and stored.is_integer()):
            raise StoreRefused(f"column {name} of {table} holds {stored}, and was given {data.schema[name]}")
    return _cast(table, data, casts)


def _cast(table: str, data: pl.DataFrame, casts: Mapping[str, pl.DataType]) -> pl.DataFrame:
    try:
        return data.with_columns(pl.col(name).cast(dtype) for name, dtype in casts.items())
    except pl.exceptions.PolarsError as error:
        raise StoreRefused(f"rows do not fit the columns of {table}: {error}") from error


_lake: Lake | None = None


def lake() -> Lake:
    """The configured lake, one a process, built at first use."""
    global _lake
    if _lake is None:
        chosen = settings.SIEIS_LAKE
        _lake = Lake(chosen["root"], chosen["s3"])
    return _lake


def _forget_lake(*, setting: str, **kwargs: object) -> None:
    global _lake
    if setting == "SIEIS_LAKE":
        _lake = None


setting_changed.connect(_forget_lake)
