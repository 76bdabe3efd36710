"""The quarantine's pages, API and command: everybody looks, operators act, each deed is audited."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from ingestion import replay_jobs, tasks
from ingestion.models import NotKept, Quarantined, ReplayJob
from ingestion.streams import stream
from sensors.models import AuditEntry, Mote
from tests.builders import install_fleet, profile
from tests.ingestion.quarantine_site import aside, drain, in_hot, reading, send
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def full(installed_roles):
    """Garbage of two kinds, and three messages of an unknown mote."""
    install_fleet(motes=("7", "8"))
    send(b"<script>alert(1)</script>", b"\xff\x00\x01", *(reading("99", 30 - n, humidity=40) for n in range(3)))
    send(reading().replace(b"21.5", b'"warm"'))
    drain()


def page(client, address, **more):
    answer = client.get(address, **more)
    assert answer.status_code == 200, answer.content[:300]
    return answer.content.decode()


def api(client, address, **body):
    answer = client.post(f"/api/v1/quarantine{address}", json.dumps(body), content_type="application/json")
    return answer.status_code, answer.json()


# ---- looking ------------------------------------------------------------------------------------------------


def test_kinds_are_listed_with_how_often_and_an_example_harmlessly(full, charlie_client):
    told = page(charlie_client, "/quarantine/")

    assert told.index("unknown mote") < told.index("<strong>malformed</strong>"), "the most frequent first"
    assert "<strong>3</strong>" in told
    assert "\\xff\\x00\\x01" in told
    assert "&lt;script&gt;alert(1)" in page(charlie_client, "/quarantine/?q=script")
    assert "Adopt…" not in told
    assert "Replay all" not in told


FILTERS = {
    "": 6, "reason=malformed": 2, "status=held": 3, "status=discarded": 0, "mote=99": 3, "mote=(none)": 2,
    "site=main": 1, "topic=sensor-readings": 6, "topic=sensor-labels": 0, "q=script": 1, "q=%22warm%22": 1,
    "q=is+registered": 3, "since=2020-01-01&until=2020-01-02": 0, "since=2020-01-01": 6,
    "reason=nonsense&since=yesterday": 6,
}  # fmt: skip


def test_messages_are_narrowed_by_what_stands_in_the_address(full, charlie_client):
    for query, n in FILTERS.items():
        told = page(charlie_client, f"/quarantine/?view=messages&{query}")

        assert told.count('class="mono" href="/quarantine/') == n, query
        assert ("No message fits" in told) == (n == 0), query


def test_a_wrong_filter_says_so(full, charlie_client):
    assert "Select a valid choice" in page(charlie_client, "/quarantine/?reason=nonsense")


def test_pages_deep_down_are_reached_by_key(charlie_client):
    Quarantined.objects.bulk_create(
        Quarantined(
            topic="t", partition=0, offset=n, received_at=timezone.now(), reason="malformed", payload=b"x", size=1
        )
        for n in range(120)
    )
    first = page(charlie_client, "/quarantine/?view=messages")
    older = Quarantined.objects.order_by("-pk")[49].pk

    assert f"before={older}" in first
    second = page(charlie_client, f"/quarantine/?view=messages&before={older}")
    assert "t/0@69<" in second
    assert "t/0@70<" not in second


def test_many_messages_cost_no_more_queries(charlie_client, django_assert_max_num_queries):
    """By kinds and one by one, with a hundred kinds."""
    Quarantined.objects.bulk_create(
        Quarantined(topic="t", partition=0, offset=n, received_at=timezone.now(), reason="unknown_mote",
                    mote_code=f"m{n % 100}", payload=b"x", size=1, status="held")
        for n in range(3000)
    )  # fmt: skip

    for view in ("kinds", "messages"):
        with django_assert_max_num_queries(14):
            page(charlie_client, f"/quarantine/?view={view}")


def test_a_message_shows_its_bytes_its_place_and_what_would_become_of_it(full, bob_client, charlie_client):
    binary = Quarantined.objects.get(payload=b"\xff\x00\x01")

    told = page(bob_client, f"/quarantine/{binary.pk}/")

    assert "ff 00 01" in told
    assert binary.place in told
    assert "Sent now it would be put aside again." in told
    assert "Send again" not in page(charlie_client, f"/quarantine/{binary.pk}/")
    assert bob_client.get("/quarantine/999999/").status_code == 404


def test_a_text_that_would_turn_the_line_around_is_shown_as_its_number(bob_client):
    send("{\u202e}".encode())
    install_fleet()
    drain()

    assert "{\\u202e}" in page(bob_client, "/quarantine/")


def test_what_was_only_counted_is_told_on_the_page_and_to_prometheus(full, charlie_client):
    NotKept.objects.create(topic="t", partition=0, hour=timezone.now(), reason="malformed", n=4711, next_offset=9)

    assert "4\u202f711" in page(charlie_client, "/quarantine/")
    metrics = page(charlie_client, "/metrics")
    assert 'sieis_quarantine_not_kept{reason="malformed"} 4711.0' in metrics
    assert 'sieis_quarantine_messages{status="held"} 3.0' in metrics


def test_data_quality_keeps_the_summary(full, charlie_client):
    told = page(charlie_client, "/quality/")

    assert 'href="/quarantine/?reason=malformed"' in told
    assert "alert(1)" not in told


# ---- acting on the pages ------------------------------------------------------------------------------------


def test_an_operator_repairs_a_message_on_its_page(full, bob, bob_client):
    row = aside(reason="no_values")

    checked = bob_client.post(f"/quarantine/{row.pk}/", {"deed": "check", "payload": reading("7").decode()})
    refused = bob_client.post(f"/quarantine/{row.pk}/", {"deed": "replay", "payload": "{"})
    sent = bob_client.post(f"/quarantine/{row.pk}/", {"deed": "replay", "payload": reading("7").decode()}, follow=True)
    drain()

    assert "Sent now it would be taken." in checked.content.decode()
    assert "is not JSON" in refused.content.decode()
    assert "Sent again. Stored: main/7" in sent.content.decode()
    assert in_hot() == [("7", 21.5)]
    assert AuditEntry.objects.get(deed="replay_message").who == bob


def test_a_message_sent_as_it_came_is_not_called_repaired(bob_client):
    """A form sends line ends as CR LF."""
    install_fleet()
    Mote.objects.update(state="retired")
    send(json.dumps(json.loads(reading()), indent=1).encode())
    drain()
    Mote.objects.update(state="active")
    row = aside()
    as_it_came = bytes(row.payload).decode().replace("\n", "\r\n")

    bob_client.post(f"/quarantine/{row.pk}/", {"deed": "replay", "payload": as_it_came})

    assert (aside().status, aside().is_repaired) == ("replayed", False)


def test_chosen_messages_are_replayed_or_discarded(full, bob_client):
    Mote.objects.filter(code="7").update(state="active")
    install_fleet(motes=("99",))
    held = list(Quarantined.objects.filter(status="held").order_by("pk"))
    garbage = Quarantined.objects.filter(reason="malformed").first()

    answer = bob_client.post(
        "/quarantine/settle",
        {"deed": "replay", "message": [held[0].pk, held[1].pk, garbage.pk], "filters": "view=messages"}, follow=True,
    )  # fmt: skip
    bob_client.post("/quarantine/settle", {"deed": "discard", "message": [garbage.pk]})
    drain()

    told = answer.content.decode()
    assert "2 of 3 sent again" in told
    assert "1 stayed. The message is not JSON" in told
    assert [code for code, _ in in_hot()] == ["99", "99"]
    garbage.refresh_from_db()
    assert garbage.status == "discarded"
    bob_client.post(f"/quarantine/{garbage.pk}/", {"deed": "take_back"})
    garbage.refresh_from_db()
    assert garbage.status == "quarantined"


def test_all_that_fit_are_replayed_by_a_job_whose_progress_shows(full, bob_client):
    install_fleet(motes=("99",))

    told = bob_client.post(
        "/quarantine/settle", {"deed": "replay", "scope": "all", "filters": "reason=unknown_mote"}, follow=True
    ).content.decode()
    assert "Waiting for a worker" in told
    tasks.replay_messages(ReplayJob.objects.get().pk)
    drain()

    assert "3 of 3 sent, 0 stayed" in page(bob_client, "/quarantine/")
    assert len(in_hot()) == 3


def test_an_unknown_mote_is_adopted_with_its_profile_guessed(full, bob_client):
    install_fleet(motes=("p",), profile=profile(code="pressure"), site="other")
    address = "/quarantine/adopt/?mote=99&site="

    form = page(bob_client, address)
    assert '<option value="indoor" selected>' in form
    assert "has temperature, humidity; lacks light, voltage" in form
    assert "Adopt, with 3 held messages" in form
    given = {"mote": "99", "named_site": "", "site": "main", "profile": "indoor", "zone": "lab", "label": "Attic"}
    answer = bob_client.post("/quarantine/adopt/", given, follow=True)
    tasks.release_held()
    drain()

    assert answer.redirect_chain == [("/motes/main/99/", 302)]
    assert "its 3 held messages flow in" in answer.content.decode()
    assert [code for code, _ in in_hot()] == ["99"] * 3
    assert "Nothing is held for it" in page(bob_client, address)


def test_viewers_look_and_operators_act(full, charlie_client, mallory, dave_client):
    row = aside(reason="no_values")

    for address in ("/quarantine/settle", "/quarantine/adopt/", f"/quarantine/{row.pk}/"):
        assert charlie_client.post(address, {"deed": "discard", "message": [row.pk]}).status_code == 403
    for address in (f"/{row.pk}/replay", f"/{row.pk}/check", "/replay", "/discard", f"/{row.pk}/discard", "/adopt"):
        assert api(charlie_client, address, ids=[row.pk])[0] == 403
        assert api(mallory, address)[0] in (401, 403)
    assert mallory.get("/quarantine/").status_code == 302
    assert dave_client.get("/quarantine/").status_code == 403
    assert not AuditEntry.objects.filter(deed__contains="message").exists()
    assert aside(pk=row.pk).status == "quarantined"


# ---- the API ------------------------------------------------------------------------------------------------


def test_the_api_lists_filters_and_pages(full, charlie_client):
    told = charlie_client.get("/api/v1/quarantine?status=waiting&limit=4").json()
    rest = charlie_client.get(told["next"]).json()
    kinds = charlie_client.get("/api/v1/quarantine/kinds?status=waiting").json()

    assert [len(told["results"]), len(rest["results"])] == [4, 2]
    assert charlie_client.get("/api/v1/quarantine?since=nonsense").status_code == 400
    assert (kinds[0]["reason"], kinds[0]["mote"], kinds[0]["n"]) == ("unknown_mote", "99", 3)
    assert sum(one["n"] for one in kinds) == 6


def test_the_api_tells_everything_of_one_message(full, charlie_client):
    binary = Quarantined.objects.get(payload=b"\xff\x00\x01")

    told = charlie_client.get(f"/api/v1/quarantine/{binary.pk}").json()

    assert base64.b64decode(told["base64"]) == b"\xff\x00\x01"
    assert (told["text"], told["is_whole"], told["n_alike"], told["fate"]["name"]) == (None, True, 2, "malformed")


def test_the_api_repairs_checks_and_refuses(full, bob_client):
    row = aside(reason="no_values")

    assert api(bob_client, f"/{row.pk}/check", payload=reading().decode())[1]["is_taken"] is True
    status, told = api(bob_client, f"/{row.pk}/replay", payload="{}")
    assert (status, told["field"]) == (400, "payload")
    assert "names no mote" in told["detail"]
    status, told = api(bob_client, f"/{row.pk}/replay", payload=reading().decode())
    assert (status, told["status"], told["fate"]["name"]) == (200, "replayed", "stored")
    assert api(bob_client, f"/{row.pk}/replay", payload=reading().decode())[0] == 409
    assert api(bob_client, f"/{row.pk}/discard")[0] == 409
    assert api(bob_client, "/999999/replay")[0] == 404


def test_the_api_settles_several_and_nothing_by_accident(full, bob_client):
    keys = list(Quarantined.objects.filter(reason="malformed").values_list("pk", flat=True))

    assert api(bob_client, "/discard")[0] == 400
    for deed in ("/discard", "/replay"):
        status, told = api(bob_client, deed, ids=[*keys, 10**9])
        assert (status, told["detail"]) == (400, "ids: There is no message 1000000000 in the quarantine.")
    assert api(bob_client, "/replay", ids=keys) == (200, {"sent": 0, "left": {"malformed": 2}})
    assert api(bob_client, "/discard", reason="malformed", q="script")[1] == {"discarded": 1}
    assert api(bob_client, "/discard", ids=keys)[1] == {"discarded": 1}
    status, job = api(bob_client, "/replay", reason="unknown_mote")
    assert (status, job["n_asked"]) == (202, 3)
    assert api(bob_client, "/replay", all=True)[0] == 409
    assert bob_client.get(f"/api/v1/quarantine/jobs/{job['id']}").json()["state"] == "queued"


def test_the_api_adopts(full, bob_client):
    status, told = api(bob_client, "/adopt", mote="98")
    assert (status, told["detail"]) == (
        400, "profile: No message of a mote “98” is held; name a profile to register it all the same."
    )  # fmt: skip
    assert "there are: indoor" in api(bob_client, "/adopt", mote="99", profile="nope")[1]["detail"]

    status, told = api(bob_client, "/adopt", mote="99", label="Attic")

    assert (status, told["site"], told["profile"], told["held"]) == (201, "main", "indoor", 3)
    assert Mote.objects.get(code="99").label == "Attic"


# ---- the command --------------------------------------------------------------------------------------------


def run(*arguments):
    out = StringIO()
    call_command("quarantine", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_lists_replays_and_discards(full, tmp_path):
    install_fleet(motes=("99",))
    broken = aside(reason="no_values")
    (tmp_path / "better.json").write_bytes(reading("7"))

    assert run("list").split()[:2] == ["3", "unknown_mote"]
    assert json.loads(run("list", "--messages", "--json", "--reason", "no_values"))["id"] == broken.pk
    assert run("replay", "--all").splitlines() == [
        "3 of 6 sent again", "       2 stayed: malformed", "       1 stayed: no values",
    ]  # fmt: skip
    assert "Stored: main/7" in run("replay", str(broken.pk), "--payload", str(tmp_path / "better.json"))
    assert run("replay", str(broken.pk)).splitlines() == ["0 sent again", "       1 stayed: replayed already"]
    assert run("discard", "--all", "--reason", "malformed") == "2 discarded\n"
    drain()

    assert [code for code, _ in in_hot()] == ["7", "99", "99", "99"]
    assert set(Quarantined.objects.values_list("status", flat=True)) == {"replayed", "discarded"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("discard",), "Give keys of messages, or --all"),
        (("replay", "--all", "--reason", "ugly"), "Select a valid choice.*Reasons: too_large"),
        (("replay", "4711"), "There is no message 4711"),
        (("replay", "--all", "--mote", "nobody"), "No message that waits fits"),
        (("replay", "--payload", "x.json"), "repairs one message"),
    ],
)
def test_the_command_says_what_is_wrong(full, arguments, words):
    with pytest.raises(CommandError, match=words):
        run(*arguments)


def test_a_message_of_a_topic_that_is_not_read_any_more_goes_nowhere(full, bob_client):
    Quarantined.objects.filter(reason="no_values").update(topic="long-ago")
    row = aside(topic="long-ago")

    status, told = api(bob_client, f"/{row.pk}/replay", payload=reading().decode())

    assert status == 400
    assert "long-ago is not read any more" in told["detail"]
    assert "is not read any more" in page(bob_client, f"/quarantine/{row.pk}/")
    assert stream().topic in told["detail"]


def test_a_job_is_told_for_an_hour(full, bob, bob_client):
    job = replay_jobs.ask({}, who=bob, now=timezone.now())
    tasks.replay_messages(job.pk)
    assert "Messages were sent again" in page(bob_client, "/quarantine/")

    ReplayJob.objects.update(done_at=timezone.now() - timedelta(hours=2))

    assert "Messages were sent again" not in page(bob_client, "/quarantine/")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("quarantine", "list"), "No message waits in the quarantine."),
        (("quarantine", "list", "--reason", "malformed"), "No message fits that."),
        (("device_key", "list"), "There is no key yet"),
        (("reconcile",), "There is nothing to compare"),
    ],
)
def test_a_command_with_nothing_to_show_says_so(asked, words, capsys):
    call_command(*asked)

    assert words in "".join(capsys.readouterr())
