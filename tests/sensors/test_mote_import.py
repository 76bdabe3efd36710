"""A fleet by CSV: what would become of each line, all or none, and the way back out."""

from __future__ import annotations

import csv
import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.management import CommandError, call_command
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from sensors import mote_csv, mote_import, registry
from sensors.lake import lake
from sensors.models import AuditEntry, Mote, Site, Zone
from sensors.stores import hot
from tests import builders
from tests.conftest import NOON
from tests.people import *  # noqa: F403

pytestmark = pytest.mark.django_db
ADDRESS = "/api/v1/motes/import"
TWO_NEW = "code;name;profile;room;x;y\nw-1;Window north;indoor;attic;2,5;4\nw-2;;indoor;;;\n"


@pytest.fixture
def fleet(db):
    builders.install_fleet(motes=("7", "8"))


def send(client, text: str, query: str = ""):
    return client.post(ADDRESS + query, text.encode(), content_type="text/csv")


def bring(text: str, **more):
    file = mote_csv.parse(text.encode(), "motes.csv")
    return mote_import.bring(file, who=None, now=NOON, store=hot(), lake=lake(), **more)


def test_motes_of_a_file_are_there_at_once_each_with_its_audit_entry(alice_client, alice, fleet):
    answer = send(alice_client, TWO_NEW)

    assert answer.status_code == 200
    assert {name: answer.json()[name] for name in ("new", "changed", "same", "refused", "new_zones")} == {
        "new": 2, "changed": 0, "same": 0, "refused": 0, "new_zones": ["main/attic"],
    }  # fmt: skip
    north = Mote.objects.get(code="w-1")
    assert (north.label, north.zone.code, north.x, north.y) == ("Window north", "attic", 2.5, 4.0)
    assert AuditEntry.objects.filter(deed="add_mote", who=alice).count() == 2
    assert registry.current_fleet().find("w-2") is not None


def test_a_dry_run_says_the_same_and_changes_nothing(alice_client, fleet):
    before = registry.revision()

    planned = send(alice_client, TWO_NEW, "?dry_run=1").json()

    assert (Mote.objects.count(), Zone.objects.filter(code="attic").exists()) == (2, False)
    assert registry.revision() == before
    assert {**planned, "is_dry_run": False} == send(alice_client, TWO_NEW).json()


def test_only_what_a_file_names_changes_and_an_empty_cell_takes_a_label_away(fleet):
    Mote.objects.filter(code="7").update(label="Old", x=1.0)

    became = bring("site,code,label\nmain,7,\nmain,8,\n")

    assert became.counts == {"new": 0, "changed": 1, "same": 1, "refused": 0}
    assert dict(became.rows[0].changes) == {"label": ("Old", "nothing")}
    seven = Mote.objects.get(code="7")
    assert (seven.label, seven.x) == ("", 1.0)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("main,,indoor,,,", "code: it is empty"),
        ("attic,9,indoor,,,", "there is no site “attic”; there are main"),
        ("main,9,outdoor,,,", "there is no profile “outdoor”; there are indoor"),
        ("main,9,,,,", "A new mote needs one; there are indoor"),
        ("main,9,indoor,wide,,", "x: “wide” is no number"),
        ("main,9,indoor,nan,,", "x: “nan” is no number"),
        ("main,9,indoor,,asleep,", "“asleep” is no state; expected one of commissioning, active"),
        ("main,9,indoor,,,60", "it says 60, and the profile indoor 30"),
        ("main,a/b,indoor,,,", "“a/b” cannot stand in an address"),
        ("main,7,indoor,,,,more", "it has 7 fields for 6 columns; “more” belongs to none"),
        ("main,10,indoor,,,", "the mote main/10 stands in line 2 already"),
    ],
)
def test_one_wrong_line_is_named_with_its_value_and_keeps_the_whole_file_out(alice_client, fleet, line, words):
    answer = send(alice_client, f"site,code,profile,x,state,interval_s\nmain,10,indoor,,,\n{line}\n")

    assert answer.status_code == 400
    assert answer.json()["field"] == "line 3"
    assert words in answer.json()["detail"]
    assert not Mote.objects.filter(code="10").exists()


def test_a_refused_line_leaves_no_zone_behind(alice_client, fleet):
    planned = send(alice_client, "code,profile,zone\na/b,indoor,attic\n9,indoor,Roof garden\n", "?dry_run=1").json()

    assert planned["new_zones"] == []
    assert "zone" in planned["rows"][1]["wrong"][0] or "slug" in planned["rows"][1]["wrong"][0]


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "is empty"),
        (b"PK\x03\x04rest", "is a zip archive or an Excel workbook"),
        (b"name,profile\nx,indoor\n", "no column “code”; its first line says name, profile"),
        (b"code,mote\n1,2\n", "several columns for code"),
        (b"code,profile\n", "nothing below it"),
        (b'code,label\n1,"open\n', "quotation mark left open"),
        (b"code,label\n" + b"1,x\n" * 2001, "bring them in parts"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_fleet_is_refused_in_words(alice_client, fleet, raw, words):
    answer = alice_client.post(ADDRESS, {"file": SimpleUploadedFile("fleet.csv", raw)})

    assert answer.status_code == 400
    assert words in answer.json()["detail"] or not raw


def test_what_was_shown_before_somebody_else_changed_the_fleet_is_not_applied(fleet):
    file = mote_csv.parse(b"code,label\n7,Door\n", "motes.csv")
    shown = mote_import.preview(file, who=None, now=NOON, store=hot(), lake=lake())
    Mote.objects.filter(code="7").update(label="Window")

    with pytest.raises(mote_import.Refused, match="has changed since"):
        bring("code,label\n7,Door\n", seen=shown.digest)

    assert Mote.objects.get(code="7").label == "Window"


def test_a_mote_with_readings_keeps_its_profile(alice_client, fleet):
    builders.install_fleet(profile=builders.profile(code="other"), motes=())
    Mote.objects.filter(code="7").update(last_seen_at=NOON)

    answer = send(alice_client, "code,profile\n7,other\n8,other\n")

    assert "profile: It has readings of indoor" in answer.json()["detail"]
    assert "line 3" not in answer.json()["detail"]


@pytest.mark.parametrize("door", ["POST", "page"])
def test_only_engineers_bring_fleets(bob_client, charlie_client, fleet, door):
    for client in (bob_client, charlie_client):
        answer = send(client, TWO_NEW) if door == "POST" else client.get("/motes/file/")
        assert answer.status_code == 403
    assert charlie_client.get("/api/v1/motes/export").status_code == 200


def test_the_command_tells_each_line_and_a_dry_run_changes_nothing(fleet, tmp_path, capsys):
    path = tmp_path / "fleet.csv"
    path.write_text(TWO_NEW + "7;Door;;;;\n")

    call_command("import_motes", str(path), "--dry-run")

    told = capsys.readouterr().out
    assert "+ line 2: main/w-1\n" in told
    assert "~ line 4: main/7 label nothing → Door; zone lab → nothing\n" in told
    assert "2 new, 1 changed, 0 same, 0 refused" in told
    assert Mote.objects.count() == 2
    call_command("import_motes", str(path))
    assert Mote.objects.count() == 4
    path.write_text("code,state\n7,gone\n")
    with pytest.raises(CommandError, match="1 of 1 lines"):
        call_command("import_motes", str(path))


# ---- the page ---------------------------------------------------------------------------------------------------


def test_a_file_is_shown_first_and_then_applied_as_shown(alice_client, fleet):
    shown = alice_client.post("/motes/file/", {"file": SimpleUploadedFile("fleet.csv", TWO_NEW.encode())})

    assert "2 new, 0 changed, 0 the same, 0 refused" in shown.content.decode()
    assert Mote.objects.count() == 2
    became = shown.context["became"]
    applied = alice_client.post("/motes/file/", {"text": TWO_NEW.replace("\n", "\r\n"), "confirmed": became.digest})
    assert applied.status_code == 302
    assert Mote.objects.count() == 4


def test_the_page_offers_nothing_to_apply_while_a_line_is_wrong(alice_client, fleet):
    shown = alice_client.post("/motes/file/", {"text": "code,profile\n9,outdoor\n10,indoor\n"})

    page = shown.content.decode()
    assert "1 line cannot be brought in" in page
    assert "there is no profile “outdoor”" in page
    assert 'name="confirmed"' not in page


# ---- what must hold always --------------------------------------------------------------------------------------

codes = st.from_regex(r"[A-Za-z0-9=+@'_.;,\"-]{1,12}", fullmatch=True).filter(lambda code: code not in {".", ".."})
labels = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), max_size=30).map(str.strip)
metres = st.none() | st.floats(-1e6, 1e6)
motes = st.lists(
    st.tuples(codes, labels, metres, metres, st.booleans(), st.sampled_from(Mote.State.values)),
    min_size=1, max_size=5, unique_by=lambda mote: mote[0],
)  # fmt: skip


class TestRoundTrip(TestCase):
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(motes)
    def test_an_exported_fleet_comes_back_as_it_was_and_changes_nothing_where_it_stands(self, fleet):
        builders.install_fleet(motes=())
        site, zone = Site.objects.get(), Zone.objects.get()
        profile = registry.current_fleet().profiles["indoor"]
        kind = mote_import.Profile.objects.get(code=profile.code)
        for code, label, x, y, is_zoned, state in fleet:
            place = zone if is_zoned else None
            Mote.objects.create(site=site, zone=place, code=code, label=label, profile=kind, x=x, y=y, state=state)
        text = mote_import.exported()
        values = list(Mote.objects.values("code", "label", "zone__code", "x", "y", "state"))

        again = bring(text)
        Mote.objects.all().delete()
        anew = bring(text)

        assert again.counts == {"new": 0, "changed": 0, "same": len(fleet), "refused": 0}
        assert anew.counts["new"] == len(fleet)
        assert list(Mote.objects.values("code", "label", "zone__code", "x", "y", "state")) == values
        assert mote_import.exported() == text
        rows = list(csv.reader(io.StringIO(text)))
        assert not any(cell[:1] in {"=", "+", "@"} for row in rows for cell in row)
