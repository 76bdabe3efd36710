"""Imports as the pages show them: what may be chosen, what was foretold, what has become of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django import forms
from django.conf import settings

from ingestion.importing import fates as kinds
from ingestion.importing import report
from ingestion.importing.jobs import LARGEST, WORDS
from ingestion.models import ImportJob
from ingestion.words import NOTHING, count
from sensors.models import Profile, Site
from sensors.packs import read_pack, shipped
from sensors.tables.times import ORDERS

State = ImportJob.State
TITLES = {
    State.LOOKED: "Looked at, nothing imported yet", State.QUEUED: "Waiting for its turn",
    State.RUNNING: "Being imported", State.STOPPED: "Stopped on the way", State.FAILED: "Could not go on",
    State.DONE: "Imported",
}  # fmt: skip
BADGES = {State.DONE: "ok", State.FAILED: "bad", State.STOPPED: "warn"}
# What the command calls so is a field of the form here.
FLAGS = {
    "--date-order": "“Order of dates”", "--decimal": "“Decimal mark”", "--site": "“Site”",
    "--time-zone": "“Its time zone”", "--times-in": "“Times are in”", "--map": "“Columns”", "--mote": "“One mote”",
}  # fmt: skip


class AskForm(forms.Form):
    """How the files are to be read; what is left empty the data decide."""

    pack = forms.ChoiceField(label="What was measured")
    site = forms.CharField(label="Site", required=False, max_length=50, help_text="A new one is made with its motes.")
    time_zone = forms.CharField(
        label="Its time zone", required=False, help_text="Of a new site, such as Europe/Berlin."
    )
    times_in = forms.CharField(
        label="Times are in", required=False, help_text="Where they name no offset; else the site’s."
    )
    map = forms.CharField(
        label="Columns", required=False, widget=forms.Textarea, help_text="NAME=COLUMN, such as mote=moteid, at=ts."
    )
    mote = forms.CharField(
        label="One mote", required=False, max_length=64, help_text="Its code, where no column names it."
    )
    decimal = forms.ChoiceField(
        label="Decimal mark", required=False, choices=[("", "as the data say"), (".", "."), (",", ",")]
    )
    date_order = forms.ChoiceField(
        label="Order of dates", required=False, choices=[("", "as the data say"), *((code, code) for code in ORDERS)]
    )

    def __init__(self, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(data)
        self.fields["pack"].choices = packs()  # type: ignore[attr-defined]

    def asked(self) -> dict[str, str]:
        return {name: str(self.cleaned_data.get(name) or "") for name in ("pack", "map", *WORDS)}


def packs() -> list[tuple[str, str]]:
    """Installed profiles first, then the packs that SIEIS comes with."""
    installed = list(Profile.objects.values_list("code", "label"))
    known = {code for code, _ in installed}
    return [*installed, *((code, read_pack(code).profile.label) for code in shipped() if code not in known)]


@dataclass(frozen=True, slots=True)
class Line:
    """What became, or will become, of so many rows; `query` leads to where they are."""

    n: int
    name: str
    words: str
    address: str


@dataclass(frozen=True, slots=True)
class Row:
    """An import in the list."""

    job: ImportJob

    @property
    def names(self) -> str:
        return ", ".join(one["name"] for one in self.job.files)

    @property
    def title(self) -> str:
        return TITLES[State(self.job.state)]

    @property
    def badge(self) -> str:
        return BADGES.get(State(self.job.state), "")

    @property
    def became(self) -> str:
        return ", ".join(f"{count(n)} {name.replace('_', ' ')}" for name, n in self.job.became.items()) or NOTHING


def fates(job: ImportJob, of: Mapping[str, int]) -> list[Line]:
    return [Line(n, name, report.fate(name), _address(job, name)) for name, n in of.items()]


def _address(job: ImportJob, name: str) -> str:
    if name == kinds.STORED:
        return f"/motes/?{urlencode({'site': job.site})}"
    if name == kinds.DUPLICATE:
        return ""
    if name == "other reasons":  # the quarantine was full, and says of which reasons it only counted
        return "/quarantine/"
    reason = "unknown_mote" if name == kinds.HELD else name
    asked = {"reason": reason, "topic": settings.SIEIS_TOPICS["history"], "status": "all", "view": "messages"}
    return f"/quarantine/?{urlencode(asked)}"


def form_context(form: AskForm, trouble: str = "") -> dict[str, Any]:
    return {
        "form": form, "trouble": for_people(trouble), "sites": Site.objects.all(), "largest_mib": LARGEST >> 20,
        "default_site": settings.SIEIS_DEFAULT_SITE, "default_zone": settings.SIEIS_TIME_ZONE,
    }  # fmt: skip


def context(job: ImportJob) -> dict[str, Any]:
    told = job.foretold
    refused = {name: n for name, n in told["fates"].items() if name not in report.FATES}
    return {
        "job": job, "row": Row(job), "told": told, "problems": [for_people(one) for one in told["problems"]],
        "foretold": fates(job, told["fates"]), "became": fates(job, job.became), "n_refused": sum(refused.values()),
        "n_stored": told["fates"].get(kinds.STORED, 0), "is_of_command": job.trigger == "command",
        "may_be_forgotten": job.state in (State.LOOKED, *ImportJob.RESUMABLE) and job.trigger != "command",
        "has_files": any("kept" in one for one in job.files),
    }  # fmt: skip


def for_people(words: str) -> str:
    """A command's words, with the form's own names of what they ask for."""
    for flag, label in FLAGS.items():
        words = words.replace(flag, label)
    return words
