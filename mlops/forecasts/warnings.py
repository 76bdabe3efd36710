"""Warnings of forecasts: raised as alerts of a kind of their own, withdrawn, and closed by what came.

A mote's channel has one at a time, of the limit that is likeliest to be passed. What it says ends with the horizon of
the forecast that raised it, so that every warning is judged in the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db import transaction

from alerts import services
from alerts.models import Alert
from mlops.forecasts import record, risks
from mlops.forecasts.fleet_risks import newest
from mlops.forecasts.issued_models import ForecastWarning, IssuedForecast
from sensors import live
from sensors.fleet import Fleet, MoteRef
from sensors.readings import Channel
from sensors.stores import HotStore

KIND = "forecast"
LOW, HIGH = "low", "high"
SEVERITY = "medium"  # what is yet to come is less urgent than what is
Outcome = ForecastWarning.Outcome
ENDED = {
    Outcome.CAME_TRUE: "came true",
    Outcome.DID_NOT: "did not come true: its time has passed",
    Outcome.WITHDRAWN: "withdrawn",
}  # fmt: skip
MARGIN = timedelta(hours=1)  # readings of a clock that is ahead


def kind_of(channel: str) -> str:
    """Of a channel's warnings; asked for “forecast”, silences and routes mean them all."""
    return f"{KIND}:{channel}"[:32]


# ---- raising and withdrawing --------------------------------------------------------------------------------


def follow(issued: Sequence[IssuedForecast], *, fleet: Fleet, now: datetime) -> list[Alert]:
    """Raises, keeps up and withdraws by the newest forecasts; answers the alerts that were opened or ended."""
    rows = [row for row in issued if row.mote_id in fleet.by_id]
    standing = {
        (one.mote_id, one.channel): one
        for one in ForecastWarning.objects.filter(outcome=Outcome.STANDING, mote__in={row.mote_id for row in rows})
    }
    changed: list[Alert] = []
    for row in rows:
        mote, channel = fleet.by_id[row.mote_id], _channel(fleet, row)
        warning = standing.get((row.mote_id, row.channel))
        if warning is not None:
            changed += _keep_up(warning, row, mote, channel, now)
        elif (worst := row.worst) is not None and risks.level(worst["probability"]) == HIGH:
            changed.append(_raise(row, worst, mote, _words(worst, mote, channel), now))
    _announce(changed)
    return changed


def _words(risk: Mapping[str, Any], mote: MoteRef, channel: Channel) -> str:
    said = f"{risks.words(risk, channel)}; {record.track_record(mote.id, channel.code).words}"
    return (said[0].upper() + said[1:])[:400]


def _channel(fleet: Fleet, row: IssuedForecast) -> Channel:
    profile = fleet.profiles[fleet.by_id[row.mote_id].profile]
    return next(one for one in profile.channels if one.code == row.channel)


@transaction.atomic
def _raise(row: IssuedForecast, worst: Mapping[str, Any], mote: MoteRef, said: str, now: datetime) -> Alert:
    alert = services.raise_system_alert(
        subject=mote.subject, kind=kind_of(row.channel), words=said,
        severity=SEVERITY, now=now, mote=mote.id,
    )  # fmt: skip
    ForecastWarning.objects.create(
        mote_id=mote.id, channel=row.channel, alert=alert, limit=worst["limit"], value=worst["value"],
        is_upper=worst["is_upper"], origin_at=row.origin_at, ends_at=row.ends_at, probability=worst["probability"],
        last_probability=worst["probability"],
    )  # fmt: skip
    return alert


def _keep_up(
    warning: ForecastWarning, row: IssuedForecast, mote: MoteRef, channel: Channel, now: datetime
) -> list[Alert]:
    """With the newest chance of its limit; one that has fallen below medium is withdrawn, one that is gone as well."""
    same = (warning.limit, warning.value, warning.is_upper)
    found = next((one for one in row.risks if (one["limit"], one["value"], one["is_upper"]) == same), None)
    if found is None:
        return _close(warning, Outcome.WITHDRAWN, now, "its limit is no longer there, or no risk can be said")
    if found["is_beyond"]:  # whether that is what was said, the readings tell
        return []
    warning.last_probability = found["probability"]
    if risks.level(found["probability"]) == LOW:
        return _close(warning, Outcome.WITHDRAWN, now, f"the risk has fallen to {found['probability']:.0%}")
    warning.save(update_fields=["last_probability"])
    told = Alert.objects.active().filter(forecast_warnings=warning)
    told.update(last_seen_at=now, words=_words(found, mote, channel))
    return []


@transaction.atomic
def _close(warning: ForecastWarning, outcome: str, now: datetime, why: str = "") -> list[Alert]:
    """Ends the warning and its alert, if nobody has ended that."""
    warning.outcome, warning.closed_at, warning.why = outcome, now, why[:200]
    warning.save(update_fields=["outcome", "closed_at", "why", "last_probability"])
    if warning.alert is None:
        return []
    said = f"{ENDED[Outcome(outcome)]}{f': {why}' if why else ''}"
    return services.clear_system_alert(subject=warning.alert.subject, kind=warning.alert.kind, now=now, why=said)


# ---- judging by what came -----------------------------------------------------------------------------------


def settle(now: datetime, *, store: HotStore, fleet: Fleet) -> list[Alert]:
    """Closes the warnings that came true, and those whose time has passed; answers their alerts. StoreUnavailable."""
    standing = ForecastWarning.objects.filter(outcome=Outcome.STANDING).select_related("alert", "mote__profile")
    ended: list[Alert] = []
    for code in sorted({one.mote.profile.code for one in standing} & set(fleet.profiles)):
        ours = [one for one in standing if one.mote.profile.code == code]
        start, motes = min(one.origin_at for one in ours), sorted({one.mote_id for one in ours})
        came = record.came_between(fleet.profiles[code], motes, start, now + MARGIN, store)
        steps = {(mote, channel): step_s for mote, channel, step_s in
                 newest().filter(mote__in=motes).values_list("mote", "channel", "step_s")}  # fmt: skip
        for warning in ours:
            step_s = steps.get((warning.mote_id, warning.channel), came.profile.step_s)
            ended += _judge(warning, came, step_s, now)
    _announce(ended)
    return ended


def _judge(warning: ForecastWarning, came: record.Came, step_s: float, now: datetime) -> list[Alert]:
    """By the means of whole steps, as the risk was said of them."""
    n = int((min(warning.ends_at, now) - warning.origin_at).total_seconds() // step_s)
    means = came.means(warning.mote_id, warning.channel, warning.origin_at, step_s, n)[1:]
    values = means[np.isfinite(means)]
    if risks.limit_of(warning.limit, warning.value, warning.is_upper).is_passed(values).any():
        return _close(warning, Outcome.CAME_TRUE, now)
    if now < warning.ends_at + record.LATE:
        return []
    if not len(values):
        return _close(warning, Outcome.WITHDRAWN, now, "nothing was measured in its time")
    return _close(warning, Outcome.DID_NOT, now)


def _announce(alerts: Iterable[Alert]) -> None:
    for alert in alerts:
        live.announce_alert(alert)
