"""The forecasts that are made by schedule: of every active mote, kept, warned of, told; and scored later."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import itemgetter

import numpy as np
import structlog
from django.core.cache import cache

from mlops.forecasts import machine_stages, record, risks, warnings
from mlops.forecasts.issued_models import IssuedForecast, StageForecast
from mlops.forecasts.machine_stages import Stages
from mlops.forecasts.record import Said
from mlops.forecasts.serving import Forecast, Refusal, forecasts_of
from sensors import live
from sensors.fleet import Fleet, MoteRef
from sensors.lake import Lake
from sensors.machines import kinds
from sensors.readings import micros
from sensors.stores import HotStore, StoreUnavailable

LOCK_S = 3600  # of one that was killed
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Issued:
    """What a run came to."""

    forecasts: Sequence[IssuedForecast] = ()
    refused: Sequence[str] = ()
    failed: Sequence[str] = ()  # by error, each named


@contextmanager
def alone(what: str) -> Iterator[bool]:
    """Whether nobody else is at it in any process; until the block ends, nobody will be."""
    name = f"forecasts:{what}"
    is_ours = cache.add(name, True, LOCK_S)
    try:
        yield is_ours
    finally:
        if is_ours:
            cache.delete(name)


def issue(now: datetime, *, lake: Lake, fleet: Fleet) -> Issued | None:
    """Forecasts every active mote; None where another run is at it. StoreUnavailable."""
    with alone("issuing") as is_ours:
        return _issue(now, lake, fleet) if is_ours else None


def _issue(now: datetime, lake: Lake, fleet: Fleet) -> Issued:
    motes = [mote for mote in fleet.motes if mote.state == "active" and not mote.is_probe]
    of_rules = risks.limits_of_rules(fleet)
    machines, stages = kinds(fleet), Stages()
    said: list[Said] = []
    worn: list[StageForecast] = []
    refused, failed = [], []
    for mote, answers in groupby(_answers(motes, now), key=itemgetter(0)):
        heard = []
        for _, answer in answers:
            if isinstance(answer, Refusal):
                refused.append(answer.reason)
            elif isinstance(answer, Exception):
                failed.append(f"{mote.site}/{mote.code}: {answer}")
            else:
                heard.append(answer)
        said += [_said(one, of_rules) for one in heard]
        worn += stages.of(machines[mote.profile], heard, now) if mote.profile in machines else []
    fresh = record.keep(said, now=now)
    machine_stages.keep([mote for mote in motes if mote.profile in machines], worn)
    try:
        record.to_lake(lake)
    except StoreUnavailable as away:  # the next run brings them there
        log.warning("forecasts_not_in_lake", reason=str(away))
    warnings.follow(fresh, fleet=fleet, now=now)
    if fresh:
        live.announce({"type": "forecasts", "issued_at": now, "n": len(fresh)})
    return Issued(fresh, refused, failed)


def _answers(motes: Sequence[MoteRef], now: datetime) -> Iterator[tuple[MoteRef, Forecast | Refusal | Exception]]:
    """All by the versions that serve now; where one mote fails, the others one by one."""
    try:
        for answer in forecasts_of(motes, now=now):
            yield answer.mote, answer
    except StoreUnavailable:
        raise
    except Exception:
        log.exception("forecasts_failed")
        for mote in motes:
            yield from _answers_of(mote, now)


def _answers_of(mote: MoteRef, now: datetime) -> Iterator[tuple[MoteRef, Forecast | Refusal | Exception]]:
    try:
        yield from ((mote, answer) for answer in forecasts_of([mote], now=now))
    except StoreUnavailable:
        raise
    except Exception as error:
        yield mote, error


def _said(forecast: Forecast, of_rules: risks.OfRules) -> Said:
    key = forecast.mote.id, forecast.channel.code
    limits = risks.limits_of(forecast.channel, of_rules.get(key, ()))
    return Said(
        *key, forecast.model_version, micros(forecast.last_reading_at), round(forecast.step_s * 1e6),
        np.vstack([forecast.mean, forecast.quantiles.T]), risks.risks_of(forecast, limits),
    )  # fmt: skip


def score(now: datetime, *, store: HotStore, fleet: Fleet) -> int | None:
    """Compares what is over with what came, forecasts and warnings; None where another run is at it."""
    with alone("scoring") as is_ours:
        if not is_ours:
            return None
        warnings.settle(now, store=store, fleet=fleet)
        return record.score(now, store=store, fleet=fleet)
