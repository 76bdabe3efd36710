"""The hot store on InfluxDB 2: measurement = profile, the only tag = mote, a field a channel and one text for the rest.

Written as line protocol that Polars builds. Read by InfluxQL, whose CSV has one row a reading and instants as integers:
a mote's day takes 9 ms, and 42 ms by Flux, which keeps a row a field and has to pivot.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from urllib.parse import urlencode

import polars as pl
import urllib3

from sensors.readings import INSTANT, KEYS, Profile, micros, stored_schema
from sensors.stores import StoreRefused, StoreUnavailable
from sensors.stores.tables import by_mote, conform, hourly, with_schema

CHUNK = 10_000  # lines in one post
POSTS = 2  # at a time: 140,000 readings/s against 90,000 with one after the other
WINDOW_US = 600_000_000  # newest readings that lie this close together are fetched in one range
GAP_US = 3_600_000_000  # instants further apart than this are looked up in ranges of their own
STATEMENTS = 500  # in one request
MOTES = 100  # in one statement: the server's effort grows with the square of their number
NAMED = 1_000  # motes; from there on it is quicker to ask for all that there are: 42,000 in 2.5 s against 10
TIMEOUT = urllib3.Timeout(connect=2.0, read=10.0)
DELETE_TIMEOUT = urllib3.Timeout(connect=2.0, read=60.0)  # goes through the files of every shard it touches
BEGINNING = "1677-09-21T00:12:44Z"  # the first second that InfluxDB knows
SETTINGS = {
    401: "check INFLUXDB_V2_TOKEN",
    403: "INFLUXDB_V2_TOKEN must be allowed to read and write the bucket",
    404: "check INFLUXDB_V2_ORG and INFLUXDB_V2_BUCKET",
}
REFUSALS = {400, 413, 422}
# How a reading was judged and where it came from, in one text field that every reading has: the server's effort grows
# with the number of fields, and of these none is ever asked for alone (docs/benchmarks.md has both).
ORIGIN = "origin"
PACKED = (
    "votes", "event_id", "model_version", "profile_version", "partition", "offset", "received_at",
    "flags", "surprise", "is_anomaly",
)  # fmt: skip
WRITTEN_AS = {"surprise": pl.Float64}  # the others as whole numbers
ONCE_FIELDS = PACKED[-3:]  # SIEIS 0.1's first readings have them as fields of their own, and a shorter text
SELECT = 'SELECT {what} FROM {measurement} WHERE {where} GROUP BY "mote"'


class InfluxStore:
    """Hot readings in one bucket.

    The server merges points: a field that a second writing of the same reading leaves null keeps its first value.
    """

    def __init__(self, url: str, org: str, bucket: str, token: str) -> None:
        self.url = url.rstrip("/")
        self.bucket = bucket
        self._place = {"org": org, "bucket": bucket}
        # InfluxQL's database and retention policy, as InfluxDB 2 derives them from a bucket's name.
        database, _, policy = bucket.partition("/")
        self._database = {"db": database, "rp": policy or "autogen", "epoch": "u"}
        self._http = urllib3.PoolManager(
            maxsize=8, retries=False, timeout=TIMEOUT, headers={"Authorization": f"Token {token}"}
        )
        self._posts = ThreadPoolExecutor(POSTS, thread_name_prefix="influx-write")

    def write(self, profile: Profile, table: pl.DataFrame) -> None:
        # By mote, so that a post touches few series: of 42,000 motes with four readings each the server's effort is
        # 19 us a reading instead of 25.
        table = conform(profile, table).unique(KEYS, keep="last", maintain_order=True).sort("mote", maintain_order=True)
        deed = partial(self._post_lines, profile)
        for _ in self._posts.map(deed, table.iter_slices(CHUNK)):
            pass

    def latest(self, profile: Profile, motes: Sequence[int]) -> pl.DataFrame:
        # Origins, which every reading has, say where the newest are; LIMIT 1 over all the fields takes twice as long.
        newest = self._newest(profile, motes)
        found = self._readings(
            profile,
            [
                _of(members) + f" AND time >= {newest[members[0]]}u AND time <= {newest[members[-1]]}u"
                for members in _windows(newest)
            ],
        )
        return found.group_by("mote", maintain_order=True).last().select(found.columns)

    def between(
        self,
        profile: Profile,
        motes: Sequence[int],
        start: datetime,
        end: datetime,
        *,
        limit: int | None = None,
    ) -> pl.DataFrame:
        within = f"time >= {micros(start)}u AND time < {micros(end)}u"
        wheres = [f"{_of(some)} AND {within}" for some in _some(motes)]
        if limit is None:
            return self._readings(profile, wheres)
        # Grouped by mote, InfluxQL's LIMIT holds for each of them.
        return self._readings(profile, wheres if limit else [], f"LIMIT {limit:d}").head(limit)

    def existing(self, profile: Profile, keys: pl.DataFrame) -> pl.DataFrame:
        near = self._readings(
            profile,
            [
                f"{_of(motes)} AND time >= {first}u AND time <= {last}u"
                for motes, first, last in _stretches(by_mote(keys))
            ],
        )
        return near.join(keys.select(KEYS).unique(), on=KEYS, how="semi", maintain_order="left")

    def count(self, profile: Profile, start: datetime, end: datetime, *, motes: Sequence[int] | None = None) -> int:
        within = f"time >= {micros(start)}u AND time < {micros(end)}u"
        wheres = [within] if motes is None else [f"{_of(some)} AND {within}" for some in _some(motes)]
        found = self._query(_select(profile, f'count("{ORIGIN}")', where) for where in wheres)
        return sum(int(n) for n in found.get_column("count", default=pl.Series([0])))

    def counts(self, profile: Profile, motes: Sequence[int], start: datetime, end: datetime) -> pl.DataFrame:
        if start >= end:
            return hourly([])
        within = f"time >= {micros(start)}u AND time < {micros(end)}u"
        wheres = [f"{_of(some)} AND {within}" for some in _some(motes)]
        found = self._query(_select(profile, f'count("{ORIGIN}")', where, ", time(1h) fill(none)") for where in wheres)
        if not len(found):
            return hourly([])
        return hourly(found.select(pl.col("at").cast(pl.Int64), "mote", pl.col("count").cast(pl.Int64)).rows())

    def forget(self, profile: Profile, motes: Sequence[int], before: datetime) -> None:
        # What lies on `stop` is deleted too, and readings lie on whole microseconds.
        stop = (before.astimezone(UTC) - timedelta(microseconds=1)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        for mote in motes:
            predicate = f'_measurement={_identifier(profile.code)} AND mote="{mote:d}"'
            deletion = json.dumps({"start": BEGINNING, "stop": stop, "predicate": predicate})
            self._call("/api/v2/delete", self._place, deletion, "application/json", timeout=DELETE_TIMEOUT)

    def ping(self) -> None:
        self._post("")  # authorised and resolved as any write is, and writes nothing

    def close(self) -> None:
        self._posts.shutdown()
        self._http.clear()

    # ---- the server -----------------------------------------------------------------------------------------

    def _post_lines(self, profile: Profile, table: pl.DataFrame) -> None:
        self._post(lines(profile, table))

    def _post(self, body: str) -> None:
        self._call("/api/v2/write", {**self._place, "precision": "us"}, body, "text/plain; charset=utf-8")

    def _newest(self, profile: Profile, motes: Sequence[int]) -> dict[int, int]:
        """Each mote's newest instant in microseconds."""
        wheres = ["time >= 0"] if len(motes) > NAMED else map(_of, _some(motes))
        newest = self._query(_select(profile, f'last("{ORIGIN}")', where) for where in wheres)
        asked = newest.filter(pl.col("mote").is_in(pl.Series(motes, dtype=pl.Int64).implode()))
        return dict(asked.select("mote", pl.col("at").cast(pl.Int64)).iter_rows())

    def _readings(self, profile: Profile, wheres: Sequence[str], rest: str = "") -> pl.DataFrame:
        """The stored rows of some conditions, each a statement of its own, in one answer."""
        fields = ", ".join(map(_identifier, (*profile.names, *ONCE_FIELDS, ORIGIN)))
        found = _unpacked(self._query(_select(profile, fields, where, rest) for where in wheres))
        return with_schema(profile, _typed(profile, found)).sort(KEYS)

    def _query(self, statements: Iterable[str]) -> pl.DataFrame:
        """The rows of all the statements, which select the same columns; but for mote and at, all is text."""
        statements = list(statements)
        answers = [
            _rows(self._call("/query", {}, body, "application/x-www-form-urlencoded", accept="application/csv"))
            for body in self._bodies(statements)
        ]
        return pl.concat([NO_ROWS, *answers], how="diagonal")

    def _bodies(self, statements: Sequence[str]) -> Iterator[str]:
        for i in range(0, len(statements), STATEMENTS):
            yield urlencode({**self._database, "q": ";".join(statements[i : i + STATEMENTS])})

    def _call(
        self,
        path: str,
        params: Mapping[str, str],
        body: str,
        content: str,
        *,
        accept: str = "application/json",
        timeout: urllib3.Timeout = TIMEOUT,
    ) -> bytes:
        url = f"{self.url}{path}?{urlencode(params)}"
        headers = {**self._http.headers, "Content-Type": content, "Accept": accept}
        try:
            answer = self._http.request("POST", url, body=body.encode(), headers=headers, timeout=timeout)
        except urllib3.exceptions.HTTPError as error:
            raise StoreUnavailable(f"InfluxDB at {self.url} cannot be reached: {error}") from error
        if answer.status >= 300:
            raise self._failure(answer.status, _message(answer.data))
        if answer.data.startswith(b"error\n"):  # a statement that failed while running answers 200
            raise StoreUnavailable(f"InfluxDB at {self.url} could not answer: {_message(answer.data)}")
        return answer.data

    def _failure(self, status: int, message: str) -> Exception:
        if status in REFUSALS:
            return StoreRefused(f"InfluxDB at {self.url} refuses this ({status}): {message}")
        hint = f"; {SETTINGS[status]} (bucket {self.bucket})" if status in SETTINGS else ""
        return StoreUnavailable(f"InfluxDB at {self.url} answers {status}: {message}{hint}")


# ---- what is written ----------------------------------------------------------------------------------------


def lines(profile: Profile, table: pl.DataFrame) -> str:
    """A conforming table in line protocol, one line a reading; null fields are left out."""
    parts = [pl.lit(f"{_escaped(profile.code, ', ')},mote="), pl.col("mote")]
    for i, name in enumerate(PACKED):  # a null adds nothing here
        parts += [pl.lit(" " if i else f' {ORIGIN}="'), pl.col(name).cast(WRITTEN_AS.get(name, pl.Int64))]
    parts.append(pl.lit('"'))
    for name in profile.names:
        field = pl.lit(f",{_escaped(name, ', =')}=")
        # Two parts are quicker than one that has to be made first, but of an absent value the name must go, too.
        parts += [field + pl.col(name).cast(pl.String)] if table[name].null_count() else [field, pl.col(name)]
    parts += [pl.lit(" "), pl.col("at").cast(pl.Int64)]
    return str(table.select(pl.concat_str(parts, ignore_nulls=True).str.join("\n")).item() or "")


def _escaped(name: str, marks: str) -> str:
    for mark in marks:
        name = name.replace(mark, f"\\{mark}")
    return name.replace("\n", "\\n")


# ---- what is asked ------------------------------------------------------------------------------------------


def _select(profile: Profile, what: str, where: str, rest: str = "") -> str:
    return f"{SELECT.format(what=what, measurement=_identifier(profile.code), where=where)} {rest}"


def _identifier(name: str) -> str:
    """In double quotes, as InfluxQL and delete predicates take names: what stands inside cannot end them."""
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def _of(motes: Sequence[int]) -> str:
    return "(" + " OR ".join(f"\"mote\" = '{mote:d}'" for mote in motes) + ")"


def _some(motes: Sequence[int]) -> Iterator[Sequence[int]]:
    """All the motes, once each, as many at a time as a statement should name."""
    once = sorted(set(motes))
    return (once[i : i + MOTES] for i in range(0, len(once), MOTES))


def _windows(newest: Mapping[int, int]) -> Iterator[list[int]]:
    """Motes by their newest instant, those near each other together: one that is long dead must not widen the rest."""
    window: list[int] = []
    for mote in sorted(newest, key=newest.__getitem__):
        if window and (newest[mote] - newest[window[0]] > WINDOW_US or len(window) == MOTES):
            yield window
            window = []
        window.append(mote)
    if window:
        yield window


def _stretches(asked: Mapping[int, list[int]]) -> Iterator[tuple[Sequence[int], int, int]]:
    """Motes, first and last instant that cover what is asked of them: short ones that lie together in one.

    No reading is in two of them, since a mote's own ranges are further apart than any of these widens one.
    """
    together: dict[int, list[tuple[int, int, int]]] = {}
    for mote, instants in asked.items():
        for first, last in _ranges(instants):
            if last - first > WINDOW_US:
                yield [mote], first, last
            else:
                together.setdefault(first // WINDOW_US, []).append((mote, first, last))
    for several in together.values():
        for i in range(0, len(several), MOTES):
            some = several[i : i + MOTES]
            yield [mote for mote, _, _ in some], min(first for _, first, _ in some), max(last for _, _, last in some)


def _ranges(instants: Sequence[int]) -> Iterator[tuple[int, int]]:
    """First and last of each run of sorted instants that has no wide gap."""
    first = last = instants[0]
    for at in instants[1:]:
        if at - last > GAP_US:
            yield first, last
            first = at
        last = at
    yield first, last


# ---- what is answered ---------------------------------------------------------------------------------------

NO_ROWS = pl.DataFrame(schema={"mote": pl.Int64, "at": INSTANT})


def _rows(answer: bytes) -> pl.DataFrame:
    if not answer:
        return NO_ROWS
    rows = pl.read_csv(answer, infer_schema=False).filter(pl.col("name").is_not_null() & (pl.col("name") != "name"))
    return rows.select(
        pl.col("tags").str.strip_prefix("mote=").cast(pl.Int64).alias("mote"),
        pl.col("time").cast(pl.Int64).cast(INSTANT).alias("at"),
        pl.exclude("name", "tags", "time"),
    )


def _unpacked(found: pl.DataFrame) -> pl.DataFrame:
    """The text field's parts as columns, all of them text."""
    if ORIGIN not in found.columns:
        return found
    parts = pl.col(ORIGIN).str.split_exact(" ", len(PACKED) - 1).struct.rename_fields(PACKED)
    table = found.drop(ONCE_FIELDS).with_columns(parts).unnest(ORIGIN)
    is_short = table["flags"].is_null()  # in a whole text it is never empty
    if is_short.any():
        table = table.with_columns(found[name].zip_with(is_short, table[name]) for name in ONCE_FIELDS)
    return table.with_columns(pl.col(PACKED).replace("", None))


def _typed(profile: Profile, found: pl.DataFrame) -> pl.DataFrame:
    """Text fields as what they are: Polars knows no cast from text to a switch or an epoch."""
    return found.with_columns(
        pl.col(name).is_in(["1", "true"]) if dtype == pl.Boolean else pl.col(name).cast(pl.Int64).cast(INSTANT)
        for name, dtype in stored_schema(profile).items()
        if dtype in (pl.Boolean, INSTANT) and name in found.columns and name != "at"
    )


def _message(body: bytes) -> str:
    """The server's own words."""
    text = body.decode(errors="replace").strip()
    try:
        answer = json.loads(text)
    except ValueError:
        return text[:500]
    return str(answer.get("message") or answer.get("error") or text)[:500] if isinstance(answer, dict) else text[:500]
