"""What each layer earns: the same figures with one of them left out at a time.

    python -m bench.ablation --data DIR [--layers gate,stuck,...] [--only lab,dying,...] [--nab-every 4]

DIR holds intel_faults.parquet, intel_lab.parquet, nab/ and skab/. Each column is the mean of a program of its own, by
that program's protocol and nothing but defaults: point F1 and false events a day of the injected lab faults (six kinds
of temperature; of light those that are detected), dying sensors named 12 hours before they lie grossly, the simulator's
faults found and false events a mote and week, NAB (each n-th file) and SKAB. Files of NAB and SKAB have too little
history for most layers; where a layer is silent anyway, nothing is measured again. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from bench import battery_death, detection, lab_faults, nab, skab
from bench._place import ROOT

LIGHT = ("random", "malfunction", "drift", "mixed")
OF_FILES = ("gate", "series", "shift")  # what speaks where history is short
Figures = dict[str, float | str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder of the public data sets")
    parser.add_argument("--layers", default="", help="to leave out, one at a time; all by default")
    parser.add_argument("--only", default=",".join(PARTS), help="what to measure")
    parser.add_argument("--nab-every", type=int, default=4)
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    from mlops.detection import VOTES

    rows: dict[str, Figures] = {}
    for layer in ("", *(options.layers.split(",") if options.layers else VOTES)):
        without = (layer,) if layer else ()
        figures: Figures = {}
        for part in options.only.split(","):
            if part != "files" or layer in ("", *OF_FILES):
                figures |= PARTS[part](options, without)
        rows[layer or "nothing"] = figures
        print(told(layer or "nothing", figures, rows["nothing"]), flush=True)
    print(json.dumps(rows))


def told(name: str, figures: Mapping[str, Any], whole: Mapping[str, Any]) -> str:
    """A row of a table; "=" where nothing changed."""
    cells = [
        "=" if name != "nothing" and figures.get(key, one) == one else f"{figures[key]}" for key, one in whole.items()
    ]
    head = f"| without | {' | '.join(whole)} |\n|{' --- |' * (len(whole) + 1)}\n" if name == "nothing" else ""
    return f"{head}| {name} | {' | '.join(cells)} |"


def of_lab(options: argparse.Namespace, without: Sequence[str]) -> Figures:
    table = pl.read_parquet(options.data / "intel_faults.parquet").sort("at", "mote")
    warm = _of_kinds(lab_faults.measure(table, ["temperature"], list(without)), "temperature")
    light = _of_kinds(lab_faults.measure(table, ["light"], list(without)), "light", LIGHT)
    return {
        "temperature F1": warm[0], "least": warm[1], "false a day": warm[2], "light F1": light[0],
        "light false a day": light[2],
    }  # fmt: skip


def of_dying(options: argparse.Namespace, without: Sequence[str]) -> Figures:
    dying = battery_death.measure(options.data, 8.0, list(without))
    return {
        "dying sensors named": dying["named_12_h_before"],
        "false in 50 days": dying["events_of_the_engine_in_50_healthy_mote_days"],
    }


def _of_kinds(figures: Mapping[str, Any], channel: str, kinds: Sequence[str] = ()) -> tuple[float, float, float]:
    """Mean and least F1 and the mean of false events a day, of a channel's kinds of fault."""
    wanted = [
        one for name, one in figures.items() if name.split()[0] == channel and (not kinds or name.split()[1] in kinds)
    ]
    scores = [one["f1"] for one in wanted]
    mean = round(float(np.mean(scores)), 3), min(scores)
    return *mean, round(float(np.mean([one["false_events_per_day"] for one in wanted])), 2)


def of_simulator(options: argparse.Namespace, without: Sequence[str]) -> Figures:
    from ingestion.capability import grounds
    from ingestion.capability.measuring import measure
    from mlops.detection import Engine
    from sensors.packs import read_pack
    from sensors.readings import micros

    pack = read_pack("indoor")
    begin, middle = micros(detection.START), micros(detection.START + timedelta(days=detection.LEARN["indoor"]))
    past = grounds.simulated(pack, begin, middle, seed=1)
    engine = Engine(without=without).fit(grounds.clean(past, begin, middle))
    end = middle + int(detection.QUICKLY["indoor"] * 86_400e6)
    table = measure(engine, grounds.simulated(pack, middle, end, seed=1), is_quick=True, seed=1)
    found = [one["found"] / one["n"] for one in table["kinds"] if one["n"]]
    return {
        "simulator found": round(float(np.mean(found)), 3),
        "false a week": table["clean"]["per_mote_week"],
    }


def of_files(options: argparse.Namespace, without: Sequence[str]) -> Figures:
    folder, every = options.data, options.nab_every
    corpus = nab.load(folder / "nab")[::every]
    scores = [nab.judged(series.path, without)[0] for series in corpus]
    labelled = sorted(path for path in (folder / "skab").glob("*/*.csv") if path.parent.name != "anomaly-free")
    rates = skab.rates(sum((skab.counts(path, without) for path in labelled), start=np.zeros(4)))
    return {
        "NAB": round(nab.score_at(corpus, scores, nab.DEFAULT), 1),
        "SKAB F1": rates["f1"],
        "SKAB false alarms": rates["false_alarm_rate"],
    }


Part = Callable[[argparse.Namespace, Sequence[str]], Figures]
PARTS: dict[str, Part] = {"lab": of_lab, "dying": of_dying, "simulator": of_simulator, "files": of_files}

if __name__ == "__main__":
    main()
