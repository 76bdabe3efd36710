"""What a training meets on real servers: a worker that is killed, a store that goes while it saves."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from bench._servers import by_way_of
from bench.outage import Relay
from tests.environment import ADDRESSES
from tests.services import life
from tests.services.life import Person, rows, whole_versions
from tests.stack import Stack

pytestmark = pytest.mark.service
WORKER = ("-m", "celery", "-A", "sieis_site", "worker", "--loglevel", "WARNING")


class GoesAsItSaves(Relay):
    """Refuses everything from the moment on in which somebody begins to write an artefact."""

    has_gone = False

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        with suppress(OSError):
            while some := await reader.read(1 << 16):
                if some.startswith(b"PUT ") and b"/models/" in some.partition(b"\r\n")[0]:
                    self.has_gone = True
                    await self._close()
                    break
                writer.write(some)
                await writer.drain()
        self.writers.discard(writer)
        writer.close()


@pytest.fixture(scope="module")
def store_relay() -> Iterator[GoesAsItSaves]:
    address = urlsplit(ADDRESSES["S3_ENDPOINT_URL"])
    relay = GoesAsItSaves(address.hostname or "127.0.0.1", int(address.port or 0))
    relay.open()
    yield relay
    relay.close()


@pytest.fixture(scope="module")
def sieis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with life.small_fleet(tmp_path_factory.mktemp("faults")) as running:
        yield running


@pytest.fixture
def alice(sieis: Stack) -> Iterator[Person]:
    yield Person(sieis, "alice")
    for name in {"worker", "beat"} & sieis.processes.keys():
        sieis.stop(name)


def versions_after_the_next_training(sieis: Stack, alice: Person) -> set[str]:
    """Nothing stands in the way of the next one, and it is the only one that was added."""
    before = set(whole_versions(sieis))
    made = alice.made(alice.retrain(promote="always", days=31))
    after = set(whole_versions(sieis))
    assert after - before == {made["name"]}
    assert rows(sieis, "SELECT name FROM mlops_modelversion WHERE stage = 'production'") == [(made["name"],)]
    return after


def test_a_worker_killed_while_it_trains_leaves_a_failed_job_no_version_and_room_for_the_next(
    sieis: Stack, alice: Person
) -> None:
    before = whole_versions(sieis)
    sieis.start("beat", "-m", "celery", "-A", "sieis_site", "beat", "--loglevel", "WARNING")
    sieis.start("worker", *WORKER)
    job = alice.retrain(promote="always", days=31)
    life.job_reaches(sieis, job, lambda status, progress: status == "running" and progress > 0)

    sieis.stop("worker", signal.SIGKILL)
    # As if the minute had passed for which a worker may be gone.
    set_back = (
        "UPDATE mlops_trainingjob SET heartbeat_at = heartbeat_at - interval '1 minute' WHERE id = %s RETURNING id"
    )
    assert rows(sieis, set_back, job) == [(job,)]
    sieis.start("worker", *WORKER)

    done = alice.done(job)
    assert done["status"] == "failed"
    assert "its worker was killed" in done["message"]
    assert whole_versions(sieis) == before
    versions_after_the_next_training(sieis, alice)


def test_a_store_that_goes_while_the_artefact_is_saved_fails_the_job_with_its_reason(
    sieis: Stack, alice: Person, store_relay: GoesAsItSaves
) -> None:
    before = whole_versions(sieis)
    by_relay = {"S3_ENDPOINT_URL": by_way_of(sieis.environment["S3_ENDPOINT_URL"], store_relay.port)}
    replace(sieis, environment=sieis.environment | by_relay).start("worker", *WORKER)

    job = alice.retrain(promote="always", days=31)
    done = alice.done(job)

    assert store_relay.has_gone
    assert done["status"] == "failed"
    assert done["message"].startswith("The artefact storage did not take models/indoor/")
    assert whole_versions(sieis) == before
    store_relay.open()
    sieis.stop("worker")
    sieis.start("worker", *WORKER)
    versions_after_the_next_training(sieis, alice)
