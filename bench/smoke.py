"""The smoke classifier on the public smoke detection set, and its twelve channels on the simulator.

    python -m bench.smoke --data FOLDER_WITH_smoke_detection_iot.csv [--hours 12]

The set's three real channels are judged three ways: by rows drawn by lot, by recordings, and by recordings that are no
copies of each other. Only the last is a figure. The twelve channels have one label flip in the real set, so they are
judged on the simulator, by detectors that were never learnt from, and are said to be simulated.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import polars as pl

CHANNELS = {"Temperature[C]": 3.0, "Humidity[%]": 100.0, "eCO2[ppm]": 60_000.0}  # and what it can change in a second
FILE = "smoke_detection_iot.csv"


def real(folder: Path) -> None:
    from mlops import smoke

    table = pl.read_csv(folder / FILE)
    values = table.select(list(CHANNELS)).to_numpy().astype(np.float64)
    found = smoke.recordings(values, table["Fire Alarm"].to_numpy() == 1, np.array([*CHANNELS.values()]))
    print(f"REAL, three channels: {len(table):,} readings in {len(found)} recordings")
    for one in found:
        copy = "" if one.family == one.name else f", a copy of {one.family}"
        print(f"  {one.name}: {len(one):,} s, {one.label.mean():.1%} alarm{copy}")
    print()
    for name, figures in (
        ("Rows drawn by lot (leaks: the second before and after is learnt from)", smoke.random_split(found)),
        ("By recording (leaks: copies are learnt from)", smoke.leave_one_out(found, by_family=False)),
        ("By recordings that are no copies", smoke.leave_one_out(found, by_family=True)),
    ):
        print("\n".join(smoke.lines(name, figures)), "\n")


def simulated(hours: float) -> None:
    from mlops import smoke

    motes = recordings_of_simulator(hours)
    learnt, held_out = motes[: len(motes) * 2 // 3], motes[len(motes) * 2 // 3 :]
    figures = smoke.judge(smoke.SmokeClassifier().fit(learnt), held_out)
    print(f"SIMULATED, twelve channels: {len(learnt)} detectors of {hours:g} h learnt from")
    print("\n".join(smoke.lines("Detectors that were never learnt from (simulated, no proof for real smoke)", figures)))


def recordings_of_simulator(hours: float) -> list[object]:
    from ingestion.simulating.simulator import Simulator
    from mlops.smoke import Recording
    from sensors.packs import read_pack

    pack = read_pack("smoke")
    simulator = Simulator.of(pack, site="bench", seed=7, n_motes=12, anomaly_rate=0.08)
    start, end = 1_772_452_800_000_000, 1_772_452_800_000_000 + int(hours * 3.6e9)
    said = simulator.produce(start, end, 1.0)
    found = []
    for n, code in enumerate(simulator.places.codes):
        rows = np.flatnonzero(said.mote == n)
        at, values = said.at[rows], said.values[rows]
        label = np.zeros(len(at), dtype=np.bool_)
        for fault in simulator.faults(start, end):
            if fault.mote == code:
                label |= (at >= fault.starts_us) & (at < fault.ends_us)
        found.append(Recording(f"detector {code}", values, label, family=f"detector {code}"))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help=f"The folder of {FILE}")
    parser.add_argument("--hours", type=float, default=6.0, help="Of each simulated detector")
    options = parser.parse_args()
    os.environ.setdefault("SIEIS_EMBEDDED", "1")
    real(options.data)
    simulated(options.hours)


if __name__ == "__main__":
    main()
