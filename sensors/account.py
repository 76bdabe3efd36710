"""A person's own account: name, e-mail, how the pages look to them, and where they are logged in."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from axes.models import AccessLog
from django.contrib.auth import SESSION_KEY
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import transaction

from sensors import audit
from sensors.models import Preferences

OF_USER = ("first_name", "last_name", "email")
OF_PAGES = ("time_zone", "theme", "toured_at")
UNTOLD = ("theme", "toured_at")  # nobody else's business


@dataclass(frozen=True, slots=True)
class Login:
    """A browser in which the person is logged in. `name` is the hash of what the browser holds."""

    key: str
    name: str
    ends_at: datetime
    began_at: datetime | None
    address: str
    browser: str
    is_this: bool


def preferences_of(user: Any) -> Preferences:
    """Kept or, for whoever has chosen nothing, those that hold then."""
    found = Preferences.objects.filter(user=user).first() if user.is_authenticated else None
    return found or Preferences()


@transaction.atomic
def change_account(user: User, *, now: datetime, **values: Any) -> list[str]:
    """Sets what the person says; ValidationError says where a value is wrong. Answers what is new."""
    wants = preferences_of(user)
    wants.user = user
    new = []
    for part, names in ((user, OF_USER), (wants, OF_PAGES)):
        own = [name for name in names if name in values and getattr(part, name) != values[name]]
        for name in own:
            setattr(part, name, values[name])
        if own:
            part.full_clean(exclude=["password"])
            part.save()
        new += own
    told = [name for name in new if name not in UNTOLD]
    if told:
        # What it was is not told: the log outlives the account.
        audit.record(
            deed="change_account", subject=f"user:{user.username}", who=user, now=now, detail={"changed": told}
        )
    return new


def logins(user: User, *, this: str | None, now: datetime) -> list[Login]:
    """Where the person is logged in, this browser first."""
    mine = {name_of(one.session_key): one for one in _sessions(user, now)}
    seen = {one.session_hash: one for one in AccessLog.objects.filter(username=user.username, session_hash__in=mine)}
    found = [_login(name, one, seen.get(name), this) for name, one in mine.items()]
    return sorted(found, key=lambda one: (not one.is_this, -one.ends_at.timestamp()))


def name_of(session_key: str) -> str:
    """What may be shown of a session: its key would let anybody in. As axes keeps it."""
    return hashlib.sha256(session_key.encode()).hexdigest()


@transaction.atomic
def end_logins(user: User, *, this: str | None, only: str = "", now: datetime) -> int:
    """Logs the person out of all other browsers, or of the one that is named; answers of how many."""
    ending = [one.session_key for one in _sessions(user, now)
              if (name_of(one.session_key) == only if only else one.session_key != this)]  # fmt: skip
    Session.objects.filter(session_key__in=ending).delete()
    if ending:
        audit.record(deed="end_sessions", subject=f"user:{user.username}", who=user, now=now, detail={"n": len(ending)})
    return len(ending)


def _sessions(user: User, now: datetime) -> list[Session]:
    """Whose a session is stands inside it, so all that hold are opened."""
    holding = Session.objects.filter(expire_date__gt=now).iterator()
    return [one for one in holding if one.get_decoded().get(SESSION_KEY) == str(user.pk)]


def _login(name: str, session: Session, seen: AccessLog | None, this: str | None) -> Login:
    return Login(
        key=session.session_key,
        name=name,
        ends_at=session.expire_date,
        began_at=seen.attempt_time if seen else None,
        address=(seen.ip_address or "") if seen else "",
        browser=browser_words(seen.user_agent) if seen else "",
        is_this=session.session_key == this,
    )


BROWSERS = (("Edg", "Edge"), ("OPR", "Opera"), ("Firefox", "Firefox"), ("Chrome", "Chrome"), ("Safari", "Safari"))
SYSTEMS = (
    ("Android", "Android"), ("iPhone", "iPhone"), ("iPad", "iPad"), ("Windows", "Windows"), ("Mac OS", "macOS"),
    ("Linux", "Linux"),
)  # fmt: skip


def browser_words(user_agent: str) -> str:
    """Enough to know one's own browsers apart.

    >>> browser_words("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36")
    'Chrome on Linux'
    """
    browser = next((words for sign, words in BROWSERS if sign in user_agent), "another program")
    system = next((words for sign, words in SYSTEMS if sign in user_agent), "")
    return f"{browser} on {system}" if system else browser
