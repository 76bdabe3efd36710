"""Every page there is, as an engineer and as a viewer, light and dark, wide and narrow: axe-core finds nothing serious,
the console complains of nothing, nothing scrolls sideways, and a picture of each lies in var/screenshots.

The pages are those of the URL configuration. One that needs an object is opened with the first object that another
page links to.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from urllib.parse import urljoin, urlsplit

import pytest
from django.urls import Resolver404, URLPattern, URLResolver, get_resolver, resolve

from tests.journeys.conftest import DESKTOP, PHONE, SCREENSHOTS

pytestmark = pytest.mark.journey

AXE = (Path(__file__).parent / "axe" / "axe.min.js").read_text()
NOT_OURS = ("docs", "health", "metrics", "logout")  # other people's pages, and no pages
# What a theme or a width can change; the whole set of rules runs once a page and person.
OF_THE_EYE = ("color-contrast", "scrollable-region-focusable", "link-in-text-block")
# The thirteenth row of a table is made like the twelfth, and contrast is dear to measure.
RUN = """rules => axe.run({exclude: ["tbody tr:nth-child(n+13)", ".floor .mote:nth-child(n+13)"]}, {
  resultTypes: ["violations"],
  ...(rules.length ? {runOnly: {type: "rule", values: rules}} : {}),
}).then(({violations}) => violations.filter(({impact}) => impact === "serious" || impact === "critical")
  .map(({id, nodes}) => `${id}: ${nodes.slice(0, 3).map(({target, any, all}) =>
    `${target.join(" ")} (${[...any, ...all].map(({message}) => message).slice(0, 1).join("")})`).join("; ")}`))"""
TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
# More of a page than its address alone shows.
WITH_MORE = {
    "alerts-all": "/alerts/?status=all",
    "quarantine-one-by-one": "/quarantine/?view=messages&status=all",
    "retention-half-a-day": "/quality/retention/?days=0.5",
}
ALWAYS = {
    "live", "machines", "motes", "mote", "forecast", "history", "insights", "alerts", "system", "quality", "models",
    "profile",
}  # fmt: skip


def routes(patterns: list[URLPattern | URLResolver] | None = None) -> Iterator[URLPattern]:
    """Ours, from the URL configuration; all of them stand at its root."""
    for one in get_resolver().url_patterns if patterns is None else patterns:
        if isinstance(one, URLResolver):
            if str(one.pattern) == "":
                yield from routes(one.url_patterns)
        elif one.name and one.name not in NOT_OURS:
            yield one


def name_of(path: str) -> str | None:
    try:
        return resolve(path).url_name
    except Resolver404:
        return None


def walk(session, url: str) -> dict[str, str]:
    """An address a route, for each that answers this person with a page; found by HTTP, which is quick."""
    ours = {one.name: bool(one.pattern.converters) for one in routes()}
    waiting = [f"/{one.pattern}" for one in routes() if not one.pattern.converters]
    pages, tried = {}, set()
    while waiting:
        path = waiting.pop(0)
        name = name_of(urlsplit(path).path)
        if name not in ours or name in tried:
            continue
        answer = session.get(url + path, timeout=60, allow_redirects=False)
        if answer.status_code == 200 and "<html" in answer.text[:100]:
            pages[name] = path
            waiting += links(answer.text, path)
        if name in pages or not ours[name]:
            tried.add(name)
    return pages


def links(text: str, path: str) -> Iterator[str]:
    """Where a page leads to on this site."""
    for link in re.findall(r'<a [^>]*?href="([^"#]+)"', text):
        found = urlsplit(urljoin(path, unescape(link)))
        if not found.netloc:
            yield found._replace(fragment="").geturl()


def judged(page, rules: tuple[str, ...] = ()) -> list[str]:
    return page.evaluate(RUN, list(rules))


@pytest.mark.parametrize(
    ("who", "first", "then"),
    [("engineer", (DESKTOP, "light"), (PHONE, "dark")), ("viewer", (PHONE, "light"), (DESKTOP, "dark"))],
    ids=["engineer", "viewer"],
)
def test_every_page_can_be_used_by_everybody(visit, sieis, who, first, then):
    pages = walk(sieis.session(who, "demo"), sieis.url)
    person = visit(who, viewport=first[0], color_scheme=first[1], reduced_motion="reduce")
    found = []

    for name, path in (pages | WITH_MORE).items():
        found += open_and_look(person, name, path, first, then)

    assert found == []
    assert ALWAYS - pages.keys() == set()


def open_and_look(person, name: str, path: str, first, then) -> Iterator[str]:
    """With all rules, then without loading it again with those that another theme and width can break."""
    person.complaints.clear()
    page = person.page
    page.set_viewport_size(first[0])
    page.emulate_media(color_scheme=first[1])
    person.goto(path)
    page.evaluate(TWO_FRAMES)
    page.evaluate(AXE)
    for (size, scheme), rules in ((first, ()), (then, OF_THE_EYE)):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme=scheme)
        page.evaluate(TWO_FRAMES)
        where = f"{name} {path} at {size['width']} {scheme}"
        if page.evaluate("document.documentElement.scrollWidth") > size["width"]:
            yield f"{where}: scrolls sideways"
        yield from (f"{where}: {one}" for one in judged(page, rules))
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SCREENSHOTS / f"{name}-{size['width']}-{scheme}.png")
    yield from (f"{name} {path}: console: {one}" for one in person.complaints)
