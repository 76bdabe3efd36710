"""The public stream: a program hears what has just been stored, and only what it asked for and may hear."""

from __future__ import annotations

import asyncio
import json

import pytest
from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from django.utils import timezone

from sensors import tokens
from sensors.event_stream import EventStream, Full, Listeners, Wanted, event
from sensors.hub import Message, hub
from tests import builders
from tests.people import *  # noqa: F403

# The stream's threads have connections of their own, which see what is committed.
pytestmark = pytest.mark.django_db(transaction=True)
READINGS = json.dumps(
    {
        "readings": [
            {"mote": mote, "site": "main", "at": "2026-03-02T12:00:00Z", "values": {"temperature": 21.5, "light": 3.0}}
            for mote in ("7", "8")
        ]
    }
)
ALERT = json.dumps({"alert": {"id": 1, "site": "main", "mote": "8"}})
ALL, SEVEN = Wanted(), Wanted(places=frozenset({("main", "7")}))


@pytest.fixture
def fleet():
    builders.install_fleet(motes=("7", "8"))


def token(user) -> tokens.NewToken:
    return tokens.make_token(user, name="dashboard", scope="read", days=30, now=timezone.now())


def envelope(n: int, kind: str, body: str) -> dict[str, object]:
    return {"type": "live.message", "source": "consumer", "n": n, "kind": kind, "body": body, "skipped": 0}


class Program:
    """A program at the application's HTTP door, as a web server would hand it over."""

    def __init__(self, text: str = "", query: str = "", **patience: float) -> None:
        from sieis_site.asgi import http

        headers = [(b"host", b"testserver"), *([(b"authorization", f"Bearer {text}".encode())] if text else [])]
        self.scope = {
            "type": "http", "method": "GET", "path": "/api/v1/stream", "raw_path": b"/api/v1/stream", "root_path": "",
            "query_string": query.encode(), "headers": headers, "scheme": "http", "http_version": "1.1",
            "client": ["127.0.0.1", 1], "server": ["testserver", 80],
        }  # fmt: skip
        self.told: asyncio.Queue[dict] = asyncio.Queue()
        self.is_stuck = False
        self.says: asyncio.Queue[dict] = asyncio.Queue()
        self.application = EventStream(http, **patience)

    async def __aenter__(self):
        self.task = asyncio.create_task(self.application(self.scope, self.says.get, self.take))
        self.start = await asyncio.wait_for(self.told.get(), 30)
        return self

    async def take(self, message):
        if self.is_stuck:
            await asyncio.Future()
        await self.told.put(message)

    async def __aexit__(self, *error):
        self.says.put_nowait({"type": "http.disconnect"})
        await asyncio.wait_for(self.task, 30)

    async def hear(self) -> str:
        """What it is told next, heartbeats left out."""
        while (text := (await asyncio.wait_for(self.told.get(), 30))["body"].decode()).startswith(":"):
            pass
        return text


def data(text: str) -> dict:
    return json.loads(text.split("data: ", 1)[1])


def run(story):
    return async_to_sync(story)()


def test_a_program_hears_of_its_mote_and_channel_and_of_no_other(fleet, charlie):
    made = token(charlie)

    async def story():
        async with Program(made.text, "mote_id=7&channel=temperature") as program:
            opened = [await program.hear(), data(await program.hear())["type"]]
            hub().hear(envelope(1, "alert", ALERT))
            hub().hear(envelope(2, "readings", READINGS))
            return program.start, opened, data(await program.hear())

    start, opened, message = run(story)

    headers = {name.decode().lower(): value.decode() for name, value in start["headers"]}
    assert (start["status"], headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    assert "content-length" not in headers
    assert opened == ["retry: 3000\n\n", "hello"]
    assert [(one["mote"], one["values"]) for one in message["readings"]] == [("7", {"temperature": 21.5})]


@pytest.mark.parametrize(
    ("query", "status", "field"),
    [
        ("kind=gossip", 400, "kind"),
        ("profile=nosuch", 400, "profile"),
        ("channel=x", 400, "channel"),
        ("mote_id=99", 404, "mote_id"),
    ],
)
def test_a_filter_that_names_nothing_is_refused_with_what_was_expected(fleet, charlie_client, query, status, field):
    answer = charlie_client.get(f"/api/v1/stream?{query}", headers={"Accept": "text/event-stream"})

    assert (answer.status_code, answer["Content-Type"]) == (status, "application/problem+json")
    assert answer.json()["field"] == field


def test_nobody_listens_without_a_token_and_nobody_without_a_role(fleet, dave):
    made = token(dave)

    async def story():
        async with Program() as nobody, Program(made.text) as dave_:
            return nobody.start["status"], json.loads(await nobody.hear())["status"], dave_.start["status"]

    assert run(story) == (401, 401, 403)


def test_a_revoked_token_ends_its_stream_with_the_reason(fleet, charlie):
    made = token(charlie)

    async def story():
        async with Program(made.text, recheck_s=0.05) as program:
            await program.hear()
            await program.hear()
            await database_sync_to_async(tokens.revoke_token)(made.token, who=charlie, now=timezone.now())
            return await program.hear()

    last = run(story)

    assert last.startswith("event: end\n")
    assert (data(last)["status"], "revoked" in data(last)["detail"]) == (401, True)


def test_a_reader_that_takes_nothing_is_let_go_and_holds_up_nobody(fleet, charlie, monkeypatch):
    monkeypatch.setattr("sensors.event_stream.FAREWELL_S", 0.01)
    made = token(charlie)

    async def story():
        async with Program(made.text, patience_s=0.01) as stuck, Program(made.text) as reader:
            for program in (stuck, reader):
                assert await program.hear() == "retry: 3000\n\n"
                assert data(await program.hear())["type"] == "hello"
            stuck.is_stuck = True
            hub().hear(envelope(1, "readings", READINGS))
            heard = data(await reader.hear())["type"]
            await asyncio.wait_for(stuck.task, 30)
            return heard, len(hub().clients)

    assert run(story) == ("readings", 1)


def test_those_who_want_the_same_are_told_the_very_same_bytes():
    message = Message(1, "readings", READINGS)

    assert event(message, ALL) is event(message, Wanted())
    assert event(message, SEVEN) is event(message, Wanted(places=frozenset({("main", "7")})))
    assert event(message, Wanted(places=frozenset())) is None
    assert event(message, Wanted(channels=frozenset({"voltage"}))) is None


def test_an_alert_is_told_to_those_who_asked_for_its_mote_and_to_those_who_asked_for_all():
    alert = Message(1, "alert", ALERT)

    assert (event(alert, ALL) is None, event(alert, SEVEN) is None) == (False, True)
    assert event(alert, Wanted(kinds=frozenset({"readings"}))) is None


def test_one_person_cannot_take_all_places_and_a_place_that_is_left_is_free_again():
    listeners = Listeners(most=3, most_of_one=2)
    for who in (1, 1, 2):
        listeners.enter(who)

    with pytest.raises(Full, match="You have 2 streams open"):
        listeners.enter(1)
    with pytest.raises(Full, match="3 streams are open here"):
        listeners.enter(2)
    listeners.leave(1)
    listeners.enter(2)
