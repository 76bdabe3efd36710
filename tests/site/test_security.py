"""What nobody may do: every door asks for a login and a role, says no inline script, and does not let guess."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from html import unescape

import pytest
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from sensors import roles
from sieis_site.security import POLICY
from tests import builders
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
SAMPLES = {"int": "1", "str": "7", "slug": "main", "path": "indoor/v1", "uuid": "0" * 32}
# What somebody who is not logged in needs, and what says nothing but one word.
OPEN = {"login", "logout", "logged_out", "health", "api:health"}
ADMINS_OWN = "admin:"
FAST = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def doors(resolver: URLResolver | None = None, prefix: str = "/", space: str = "") -> Iterator[tuple[str, str]]:
    """Every address there is, with something for its parameters, and its name."""
    for entry in (resolver or get_resolver()).url_patterns:
        part = str(entry.pattern)
        if isinstance(entry, URLResolver):
            inner = f"{space}{entry.namespace}:" if entry.namespace else space
            yield from doors(entry, prefix + part, inner)
        elif isinstance(entry, URLPattern):
            address = re.sub(r"<(?:(\w+):)?\w+>", lambda found: SAMPLES[found[1] or "str"], prefix + part)
            yield f"{space}{entry.name}", address.rstrip("$")


DOORS = [door for door in doors() if not door[0].startswith(ADMINS_OWN)]
GUARDED = [door for door in DOORS if door[0] not in OPEN]


def test_mallory_comes_in_nowhere(mallory):
    let_in = []
    for name, address in GUARDED:
        for answer in (mallory.get(address), mallory.post(address)):
            is_sent_to_login = answer.status_code == 302 and answer["Location"].startswith("/login")
            if not (is_sent_to_login or answer.status_code == 401):
                let_in.append((name, answer.status_code))

    assert let_in == []


# Everybody's own, whatever the role: password, name, zone, sessions.
OWN = {
    "password_change", "password_change_done", "account", "account-end", "your-account", "api:account",
    "api:account-sessions",
}  # fmt: skip


def test_an_account_without_a_role_comes_in_nowhere(dave_client):
    by_token = {"metrics", "api:ingest"}  # a person's session does not count there
    answers = {name: dave_client.get(address).status_code for name, address in GUARDED if name not in OWN}

    assert {name: code for name, code in answers.items() if code != (401 if name in by_token else 403)} == {}


def test_an_account_without_a_role_sees_a_page_that_says_whom_to_ask(dave_client):
    assert "administrator" in dave_client.get("/").text


def test_the_admin_is_for_staff(mallory, alice_client, admin_client):
    answers = [client.get("/admin/") for client in (mallory, alice_client, admin_client)]

    assert [answer.status_code for answer in answers] == [302, 302, 200]


def test_every_answer_forbids_inline_scripts_and_foreign_files(charlie_client):
    policies = {
        name: charlie_client.get(address)["Content-Security-Policy"] for name, address in DOORS if name != "docs"
    }

    assert {name: policy for name, policy in policies.items() if policy != POLICY} == {}


@pytest.mark.parametrize("address", ["/login/", "/admin/login/", "/no/such/page"])
def test_strangers_get_the_strict_policy_too(mallory, address):
    assert mallory.get(address, follow=True)["Content-Security-Policy"] == POLICY


def test_the_documentation_page_alone_may_have_inline_styles(charlie_client):
    policy = charlie_client.get("/docs")["Content-Security-Policy"]

    assert "style-src 'self' 'unsafe-inline'" in policy
    assert "script-src 'self';" in policy


@pytest.mark.parametrize("address", ["/", "/login/", "/docs"])
def test_no_page_has_an_inline_script_or_a_handler_in_an_attribute(charlie_client, address):
    page = charlie_client.get(address).text

    inline = [tag for tag in re.findall(r"<script\b[^>]*>", page) if "src=" not in tag and "json" not in tag]
    assert inline == []
    assert not re.search(r"<[^>]+\son\w+=", page)


def test_an_order_from_another_page_is_refused(bob):
    browser = Client(enforce_csrf_checks=True)
    browser.force_login(bob)

    assert browser.post("/api/v1/alerts/1/acknowledge").status_code == 403


# ---- logging in ---------------------------------------------------------------------------------------------


@pytest.fixture
def victor(settings, installed_roles):
    """A viewer with a password."""
    settings.PASSWORD_HASHERS = FAST
    user = User.objects.create_user("victor", password="a right password")
    user.groups.add(*roles.Group.objects.filter(name=roles.VIEWER))
    return user


def log_in(client: Client, password: str, name: str = "victor"):
    return client.post("/login/", {"username": name, "password": password})


def test_ten_wrong_passwords_lock_the_account_for_that_address_and_say_so(mallory, victor):
    answers = [log_in(mallory, "wrong") for _ in range(10)]

    right_but_late = log_in(mallory, "a right password")

    assert {answer.status_code for answer in answers[:9]} == {200}
    assert right_but_late.status_code == 429
    assert "sessionid" not in right_but_late.cookies
    assert "minutes" in right_but_late.text


def test_a_lock_does_not_touch_others(mallory, victor):
    User.objects.create_user("wendy", password="her own password")
    for _ in range(11):
        log_in(mallory, "wrong")

    assert log_in(mallory, "her own password", "wendy").status_code == 302
    assert log_in(Client(REMOTE_ADDR="10.9.8.7"), "a right password").status_code == 302


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + b64encode(f"victor:{password}".encode()).decode()}


def test_a_program_may_call_the_api_with_name_and_password(victor):
    builders.install_fleet()

    assert Client(headers=basic("a right password")).get("/api/v1/motes").status_code == 200


def test_wrong_passwords_over_the_api_lock_the_account_as_well(victor):
    answers = [Client(headers=basic("wrong")).get("/api/v1/motes") for _ in range(10)]

    right_but_late = Client(headers=basic("a right password")).get("/api/v1/motes")

    assert answers[0].status_code == 401
    assert right_but_late.status_code == 429


def test_no_browser_is_asked_for_a_password_by_the_api(mallory):
    assert mallory.get("/api/v1/motes")["WWW-Authenticate"] == "Session"


@pytest.mark.parametrize("address", ["/login/", "/api/v1/alerts/1/acknowledge"])
def test_a_body_of_ten_megabytes_is_refused_before_it_is_parsed(bob_client, address):
    answer = bob_client.post(address, b"x" * 10_000_000, content_type="application/json")

    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "10000000 bytes; at most 2,621,440" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("address", "field"),
    [("/imports/", "files"), ("/api/v1/imports", "files"), ("/detect/", "file"), ("/api/v1/ml/detect", "file")],
)
def test_a_file_of_three_megabytes_reaches_those_who_take_files(alice_client, address, field):
    large = SimpleUploadedFile("lab.csv", b"\x00\x01" * 1_500_000)

    answer = alice_client.post(address, {field: large} | ({"pack": "indoor"} if field == "files" else {}))

    assert answer.status_code in (200, 400)
    assert re.search(r"lab\.csv.? is (neither text|empty)", unescape(answer.content.decode()))


@pytest.mark.parametrize("address", ["/login/", "/motes/file/", "/nowhere/", "/api/v1/ingest"])
def test_a_file_of_three_megabytes_is_refused_everywhere_else(alice_client, address):
    answer = alice_client.post(address, {"file": SimpleUploadedFile("lab.csv", b"1," * 1_500_000)})

    assert answer.status_code == 413
