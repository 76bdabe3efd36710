"""When a reading was measured decides, not when it came: what is late takes nothing back."""

from __future__ import annotations

from typing import Any

import pytest

from sensors.models import Mote
from sensors.readings import micros
from tests.ingestion.path import drain, reading, send, start_us

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("fleet")]
STEP_US = 30_000_000


def last_seen(code: str = "7") -> int:
    seen = Mote.objects.get(code=code).last_seen_at
    assert seen is not None
    return micros(seen)


def test_a_cycle_of_late_readings_alone_does_not_make_a_mote_seen_earlier(make: Any) -> None:
    at = start_us()
    send(reading(at + 5 * STEP_US))
    drain(make())

    send(reading(at))
    drain(make())

    assert last_seen() == at + 5 * STEP_US


def test_a_crash_before_the_checkpoint_leaves_no_mote_unseen(make: Any, monkeypatch: Any) -> None:
    at = start_us()
    send(reading(at), reading(at, code="8"))
    first = make()
    monkeypatch.setattr(first.cycle, "_save", lambda *told: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        drain(first)

    drain(make())

    assert last_seen() == last_seen("8") == at
