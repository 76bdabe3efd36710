"""One's own account: name, zone and theme, and where one is logged in."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from sensors import account, tokens
from sensors.models import AuditEntry, Preferences
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
API = "/api/v1/account"
FORM = {
    "first_name": "Bob",
    "last_name": "Berg",
    "email": "bob@example.org",
    "time_zone": "Asia/Tokyo",
    "theme": "dark",
}


def change(client, **values):
    return client.patch(API, values, content_type="application/json")


def test_what_bob_says_of_himself_is_kept_and_only_its_names_are_in_the_log(bob_client, bob):
    assert bob_client.post("/account/", FORM).status_code == 302

    told = bob_client.get(API).json()
    assert {name: told[name] for name in FORM} == FORM
    (entry,) = AuditEntry.objects.filter(deed="change_account")
    assert (entry.who, entry.detail) == (bob, {"changed": ["first_name", "last_name", "email", "time_zone"]})


def test_every_page_tells_times_in_the_zone_of_whoever_looks(bob_client, charlie_client):
    change(bob_client, time_zone="Asia/Tokyo")

    tokyo, utc = (client.get("/account/").content.decode() for client in (bob_client, charlie_client))

    assert 'data-zone="Asia/Tokyo"' in tokyo
    assert "Times are those of Asia/Tokyo" in tokyo
    assert 'data-zone="UTC"' in utc
    assert re.search(r'datetime="[^"]+\+09:00"', tokyo)
    assert re.search(r'datetime="[^"]+\+00:00"', utc)
    assert timezone.get_current_timezone_name() == "UTC"


def test_the_api_goes_on_to_speak_utc(bob_client):
    change(bob_client, time_zone="Asia/Tokyo")

    assert all(one["ends_at"].endswith("Z") for one in bob_client.get(f"{API}/sessions").json())


def test_the_theme_of_the_account_is_on_every_page_before_the_first_paint(bob_client):
    assert "data-theme=" not in bob_client.get("/account/").content.decode()

    change(bob_client, theme="dark")

    assert 'data-theme="dark"' in bob_client.get("/account/").content.decode()


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("time_zone", "Mars/Olympus", "“Mars/Olympus” is not an IANA time zone; expected a name such as Europe/Berlin"),
        ("email", "nobody", "valid email"),
        ("theme", "pink", "pink"),
    ],
)
def test_a_wrong_value_is_refused_in_words_and_nothing_is_kept(bob_client, field, value, words):
    refused = change(bob_client, first_name="Bobby", **{field: value})

    assert refused.status_code == 400
    assert refused.json()["field"] == field
    assert words in refused.json()["detail"]
    assert bob_client.post("/account/", {**FORM, field: value}).status_code == 400
    assert User.objects.get(username="bob").first_name == ""
    assert not Preferences.objects.exists()


def test_who_has_no_role_yet_may_still_see_the_own_account_and_mallory_none(dave_client, mallory):
    assert "no role yet" in dave_client.get("/account/").content.decode()
    assert dave_client.get(API).json()["roles"] == []
    assert mallory.get("/account/").status_code == 302
    assert mallory.get(API).status_code == 401


def test_a_token_neither_shows_nor_changes_the_account(bob):
    made = tokens.make_token(bob, name="script", scope="operate", days=1, now=timezone.now())
    bearer = {"HTTP_AUTHORIZATION": f"Bearer {made.text}"}

    assert Client().get(f"{API}/sessions", **bearer).status_code == 401


# ---- sessions -----------------------------------------------------------------------------------------------------


@pytest.fixture
def phone(bob):
    client = Client(HTTP_USER_AGENT="Mozilla/5.0 (iPhone) Safari/605.1")
    client.force_login(bob)
    return client


def test_bob_logs_out_everywhere_else_and_stays_logged_in_here(bob_client, phone, charlie_client):
    assert bob_client.get("/account/").content.decode().count("Log out there</button>") == 1

    bob_client.post("/account/sessions/end")

    assert bob_client.get(API).status_code == 200
    assert phone.get(API).status_code == 401
    assert charlie_client.get(API).status_code == 200
    assert AuditEntry.objects.get(deed="end_sessions").detail == {"n": 1}


def test_one_login_is_ended_by_its_name_and_nobody_elses(bob_client, phone, charlie_client):
    (other,) = (one for one in bob_client.get(f"{API}/sessions").json() if not one["is_this"])

    assert charlie_client.delete(f"{API}/sessions?name={other['name']}").json() == {"n_ended": 0}
    assert bob_client.delete(f"{API}/sessions?name={other['name']}").json() == {"n_ended": 1}

    assert phone.get(API).status_code == 401


def test_no_session_key_is_shown(bob_client, phone):
    page = bob_client.get("/account/").content.decode() + bob_client.get(f"{API}/sessions").content.decode()

    for client in (bob_client, phone):
        assert client.session.session_key not in page


def test_a_login_tells_browser_and_address(installed_roles, bob):
    bob.set_password("a long secret")
    bob.save()
    phone = Client(HTTP_USER_AGENT="Mozilla/5.0 (iPhone; CPU OS 18) Safari/605.1")
    phone.post("/login/", {"username": "bob", "password": "a long secret"})

    (login,) = account.logins(bob, this=phone.session.session_key, now=timezone.now())

    assert (login.browser, login.address, login.is_this) == ("Safari on iPhone", "127.0.0.1", True)
