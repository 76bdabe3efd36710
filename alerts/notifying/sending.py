"""Takes a message to its target: by SMTP, by a signed POST, or through a chat service. One function a kind."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import logging
import secrets
import smtplib
from collections.abc import Callable
from datetime import datetime
from typing import Any

import requests
from django.conf import settings
from django.core.mail import EmailMessage, get_connection

from alerts.notifying.models import Target

PATIENCE_S = 10.0
PREFIX = "whsec_"  # as Standard Webhooks writes a key


class NotDelivered(Exception):
    """The message did not arrive; says why. It is tried again."""


def send(target: Target, key: str, message: dict[str, Any], *, now: datetime) -> None:
    """Returns when the other side has taken the message. The key is the same at every try."""
    SENDERS[target.kind](target, key, message, now)


def _send_email(target: Target, key: str, message: dict[str, Any], now: datetime) -> None:
    """The Message-ID is made of the key: a mail program that gets it twice shows it once."""
    if not settings.EMAIL_HOST:
        raise NotDelivered("SIEIS_SMTP_URL is not set: there is no mail server to send by.")
    domain = settings.DEFAULT_FROM_EMAIL.rpartition("@")[2].rstrip(">")
    message_id = f"<{hashlib.sha256(key.encode()).hexdigest()[:32]}@{domain}>"
    mail = EmailMessage(
        subject=f"[SIEIS] {message['title']}"[:200].replace("\n", " "),
        body=message["text"],
        to=[target.address],
        headers={"Message-ID": message_id, "X-SIEIS-Key": key, "Auto-Submitted": "auto-generated"},
        connection=get_connection(timeout=PATIENCE_S),
    )
    try:
        mail.send()
    except (smtplib.SMTPException, OSError) as error:
        raise NotDelivered(f"The mail server {settings.EMAIL_HOST} did not take it: {error}") from error


def _send_webhook(target: Target, key: str, message: dict[str, Any], now: datetime) -> None:
    """Signed as Standard Webhooks says; a redirect is not followed, for the signature is meant for this address."""
    body = json.dumps(message["payload"], ensure_ascii=False, separators=(",", ":")).encode()
    at = str(int(now.timestamp()))
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "SIEIS",
        "Idempotency-Key": key,
        "webhook-id": key,
        "webhook-timestamp": at,
        "webhook-signature": signature(target.secret, key, at, body),
    }
    try:
        answer = requests.post(
            target.address, data=body, headers=headers, timeout=PATIENCE_S, allow_redirects=False, stream=True
        )
    except requests.RequestException as error:
        raise NotDelivered(f"{target.shown_address} cannot be reached: {type(error).__name__}") from error
    answer.close()
    if not 200 <= answer.status_code < 300:
        raise NotDelivered(f"{target.shown_address} answered {answer.status_code}; expected 2xx.")


def signature(secret: str, key: str, at: str, body: bytes) -> str:
    """HMAC-SHA256 over id, instant and body."""
    raw = base64.b64decode(secret.removeprefix(PREFIX))
    digest = hmac.new(raw, b".".join((key.encode(), at.encode(), body)), hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def fresh_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def _send_chat(target: Target, key: str, message: dict[str, Any], now: datetime) -> None:
    """Apprise says yes or no; why not is only in its log."""
    import apprise  # a second to import: only where a chat service is used

    service = apprise.Apprise()
    service.add(target.address)
    with apprise.LogCapture(level=logging.WARNING) as said:
        if service.notify(title=message["title"], body=message["text"]):
            return
        reason = " ".join(said.getvalue().split())
    raise NotDelivered(f"{target.shown_address} did not take it: {reason or 'no reason was given'}"[:400])


def is_chat_address(address: str) -> bool:
    """Whether some service would take a message for it."""
    import apprise

    return bool(apprise.Apprise().add(address))


SENDERS: dict[str, Callable[[Target, str, dict[str, Any], datetime], None]] = {
    Target.Kind.EMAIL: _send_email,
    Target.Kind.WEBHOOK: _send_webhook,
    Target.Kind.CHAT: _send_chat,
}
