"""Every operation of the API, asked by schemathesis what its own document allows and forbids, by each role.

Nothing may end as an error of the server, and each answer must be one that the document names, of the shape it names.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest
import schemathesis
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from django.db import close_old_connections
from django.utils import timezone
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.checks import CheckFunction, not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from sensors import registry, roles, tokens
from sensors.readings import micros
from sensors.stores import hot
from tests import builders
from tests.people import *  # noqa: F403
from tests.people import person

pytestmark = pytest.mark.django_db
SEED = 20261121
EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "1"))  # of each operation, allowed and forbidden ones; more by hand
CHECKS: list[CheckFunction] = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
]  # fmt: skip
THERE = {"site": "main", "mote": "7", "code": "indoor"}  # what the addresses may name


@pytest.fixture
def fleet():
    builders.install_fleet(motes=("7", "8"))
    told, now = registry.current_fleet(), timezone.now()
    profile = told.profiles["indoor"]
    for mote in told.motes:
        values = np.tile([21.5, 40.0, 300.0, 2.6], (20, 1))
        batch = builders.batch(profile, values, mote=mote.id, start_us=micros(now) - 600_000_000, step_s=30.0)
        hot().write(profile, batch.to_table())


@pytest.fixture(autouse=True)
def one_connection():
    """The requests of a test share its transaction, as those of Django's own test client do."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


def findings(operation: Any, people: dict[str, dict[str, str]], mode: GenerationMode) -> list[str]:
    """What one operation answers that it should not, whoever asks."""
    found: list[str] = []
    names = {one.name for one in operation.path_parameters}
    is_there = mode is GenerationMode.POSITIVE and names and names <= THERE.keys()
    there = {name: THERE[name] for name in names} if is_there else None

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(operation.as_strategy(mode, path_parameters=there))
    def ask(case: Any) -> None:
        for who, headers in people.items():
            response = case.call(headers=headers)
            try:
                case.validate_response(response, checks=CHECKS)
            except BaseExceptionGroup as wrong:
                words = "; ".join(f"{type(one).__name__}: {str(one)[:500]}" for one in wrong.exceptions)
                asked = f"query={case.query} path={case.path_parameters} body={str(case.body)[:300]}"
                found.append(f"{who}: {operation.label} {asked}\n    {response.status_code}: {words}")

    try:
        ask()
    except Unsatisfiable:  # there is nothing that it forbids
        pass
    return found


def test_the_api_answers_whatever_anybody_asks_as_its_document_says(fleet, installed_roles):
    people = {"nobody": {"Accept-Encoding": "identity"}}
    for role in roles.ROLES:
        made = tokens.make_token(person(role, role), name="fuzz", scope="engineer", days=1, now=timezone.now())
        people[role] = {"Accept-Encoding": "identity", "Authorization": f"Bearer {made.text}"}
    schema = schemathesis.openapi.from_wsgi("/api/v1/schema?format=json", WSGIHandler(), headers=people[roles.ENGINEER])

    found: list[str] = []
    for operation in schema.get_all_operations():
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            found += findings(operation.ok(), people, mode)

    assert not found, "\n".join(found)
