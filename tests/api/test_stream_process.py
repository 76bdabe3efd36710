"""The public stream of a real process, heard by the very program of docs/api.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests import stack
from tests.stack import Stack

# No server is needed; but a process that is started takes seconds, which `make test` has no room for.
pytestmark = pytest.mark.service
DOCUMENT = Path("docs/api.md").read_text()


@pytest.fixture(scope="module")
def sieis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stream")
    with stack.embedded(folder, SIEIS_SLOW_CYCLE_S="1") as running:
        running.manage("migrate", "-v0")
        running.manage("load_pack", "indoor", "--motes", "5", "--yes")
        make = (
            "from django.contrib.auth.models import User; from django.utils import timezone; "
            "from sensors import roles, tokens; roles.install_roles(); u = User.objects.create_user('charlie'); "
            "roles.give_role(u, 'viewer', now=timezone.now()); "
            "print(tokens.make_token(u, name='stream', scope='read', days=1, now=timezone.now()).text)"
        )
        running.environment["TOKEN"] = running.manage("shell", "-v0", "-c", make).stdout.strip().splitlines()[-1]
        running.serve()
        yield running


def simulate(sieis: Stack, n: int) -> None:
    sieis.manage("simulate", "--pack", "indoor", "--speed", "0", "--duration", "2h", "--stop-after", str(n))


def test_the_documents_program_hears_the_temperature_of_two_motes(sieis: Stack) -> None:
    (example,) = re.findall(r"```python\n(import json.*?)```", DOCUMENT, re.S)
    names: dict = {}
    exec(example, names)
    heard = names["events"](
        sieis.url, sieis.environment["TOKEN"], mote_id="1,2", channel="temperature", kind="readings"
    )

    assert next(heard)["type"] == "hello"
    simulate(sieis, 200)
    message = next(heard)
    heard.close()

    assert message["type"] == "readings"
    assert {one["mote"] for one in message["readings"]} <= {"1", "2"}
    assert {name for one in message["readings"] for name in one["values"]} == {"temperature"}


def test_without_a_token_the_door_stays_shut_and_says_what_opens_it(sieis: Stack) -> None:
    answer = requests.get(f"{sieis.url}/api/v1/stream", timeout=30)

    assert (answer.status_code, answer.headers["content-type"]) == (401, "application/problem+json")
    assert answer.json()["detail"]
