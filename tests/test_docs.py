"""What the documents name is there: files, commands, settings, addresses, messages. No server, no database."""

from __future__ import annotations

import ast
import json
import re
import subprocess
from argparse import ArgumentParser, _SubParsersAction
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from django.core.management import get_commands, load_command_class
from django.core.management.base import CommandParser
from django.urls import Resolver404, resolve

from ingestion.records import Records
from ingestion.wire import REASONS, Wire
from sensors import quality
from sensors.problems import NoSuchAddress
from sieis_site import env
from sieis_site.context import version
from tests.ingestion.test_wire import FLEET

ROOT = Path(__file__).resolve().parents[1]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text()
    for path in (*(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING")), *ROOT.glob("docs/*.md"))
}
WIRE = PAGES["docs/wire.md"]
OURS = ("sieis_site", "ingestion", "mlops", "alerts", "sensors")
FOLDERS = "|".join((*OURS, "tests", "bench", "deploy", "scripts", "requirements"))
MADE_LATER = ("deploy/secrets/",)
# In capitals, and no setting of SIEIS: of Compose, of Kafka, of Make and Python, and names that stand for others.
FOREIGN = {
    "COMPOSE_PROFILES", "SETUP_PACK", "SIEIS_VERSION", "KAFKA_ADVERTISED_LISTENERS", "PYTHON", "PYTHONPATH",
    "NAME_FILE", "MACHINE_001", "MALLOC_ARENA_MAX",
}  # fmt: skip

each_page = pytest.mark.parametrize("name", sorted(PAGES))


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def code(text: str) -> list[str]:
    """Everything that is set as code: fenced blocks, lines set in, and what stands in backticks."""
    fenced = re.findall(r"^```\w*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```\w*\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*fenced, *re.findall(r"^ {4}\S.*$", rest, re.MULTILINE), *re.findall(r"`([^`\n]+)`", rest)]


# ---- files ------------------------------------------------------------------------------------------------------


def heading_anchors(text: str) -> set[str]:
    """As GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@each_page
def test_every_link_leads_somewhere(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", PAGES[name]):
        if re.match(r"https?://", target):
            continue
        if target.startswith("/"):
            resolve(target)
            continue
        path, _, anchor = target.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), target
        if anchor:
            assert anchor in heading_anchors(found.read_text()), target


@each_page
def test_every_file_that_is_named_is_there(name):
    named = set(re.findall(rf"(?<![\w/.-])(?:{FOLDERS})/[\w./-]*\w", "\n".join(code(PAGES[name]))))

    missing = [path for path in named if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()]

    assert [path for path in missing if not path.startswith(MADE_LATER)] == []


# ---- commands ---------------------------------------------------------------------------------------------------


@cache
def parser(command: str) -> CommandParser:
    return load_command_class(get_commands()[command], command).create_parser("manage.py", command)


def known_options(parser: ArgumentParser) -> set[str]:
    """Those of a command, and of its verbs where it has some."""
    verbs = [verb for one in parser._actions if isinstance(one, _SubParsersAction) for verb in one.choices.values()]
    return set(parser._option_string_actions).union(*map(known_options, verbs))


def calls(text: str) -> list[tuple[str, list[str]]]:
    """Each manage.py command with the options that it is given."""
    found = re.findall(r"manage\.py ([a-z]\w*)([^\n|&;]*)", "\n".join(code(text)))
    return [(command, re.findall(r"(?<!\S)--[a-z-]+", rest.partition(" #")[0])) for command, rest in found]


@each_page
def test_every_command_and_each_of_its_options_exists(name):
    for command, options in calls(PAGES[name]):
        assert command in get_commands(), command
        assert [option for option in options if option not in known_options(parser(command))] == [], command


def test_every_command_of_ours_that_people_call_is_explained():
    ours = {name for name, app in get_commands().items() if app in OURS}
    internal = {name for name in ours if parser(name).description.startswith("Internal")}

    assert ours - internal - {command for text in PAGES.values() for command, _ in calls(text)} == set()


@each_page
def test_every_make_target_exists(name):
    [targets] = re.findall(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    named = set(re.findall(r"(?<![\w/.-])make ([a-z][a-z-]*)", "\n".join(code(PAGES[name]))))

    assert named - set(targets.split()) == set()


# ---- settings ---------------------------------------------------------------------------------------------------


@each_page
def test_every_setting_exists(name):
    settings = {each for variable in env.VARIABLES for each in (variable.name, *variable.aliases)}
    known = {*settings, *(f"{each}_FILE" for each in settings), *env.OUTSIDE, *FOREIGN}
    text = "\n".join(code(PAGES[name]))

    named = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b|\b[A-Z]+(?==)", text))

    assert named - known == set()


# ---- addresses --------------------------------------------------------------------------------------------------


@each_page
def test_every_address_of_the_api_answers(name):
    paths = re.findall(r"/api/v1/[\w<>{}./-]*[\w>}]", PAGES[name])

    unknown = [path for path in paths if not is_address(re.sub(r"<\w+>|\{\w+\}", "7", path))]

    assert unknown == []


def is_address(path: str) -> bool:
    try:
        return getattr(resolve(path).func, "view_class", None) is not NoSuchAddress
    except Resolver404:
        return False


def test_an_address_that_does_not_exist_would_be_found():
    assert is_address("/api/v1/motes")
    assert not is_address("/api/v1/nothing")


# ---- the wire ---------------------------------------------------------------------------------------------------


def test_each_message_of_the_wire_contract_is_a_reading():
    messages = [line.encode() for block in blocks(WIRE, "json") for line in block.splitlines()]
    n = len(messages)

    decoded = Wire(FLEET).decode(Records(messages, np.zeros(n, int), np.arange(n), np.full(n, 1_772_452_860_000_000)))

    assert decoded.rejects == []
    assert sum(len(batch) for batch, _ in decoded.batches) == n >= 2
    assert not any(batch.flags.any() for batch, _ in decoded.batches)


def test_the_wire_contract_has_every_reason_and_no_other():
    table = WIRE.partition("| reason | the message |")[2].partition("\n\n")[0]

    assert sorted(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == sorted(REASONS)


def test_the_wire_contract_has_every_quality_flag_with_its_number():
    [row] = re.findall(r"^\| `flags` \|.*$", WIRE, re.MULTILINE)

    assert {name: int(bit) for name, bit in re.findall(r"`(\w+)` (\d+)", row)} == {
        name: bit for bit, name in quality.NAMES.items()
    }


# ---- examples ---------------------------------------------------------------------------------------------------


@each_page
def test_every_example_can_be_read_by_its_language(name):
    for block in blocks(PAGES[name], "python"):
        ast.parse(block)
    for block in blocks(PAGES[name], "json"):
        for message in [block] if block.startswith("{\n") else block.splitlines():
            json.loads(message)


# ---- the whole --------------------------------------------------------------------------------------------------


def test_the_readme_is_short_and_tells_what_there_is():
    readme = PAGES["README.md"]

    assert len(readme.splitlines()) < 215
    for words in ("make run", "make test", "docker compose", "/ws/live/", "/api/v1", "<!-- settings -->", "not do yet"):
        assert words in readme


@each_page
def test_nothing_is_left_to_be_written(name):
    assert re.findall(r"\b(?:TODO|TBD|FIXME|XXX|lorem)\b", PAGES[name]) == []


def test_the_changelog_begins_with_the_version_that_this_is():
    [declared] = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)

    assert version() == declared


def test_nothing_names_a_folder_of_the_machine_it_was_written_on():
    place = "/" + "work/"
    searched = subprocess.run(["git", "grep", "-nIE", rf"(^|[^[:alnum:]_.]){place}"], cwd=ROOT, capture_output=True)

    assert searched.stdout.decode() == ""
    assert searched.returncode == 1, searched.stderr.decode()  # 1: looked, and found nothing
