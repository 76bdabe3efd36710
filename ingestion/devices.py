"""Keys of devices that send by HTTP: made, checked, revoked. A secret is shown once; what is kept cannot be sent."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed, NotAuthenticated
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from ingestion.models import DeviceKey
from sensors import audit
from sensors.holding import end, held, note_use
from sensors.keys import new_secret
from sensors.models import Mote, Site

SCHEME = "sieis"


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key and, this one time, the text that the device sends."""

    key: DeviceKey
    text: str


@transaction.atomic
def make_key(*, name: str, site: Site, mote: Mote | None, who: User | None, now: datetime) -> NewKey:
    """A key for one mote, or for a gateway that speaks for all motes of a site."""
    if mote is not None and mote.site_id != site.pk:
        raise ValidationError({"mote": f"Mote “{mote.code}” stands at site {mote.site.code}, not at {site.code}."})
    secret = new_secret(SCHEME)
    key = DeviceKey(
        name=name.strip(), public_id=secret.public_id, secret_sha256=secret.secret_sha256, site=site, mote=mote,
        made_at=now, made_by=who,
    )  # fmt: skip
    key.full_clean()
    key.save()
    scope = mote.subject if mote else f"site:{site.code}"
    audit.record(
        deed="make_device_key", subject=f"device:{key.public_id}", who=who, now=now, detail={"name": name, "for": scope}
    )
    return NewKey(key, secret.text)


@transaction.atomic
def revoke_key(key: DeviceKey, *, who: User | None, now: datetime) -> bool:
    """Ends it at once; False where it had ended already."""
    is_done = end(key, now, revoked_by=who)
    if is_done:
        audit.record(
            deed="revoke_device_key", subject=f"device:{key.public_id}", who=who, now=now, detail={"name": key.name}
        )
    return is_done


def key_of(text: str) -> DeviceKey | None:
    """The standing key that a device's text stands for."""
    return held(DeviceKey.objects.select_related("site", "mote__site").filter(revoked_at=None), text, SCHEME)


# ---- at the API's door --------------------------------------------------------------------------------------


class ByDeviceKey(BaseAuthentication):
    """`Authorization: Bearer sieis_…`. Nobody is logged in by it: the key is `request.auth`."""

    def authenticate(self, request: Request) -> tuple[AnonymousUser, DeviceKey] | None:
        kind, _, text = get_authorization_header(request).decode("latin-1").partition(" ")
        if kind.lower() != "bearer":
            return None
        key = key_of(text.strip())
        if key is None:
            raise AuthenticationFailed("This device key is not known, or was revoked. An engineer can make a new one.")
        note_use(key, timezone.now())
        return AnonymousUser(), key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class NoDeviceKey(NotAuthenticated):
    default_detail = "Send a device key, which an engineer makes: Authorization: Bearer sieis_…"


class HasDeviceKey(BasePermission):
    def has_permission(self, request: Request, view: APIView) -> bool:
        if not isinstance(request.auth, DeviceKey):
            raise NoDeviceKey
        return True


class DeviceThrottle(SimpleRateThrottle):
    """So many requests a minute by each key, whatever address they come from."""

    scope = "ingest"

    def get_cache_key(self, request: Request, view: APIView) -> str | None:
        return f"ingest:{request.auth.public_id}" if isinstance(request.auth, DeviceKey) else None


class DeviceKeyScheme(OpenApiAuthenticationExtension):
    target_class = "ingestion.devices.ByDeviceKey"
    name = "device_key"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {"type": "http", "scheme": "bearer", "description": "A device key; not a person's login."}
