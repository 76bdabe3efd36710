"""Tokens with which programs call the API in a person's name: scoped, ending, shown once, revocable."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction

from sensors import audit
from sensors.holding import end, held
from sensors.keys import new_secret
from sensors.models import ApiToken
from sensors.roles import ENGINEERING, OPERATE, VIEW

SCHEME = "sieisapi"
SHORTEST, LONGEST = 1, 366  # days
# What a token may at most; less where its person may less.
SCOPES: dict[str, frozenset[str]] = {
    ApiToken.Scope.READ: frozenset({VIEW}),
    ApiToken.Scope.OPERATE: frozenset({VIEW, OPERATE}),
    ApiToken.Scope.ENGINEER: frozenset({VIEW, OPERATE, ENGINEERING}),
}


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token and, this one time, the text that the program sends."""

    token: ApiToken
    text: str


@transaction.atomic
def make_token(user: User, *, name: str, scope: str, days: int, now: datetime) -> NewToken:
    if not SHORTEST <= days <= LONGEST:
        raise ValidationError({"days": f"{days} days is out of range; expected {SHORTEST} to {LONGEST}."})
    if scope not in SCOPES:
        raise ValidationError({"scope": f"“{scope}” is no scope; expected one of {', '.join(SCOPES)}."})
    secret = new_secret(SCHEME)
    token = ApiToken(
        user=user, name=name.strip(), scope=scope, public_id=secret.public_id, secret_sha256=secret.secret_sha256,
        made_at=now, expires_at=now + timedelta(days=days),
    )  # fmt: skip
    token.full_clean()
    token.save()
    detail = {"name": token.name, "scope": scope, "days": days}
    audit.record(deed="make_api_token", subject=f"token:{token.public_id}", who=user, now=now, detail=detail)
    return NewToken(token, secret.text)


@transaction.atomic
def revoke_token(token: ApiToken, *, who: User | None, now: datetime) -> bool:
    """Ends it at once; False where it had been revoked already."""
    is_done = end(token, now)
    if is_done:
        detail = {"name": token.name, "of": token.user.username}
        audit.record(deed="revoke_api_token", subject=f"token:{token.public_id}", who=who, now=now, detail=detail)
    return is_done


def token_of(text: str) -> ApiToken | None:
    """The token that a program's text stands for, whether it still holds or not."""
    return held(ApiToken.objects.select_related("user"), text, SCHEME)
