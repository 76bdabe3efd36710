"""Kills the consumer at random moments while readings flow, and compares what is there with a run that nobody killed.

    python -m bench.kill [--readings 500000] [--kills 20] [--consumers 1] [--rate 1300] [--seed N]

On the real servers whose addresses are in the environment. The messages are simulated readings of four sites in four
partitions, labelled, with faults, duplicates, conflicts, late ones, unknown motes and garbage among them. The second
run reads the very same messages, in larger batches and with a rarer checkpoint. Compared are hot store, lake,
quarantine, books, events, alerts, labels, and the state of judgement: all rows, all columns.
"""

from __future__ import annotations

import argparse
import json
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import polars as pl

from bench import _fleet, _servers
from bench._mixture import Mixture
from tests.stack import Stack

WAIT_S = 900.0
AFTER_S = (0.0, 2.5)  # since the moment that was waited for
HOW = (signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)  # where several share the partitions
# Which moment of a consumer's life is waited for: the first batches come seconds after its partitions.
MOMENTS = ("it started", "it had partitions", "it had saved", "it had saved")
# In the killed run, so that many a kill comes in the middle of one.
OFTEN = {"SIEIS_SLOW_CYCLE_S": "0.5", "SIEIS_BATCH_MAX": "2000"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--readings", type=int, default=500_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--consumers", type=int, default=1, help="in one group; the run that is compared has one")
    parser.add_argument("--late", type=int, default=0, help="so many of them join under load, after the first kill")
    parser.add_argument("--rate", type=float, default=1_300.0, help="messages a second while it is being killed")
    parser.add_argument("--motes", type=int, default=42, help="at each of the four sites")
    parser.add_argument("--anomaly-rate", type=float, help="of the sensors; a short run needs more for events")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sieis-bench-") as name:
        told = measure(options, Path(name))
    print(json.dumps(told))
    raise SystemExit(bool(told["different"] or told["lost"] or told["twice"]))


def measure(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    sites = _fleet.codes(4)
    span = timedelta(seconds=30 * options.readings / (4 * options.motes)) * 1.1 + timedelta(hours=2)
    mixture = Mixture(
        sites, options.motes, _servers.day_before(span), options.readings, options.seed,
        anomaly_rate=options.anomaly_rate,
    )  # fmt: skip
    with _servers.sieis(folder / "killed", **OFTEN) as killed, _servers.sieis(folder / "spared") as spared:
        _servers.fill(killed, 4, options.motes, mixture.start)
        _servers.copy(killed, spared)
        topics = {name: killed.environment[name] for name in ("KAFKA_TOPIC", "KAFKA_LABELS_TOPIC")}
        spared.environment = {**spared.environment, **topics}
        told = _torment(killed, mixture, options)
        began = time.monotonic()
        _run_through(spared, ["consumer"], {})
        told["spared_run_s"] = round(time.monotonic() - began, 1)
        with ThreadPoolExecutor(2) as at_once:
            there = at_once.map(lambda each: _servers.contents(each, each.folder / "contents"), (killed, spared))
        return {"seed": options.seed, **told, "odd": dict(mixture.kinds)} | verdict(*there, sent=_servers.end(killed))


def _torment(stack: Stack, mixture: Mixture, options: argparse.Namespace) -> dict[str, Any]:
    """Consumers are started and killed, again and again, while messages flow; the last ones may finish."""
    chance = random.Random(options.seed)
    names = [f"consumer{i}" for i in range(options.consumers)]
    flow = threading.Thread(target=_servers.flow, args=(stack, mixture, options.rate), daemon=True)
    flow.start()
    moments: Counter[str] = Counter()
    begun: dict[str, int] = {}
    for i in range(options.kills):
        there = names if i else names[: len(names) - options.late]
        _complete(stack, there, begun)
        one, moment = chance.choice(there), chance.choice(MOMENTS)
        _live_until(stack, one, moment, begun[one])
        time.sleep(chance.uniform(*AFTER_S))
        how = chance.choice(HOW) if len(names) > 1 else signal.SIGKILL
        stack.stop(one, how)
        moments[f"{how.name} after {moment}"] += 1
    is_flowing = flow.is_alive()
    flow.join()
    _run_through(stack, names, begun)
    return {
        "consumers": len(names), "kills": options.kills, "kills_by_moment": dict(moments),
        "flowed_until_last_kill": is_flowing,
    }  # fmt: skip


def _complete(stack: Stack, names: list[str], begun: dict[str, int]) -> None:
    for name in names:
        if name not in stack.processes:
            begun[name] = len(_log(stack, name))
            stack.start(name, "consume")


def _live_until(stack: Stack, name: str, moment: str, since: int) -> None:
    """Any partition's checkpoint counts as saved: of several consumers each has its own, and all save often."""
    if moment != "it started":
        stack.wait_until(lambda: '"assigned"' in _log(stack, name)[since:], name)
    if moment == "it had saved":
        before = _servers.saved(stack)
        with suppress(AssertionError):  # there may be nothing left to save
            stack.wait_until(lambda: _servers.saved(stack) > before, name, wait_s=30)


def _log(stack: Stack, name: str) -> str:
    path = stack.log_file(name)
    return path.read_text(errors="replace") if path.exists() else ""


def _run_through(stack: Stack, names: list[str], begun: dict[str, int]) -> None:
    """Until all that was sent has been saved."""
    _complete(stack, names, begun)
    end = _servers.end(stack)
    stack.wait_until(lambda: _servers.saved(stack) >= end, names[0], wait_s=WAIT_S)
    for name in names:
        stack.stop(name)


def verdict(killed: dict[str, pl.DataFrame], spared: dict[str, pl.DataFrame], *, sent: int) -> dict[str, Any]:
    """What differs, and what each run holds less or more than once of what was sent."""
    return {
        "sent": sent,
        "rows": {name: len(table) for name, table in killed.items()},
        "lost": sum(accounts(each, sent)[0] for each in (killed, spared)),
        "twice": sum(accounts(each, sent)[1] for each in (killed, spared)),
        "different": {
            name: difference(killed.get(name), spared.get(name))
            for name in killed.keys() | spared.keys()
            if not _is_equal(killed.get(name), spared.get(name))
        },
    }


def accounts(there: dict[str, pl.DataFrame], sent: int) -> tuple[int, int]:
    """How many messages are nowhere, and how many rows are there once too often."""
    places = ["partition", "offset"]
    books, silver, hot = there["books"], there["silver indoor"], there["hot indoor"]
    fates = books.select("stored", "quarantined", "duplicate", "held", "received").sum().row(0)
    lost = [
        sent - there["bronze"].select(places).n_unique(),
        sent - fates[4],
        fates[0] - silver.select(places).n_unique(),
    ]
    lost += [fates[4] - sum(fates[:4]), len(silver) - len(hot), fates[1] + fates[3] - len(there["quarantine"])]
    twice = [
        len(there[name]) - there[name].select(places).n_unique() for name in ("bronze", "silver indoor", "quarantine")
    ]
    twice.append(len(silver) - silver.select("mote", "at").n_unique())
    return sum(map(abs, lost)), sum(twice)


def _is_equal(one: pl.DataFrame | None, other: pl.DataFrame | None) -> bool:
    return one is not None and other is not None and one.equals(other, null_equal=True)


def difference(one: pl.DataFrame | None, other: pl.DataFrame | None) -> dict[str, Any]:
    """Of two tables that are not equal: the columns that differ, or how many rows, and some of them."""
    if one is None or other is None or one.schema != other.schema:
        return {"schemas": [str(table.schema) if table is not None else None for table in (one, other)]}
    rows = [len(one), len(other)]
    if rows[0] != rows[1]:
        surplus = one.join(other, on=one.columns, how="anti", nulls_equal=True)
        missing = other.join(one, on=one.columns, how="anti", nulls_equal=True)
        return {"rows": rows, "only_killed": str(surplus.head(3).rows()), "only_spared": str(missing.head(3).rows())}
    unequal = {name: (one[name].ne_missing(other[name])).arg_true() for name in one.columns}
    return {
        name: {"rows": len(at), "first": [str(one[name][at[0]])[:500], str(other[name][at[0]])[:500], int(at[0])]}
        for name, at in unequal.items()
        if len(at)
    }


if __name__ == "__main__":
    main()
