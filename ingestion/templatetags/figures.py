"""Numbers in templates as the pages' modules write them."""

from __future__ import annotations

from django import template

from ingestion import words

register = template.Library()


@register.filter
def groups(count: int) -> str:
    """A large count in groups of three, which a narrow space parts in every language."""
    return words.count(count)


@register.filter
def plain(name: str) -> str:
    """A code as a person would write it."""
    return name.replace("_", " ")


@register.filter
def ms(value: float | str | None) -> str:
    """A latency; below ten milliseconds a digit behind the point is news. Django hands over "" where nothing is."""
    if value is None or isinstance(value, str):
        return "–"
    return f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms"


@register.filter
def percent(share: float | str | None) -> str:
    """A share of one; as much of it as is news."""
    if share is None or isinstance(share, str):
        return "–"
    return f"{100 * share:.0f} %" if share >= 0.1 or share == 0 else f"{100 * share:.1f} %"
