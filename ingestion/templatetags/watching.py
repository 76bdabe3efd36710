"""Figures of models in templates."""

from __future__ import annotations

from django import template

from ingestion import words

register = template.Library()


@register.filter
def percent(share: float | None) -> str:
    return words.percent(share)
