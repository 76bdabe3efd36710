"""Follows one marked reading through all that a reading meets: stream, hot store, score, API, websocket, lake."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from importlib import import_module
from typing import Any
from urllib.parse import urlsplit

import msgspec
import numpy as np
import polars as pl
import urllib3
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.utils import timezone
from websockets.exceptions import WebSocketException
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin

from ingestion.health import ALIVE
from ingestion.streams import stream
from sensors import readings, registry
from sensors.lake import lake
from sensors.models import Mote, ProcessHeartbeat, ProfileVersion, Site
from sensors.readings import Profile, micros
from sensors.roles import VIEWER, install_roles
from sensors.spoken import instants
from sensors.stores import hot

CODE = "verify"
LOOK_S = 0.05
LOOK_AT_LAKE_S = 0.5
ANSWER_S = 5.0


class CannotVerify(Exception):
    """There is nothing to send a reading for, or nobody to take it; says what to do."""


@dataclass(frozen=True, slots=True)
class Hop:
    name: str
    is_ok: bool
    ms: float | None
    words: str


@dataclass(frozen=True, slots=True)
class Marked:
    """The reading that is followed, and how a visitor asks for it."""

    mote: int
    site: str
    profile: Profile
    at: datetime
    url: str
    headers: dict[str, str]
    sent_at: float = 0.0
    deadline: float = 0.0

    @property
    def at_told(self) -> str:
        return instants(np.array([micros(self.at)]))[0]

    def message(self) -> bytes:
        """In the middle of every normal band, so that it looks like nothing in particular."""
        values = {channel.code: sum(channel.normal) / 2 for channel in self.profile.channels}
        return msgspec.json.encode({"mote_id": CODE, "site": self.site, "timestamp": self.at.isoformat(), **values})


# ---- the mote and the visitor that exist only meanwhile -----------------------------------------------------------


@contextmanager
def marked_mote() -> Iterator[tuple[Mote, int]]:
    """A mote in commissioning, so that it alerts nobody, and the fleet's revision; afterwards it is retired."""
    version = ProfileVersion.objects.filter(is_current=True).select_related("profile").order_by("profile_id").first()
    if version is None:
        raise CannotVerify("No profile is installed, so no reading can be understood. Run: manage.py load_pack indoor")
    with transaction.atomic():
        site, _ = Site.objects.get_or_create(
            code=settings.SIEIS_DEFAULT_SITE,
            defaults={"label": settings.SIEIS_DEFAULT_SITE, "time_zone": settings.SIEIS_TIME_ZONE},
        )
        mote, _ = Mote.objects.get_or_create(
            site=site, code=CODE, defaults={"profile": version.profile, "label": "Marked readings of manage.py verify"}
        )
        _move(mote, Mote.State.COMMISSIONING)
    try:
        yield mote, registry.revision()
    finally:
        with transaction.atomic():
            _move(mote, Mote.State.RETIRED)


def _move(mote: Mote, state: str) -> None:
    Mote.objects.filter(pk=mote.pk).update(state=state)
    registry.touch_fleet()


@contextmanager
def visitor() -> Iterator[str]:
    """The session cookie of an account with the role viewer, which is deleted afterwards."""
    install_roles()
    user = User.objects.create_user(f"verify-{secrets.token_hex(6)}")
    session = import_module(settings.SESSION_ENGINE).SessionStore()
    try:
        user.groups.add(Group.objects.get(name=VIEWER))
        session[SESSION_KEY] = str(user.pk)
        session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
        session[HASH_SESSION_KEY] = user.get_session_auth_hash()
        session.create()
        yield f"{settings.SESSION_COOKIE_NAME}={session.session_key}"
    finally:
        session.delete()
        user.delete()


# ---- following ----------------------------------------------------------------------------------------------------


def verify(*, url: str, timeout_s: float) -> Iterator[Hop]:
    """Sends the marked reading and answers each hop as it is reached, or missed after the timeout."""
    headers = {"X-Forwarded-Proto": "https"} if settings.SECURE_SSL_REDIRECT and url.startswith("http:") else {}
    with marked_mote() as (mote, revision), visitor() as cookie:
        deadline = time.monotonic() + timeout_s
        wait_for_consumers(revision, deadline)
        marked = Marked(
            mote=mote.pk, site=mote.site.code, profile=registry.profiles()[mote.profile.code], at=timezone.now(),
            url=url, headers={**headers, "Cookie": cookie},
        )  # fmt: skip
        yield from follow(marked, timeout_s)


def wait_for_consumers(revision: int, deadline: float) -> None:
    """Until every consumer has read the fleet that has the mote; it looks for a new one every two seconds."""
    while True:
        beats = ProcessHeartbeat.objects.filter(
            kind="consumer", beat_at__gte=timezone.now() - ALIVE, detail__state="running",
            detail__topic=settings.SIEIS_TOPICS["readings"],
        )  # fmt: skip
        seen = [beat.detail.get("fleet", 0) for beat in beats]
        if seen and min(seen) >= revision:
            return
        if time.monotonic() > deadline:
            raise CannotVerify(
                "The consumer does not take up changes of the fleet: its log and the Health page say why."
                if seen
                else "No consumer runs. Start `make run`, or `manage.py consume` beside the servers."
            )
        time.sleep(LOOK_S)


def follow(marked: Marked, timeout_s: float) -> Iterator[Hop]:
    """The hops are watched side by side: each time is from the sending to the arrival there."""
    with ThreadPoolExecutor(6, thread_name_prefix="verify") as threads, listening(marked) as socket:
        marked = replace(marked, sent_at=time.perf_counter(), deadline=time.monotonic() + timeout_s)
        stream("readings").append([marked.message()], [marked.site.encode()])  # the key of a mote without a zone
        yield _reached("stream", marked, "kept")
        watches: list[tuple[str, Callable[[], str | None]]] = [
            ("hot store", partial(in_hot_store, marked)),
            ("score", partial(scored, marked)),
            ("API", partial(in_api, marked)),
            ("lake", partial(in_lake, marked)),
        ]
        futures: list[Future[Hop]] = [threads.submit(until, name, marked, look) for name, look in watches]
        futures.append(threads.submit(heard, marked, socket))
        for future in as_completed(futures):
            yield future.result()


def until(name: str, marked: Marked, look: Callable[[], str | None]) -> Hop:
    """Looks again and again; the words that `look` answers say what arrived."""
    trouble = "it did not arrive"
    while True:
        try:
            words = look()
        except Exception as error:  # whatever it is belongs to this hop, and the others are still followed
            words, trouble = None, " ".join(str(error).split())[:300] or type(error).__name__
        if words is not None:
            return _reached(name, marked, words)
        if time.monotonic() > marked.deadline:
            return Hop(name, False, None, trouble)
        time.sleep(LOOK_AT_LAKE_S if name == "lake" else LOOK_S)


def _reached(name: str, marked: Marked, words: str) -> Hop:
    return Hop(name, True, (time.perf_counter() - marked.sent_at) * 1000, words)


# ---- the hops -----------------------------------------------------------------------------------------------------


def _stored(marked: Marked) -> dict[str, Any] | None:
    found = hot().between(marked.profile, [marked.mote], marked.at, marked.at + timedelta(microseconds=1))
    return None if found.is_empty() else found.row(0, named=True)


def in_hot_store(marked: Marked) -> str | None:
    return None if _stored(marked) is None else "stored"


def scored(marked: Marked) -> str | None:
    row = _stored(marked)
    if row is None or row["surprise"] is None:
        return None
    value = float(readings.score(row["surprise"], registry.current_fleet().onset(marked.profile, row["model_version"])))
    by = f"model version {row['model_version']}" if row["model_version"] else "the pack's normal bands"
    return f"{value:.2f} by {by}"


def in_api(marked: Marked) -> str | None:
    path = f"{marked.url}/api/v1/sensors/{CODE}/latest?site={marked.site}"
    answer = urllib3.request("GET", path, headers=marked.headers, timeout=ANSWER_S, retries=False)
    if answer.status in (200, 404):  # 404 until the first reading is there
        return "told" if answer.json().get("at") == marked.at_told else None
    raise CannotVerify(f"{path} answers {answer.status}: {answer.data[:200].decode(errors='replace')}")


def in_lake(marked: Marked) -> str | None:
    table = lake().scan(f"silver/{marked.profile.code}")
    found = table.filter((pl.col("mote") == marked.mote) & (pl.col("at") == marked.at)).select(pl.len()).collect()
    return "committed" if found.item() else None


@contextmanager
def listening(marked: Marked) -> Iterator[ClientConnection | str]:
    """A socket of the live channel, or why there is none."""
    address = urlsplit(marked.url)
    scheme = "wss" if address.scheme == "https" else "ws"
    origin = Origin(marked.url)
    try:
        socket = connect(
            f"{scheme}://{address.netloc}/ws/live/", origin=origin, additional_headers=marked.headers,
            open_timeout=ANSWER_S, proxy=None,
        )  # fmt: skip
    except (OSError, WebSocketException) as error:
        yield f"{marked.url} takes no websocket: {error or type(error).__name__}"
        return
    with socket:
        yield socket


def heard(marked: Marked, socket: ClientConnection | str) -> Hop:
    """Whether the live channel tells the reading to an open page."""
    if isinstance(socket, str):
        return Hop("websocket", False, None, socket)
    try:
        while (left_s := marked.deadline - time.monotonic()) > 0:
            if _tells(json.loads(socket.recv(timeout=left_s)), marked):
                return _reached("websocket", marked, "told")
    except TimeoutError:
        pass
    except WebSocketException as error:
        return Hop("websocket", False, None, f"the socket was closed: {error}")
    return Hop("websocket", False, None, "it did not arrive")


def _tells(message: dict[str, Any], marked: Marked) -> bool:
    told = message.get("readings", []) if message.get("type") == "readings" else []
    return any((one["mote"], one["site"], one["at"]) == (CODE, marked.site, marked.at_told) for one in told)
