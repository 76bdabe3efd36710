"""Looking at files before they are imported: what was recognised, and what will become of each row."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from django.conf import settings

from ingestion import stored
from ingestion.importing import fates, messages, report
from ingestion.importing.rows import How, Rows, join
from ingestion.records import Records
from ingestion.validation.words import plural
from ingestion.wire import Wire
from sensors import registry
from sensors.fleet import Fleet, MoteRef
from sensors.lake import lake
from sensors.models import AuditEntry, Mote, Site, valid_time_zone
from sensors.packs import Pack, PackMote
from sensors.readings import INSTANT, Profile, micros
from sensors.stores import hot
from sensors.tables import files

DEED = "import_readings"
LOOKED_UP = 100_000
SAMPLE = 20_000
LONGEST_CODE = 64
MANY_MOTES = 100


class CannotImport(Exception):
    """Why nothing was imported, and what to do."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to be imported, as they said it."""

    paths: Sequence[str | Path]
    pack: Pack
    site: str
    time_zone: str = ""
    times_in: str = ""
    mapping: Mapping[str, str] = field(default_factory=dict)
    mote: str = ""
    decimal: str = ""
    date_order: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """Everything about an import before it happens. `pack` has only the motes that are new at the site."""

    request: Request
    files: list[dict[str, Any]]  # name, sha256 and rows of each
    rows: Rows
    pack: Pack
    site_zone: str
    is_new_site: bool
    n_known: int
    retired: list[str]
    foreign: list[str]
    by_fate: dict[str, int]
    figures: list[fates.ChannelFigures]
    estimate: str

    @property
    def problems(self) -> list[str]:
        """What must be settled before anything is imported."""
        found = list(self.rows.doubts)
        if self.foreign:
            found.append(
                f"site {self.request.site} has motes of another profile with the same codes ({_some(self.foreign)}): "
                "import at another site with --site, or mend --map mote=COLUMN"
            )
        return found

    @property
    def place(self) -> str:
        return f"site {self.request.site}" + (f", which is new, in {self.site_zone}" if self.is_new_site else "")

    def motes(self) -> list[str]:
        new = [mote.code for mote in self.pack.motes]
        parts = [f"{self.n_known:,} known"] if self.n_known else []
        parts += [f"{len(new):,} new ({_some(new)})"] if new else []
        parts += [f"{len(self.retired):,} retired ({_some(self.retired)})"] if self.retired else []
        parts += [f"{len(self.foreign):,} of another profile ({_some(self.foreign)})"] if self.foreign else []
        lines = [f"Motes: {', '.join(parts) or 'none'}"]
        if len(new) > MANY_MOTES and len(self.rows) < 10 * len(new):
            lines.append(f"  only {len(self.rows) / len(new):.1f} rows for each: is this really the column of motes?")
        return lines

    def times(self) -> list[str]:
        return report.times(self.rows, self.zone, site_zone=self.site_zone)

    @property
    def zone(self) -> str:
        """Of times without an offset."""
        return self.request.times_in or self.site_zone

    def lines(self) -> list[str]:
        return [
            *self.rows.words, f"{plural(len(self.rows), 'row')} of “{self.rows.profile.code}” for {self.place}",
            *self.motes(), *self.times(), "Channels:", *report.channels(self.rows, self.figures),
            *report.fates(self.by_fate, "What will become of the rows"), self.estimate,
        ]  # fmt: skip


# ---- looking ------------------------------------------------------------------------------------------------


def look(request: Request, *, now: datetime) -> Look:
    """Reads the files and says what would become of each row; changes nothing. Raises CannotImport, BadFile, BadMap."""
    site = Site.objects.filter(code=request.site).first()
    if site and request.time_zone and request.time_zone != site.time_zone:
        raise CannotImport(
            f"site {site.code} is in {site.time_zone}, and --time-zone {request.time_zone} is for a new one: leave it "
            f"out, or say --times-in {request.time_zone} if only the file's times are meant"
        )
    site_zone = site.time_zone if site else request.time_zone or settings.SIEIS_TIME_ZONE
    zone = request.times_in or site_zone
    for each in (site_zone, zone):
        valid_time_zone(each)
    profile = registry.profiles().get(request.pack.profile.code, request.pack.profile)
    sources = [files.read(path) for path in files.find(request.paths)]
    how = How(zone, dict(request.mapping), request.mote, request.decimal, request.date_order)
    rows = join(sources, profile, how)
    codes = sorted(rows.table["mote"].unique().drop_nulls().to_list(), key=lambda code: (len(code), code))
    there = {mote.code: mote for mote in Mote.objects.filter(site=site).select_related("profile")} if site else {}
    known = [code for code in codes if code in there and there[code].profile.code == profile.code]
    retired = [code for code in known if there[code].state == Mote.State.RETIRED]
    new = [code for code in codes if code not in there and _is_code(code)]
    keys = {code: there[code].pk for code in known if code not in retired}
    fate = fates.fates(
        rows,
        latest_us=micros(now) + int(settings.SIEIS_FUTURE_S * 1e6),
        unknown=[code for code in codes if not _is_code(code)],
        retired=retired,
        stored=_stored(rows, profile, keys),
    )
    return Look(
        request=request, rows=rows,
        files=[{"name": each.path.name, "sha256": each.sha256, "rows": each.n_rows} for each in sources],
        pack=_only(request.pack, new), site_zone=site_zone,
        is_new_site=site is None, n_known=len(keys), retired=retired,
        foreign=[code for code in codes if code in there and code not in known],
        by_fate=fates.counts(fate, len(rows.misfits)), figures=fates.figures_of(rows),
        estimate=_estimate(rows, request.site, codes),
    )  # fmt: skip


def _is_code(code: str) -> bool:
    return len(code) <= LONGEST_CODE and code.isprintable()


def _only(pack: Pack, codes: Sequence[str]) -> Pack:
    """The pack with just these motes: its own where it knows the code, others without a place."""
    known = {mote.code: mote for mote in pack.motes}
    motes = tuple(
        known.get(code) or PackMote(code, f"Mote {code}" if code.isdigit() else code, None, None, "") for code in codes
    )
    zones = {mote.zone for mote in motes}
    return replace(pack, motes=motes, zones=tuple(zone for zone in pack.zones if zone.code in zones))


def _stored(rows: Rows, profile: Profile, keys: Mapping[str, int]) -> pl.DataFrame:
    """What is stored already at the rows' motes and instants."""
    existing = stored.anywhere(hot(), lake())
    until = stored.newest(hot(), registry.current_fleet()) if keys else {}
    newest = {code: until[key] for code, key in keys.items() if key in until}
    schema = {"mote": pl.String, "at": pl.Int64, **dict.fromkeys(profile.names, pl.Float64)}
    if not newest:
        return pl.DataFrame(schema=schema)
    may_be = rows.table.select("mote", "at").filter(
        pl.col("at") <= pl.col("mote").replace_strict(newest, default=None, return_dtype=pl.Int64)
    )
    found = [
        existing(profile, part.select(pl.col("mote").replace_strict(dict(keys)), pl.col("at").cast(INSTANT)).unique())
        for part in may_be.iter_slices(LOOKED_UP)
    ]
    codes = {key: code for code, key in keys.items()}
    named = [
        table.with_columns(
            pl.col("mote").replace_strict(codes, default=None, return_dtype=pl.String), pl.col("at").cast(pl.Int64)
        ).select("mote", "at", *profile.names)
        for table in found
    ]
    return pl.concat([pl.DataFrame(schema=schema), *named]).unique(["mote", "at"])


def _estimate(rows: Rows, site: str, codes: Sequence[str]) -> str:
    """From the last import here; before the first one a lower bound, from a part that is written and read at once."""
    last = AuditEntry.objects.filter(deed=DEED, detail__is_complete=True, detail__rows__gte=SAMPLE).first()
    if last is not None:
        seconds = len(rows) * last.detail["seconds"] / last.detail["rows"]
        return f"It will take about {max(seconds, 1):,.0f} s, at the rate of the import of {last.at:%Y-%m-%d}."
    motes = tuple(MoteRef(i, code, site, "", rows.profile.code, "UTC", "active") for i, code in enumerate(codes))
    wire = Wire(Fleet(0, motes, {rows.profile.code: rows.profile}, site))
    began = time.perf_counter()
    values, _ = messages.write(rows, 0, SAMPLE, site=site, keys={})
    nowhere = np.zeros(len(values), dtype=np.int64)
    wire.decode(Records(values, nowhere, nowhere, np.full(len(values), np.iinfo(np.int64).max // 2)))
    seconds = (time.perf_counter() - began) / max(len(values), 1) * len(rows)
    if seconds < 1:
        return "It will take seconds."
    return f"It will take more than {seconds:,.0f} s: so long to write and to read the messages; then they are stored."


def _some(codes: Iterable[str]) -> str:
    names = list(codes)
    return ", ".join(names) if len(names) <= 12 else f"{', '.join(names[:6])} … {names[-1]}"
