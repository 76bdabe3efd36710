"""What a forecast's error finds beside the engine, and what that costs; on NAB by its scorer and on SKAB.

    python -m bench.forecast_residual --nab FOLDER --skab FOLDER [--every 1] [--detectors engine,ridge,telemanom]

Each is `manage.py detect --detector`, with nothing but its defaults. `louder` is the engine's score or the other's,
whichever is higher. telemanom needs PyTorch; times are of the processor, one file after the other.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench import nab, skab
from bench._place import ROOT
from sensors.readings import Floats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--nab", type=Path, required=True, help="folder with combined_windows.json")
    parser.add_argument("--skab", type=Path, required=True, help="folder with anomaly-free/ and the labelled ones")
    parser.add_argument("--every", type=int, default=1, help="each n-th file of NAB")
    parser.add_argument("--detectors", default="engine,ridge", help="of engine, ridge, telemanom; the first leads")
    options = parser.parse_args()
    os.environ.setdefault("NUMBA_CACHE_DIR", str(ROOT / "var" / "numba"))
    corpus = nab.load(options.nab)[:: options.every]
    files = sorted(path for path in options.skab.glob("*/*.csv") if path.parent.name != "anomaly-free")
    told: dict[str, Any] = {"nab_files": len(corpus), "skab_files": len(files)}
    led: list[Floats] = []
    for detector in options.detectors.split(","):
        scores, told[detector] = of_nab(corpus, detector)
        told[detector] |= of_skab(files, detector)
        led = led or scores
        if scores is not led:
            louder = [np.maximum(one, other) for one, other in zip(led, scores, strict=True)]
            told[detector]["louder"] = round(nab.score_at(corpus, louder, nab.DEFAULT), 1)
        print(json.dumps({detector: told[detector]}), flush=True)
    print(json.dumps(told))


def of_nab(corpus: Sequence[nab.Series], detector: str) -> tuple[list[Floats], dict[str, Any]]:
    begun = time.process_time()
    said = [nab.judged(series.path, detector=detector) for series in corpus]
    scores, days = [score for score, _ in said], sum(series.days for series in corpus)
    n_false = sum(nab.n_false_events(series, noticed) for series, (_, noticed) in zip(corpus, said, strict=True))
    return scores, {
        "nab": round(nab.score_at(corpus, scores, nab.DEFAULT), 1),
        "nab_tuned": round(nab.tuned(corpus, scores)[1], 1),
        "nab_false_events_per_day": round(n_false / days, 2),
        "nab_cpu_s": round(time.process_time() - begun, 1),
    }


def of_skab(files: Sequence[Path], detector: str) -> dict[str, Any]:
    begun = time.process_time()
    counts = sum((skab.counts(path, detector=detector) for path in files), start=np.zeros(4))
    return {"skab": skab.rates(counts), "skab_cpu_s": round(time.process_time() - begun, 1)}


if __name__ == "__main__":
    main()
