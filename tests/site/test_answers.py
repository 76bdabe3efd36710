"""How answers travel: compressed, again only if they changed, and to other origins' pages only if these are named."""

from __future__ import annotations

import gzip
import json

import pytest
from django.core.cache import cache
from django.db import OperationalError, connection

from tests import builders
from tests.people import *  # noqa: F403
from tests.stack import free_port

pytestmark = pytest.mark.django_db
BOARD = "https://board.example.com"


@pytest.fixture
def fleet():
    builders.install_fleet(motes=tuple(str(i) for i in range(40)))


def test_a_long_answer_is_compressed_for_those_who_can_read_it(fleet, charlie_client):
    plain = charlie_client.get("/api/v1/motes")
    packed = charlie_client.get("/api/v1/motes", headers={"Accept-Encoding": "gzip"})

    assert packed.headers["Content-Encoding"] == "gzip"
    assert len(packed.content) < len(plain.content) / 4
    assert json.loads(gzip.decompress(packed.content)) == plain.json()


def test_what_has_not_changed_is_not_sent_again(fleet, charlie_client):
    first = charlie_client.get("/api/v1/profiles")

    again = charlie_client.get("/api/v1/profiles", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.content) == (304, b"")
    changed = charlie_client.get("/api/v1/motes", headers={"If-None-Match": first.headers["ETag"]})
    assert changed.status_code == 200


def test_pages_of_other_origins_may_call_the_api_only_where_they_are_named(fleet, charlie_client, settings):
    def allowed(path):
        return charlie_client.get(path, headers={"Origin": BOARD}).headers.get("Access-Control-Allow-Origin")

    assert allowed("/api/v1/motes") is None

    settings.CORS_ALLOWED_ORIGINS = [BOARD]
    assert allowed("/api/v1/motes") == BOARD
    assert allowed("/motes/") is None


def test_while_the_cache_is_away_the_api_answers_and_nobody_gets_a_lock(fleet, charlie_client, settings):
    settings.CACHES = {
        "default": {"BACKEND": "sieis_site.cache.ForgetfulCache", "LOCATION": f"redis://127.0.0.1:{free_port()}/0"}
    }

    assert charlie_client.get("/api/v1/motes").status_code == 200
    assert not cache.add("lock", True)
    assert cache.get("lock", "nothing") == "nothing"


@pytest.mark.parametrize("path", ["/alerts/", "/api/v1/alerts"])
def test_a_database_that_is_away_is_said_and_no_fault_of_the_page(charlie_client, path):
    charlie_client.raise_request_exception = False

    with connection.execute_wrapper(gone):
        answer = charlie_client.get(path)

    assert answer.status_code == 503
    assert b"database does not answer" in answer.content


def gone(*_: object) -> None:
    raise OperationalError("server closed the connection unexpectedly")
