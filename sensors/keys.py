"""Secrets that are shown once: what is kept of them finds them again and cannot be sent. Pure."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NewSecret:
    """`text` is what the holder sends; the other two are kept."""

    text: str
    public_id: str
    secret_sha256: str


def new_secret(scheme: str) -> NewSecret:
    public_id, secret = secrets.token_hex(6), secrets.token_urlsafe(32)
    return NewSecret(f"{scheme}_{public_id}_{secret}", public_id, _hash(secret))


def public_id_of(text: str) -> str:
    """Under which a text's hash is kept; whether the text is right is another question."""
    return text.partition("_")[2].partition("_")[0]


def is_right(text: str, scheme: str, secret_sha256: str | None) -> bool:
    """Whether it is the text of that hash. Takes as long whatever is wrong, also where there is no hash.

    A random secret of 256 bits needs no slow hash.
    """
    found, _, rest = text.partition("_")
    secret = rest.partition("_")[2]
    known = secret_sha256 or _hash("nobody")
    return hmac.compare_digest(known, _hash(secret)) and found == scheme and secret_sha256 is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()
