"""How well the engine detects, on all data there are: one command, one table, one JSON object as its last line.

    python -m bench.detection [--data DIR] [--quick] [--only simulator,lab,...] [--seed 1]

The simulator needs no data: a model of each pack learns from faultless days, then every kind of fault is planted in
later ones (ingestion.capability, as `manage.py capability` does), at the profile's own interval and, where the demo
reports faster, as the demo does. With DIR (docs/detection.md says what lies there) the programs of the injected lab
faults, the real battery deaths, NAB and SKAB are called one after the other, each by its own protocol and with nothing
but defaults. --quick plants fewer faults and takes one channel of the lab.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench._place import ROOT

START = datetime(2026, 3, 2, tzinfo=UTC)  # a Monday
PACKS = ("indoor", "climate", "machine", "smoke")
# What each learns from: days of its fleet; a fleet that reports every second learns from fewer.
LEARN = {"indoor": 7.0, "climate": 7.0, "machine": 2.0, "smoke": 1.0}
JUDGE = {"indoor": 10.0, "climate": 3.0, "machine": 1.0, "smoke": 0.5}
QUICKLY = {"indoor": 2.0, "climate": 1.0, "machine": 0.4, "smoke": 0.3}
LIVE_HOURS = {"indoor": 6.0}  # where the demo reports faster than the profile's interval


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, help="folder of the public data sets")
    parser.add_argument("--only", default="", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--packs", default=",".join(PACKS), help="to simulate")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    wanted = options.only.split(",") if options.only else list(PARTS)
    figures: dict[str, Any] = {"at": f"{datetime.now(UTC):%Y-%m-%d}", "seed": options.seed, "quick": options.quick}
    for name in wanted:
        if name != "simulator" and options.data is None:
            continue
        began = time.perf_counter()
        figures[name] = PARTS[name](options)
        for line in TABLES[name](figures[name]):
            print(line, flush=True)
        print(f"({name}: {time.perf_counter() - began:.0f} s)\n", flush=True)
    if "simulator" in figures:
        figures["simulator"] = {name: short(table) for name, table in figures["simulator"].items()}
    print(json.dumps(figures))


# ---- the simulator ------------------------------------------------------------------------------------------


def simulator(options: argparse.Namespace) -> dict[str, Any]:
    found = {}
    for name in options.packs.split(","):
        found[name] = simulated(name, is_quick=options.quick, seed=options.seed)
        if name in LIVE_HOURS and not options.quick:
            found[f"{name} live"] = simulated(name, is_quick=False, seed=options.seed, live_hours=LIVE_HOURS[name])
    return found


def simulated(name: str, *, is_quick: bool, seed: int, live_hours: float = 0.0) -> dict[str, Any]:
    """The capability table of a model of the pack, trained here."""
    from ingestion.capability import grounds
    from ingestion.capability.measuring import measure
    from mlops.detection import Engine
    from sensors.packs import read_pack
    from sensors.readings import micros

    pack = read_pack(name)
    begin, middle = micros(START), micros(START + timedelta(days=LEARN[name]))
    days = live_hours / 24 if live_hours else (QUICKLY if is_quick else JUDGE)[name]
    interval_s = pack.simulator.get("interval_s") if live_hours else None
    past = grounds.simulated(pack, begin, middle, seed=seed)
    engine = Engine().fit(grounds.clean(past, begin, middle))
    ground = grounds.simulated(pack, middle, middle + int(days * 86_400e6), seed=seed, interval_s=interval_s)
    return {
        "learnt_days": LEARN[name],
        "judged_days": round(days, 2),
        **measure(engine, ground, is_quick=is_quick, seed=seed),
    }


def short(table: dict[str, Any]) -> dict[str, Any]:
    """Of each kind: how many there were, were found, and were found at the first wrong reading or the next one."""
    keys = ("n", "found", "at_once", "median_delay_s")
    return {
        "interval_s": table["interval_s"],
        "fault_length_s": table["fault_length_s"],
        "learnt_days": table["learnt_days"],
        "judged_days": table["judged_days"],
        "kinds": {one["kind"]: {key: one[key] for key in keys} for one in table["kinds"]},
        "false_events_per_mote_week": table["clean"]["per_mote_week"],
        "mote_weeks": table["clean"]["mote_weeks"],
    }


def simulator_table(figures: dict[str, Any]) -> Iterator[str]:
    from ingestion.capability.telling import cannot, markdown

    for name, table in figures.items():
        low, high = table["fault_length_s"]
        yield (
            f"### {name}: {table['motes']} motes, a reading every {table['interval_s']:g} s, {table['learnt_days']:g} "
            f"days learnt, {table['judged_days']:g} days judged, faults of {low:g} to {high:g} s\n"
        )
        yield markdown(table) + "\n"
        labels = {channel["code"]: channel["label"] for channel in table["channels"]}
        yield from (f"- {words}" for words in cannot(table, labels))
        yield ""


# ---- the others ---------------------------------------------------------------------------------------------


def called(module: str, *arguments: str) -> Any:
    """The JSON object that a program says last; None where this release has no such program."""
    if importlib.util.find_spec(module) is None:
        return None
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[1:])} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def lab(options: argparse.Namespace) -> Any:
    channels = ("temperature",) if options.quick else ("temperature", "light")
    told = [called("bench.lab_faults", "--data", str(options.data), "--channels", channel) for channel in channels]
    return {name: one for each in told for name, one in each.items() if not name.startswith("none")}


def battery_death(options: argparse.Namespace) -> Any:
    return called("bench.battery_death", "--data", str(options.data))


def nab(options: argparse.Namespace) -> Any:
    return called("bench.nab", "--data", str(options.data / "nab"))


def skab(options: argparse.Namespace) -> Any:
    return called("bench.skab", "--data", str(options.data / "skab"))


def lab_table(figures: dict[str, Any]) -> Iterator[str]:
    yield "| injected lab fault | point F1 | found | median delay, readings | false events a day |"
    yield "| --- | --- | --- | --- | --- |"
    for name, one in figures.items():
        delay = "–" if one["median_delay"] is None else f"{one['median_delay']:g}"
        yield f"| {name} | {one['f1']:.3f} | {one['found']} | {delay} | {one['false_events_per_day']} |"


def nab_table(figures: dict[str, Any]) -> Iterator[str]:
    yield f"| NAB, {figures['files']} files | standard | low false positives | low false negatives |"
    yield "| --- | --- | --- | --- |"
    yield "| the product's own threshold | " + " | ".join(str(each) for each in figures["default"].values()) + " |"
    yield "| the best single one | " + " | ".join(str(each["score"]) for each in figures["tuned"].values()) + " |"
    n_readings, n_events = figures["false_readings_per_day"], figures["false_events_per_day"]
    yield f"{n_readings} false readings and {n_events} false events a day and file."


def skab_table(figures: dict[str, Any]) -> Iterator[str]:
    yield "| SKAB | F1 | false alarms | missed alarms | false alarms without any anomaly |"
    yield "| --- | --- | --- | --- | --- |"
    rates = [f"{100 * figures[name]:.1f} %" for name in ("false_alarm_rate", "missed_alarm_rate")]
    calm = f"{100 * figures['anomaly_free_false_alarm_rate']:.1f} %"
    yield f"| {figures['files']} files | {figures['f1']} | {rates[0]} | {rates[1]} | {calm} |"


def plain_table(figures: Any) -> Iterator[str]:
    if figures is None:
        yield "not measured: this release has no such program"
        return
    yield "| real battery death | |"
    yield "| --- | --- |"
    for name, value in figures.items():
        if not isinstance(value, dict | list):
            yield f"| {name.replace('_', ' ')} | {value} |"


PARTS: dict[str, Callable[[argparse.Namespace], Any]] = {
    "simulator": simulator, "lab": lab, "battery_death": battery_death, "nab": nab, "skab": skab,
}  # fmt: skip
TABLES: dict[str, Callable[[Any], Iterator[str]]] = {
    "simulator": simulator_table, "lab": lab_table, "battery_death": plain_table, "nab": nab_table,
    "skab": skab_table,
}  # fmt: skip


if __name__ == "__main__":
    main()
