"""SKAB's water circulation testbed, on what `manage.py detect` says with nothing but its defaults.

    python -m bench.skab --data FOLDER_OF_SKAB

By its protocol: a file's first 400 rows are learnt from, the others judged one after the other, and F1, false alarm
rate and missed alarm rate are of all files' rows together. The run without anomalies, cut into stretches as long as a
file, shows what false alarms cost a plant that is well.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import polars as pl

from bench._place import ROOT
from sensors.readings import Bools

TRAINING = 400
STRETCH = 1100
LABELS = ("anomaly", "changepoint")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--data", type=Path, required=True, help="folder with anomaly-free/ and the labelled ones")
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    print(json.dumps(measure(options.data)))


def measure(folder: Path) -> dict[str, Any]:
    labelled = sorted(path for path in folder.glob("*/*.csv") if path.parent.name != "anomaly-free")
    by_file = {f"{path.parent.name}/{path.name}": counts(path) for path in labelled}
    with TemporaryDirectory() as place:
        calm = [counts(path) for path in stretches(folder / "anomaly-free" / "anomaly-free.csv", Path(place))]
    return {
        "files": len(by_file),
        **rates(sum(by_file.values(), start=np.zeros(4))),
        "by_file": {name: rates(each) for name, each in by_file.items()},
        "anomaly_free_false_alarm_rate": rates(sum(calm, start=np.zeros(4)))["false_alarm_rate"],
    }


def counts(path: Path, without: Sequence[str] = (), detector: str = "engine") -> Any:
    """True and false positives, false and true negatives of the rows that were not learnt from."""
    from mlops.detect import Request, judge_file

    ask = Request(train_rows=TRAINING, without=without, detector=detector)
    scored = judge_file(path, ask).scored()[TRAINING:]
    said: Bools = scored["is_anomaly"].to_numpy()
    label = scored["anomaly"].cast(pl.Float64).to_numpy() > 0 if "anomaly" in scored.columns else np.zeros_like(said)
    return np.array([(said & label).sum(), (said & ~label).sum(), (~said & label).sum(), (~said & ~label).sum()])


def rates(of: Any) -> dict[str, float]:
    found, false, missed, calm = of.tolist()
    return {
        "f1": round(2 * found / max(2 * found + false + missed, 1), 3),
        "false_alarm_rate": round(false / max(false + calm, 1), 3),
        "missed_alarm_rate": round(missed / max(missed + found, 1), 3),
    }


def stretches(path: Path, place: Path) -> Iterator[Path]:
    table = pl.read_csv(path, separator=";")
    for begin in range(0, len(table) - STRETCH, STRETCH):
        piece = place / f"{begin}.csv"
        table[begin : begin + STRETCH].write_csv(piece, separator=";")
        yield piece


if __name__ == "__main__":
    main()
