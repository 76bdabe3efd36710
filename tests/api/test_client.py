"""The client of ten lines that the documents show works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import requests
from django.utils import timezone

from sensors import registry, tokens
from sensors.readings import micros
from sensors.stores import hot
from tests import builders
from tests.people import *  # noqa: F403

CLIENT = re.compile(r"```python\n(import requests.*?)```", re.S)
SHOWN = [path for path in (Path("README.md"), Path("docs/api.md")) if CLIENT.search(path.read_text())]


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", SHOWN, ids=str)
def test_the_client_in_ten_lines_tells_the_mean_temperature_of_a_mote(live_server, charlie, path):
    builders.install_fleet(motes=("7",))
    fleet, now = registry.current_fleet(), timezone.now()
    profile = fleet.profiles["indoor"]
    values = np.tile([21.5, 40.0, 300.0, 2.6], (10, 1))
    hot().write(
        profile, builders.batch(profile, values, mote=fleet.find("7").id, start_us=micros(now) - 600_000_000).to_table()
    )
    made = tokens.make_token(charlie, name="client", scope="read", days=1, now=now)
    (text,) = CLIENT.findall(path.read_text())
    names: dict = {}

    exec(text, names)
    sieis = names["Sieis"](live_server.url, made.text)

    assert [one["mote"] for one in sieis.tell("/api/v1/motes")] == ["7"]
    assert sieis.tell("/api/v1/sensors/7/latest")["values"]["temperature"] == 21.5
    with pytest.raises(requests.HTTPError):
        sieis.tell("/api/v1/sensors/99/latest")
    assert sum(bool(line.strip()) for line in text.splitlines() if not line.startswith("#")) <= 10
