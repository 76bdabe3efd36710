"""A fleet at several sites, with a model that learnt from their day before: the same one wherever it is made.

    python -m bench._fleet --sites 4 --motes 42 --day 2026-11-20

Runs in the environment of the SIEIS that gets it. Sites are named so that their keys fall into partitions in turn.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

PARTITIONS = 4
LEARNS = timedelta(days=1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--sites", type=int, required=True)
    parser.add_argument("--motes", type=int, required=True, help="at each site")
    parser.add_argument("--day", type=datetime.fromisoformat, required=True, help="the first one that is not learnt")
    options = parser.parse_args()
    import django

    django.setup()
    make(codes(options.sites), options.motes, options.day.replace(tzinfo=UTC), retires=True)


def make(sites: list[str], n_motes: int, day: datetime, *, retires: bool = False, learns: timedelta = LEARNS) -> Any:
    """Installs pack and motes, of which one may be retired, fits, registers and promotes; the fitted engine."""
    from mlops import registry as models
    from mlops.detection import Engine
    from sensors import registry
    from sensors.installation import install_pack
    from sensors.models import Mote, Profile
    from sensors.packs import read_pack
    from sensors.readings import concat

    pack = read_pack("indoor").with_motes(n_motes)
    for site in sites:
        install_pack(pack, site_code=site, time_zone="UTC", who=None, now=day)
    if retires:
        Mote.objects.filter(site__code=sites[0], code=pack.motes[-1].code).update(state="retired")
    registry.touch_fleet()
    fleet = registry.current_fleet()
    learnt = [
        batch
        for site in sites[:4]
        for values in said(site, min(n_motes, 42), day - learns, day)
        for batch in decoded(values, fleet)
    ]
    fitted = Engine().fit(concat(learnt))
    version = models.register(
        fitted, profile=Profile.objects.get(code="indoor"), data={"made_by": "bench"},
        metrics={"readings": sum(map(len, learnt))}, job=None, now=day,
    )  # fmt: skip
    models.promote(version, who=None, why="for the benchmark", now=day)
    return fitted


def codes(n: int) -> list[str]:
    """Codes of n sites; the first four have a partition each."""
    from ingestion.streams.keys import partition_of

    wanted = (i % PARTITIONS for i in range(n))
    names = (f"site{i}" for i in count())
    return [next(name for name in names if partition_of(f"{name}/lab".encode(), PARTITIONS) == each) for each in wanted]


def simulator(site: str, n_motes: int, anomaly_rate: float | None = None) -> Any:
    from ingestion.simulating.simulator import Simulator
    from sensors.packs import read_pack

    return Simulator.of(
        read_pack("indoor"), site=site, time_zone="UTC", seed=sum(site.encode()), n_motes=n_motes, is_history=True,
        names_site=True, anomaly_rate=anomaly_rate,
    )  # fmt: skip


def said(site: str, n_motes: int, start: datetime, end: datetime) -> Iterator[list[bytes]]:
    from ingestion.simulating.simulation import history_chunks

    return (values for values, _ in history_chunks(simulator(site, n_motes), start, end))


def decoded(values: list[bytes], fleet: Any) -> list[Any]:
    import numpy as np

    from ingestion.records import Records
    from ingestion.wire import Wire

    n = len(values)
    received = np.full(n, int((datetime.now(UTC) + timedelta(days=1)).timestamp() * 1e6))
    records = Records(values, np.zeros(n, np.int64), np.arange(n), received)
    return [batch for batch, _ in Wire(fleet).decode(records).batches]


if __name__ == "__main__":
    main()
