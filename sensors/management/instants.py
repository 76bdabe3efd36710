"""Instants as arguments of a command."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import datetime

from rest_framework.exceptions import ValidationError

from sensors.serializers import Instant


def instant(text: str) -> datetime:
    """As the API takes one, refused in the same words."""
    try:
        return Instant().run_validation(text)
    except ValidationError as error:
        raise ArgumentTypeError(" ".join(map(str, error.detail))) from None
