"""Takes messages to where they go until they arrive: at least once, with the same key at every try.

A worker claims a message for a while, sends, and marks it. One that dies in between leaves a claim that runs out,
and another sends the same once more: the receiver knows it by its key.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, close_old_connections, models, transaction
from django.utils import timezone

from alerts import services
from alerts.lookout import look_after
from alerts.notifying import sending
from alerts.notifying.models import Delivery, Target
from alerts.notifying.planning import plan
from alerts.notifying.rendering import render
from sensors import live
from sensors.models import ProcessHeartbeat

log = structlog.get_logger(__name__)
LEASE = timedelta(seconds=60)
FIRST_PAUSE, LONGEST_PAUSE = timedelta(seconds=15), timedelta(hours=1)
MOST_TRIES = 12  # about six hours
POLL_S = 1.0
NAME, KIND = "notifier", "notifier"
BEAT = timedelta(seconds=10)
FAILING = "target_failing"
TELL_AFTER = 3  # tries
Send = Callable[..., None]


def deliver_due(now: datetime, *, send: Send = sending.send) -> int:
    """Sends what is due now, one after the other; answers how many were tried."""
    n = 0
    while (claimed := claim(now)) is not None:
        deliver(claimed, now, send=send)
        n += 1
    return n


def claim(now: datetime) -> Delivery | None:
    """The message that is due longest, nobody else's for a while, its words fixed; None where nothing is due."""
    due = Delivery.objects.claimable(now).order_by("due_at").values_list("pk", flat=True)[:10]
    return next((mine for pk in due if (mine := _claimed(pk, now)) is not None), None)


@transaction.atomic
def _claimed(pk: int, now: datetime) -> Delivery | None:
    """The message, if nobody was faster."""
    mine = Delivery.objects.claimable(now).filter(pk=pk)
    if not mine.update(
        state=Delivery.State.SENDING, leased_until=now + LEASE, n_tries=models.F("n_tries") + 1
    ):  # fmt: skip
        return None
    delivery = Delivery.objects.select_related("target").get(pk=pk)
    if delivery.message is None:
        delivery.message = render(delivery, base_url=settings.SIEIS_URL, now=now)
        delivery.save(update_fields=["message"])
    return delivery


def deliver(delivery: Delivery, now: datetime, *, send: Send = sending.send) -> bool:
    """One try, and what became of it."""
    try:
        send(delivery.target, delivery.key, delivery.message, now=now)
    except sending.NotDelivered as error:
        _mark_failed(delivery, str(error), now)
        return False
    # Only who still holds the claim marks: a redelivery that was asked for meanwhile stands.
    mine = Delivery.objects.filter(pk=delivery.pk, n_tries=delivery.n_tries, state=Delivery.State.SENDING)
    mine.update(state=Delivery.State.SENT, sent_at=now, leased_until=None, trouble="")
    log.info("notification_sent", key=delivery.key, target=delivery.target.name, tries=delivery.n_tries)
    _tell(services.clear_system_alert(subject=_subject(delivery.target), kind=FAILING, now=now))
    return True


def _mark_failed(delivery: Delivery, trouble: str, now: datetime) -> None:
    is_last = delivery.n_tries >= MOST_TRIES
    state = Delivery.State.FAILED if is_last else Delivery.State.WAITING
    Delivery.objects.filter(pk=delivery.pk, n_tries=delivery.n_tries, state=Delivery.State.SENDING).update(
        state=state, due_at=now + pause(delivery.n_tries), leased_until=None, trouble=trouble[:400]
    )
    log.warning("notification_failed", key=delivery.key, target=delivery.target.name, trouble=trouble, is_last=is_last)
    if delivery.n_tries >= TELL_AFTER:
        words = f"Messages to {delivery.target} do not arrive, tried {delivery.n_tries} times: {trouble}"
        alert = services.raise_system_alert(
            subject=_subject(delivery.target), kind=FAILING, words=words, severity="medium", now=now
        )
        _tell([alert] if alert.first_seen_at == now else [])


def pause(n_tries: int) -> timedelta:
    """Doubles from try to try."""
    return min(FIRST_PAUSE * 2 ** (n_tries - 1), LONGEST_PAUSE)


def _subject(target: Target) -> str:
    return f"target:{target.pk}"


def _tell(alerts: list[Any]) -> None:
    for alert in alerts:
        live.announce_alert(alert)


def keep_delivering(stop: threading.Event, *, now: Callable[[], datetime] = timezone.now) -> None:
    """Plans and delivers until `stop`, whatever goes wrong. Several may run at once, in one process or in many."""
    said_at: datetime | None = None
    began_at = now()
    while not stop.is_set():
        try:
            if said_at is None or now() - said_at >= BEAT:
                said_at = now()
                ProcessHeartbeat.objects.update_or_create(
                    name=NAME, defaults={"kind": KIND, "beat_at": said_at, "detail": {}}
                )  # fmt: skip
                look_after(KIND, now=said_at, since=began_at)
            plan(now())
            deliver_due(now())
        except DatabaseError as error:
            log.warning("notifying_without_database", reason=str(error))
        except Exception:
            log.exception("notifying_failed", again_in_s=POLL_S)
        finally:
            close_old_connections()
        stop.wait(POLL_S)
    ProcessHeartbeat.objects.filter(name=NAME).delete()  # asked to stop: nobody needs to miss it
